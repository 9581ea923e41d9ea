//! The response while it is being made, with the rules of Zope's `HTTPResponse`.

use storage::StorageError;

use crate::response::{Body, Response};
use crate::url::escape_html;

/// What a published thing returned.
pub enum Answer {
    /// Text, sent in the response's charset. Empty text sets no body.
    Text(String),
    /// Bytes, sent as they are. Empty bytes set no body.
    Bytes(Vec<u8>),
    /// `None`, or the response itself: what was set on it stays.
    Nothing,
    /// Too large for memory: sent piece by piece (`RESPONSE.write`).
    Stream {
        /// How many bytes it has.
        length: u64,
        /// Its pieces.
        chunks: Box<dyn Iterator<Item = Result<Vec<u8>, StorageError>> + Send>,
    },
}

/// A response being made. Header names are lower case.
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    charset: String,
    base: String,
    body: Body,
    is_streaming: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            charset: "utf-8".to_owned(),
            base: String::new(),
            body: Body::Bytes(Vec::new()),
            is_streaming: false,
        }
    }
}

impl Reply {
    /// Sets the status.
    pub fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// The value of a header that was set.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a header, in the place of one that was set before. A text content type without a
    /// charset gets the response's; one with a charset decides what text is sent in. Line breaks
    /// are cut out.
    pub fn set_header(&mut self, name: &str, value: &str) {
        let mut value: String = value
            .chars()
            .filter(|c| !matches!(c, '\r' | '\n'))
            .collect();
        if name == "content-type" {
            if let Some(charset) = charset_of(&value) {
                charset.clone_into(&mut self.charset);
            } else if value.starts_with("text/") && !value.contains("charset") {
                value = format!("{value}; charset={}", self.charset);
            }
        }
        match self.headers.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.headers.push((name.to_owned(), value)),
        }
    }

    /// Sets the URL that relative links of an HTML page are meant for, where it differs from the
    /// page's own; `None` for a page that must not be touched.
    pub fn set_base(&mut self, base: Option<&str>) {
        self.base = match base {
            None => String::new(),
            Some(base) if base.ends_with('/') => base.to_owned(),
            Some(base) => format!("{base}/"),
        };
    }

    /// Takes what a published thing returned (`setBody`).
    pub fn set_answer(&mut self, answer: Answer) {
        let bytes = match answer {
            Answer::Nothing => return,
            Answer::Stream { length, chunks } => {
                self.body = Body::Stream { length, chunks };
                self.is_streaming = true;
                return;
            }
            Answer::Text(text) if text.is_empty() => return,
            Answer::Text(text) => encode(text, &self.charset),
            Answer::Bytes(bytes) if bytes.is_empty() => return,
            Answer::Bytes(bytes) => bytes,
        };
        let content_type = match self.header("content-type") {
            None => format!("text/plain; charset={}", self.charset),
            Some(known) => known.to_owned(),
        };
        self.set_header("content-type", &content_type);
        let bytes = self.with_base(bytes);
        self.set_header("content-length", &bytes.len().to_string());
        self.body = Body::Bytes(bytes);
    }

    /// Takes the page of an error, replacing what was there.
    pub(crate) fn set_error(&mut self, status: u16, page: String) {
        self.status = status;
        self.body = Body::Bytes(page.into_bytes());
    }

    /// Finishes the response. Nothing at all is `204 No Content`.
    pub(crate) fn finish(mut self) -> Response {
        if self.status == 200
            && !self.is_streaming
            && self.header("content-type").is_none()
            && self.header("content-length").is_none()
        {
            self.status = 204;
        }
        if self.header("content-length").is_none() {
            let length = self.body.len().to_string();
            self.set_header("content-length", &length);
        }
        Response {
            status: self.status,
            headers: self.headers,
            body: self.body,
        }
    }

    /// Puts `<base href>` after `<head>` in HTML that has none, so that relative links of a page
    /// shown at its folder's URL lead where they are meant to.
    fn with_base(&self, body: Vec<u8>) -> Vec<u8> {
        let content_type = self.header("content-type").unwrap_or_default();
        let is_html = matches!(content_type.split(';').next(), Some("text/html" | ""));
        if !is_html || self.base.is_empty() {
            return body;
        }
        let Some(end) = head_end(&body).filter(|_| !has_base(&body)) else {
            return body;
        };
        let mut page = body;
        let element = format!("\n<base href=\"{}\" />\n", escape_html(&self.base));
        page.splice(end..end, element.into_bytes());
        page
    }
}

