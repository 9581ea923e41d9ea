//! The verbs of WebDAV that all stock objects answer alike (`webdav.Resource`), and entity tags.

use std::time::Duration;

use httpdate::fmt_http_date;
use publisher::{Answer, Attribute, Call, DataKind, Placed, PublishError};

use crate::edit::Edit;
use crate::stock::Stock;
use crate::{content_type, state};

/// What `OPTIONS` allows.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PROPFIND, PROPPATCH, MKCOL, \
                       COPY, MOVE, LOCK, UNLOCK";

/// The attribute that holds an object's entity tag.
pub(crate) const ETAG: &str = "_EtagSupport__etag";

/// Answers a verb, if it is one of these.
pub(crate) fn call(
    stock: &Stock,
    call: &mut Call<'_>,
    this: &Placed,
    name: &str,
) -> Option<Result<Answer, PublishError>> {
    let refusal = match name {
        "HEAD" if stock.is_folder() => return Some(folder_head(call, this)),
        "HEAD" => return Some(head(stock, call, this)),
        "OPTIONS" => return Some(Ok(options(stock, call))),
        "TRACE" => "Method not supported for this resource.",
        "MKCOL" => "The resource already exists.",
        "PUT" if stock.is_folder() => "Method not supported for collections.",
        "PUT" if stock.is_user_folder() => "Method not supported for this resource.",
        _ => return None,
    };
    init(stock, call);
    Some(Err(PublishError::http(405, refusal)))
}

/// The headers that every verb sets first (`dav__init`). Zope also makes an entity tag for an
/// object that has none; reading does not write here.
pub(crate) fn init(stock: &Stock, call: &mut Call<'_>) {
    if stock.is_folder() {
        // A hint for clients that left out the slash.
        if !call.request.path.is_empty() && !call.request.path.ends_with('/') {
            let folder = call.urls.url_without(1).unwrap_or_default();
            call.reply
                .set_header("content-location", &format!("{folder}/"));
        }
    } else {
        let ranges = if stock.is_file() { "bytes" } else { "none" };
        call.reply.set_header("accept-ranges", ranges);
    }
}

fn options(stock: &Stock, call: &mut Call<'_>) -> Answer {
    init(stock, call);
    set_options(call);
    Answer::Nothing
}

/// The headers of `OPTIONS`.
pub(crate) fn set_options(call: &mut Call<'_>) {
    call.reply.set_header("allow", METHODS);
    call.reply.set_header("content-length", "0");
    call.reply.set_header("dav", "1,2");
}

/// `HEAD` of a folder is that of its page.
fn folder_head(call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
    init(&Stock::Folder, call);
    match this.find(call.world(), "index_html")? {
        Some(Attribute::Object(page)) => {
            let class = page.known_class()?.clone();
            if class.member("HEAD").is_none() {
                return Err(PublishError::http(
                    405,
                    "Method not supported for this resource.",
                ));
            }
            class.call_member(call, &page, "HEAD")
        }
        Some(_) => Err(PublishError::http(
            405,
            "Method not supported for this resource.",
        )),
        None => Err(PublishError::http(
            404,
            "The requested resource does not exist.",
        )),
    }
}

fn head(stock: &Stock, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
    init(stock, call);
    let content_type = match acquired_content_type(call, this)? {
        Some(known) => known,
        None => {
            let url = call.urls.url();
            let url = url.strip_suffix("/HEAD").unwrap_or(&url);
            let name = url
                .rsplit('/')
                .find(|part| !part.is_empty())
                .unwrap_or_default();
            let guessed = content_type::guess_from_name(name);
            let default = if stock.is_dtml() {
                "text/html"
            } else {
                "application/octet-stream"
            };
            guessed.unwrap_or(default).to_owned()
        }
    };
    call.reply
        .set_header("content-type", &content_type.to_lowercase());
    if let Some(size) = stock.size(call.connection, this)? {
        call.reply.set_header("content-length", &size.to_string());
    }
    call.reply.set_header("last-modified", &http_date(this));
    let etag = state::text(this, ETAG, "")?;
    if !etag.is_empty() {
        call.reply.set_header("etag", &etag);
    }
    Ok(Answer::Nothing)
}

/// The `content_type` attribute, which may be a property acquired from a folder.
fn acquired_content_type(call: &Call<'_>, this: &Placed) -> Result<Option<String>, PublishError> {
    match this.find(call.world(), "content_type")? {
        None => Ok(None),
        Some(Attribute::Data {
            kind: DataKind::Nothing,
            ..
        }) => Ok(None),
        Some(Attribute::Data { of, name, .. }) => state::text(&of, &name, "").map(Some),
        Some(_) => Err(PublishError::unsupported("a computed content_type")),
    }
}

/// When an object was last changed, as `Last-Modified` has it.
pub(crate) fn http_date(this: &Placed) -> String {
    fmt_http_date(std::time::UNIX_EPOCH + this.object().modified())
}

/// A new entity tag, made of the time (`http__refreshEtag`): `ts` and the time without its first
/// two digits.
pub(crate) fn new_etag(now: Duration) -> String {
    let time = format!("{}.{:07}", now.as_secs(), now.subsec_nanos() / 100);
    let time = time.trim_end_matches('0');
    let time = if time.ends_with('.') {
        format!("{time}0")
    } else {
        time.to_owned()
    };
    format!("ts{}", time.get(2..).unwrap_or_default())
}

/// What a change checks first: locks, and conditions on them.
pub(crate) fn check_unlocked(call: &Call<'_>, this: &Placed) -> Result<(), PublishError> {
    if state::is_set(this, "_dav_writelocks") {
        return Err(PublishError::unsupported("an object with WebDAV locks"));
    }
    if call.request.header("if").is_some() {
        return Err(PublishError::unsupported("the If header"));
    }
    Ok(())
}

/// Gives an object an entity tag where it has none, as the verbs that change it do.
pub(crate) fn with_etag(edit: Edit, now: Duration) -> Edit {
    edit.set_new_str(ETAG, &new_etag(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_the_time_as_python_writes_it() {
        assert_eq!(
            new_etag(Duration::new(1_795_439_730, 295_541_800)),
            "ts95439730.2955418".to_owned()
        );
        assert_eq!(new_etag(Duration::from_secs(1_795_439_730)), "ts95439730.0");
    }
}
