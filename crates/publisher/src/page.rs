//! The pages shown for errors.

use crate::error::PublishError;
use crate::url::escape_html;

/// The content type that Zope's error pages have, spelled as there.
pub(crate) const CONTENT_TYPE: &str = "text/html;charset=utf-8";

/// The body of an error's page. For the errors of Zope it is the page of `zExceptions`, word for
/// word; ours look alike and name what is missing.
pub(crate) fn render(error: &PublishError) -> String {
    let (title, detail) = match error {
        PublishError::NotFound { resource } => (
            "Resource not found",
            format!(
                "Sorry, the requested resource does not exist.\
                 <p>Check the URL and try again.</p>\
                 <p><b>Resource:</b> {}</p>",
                escape_html(resource)
            ),
        ),
        PublishError::MissingParameter { name } => (
            "Invalid request",
            format!(
                "The parameter, <em>{name}</em>, was omitted from the request.<p>\
                 Make sure to specify all required parameters, and try the request again.</p>"
            ),
        ),
        // Zope writes the text of these unescaped; it is a fixed sentence in all our uses.
        PublishError::Http { message, .. } if !message.is_empty() => (SORRY, message.clone()),
        PublishError::Redirect { location } => (SORRY, escape_html(location)),
        PublishError::Unsupported { .. } => (
            "Not published natively yet",
            escape_html(&error.to_string()),
        ),
        other => (SORRY, escape_html(&other.to_string())),
    };
    PAGE.replace("{title}", title)
        .replacen("{detail}", &detail, 1)
}

const SORRY: &str = "Sorry, a site error occurred.";

const PAGE: &str = r##"<!DOCTYPE html>
<html>
<head>
<title>Site Error</title>
<meta charset="utf-8" />
</head>
<body bgcolor="#FFFFFF">
<h2>Site Error</h2>
<p>An error was encountered while publishing this resource.
</p>
<p><strong>{title}</strong></p>

{detail}
<hr noshade="noshade"/>

<p>Troubleshooting Suggestions</p>

<ul>
<li>The URL may be incorrect.</li>
<li>The parameters passed to this resource may be incorrect.</li>
<li>A resource that this resource relies on may be
  encountering an error.</li>
</ul>

<p>If the error persists please contact the site maintainer.
Thank you for your patience.
</p>
</body></html>"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_visitor_sent_is_escaped() {
        let page = render(&PublishError::NotFound {
            resource: "http://x/<script>".to_owned(),
        });
        assert!(page.contains("http://x/&lt;script&gt;"), "{page}");
        let page = render(&PublishError::unsupported("<b>"));
        assert!(
            page.contains("&lt;b&gt; is not published natively yet"),
            "{page}"
        );
    }
}