/// The charset that a content type names, where Zope sees it: of `text/` and `application/`.
fn charset_of(content_type: &str) -> Option<&str> {
    let lower = content_type.to_ascii_lowercase();
    if !lower.starts_with("text/") && !lower.starts_with("application/") {
        return None;
    }
    let at = lower.find("charset=")? + "charset=".len();
    let charset = content_type.get(at..)?;
    let end = charset
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        .unwrap_or(charset.len());
    charset.get(..end).filter(|charset| !charset.is_empty())
}

/// Encodes text; what a charset cannot say becomes `?`. Charsets beyond these are sent as UTF-8.
fn encode(text: String, charset: &str) -> Vec<u8> {
    let text = with_declaration(text, charset);
    let limit = match charset.to_ascii_lowercase().as_str() {
        "latin-1" | "latin1" | "iso-8859-1" => 0x100,
        "ascii" | "us-ascii" => 0x80,
        _ => return text.into_bytes(),
    };
    text.chars()
        .map(|c| {
            u8::try_from(u32::from(c))
                .ok()
                .filter(|byte| u32::from(*byte) < limit)
                .unwrap_or(b'?')
        })
        .collect()
}

/// An XML declaration is written anew, so that it names the charset that the text is sent in.
fn with_declaration(text: String, charset: &str) -> String {
    match text.split_once("?>") {
        Some((declaration, rest)) if declaration.starts_with("<?xml") => {
            format!("<?xml version=\"1.0\" encoding=\"{charset}\" ?>{rest}")
        }
        _ => text,
    }
}

/// Where the `<head>` tag ends.
fn head_end(body: &[u8]) -> Option<usize> {
    let start = find_ignoring_case(body, b"<head")?;
    let end = body.get(start..)?.iter().position(|&byte| byte == b'>')?;
    Some(start + end + 1)
}

fn has_base(body: &[u8]) -> bool {
    find_ignoring_case(body, b"<base").is_some_and(|start| {
        body[start..]
            .split(|&byte| byte == b'\n')
            .next()
            .is_some_and(|line| line.contains(&b'>'))
    })
}

fn find_ignoring_case(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response) -> &[u8] {
        match &response.body {
            Body::Bytes(bytes) => bytes,
            Body::Stream { .. } => panic!("a stream"),
        }
    }

    #[test]
    fn text_types_get_a_charset_and_others_do_not() {
        let mut reply = Reply::default();
        reply.set_header("content-type", "text/css");
        assert_eq!(
            reply.header("content-type"),
            Some("text/css; charset=utf-8")
        );
        reply.set_header("content-type", "image/gif");
        assert_eq!(reply.header("content-type"), Some("image/gif"));
    }

    #[test]
    fn a_charset_in_the_content_type_decides_the_encoding() {
        let mut reply = Reply::default();
        reply.set_header("content-type", "text/plain; charset=latin-1");
        reply.set_answer(Answer::Text("ü€".to_owned()));
        assert_eq!(body(&reply.finish()), b"\xfc?");
    }

    #[test]
    fn an_xml_declaration_names_the_charset() {
        let mut reply = Reply::default();
        reply.set_answer(Answer::Text(
            "<?xml version='1.0' encoding='x'?>\n<a/>".to_owned(),
        ));
        let expected = b"<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n<a/>";
        assert_eq!(body(&reply.finish()), expected);
    }

    #[test]
    fn nothing_at_all_is_no_content() {
        let mut reply = Reply::default();
        reply.set_answer(Answer::Text(String::new()));
        assert_eq!(reply.finish().status, 204);
        let mut reply = Reply::default();
        reply.set_header("content-type", "text/plain");
        assert_eq!(reply.finish().status, 200);
    }

    #[test]
    fn the_base_goes_into_html_that_has_a_head_and_no_base() {
        let page = |content_type: &str, html: &str| {
            let mut reply = Reply::default();
            reply.set_base(Some("http://h/a?&"));
            reply.set_header("content-type", content_type);
            reply.set_answer(Answer::Text(html.to_owned()));
            String::from_utf8(body(&reply.finish()).to_vec()).unwrap()
        };
        assert_eq!(
            page("text/html", "<HEAD x>y"),
            "<HEAD x>\n<base href=\"http://h/a?&amp;/\" />\ny"
        );
        assert_eq!(
            page("text/html", "<head><base href=x>"),
            "<head><base href=x>"
        );
        assert_eq!(page("text/plain", "<head>"), "<head>");
    }

    #[test]
    fn line_breaks_do_not_get_into_headers() {
        let mut reply = Reply::default();
        reply.set_header("location", "/a\r\nset-cookie: x");
        assert_eq!(reply.header("location"), Some("/aset-cookie: x"));
    }
}
