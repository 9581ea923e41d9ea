//! Form fields: of the query, of urlencoded and of multipart bodies.
//!
//! Names with converters (`x:int`, `go:method`) change types, and even where a request goes; they
//! are refused here as not natively published, never taken for plain names.

use crate::error::PublishError;
use crate::request::Request;

/// The fields of a request, in order.
#[derive(Clone, Debug, Default)]
pub struct Form {
    fields: Vec<(String, Field)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Text.
    Text(String),
    /// An uploaded file.
    File {
        /// The name it had at the client.
        name: String,
        /// Its bytes.
        data: Vec<u8>,
    },
}

/// How large an urlencoded body may be, as in Zope (`form-memory-limit`).
pub const FORM_BYTES_MAX: usize = 1 << 20;

/// How many fields and parts a request may have, as in Zope (`form-part-limit`) for parts.
pub const FORM_FIELDS_MAX: usize = 1024;

/// How long the boundary of a multipart body may be (RFC 2046).
const BOUNDARY_LEN_MAX: usize = 70;

impl Form {
    /// Reads the fields of a request.
    ///
    /// # Errors
    /// Status 400 for what is over a limit or cannot be read, [`PublishError::Unsupported`] for
    /// converters.
    pub(crate) fn of(request: &Request) -> Result<Self, PublishError> {
        let mut form = Self::default();
        form.add_encoded(request.query.as_bytes())?;
        // A body of PUT is content, even though Zope looks for fields in it as well.
        if request.method == "POST" {
            form.add_body(request)?;
        }
        Ok(form)
    }

    /// The values of the fields of this name.
    pub fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f Field> {
        self.fields
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, field)| field)
    }

    /// The one value of this name; `None` where there is none, or several.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let mut all = self.all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// The one value of this name, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.field(name)? {
            Field::Text(text) => Some(text),
            Field::File { .. } => None,
        }
    }

    fn add_body(&mut self, request: &Request) -> Result<(), PublishError> {
        let header = request.header("content-type").unwrap_or_default();
        let kind = header
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" | "application/x-url-encoded" | "" => {
                if request.body.len() > FORM_BYTES_MAX {
                    return Err(PublishError::http(
                        400,
                        "form data processing requires too much memory",
                    ));
                }
                self.add_encoded(&request.body)
            }
            "multipart/form-data" => {
                let boundary = parameter(header, "boundary")
                    .filter(|boundary| (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()))
                    .ok_or_else(|| PublishError::http(400, "the form has no boundary"))?;
                self.add_parts(&request.body, &boundary)
            }
            "text/xml" => Err(PublishError::unsupported("XML-RPC")),
            _ => Ok(()),
        }
    }

    fn add_encoded(&mut self, encoded: &[u8]) -> Result<(), PublishError> {
        for (name, value) in form_urlencoded::parse(encoded) {
            self.add(name.into_owned(), Field::Text(value.into_owned()))?;
        }
        Ok(())
    }

    fn add_parts(&mut self, body: &[u8], boundary: &str) -> Result<(), PublishError> {
        let malformed = || PublishError::http(400, "the multipart form is malformed");
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let mut rest = match find(body, &delimiter) {
            Some(0) => &body[delimiter.len()..],
            Some(at) if body[..at].ends_with(b"\r\n") => &body[at + delimiter.len()..],
            _ => return Err(malformed()),
        };
        let separator = [b"\r\n", delimiter.as_slice()].concat();
        while !rest.starts_with(b"--") {
            let content = rest.strip_prefix(b"\r\n").ok_or_else(malformed)?;
            let end = find(content, &separator).ok_or_else(malformed)?;
            self.add_part(&content[..end]).ok_or_else(malformed)??;
            rest = &content[end + separator.len()..];
        }
        Ok(())
    }

    /// Adds one part; `None` where it is malformed.
    fn add_part(&mut self, part: &[u8]) -> Option<Result<(), PublishError>> {
        let end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..end]).ok()?;
        let data = &part[end + 4..];
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        })?;
        let name = parameter(disposition, "name")?;
        let field = match parameter(disposition, "filename") {
            Some(filename) => Field::File {
                name: filename,
                data: data.to_vec(),
            },
            None => Field::Text(String::from_utf8_lossy(data).into_owned()),
        };
        Some(self.add(name, field))
    }

    fn add(&mut self, name: String, field: Field) -> Result<(), PublishError> {
        if has_converter(&name) {
            return Err(PublishError::unsupported(format!(
                "the form converter in {name}"
            )));
        }
        if self.fields.len() == FORM_FIELDS_MAX {
            return Err(PublishError::http(400, "the form has too many fields"));
        }
        // Names of the server's own variables are not taken from outside.
        if !is_server_variable(&name) {
            self.fields.push((name, field));
        }
        Ok(())
    }
}

