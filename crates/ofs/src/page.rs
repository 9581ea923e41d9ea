//! DTML Methods and Documents: pages that are rendered.
//!
//! A Method is rendered as if it belonged to the object it was reached through; a Document has
//! names of its own, and that object's after them.

use dtml::{ErrorKind, Output, Template};
use publisher::{Answer, Call, Placed, PublishError, Target};

use crate::names::Names;
use crate::stock::Stock;
use crate::{content_type, source, state};

/// Renders a published page.
pub(crate) fn call(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
) -> Result<Answer, PublishError> {
    let client = match call.parents.first() {
        Some(Target::Object(client)) => client.clone(),
        _ => {
            return Err(PublishError::unsupported(
                "DTML that is called on no object",
            ));
        }
    };
    let text = match render(stock, call, this, &client)? {
        // Zope returns what is no text as it is, without a content type of the page.
        Output::Bytes(bytes) => return Ok(Answer::Bytes(bytes)),
        Output::Text(text) => text,
    };
    if call.reply.header("content-type").is_none() {
        let own = state::text(this, "content_type", "")?;
        let kind = if this.object().state().get("content_type").is_some() {
            own
        } else {
            content_type::guess(&stock.id_of(this), text.as_bytes(), None)
        };
        call.reply.set_header("content-type", &kind);
    }
    let (headers, body) = take_headers(&text);
    for (name, value) in headers {
        call.reply.set_header(&name.to_ascii_lowercase(), &value);
    }
    Ok(Answer::Text(body.to_owned()))
}

/// Answers the methods of pages.
pub(crate) fn call_member(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
    name: &str,
) -> Option<Result<Answer, PublishError>> {
    match name {
        "PUT" => Some(source::put(stock, call, this)),
        "manage_edit" => Some(source::manage_edit(stock, call, this)),
        _ => None,
    }
}

/// Renders a page as text for an object, for error pages.
pub(crate) fn render_for(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
    client: &Placed,
) -> Result<String, PublishError> {
    match render(stock, call, this, client)? {
        Output::Text(text) => Ok(text),
        Output::Bytes(_) => Err(PublishError::unsupported("an error page of bytes")),
    }
}

fn render(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
    client: &Placed,
) -> Result<Output, PublishError> {
    Names::new(call, client).render(stock, this)
}

/// Parses the source of a page.
pub(crate) fn parse(stock: Stock, this: &Placed) -> Result<Template, PublishError> {
    let encoding = match this.object().state().get("encoding") {
        None => dtml::Encoding::Latin1,
        Some(_) => match state::text(this, "encoding", "")?
            .to_ascii_lowercase()
            .as_str()
        {
            "utf-8" | "utf8" => dtml::Encoding::Utf8,
            "latin-1" | "latin1" | "iso-8859-1" | "iso-8859-15" => dtml::Encoding::Latin1,
            other => return Err(PublishError::unsupported(format!("DTML in {other}"))),
        },
    };
    let source = state::text(this, "raw", "")?;
    Template::parse_encoded(source, stock.id_of(this), encoding).map_err(error)
}

/// What an error of a template means for the request.
pub(crate) fn error(error: dtml::Error) -> PublishError {
    let shown = error.to_string();
    match error.into_kind() {
        ErrorKind::NotSupported(_) => PublishError::Unsupported {
            what: format!("DTML: {shown}, which"),
        },
        ErrorKind::Undefined(name) => PublishError::Exception {
            class: "KeyError",
            message: name,
        },
        ErrorKind::Raised { class, message } => PublishError::Exception { class, message },
        ErrorKind::Parse(message) => PublishError::Exception {
            class: "ParseError",
            message,
        },
        ErrorKind::Namespace(cause) => match cause.downcast::<PublishError>() {
            Ok(cause) => *cause,
            Err(cause) => PublishError::unsupported(cause.to_string()),
        },
        _ => PublishError::unsupported(shown),
    }
}

/// Takes header lines off the beginning of a page, if it begins with such and an empty line
/// (`decapitate`).
fn take_headers(page: &str) -> (Vec<(String, String)>, &str) {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut rest = page;
    loop {
        if let Some(body) = rest
            .strip_prefix("\r\n")
            .or_else(|| rest.strip_prefix('\n'))
        {
            return (headers, body);
        }
        let Some((name, value, after)) = header_line(rest) else {
            return (Vec::new(), page);
        };
        let mut value = value.trim().to_owned();
        rest = after;
        while rest.starts_with([' ', '\t']) {
            let Some((line, after)) = rest.split_once('\n') else {
                return (Vec::new(), page);
            };
            value = format!("{value} {}", line.trim());
            rest = after;
        }
        headers.push((name.to_owned(), value));
    }
}

/// `name: value` up to the end of the line. The name is a token, as HTTP has it.
fn header_line(text: &str) -> Option<(&str, &str, &str)> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let (name, value) = line.split_once(':')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.\\^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_token)).then_some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_taken_off() {
        let (headers, body) = take_headers("Content-Type: text/css\nX-A: 1\n  2\n\nbody");
        let expected = [("Content-Type", "text/css"), ("X-A", "1 2")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
        assert_eq!(body, "body");
        assert_eq!(take_headers("\nbody").1, "body");
    }

    #[test]
    fn a_page_without_an_empty_line_has_no_headers() {
        for page in ["http://x", "a: b", "no header\n\nx", "", "<p>a: b\n\n"] {
            assert_eq!(take_headers(page), (Vec::new(), page), "{page}");
        }
    }
}
