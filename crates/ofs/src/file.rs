//! `OFS.Image.File` and `Image`: content sent as it is.

use std::time::{Duration, UNIX_EPOCH};

use publisher::{Answer, Call, Placed, PublishError};
use zodb::Connection;

use crate::dav::{self, http_date};
use crate::edit::Edit;
use crate::image::{self, ImageInfo};
use crate::pdata::{self, Data, Part, Pieces};
use crate::stock::Stock;
use crate::{content_type, range, state};

/// Types that are shown in the browser; all others are offered for download, for a script in them
/// would run with the rights of whoever looks.
const INLINE_TYPES: &[&str] = &[
    "image/gif",
    "image/jp2",
    "image/jpeg",
    "image/jpeg2000-image",
    "image/jpeg2000",
    "image/jpx",
    "image/png",
    "image/webp",
    "image/x-icon",
    "image/x-jpeg2000-image",
    "text/plain",
    "application/pdf",
];

/// Files up to this size may be shown as text where Zope does that.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Answers the methods of files.
pub(crate) fn call(
    stock: &Stock,
    call: &mut Call<'_>,
    this: &Placed,
    name: &str,
) -> Option<Result<Answer, PublishError>> {
    match name {
        "index_html" => Some(index_html(stock, call, this)),
        "PUT" => Some(put(stock, call, this)),
        "view_image_or_file" if !stock.is_image() => Some(Err(PublishError::Redirect {
            location: call.urls.url_without(1).unwrap_or_default(),
        })),
        _ => None,
    }
}

/// `str(file)`: what is shown of a file that is published without its `index_html`, because it is
/// called so itself, or that is inserted into a page.
pub(crate) fn text(connection: &Connection, this: &Placed) -> Result<String, PublishError> {
    let data = Data::of(this)?.read_all(connection, TEXT_BYTES_MAX)?;
    let data = data.ok_or_else(|| PublishError::unsupported("a large File as text"))?;
    String::from_utf8(data).map_err(|error| PublishError::Exception {
        class: "UnicodeDecodeError",
        message: error.to_string(),
    })
}

/// Sends the content, or what the request wants of it.
fn index_html(stock: &Stock, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
    let content_type = state::text(this, "content_type", "")?;
    if is_unmodified(call, this) {
        set_headers(call, this, &content_type);
        call.reply.set_status(304);
        return Ok(Answer::Nothing);
    }
    let precondition = state::text(this, "precondition", "")?;
    if !precondition.is_empty() && this.find(call.world(), &precondition)?.is_some() {
        return Err(PublishError::unsupported("a File with a precondition"));
    }
    let data = Data::of(this)?;
    let size = match &data {
        // The attribute says the same, or it is wrong.
        Data::Bytes(bytes) => bytes.len() as u64,
        Data::Chain(_) => stock.size(call.connection, this)?.unwrap_or_default(),
    };
    if let Some(answer) = ranges(call, this, &data, size, &content_type)? {
        return Ok(answer);
    }
    set_headers(call, this, &content_type);
    call.reply.set_header("content-length", &size.to_string());
    if is_download(&content_type) {
        let name = download_name(stock.id_of(this), &content_type);
        let disposition = format!("attachment; filename*=UTF-8''{}", quote_name(&name));
        call.reply.set_header("content-disposition", &disposition);
    }
    call.reply.set_base(None);
    Ok(match data {
        Data::Bytes(bytes) => Answer::Bytes(bytes),
        Data::Chain(first) => {
            // A damaged beginning is told by the status; later nothing but the end can tell.
            pdata::check(call.connection, first, size)?;
            stream(
                Pieces::new(call.connection, first, vec![Part::Span(0, size)]),
                size,
            )
        }
    })
}

fn set_headers(call: &mut Call<'_>, this: &Placed, content_type: &str) {
    call.reply.set_header("last-modified", &http_date(this));
    call.reply.set_header("content-type", content_type);
    call.reply.set_header("accept-ranges", "bytes");
}

