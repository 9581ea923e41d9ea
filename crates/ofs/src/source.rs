//! Changing the source of DTML Methods and Documents.

use publisher::{Answer, Call, Placed, PublishError, escape_html};

use crate::edit::Edit;
use crate::stock::Stock;
use crate::{dav, item, state};

/// Replaces the source (`DTMLMethod.PUT`).
pub(crate) fn put(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
) -> Result<Answer, PublishError> {
    dav::init(&stock, call);
    dav::check_unlocked(call, this)?;
    check_proxy(this)?;
    let source = source_text(&call.request.body)?;
    let edit = Edit::of(this.object())?.set_str("raw", &source);
    dav::with_etag(edit, call.now).store(call.connection, this.oid())?;
    call.reply.set_status(204);
    Ok(Answer::Nothing)
}

/// Replaces source and title from a form (`manage_edit`). Zope answers with the edit form; here it
/// is a page that says what was done.
pub(crate) fn manage_edit(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
) -> Result<Answer, PublishError> {
    let data = call.required("data")?.to_owned();
    let title = call.required("title")?.to_owned();
    check_proxy(this)?;
    if state::is_set(this, "_dav_writelocks") {
        return Err(PublishError::unsupported("an object with WebDAV locks"));
    }
    Edit::of(this.object())?
        .set_str("title", &title)
        .set_str("raw", &data)
        .store(call.connection, this.oid())?;
    let this = this.reload(call.world())?;
    let name = item::title_and_id(stock, &this)?;
    call.reply.set_header("content-type", "text/html");
    Ok(Answer::Text(saved_page(&name, &call.absolute_url(&this))))
}

/// The text of a body, as a source has to be.
pub(crate) fn source_text(body: &[u8]) -> Result<String, PublishError> {
    String::from_utf8(body.to_vec()).map_err(|error| PublishError::Exception {
        class: "UnicodeDecodeError",
        message: error.to_string(),
    })
}

/// A page with proxy roles may be changed by those who have them; that is not judged here.
fn check_proxy(this: &Placed) -> Result<(), PublishError> {
    if state::is_set(this, "_proxy_roles") {
        return Err(PublishError::unsupported("changing DTML with proxy roles"));
    }
    Ok(())
}

fn saved_page(name: &str, url: &str) -> String {
    let (name, url) = (escape_html(name), escape_html(url));
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>{name}</title>\n<meta charset=\"utf-8\" />\n\
         </head>\n<body>\n<p>Saved changes.</p>\n<p><a href=\"{url}\">{name}</a></p>\n</body>\n\
         </html>\n"
    )
}
