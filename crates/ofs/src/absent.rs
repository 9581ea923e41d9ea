//! What is not there yet: a name in a folder that the verbs of WebDAV can act on
//! (`webdav.NullResource`).

use std::sync::Arc;

use publisher::{AbsentItem, Answer, Call, Member, Placed, PublishError};

use crate::edit::Edit;
use crate::members::Members;
use crate::stock::Stock;
use crate::{content_type, dav, file, source};

/// `webdav.NullResource.NullResource`.
pub(crate) struct Absent;

/// How much of a body its type is guessed from.
const GUESS_BYTES: usize = 524_288;

impl AbsentItem for Absent {
    fn member(&self, name: &str) -> Option<Arc<Member>> {
        Members::of('N').get(name)
    }

    fn call_member(
        &self,
        call: &mut Call<'_>,
        container: &Placed,
        id: &str,
        name: &str,
    ) -> Result<Answer, PublishError> {
        call.reply.set_header("accept-ranges", "none");
        match name {
            "PUT" => put(call, container, id),
            "OPTIONS" => {
                dav::set_options(call);
                Ok(Answer::Nothing)
            }
            "HEAD" | "DELETE" | "TRACE" | "PROPFIND" | "PROPPATCH" | "COPY" | "MOVE"
            | "index_html" => Err(PublishError::http(
                404,
                "The requested resource does not exist.",
            )),
            _ => Err(PublishError::unsupported(format!(
                "{name} of what is not there"
            ))),
        }
    }
}

/// Creates an item from the body of the request.
fn put(call: &mut Call<'_>, container: &Placed, id: &str) -> Result<Answer, PublishError> {
    dav::check_unlocked(call, container)?;
    if container.find(call.world(), "PUT_factory")?.is_some() {
        return Err(PublishError::unsupported("a folder with a PUT_factory"));
    }
    let new = New::of(call, id);
    let login = call.login.ok_or(PublishError::Unauthorized)?;
    if !login.has_permission(new.permission(), container) {
        return Err(PublishError::Unauthorized);
    }
    check_id(id)?;
    let stock = new.stock()?;
    let (owner_path, owner) = (login.user_folder_path(), login.user_id());
    let mut edit = stock.new_item(id).owned_by(owner);
    if let Some(owner) = owner.filter(|owner| !is_owner(container, &owner_path, owner)) {
        edit = edit.set_owner(&owner_path, owner);
    }
    edit = if stock.is_dtml() {
        let text = source::source_text(&call.request.body)?;
        source::check(&text, id)?;
        dav::with_etag(edit.set_str("raw", &text), call.now)
    } else {
        // The item's own PUT guesses once more, from what the request says.
        let declared = call
            .request
            .header("content-type")
            .filter(|kind| !kind.is_empty());
        let declared = declared.unwrap_or(&new.content_type).to_owned();
        file::write_data(&stock, call, edit, id, &declared)?
    };
    let reference = edit.create(call.connection)?;
    Edit::of(container.object())?
        .add_item(id, stock.meta_type())
        .set_reference(id, &reference)
        .store(call.connection, container.oid())?;
    dav::init(&stock, call);
    call.reply.set_status(201);
    Ok(Answer::Nothing)
}

/// The kind of item that a body and a name make (`_default_PUT_factory`).
struct New {
    content_type: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Image,
    DtmlDocument,
    PageTemplate,
}

impl New {
    fn of(call: &Call<'_>, id: &str) -> Self {
        let body = call
            .request
            .body
            .get(..GUESS_BYTES)
            .unwrap_or(&call.request.body);
        let declared = call.request.header("content-type").unwrap_or_default();
        let content_type = match declared {
            "" | "application/octet-stream" => content_type::guess(id, body, None),
            declared => declared.to_owned(),
        };
        let lower = id.to_lowercase();
        let kind = if lower.ends_with(".dtml") {
            Kind::DtmlDocument
        } else if lower.ends_with(".pt")
            || lower.ends_with(".zpt")
            || matches!(content_type.as_str(), "text/html" | "text/xml")
        {
            Kind::PageTemplate
        } else if content_type.starts_with("image/") {
            Kind::Image
        } else {
            Kind::File
        };
        Self { content_type, kind }
    }

    fn permission(&self) -> &'static str {
        match self.kind {
            Kind::PageTemplate => "Add Page Templates",
            Kind::File | Kind::Image | Kind::DtmlDocument => "Add Documents, Images, and Files",
        }
    }

    fn stock(&self) -> Result<Stock, PublishError> {
        match self.kind {
            Kind::File => Ok(Stock::File),
            Kind::Image => Ok(Stock::Image),
            Kind::DtmlDocument => Ok(Stock::DtmlDocument),
            Kind::PageTemplate => Err(PublishError::unsupported(
                "Products.PageTemplates.ZopePageTemplate.ZopePageTemplate, which this would create,",
            )),
        }
    }
}

/// Whether the owner that an item acquires from its folder is this user anyway.
fn is_owner(container: &Placed, folder: &[String], user: &str) -> bool {
    let owner = container
        .containment()
        .find_map(|place| place.object().state().get("_owner"));
    let Some(owner) = owner else { return false };
    let mut parts = owner.elements();
    let path = parts.next().map(|path| {
        path.elements()
            .map(|name| name.as_text().unwrap_or_default().into_owned())
            .collect::<Vec<_>>()
    });
    let id = parts.next().and_then(pickle::Value::as_text);
    path.as_deref() == Some(folder) && id.is_some_and(|id| id == user)
}

/// The rules for ids (`checkValidId`).
fn check_id(id: &str) -> Result<(), PublishError> {
    let invalid = |why: &str| {
        let id = publisher::escape_html(id);
        Err(PublishError::http(
            400,
            format!("The id \"{id}\" is invalid because it {why}."),
        ))
    };
    let is_bad = |c: char| c.is_ascii_control() || matches!(c, '<' | '>' | '&');
    if id.is_empty() {
        return Err(PublishError::http(400, "Empty or invalid id specified"));
    }
    if id.contains(is_bad) || id.contains('/') {
        return invalid("contains characters illegal in URLs");
    }
    if id == "." || id == ".." {
        return invalid("is not traversable");
    }
    if id.starts_with('_') {
        return invalid("begins with an underscore");
    }
    if id.starts_with("aq_") {
        return invalid("begins with \"aq_\"");
    }
    if id.ends_with("__") {
        return invalid("ends with two underscores");
    }
    if id.starts_with("@@") || id.starts_with("++") {
        return invalid("starts with characters reserved for Zope views lookup");
    }
    if id == "REQUEST" {
        return Err(PublishError::http(400, "REQUEST is a reserved name."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_zope_refuses_are_refused() {
        for id in [
            "", "a<b", "a/b", "..", "_a", "aq_a", "a__", "@@a", "++a", "REQUEST", "a\nb",
        ] {
            assert_eq!(check_id(id).unwrap_err().status(), 400, "{id}");
        }
        for id in ["a", "a b.txt", "ü", "a_", "@a"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
    }
}