fn stream(pieces: Pieces, length: u64) -> Answer {
    Answer::Stream {
        length,
        chunks: Box::new(pieces),
    }
}

/// Whether the client has the file already.
fn is_unmodified(call: &Call<'_>, this: &Placed) -> bool {
    let since = call
        .request
        .header("if-modified-since")
        .and_then(parse_date);
    let modified = this.object().modified().as_secs();
    since.is_some_and(|since| modified > 0 && modified <= since.as_secs())
}

/// A date of a header; `None` where it cannot be read, which is then ignored.
fn parse_date(header: &str) -> Option<Duration> {
    let date = header.split(';').next()?;
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// Answers a `Range` header, where there is one that counts.
fn ranges(
    call: &mut Call<'_>,
    this: &Placed,
    data: &Data,
    size: u64,
    content_type: &str,
) -> Result<Option<Answer>, PublishError> {
    let draft = call.request.header("request-range");
    let header = draft.or_else(|| call.request.header("range"));
    let Some(asked) = header.and_then(range::parse) else {
        return Ok(None);
    };
    if !is_range_valid(call, this)? {
        return Ok(None);
    }
    let is_draft = draft.is_some();
    let spans = range::expand(&asked, size);
    set_headers(call, this, content_type);
    call.reply.set_base(None);
    let parts = match spans.as_slice() {
        [] => {
            call.reply.set_status(416);
            call.reply
                .set_header("content-range", &format!("bytes */{size}"));
            return Ok(Some(Answer::Nothing));
        }
        [(start, end)] => {
            let span = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
            call.reply.set_header("content-range", &span);
            vec![Part::Span(*start, *end)]
        }
        several => {
            let boundary = boundary();
            let prefix = if is_draft { "x-" } else { "" };
            let kind = format!("multipart/{prefix}byteranges; boundary={boundary}");
            call.reply.set_header("content-type", &kind);
            multipart(several, &boundary, content_type, size)
        }
    };
    call.reply.set_status(206);
    // Stored sizes may be anything.
    let length = parts.iter().map(part_len).fold(0, u64::saturating_add);
    call.reply.set_header("content-length", &length.to_string());
    Ok(Some(match data {
        Data::Bytes(bytes) => Answer::Bytes(cut(bytes, &parts)),
        Data::Chain(first) => {
            let end = spans.iter().map(|(_, end)| *end).max();
            pdata::check(call.connection, *first, end.unwrap_or_default())?;
            stream(Pieces::new(call.connection, *first, parts), length)
        }
    }))
}

/// Whether an `If-Range` header lets a range be sent: an entity tag or a date.
fn is_range_valid(call: &Call<'_>, this: &Placed) -> Result<bool, PublishError> {
    let Some(condition) = call.request.header("if-range") else {
        return Ok(true);
    };
    if condition.starts_with("ts") {
        return Ok(condition == state::text(this, dav::ETAG, "")?);
    }
    let modified = this.object().modified().as_secs();
    Ok(parse_date(condition).is_none_or(|date| modified <= date.as_secs()))
}

fn multipart(spans: &[(u64, u64)], boundary: &str, content_type: &str, size: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    for &(start, end) in spans {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\
             Content-Range: bytes {start}-{}/{size}\r\n\r\n",
            end.saturating_sub(1)
        );
        parts.push(Part::Literal(head.into_bytes()));
        parts.push(Part::Span(start, end));
    }
    parts.push(Part::Literal(
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ));
    parts
}

/// A boundary as Python's `email` package makes it.
fn boundary() -> String {
    format!("==============={:019}==", fastrand::i64(0..i64::MAX))
}

fn part_len(part: &Part) -> u64 {
    match part {
        Part::Literal(bytes) => bytes.len() as u64,
        Part::Span(start, end) => end.saturating_sub(*start),
    }
}

fn cut(data: &[u8], parts: &[Part]) -> Vec<u8> {
    let at = |position: u64| {
        usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(data.len())
    };
    let mut body = Vec::new();
    for part in parts {
        match part {
            Part::Literal(bytes) => body.extend_from_slice(bytes),
            Part::Span(start, end) => body.extend_from_slice(&data[at(*start)..at(*end)]),
        }
    }
    body
}

