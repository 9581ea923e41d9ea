//! Changing the source of DTML Methods and Documents.

use dtml::Template;
use publisher::{Answer, Call, Placed, PublishError, escape_html};

use crate::edit::Edit;
use crate::stock::Stock;
use crate::{dav, item, page, state};

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
    check(&source, &stock.id_of(this))?;
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
    // Zope too keeps a source with a mistake in it, so that the author can go on from there.
    let warning = check(&data, &stock.id_of(&this))
        .err()
        .map(|error| error.to_string());
    Ok(Answer::Text(saved_page(
        &name,
        &call.absolute_url(&this),
        warning.as_deref(),
    )))
}

/// Refuses a source that breaks the rules of DTML. One that only cannot be rendered natively yet
/// may be stored.
pub(crate) fn check(source: &str, id: &str) -> Result<(), PublishError> {
    match Template::parse(source, id) {
        Err(error) if !error.is_not_supported() => Err(page::error(error)),
        _ => Ok(()),
    }
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

fn saved_page(name: &str, url: &str, warning: Option<&str>) -> String {
    let (name, url) = (escape_html(name), escape_html(url));
    let warning = warning.map_or_else(String::new, |warning| {
        format!("<p>It cannot be rendered: {}</p>\n", escape_html(warning))
    });
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<title>{name}</title>\n<meta charset=\"utf-8\" />\n\
         </head>\n<body>\n<p>Saved changes.</p>\n{warning}<p><a href=\"{url}\">{name}</a></p>\n</body>\n\
         </html>\n"
    )
}
