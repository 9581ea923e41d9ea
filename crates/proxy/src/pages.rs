//! The pages that the balancer itself shows: what happened, and what to do.

/// A page. `what` and `advice` are ours and need no escaping; the id is made of hex digits.
pub(crate) fn page(status: u16, title: &str, what: &str, advice: &str, id: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status} {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 17px/1.5 system-ui, sans-serif; background: light-dark(#f6f5f1, #16181d);
  color: light-dark(#22252b, #e6e4de); }}
main {{ max-width: 34rem; padding: 2rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; }}
h1 span {{ color: light-dark(#a2542b, #e09a6c); margin-right: .4em; }}
p {{ margin: 0 0 .8rem; }}
small {{ opacity: .65; }}
</style>
</head>
<body>
<main>
<h1><span>{status}</span>{title}</h1>
<p>The request could not be answered: {what}.</p>
<p>{advice}</p>
<small>Zodiac, request {id}</small>
</main>
</body>
</html>
"#
    )
}

/// The list of mirrors. `rows` is of ours, and escaped.
pub(crate) fn listing(rows: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mirrors of this site</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 17px/1.5 system-ui, sans-serif; background: light-dark(#f6f5f1, #16181d);
  color: light-dark(#22252b, #e6e4de); }}
main {{ width: min(40rem, 90vw); padding: 2rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; }}
table {{ width: 100%; border-collapse: collapse; }}
th {{ text-align: left; font-weight: 600; opacity: .65; }}
th, td {{ padding: .45em 1em .45em 0; border-bottom: 1px solid light-dark(#dcd9d0, #33363d); }}
a {{ color: light-dark(#a2542b, #e09a6c); }}
.away {{ opacity: .55; }}
</style>
</head>
<body>
<main>
<h1>Mirrors of this site</h1>
<table>
<tr><th>Address</th><th>State</th><th>Busy</th></tr>
{rows}</table>
</main>
</body>
</html>
"#
    )
}