/// Whether a type is offered for download instead of being shown.
fn is_download(content_type: &str) -> bool {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    !media_type.is_empty() && !INLINE_TYPES.contains(&media_type.as_str())
}

/// The name a download gets: the id, with a suffix.
fn download_name(id: String, content_type: &str) -> String {
    if id.contains('.') {
        return id;
    }
    match content_type::suffix_of(content_type) {
        Some(suffix) => id + suffix,
        None => {
            let subtype = content_type.rsplit('/').next().unwrap_or_default();
            format!("{id}.{}", subtype.split('+').next().unwrap_or_default())
        }
    }
}

/// `urllib.parse.quote`, which keeps slashes only.
fn quote_name(name: &str) -> String {
    publisher::quote(name)
        .replace('+', "%2B")
        .replace('@', "%40")
}

/// Replaces the content (`File.PUT`).
fn put(stock: &Stock, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
    dav::init(stock, call);
    dav::check_unlocked(call, this)?;
    let declared = match call
        .request
        .header("content-type")
        .filter(|kind| !kind.is_empty())
    {
        Some(declared) => declared.to_owned(),
        None => state::text(this, "content_type", "")?,
    };
    let edit = Edit::of(this.object())?;
    let edit = write_data(stock, call, edit, &stock.id_of(this), &declared)?;
    edit.store(call.connection, this.oid())?;
    call.reply.set_status(204);
    Ok(Answer::Nothing)
}

/// Puts the body of the request into a file's state, with what Zope derives from it.
pub(crate) fn write_data(
    stock: &Stock,
    call: &mut Call<'_>,
    edit: Edit,
    id: &str,
    declared: &str,
) -> Result<Edit, PublishError> {
    let body = &call.request.body;
    let mut kind = content_type::guess(id, pdata::first_bytes(body), Some(declared));
    let info = if stock.is_image() {
        image::info(body)
    } else {
        ImageInfo::Unknown
    };
    let mut size = None;
    match info {
        ImageInfo::Known(known, found) => {
            known.clone_into(&mut kind);
            size = found;
        }
        ImageInfo::Drawing => {
            return Err(PublishError::unsupported(
                "storing an SVG drawing as an Image",
            ));
        }
        ImageInfo::Unknown => {}
    }
    let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
    let mut edit = edit.set_str("content_type", &kind).set_int("size", length);
    edit = match pdata::store(call.connection, body)? {
        Some(chain) => edit.set_reference("data", &chain),
        None => edit.set_bytes("data", body),
    };
    if let Some((width, height)) = size {
        edit = edit
            .set_int("width", width.into())
            .set_int("height", height.into());
    }
    Ok(edit.set_str(dav::ETAG, &dav::new_etag(call.now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_script_is_downloaded() {
        for shown in ["text/plain; charset=x", "IMAGE/PNG", "", "application/pdf"] {
            assert!(!is_download(shown), "{shown}");
        }
        for kept in [
            "text/html",
            "image/svg+xml",
            "text/css",
            "application/octet-stream",
        ] {
            assert!(is_download(kept), "{kept}");
        }
    }

    #[test]
    fn downloads_have_a_suffix() {
        let name = |id: &str, kind| download_name(id.to_owned(), kind);
        assert_eq!(name("a.b", "text/html"), "a.b");
        assert_eq!(name("a", "text/html"), "a.html");
        assert_eq!(name("a", "x/y+xml"), "a.y");
        assert_eq!(quote_name("ü/@+~"), "%C3%BC/%40%2B~");
    }

    #[test]
    fn dates_are_read_as_http_has_them() {
        let date = parse_date("Thu, 01 Jan 1970 00:00:07 GMT; length=3");
        assert_eq!(date, Some(Duration::from_secs(7)));
        assert_eq!(parse_date("garbage"), None);
    }
}