/// Whether Zope would look for a converter in the name: `:name`, or `.x` and `.y` after one.
fn has_converter(name: &str) -> bool {
    name.match_indices(':')
        .any(|(at, _)| name[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// The variables of CGI, which a form must not set.
pub(crate) fn is_server_variable(name: &str) -> bool {
    name.starts_with("HTTP_") || CGI_NAMES.contains(&name)
}

const CGI_NAMES: &[&str] = &[
    "SERVER_SOFTWARE",
    "SERVER_NAME",
    "GATEWAY_INTERFACE",
    "SERVER_PROTOCOL",
    "SERVER_PORT",
    "REQUEST_METHOD",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "SCRIPT_NAME",
    "QUERY_STRING",
    "REMOTE_HOST",
    "REMOTE_ADDR",
    "AUTH_TYPE",
    "REMOTE_USER",
    "REMOTE_IDENT",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "SERVER_URL",
];

/// A parameter of a header value: `form-data; name="x"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once(';') {
        let (name, value) = after.split_once('=')?;
        let value = value.trim_start();
        let (value, tail) = match value.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (quoted[..end].to_owned(), &quoted[end + 1..])
            }
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value[..end].trim().to_owned(), &value[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = tail;
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(content_type: &str, body: &[u8]) -> Result<Form, PublishError> {
        Form::of(&Request {
            method: "POST".to_owned(),
            query: "q=1&q=2".to_owned(),
            headers: vec![("content-type".to_owned(), content_type.as_bytes().to_vec())],
            body: body.to_vec(),
            ..Request::default()
        })
    }

    #[test]
    fn query_and_body_fields_come_in_order() {
        let form = post(
            "application/x-www-form-urlencoded",
            b"title=a+b%C3%BC&HTTP_X=1",
        )
        .unwrap();
        assert_eq!(form.text("title"), Some("a bü"));
        assert_eq!(form.all("q").count(), 2);
        assert_eq!(form.field("q"), None);
        assert_eq!(form.field("HTTP_X"), None);
    }

    #[test]
    fn multipart_fields_and_files_are_read() {
        let body = b"--XX\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a;b\"\r\n\
                     Content-Type: text/html\r\n\r\nline\r\n--X\r\n--XX\r\n\
                     Content-Disposition: form-data; name=title\r\n\r\nT\r\n--XX--\r\n";
        let form = post("multipart/form-data; boundary=XX", body).unwrap();
        assert_eq!(form.text("title"), Some("T"));
        let file = Field::File {
            name: "a;b".to_owned(),
            data: b"line\r\n--X".to_vec(),
        };
        assert_eq!(form.field("data"), Some(&file));
    }

    #[test]
    fn a_cut_multipart_body_is_a_bad_request() {
        let body = b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nno end";
        let error = post("multipart/form-data; boundary=XX", body).unwrap_err();
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn converters_are_refused_and_other_colons_are_not() {
        let error = post("", b"a:int=1").unwrap_err();
        assert_eq!(error.status(), 501);
        assert!(post("", b"a:1=1").is_ok());
    }
}
