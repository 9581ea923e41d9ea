//! The users of `OFS.userfolder.UserFolder`.

use pickle::Value;
use publisher::{PublishError, UserFolder};
use security::User;
use storage::Oid;
use zodb::{Connection, Object, Reference};

use crate::state::is_true;

/// Users stored in the folder's own mapping.
pub(crate) struct Stored;

impl UserFolder for Stored {
    fn user(
        &self,
        connection: &Connection,
        folder: &Object,
        name: &str,
    ) -> Result<Option<User>, PublishError> {
        let Some(data) = folder.state().get("data").and_then(reference) else {
            return Err(PublishError::unsupported(
                "a user folder without a mapping of users",
            ));
        };
        let users = connection.load(data)?;
        let entries = users
            .state()
            .get("data")
            .or_else(|| users.state().get("_container"));
        let entries = entries
            .ok_or_else(|| PublishError::unsupported(format!("users in a {}", users.class())))?;
        match entries.get(name) {
            None => Ok(None),
            Some(entry) => {
                let oid = reference(entry)
                    .ok_or_else(|| PublishError::unsupported("a user without a record"))?;
                user(&*connection.load(oid)?).map(Some)
            }
        }
    }

    fn takes_nobody(&self, folder: &Object) -> bool {
        // In this mode Zope lets users in by where they come from.
        !folder.state().get("_domain_auth_mode").is_some_and(is_true)
    }
}

fn user(object: &Object) -> Result<User, PublishError> {
    let class = object.class();
    if !USER_CLASSES
        .iter()
        .any(|(module, name)| class.is(module, name))
    {
        return Err(PublishError::unsupported(class.to_string()));
    }
    let state = object.state();
    let unreadable = |what: &str| PublishError::unsupported(format!("a user's {what}"));
    let name = state
        .get("name")
        .and_then(Value::as_text)
        .ok_or_else(|| unreadable("name"))?;
    let password = state.get("__").ok_or_else(|| unreadable("password"))?;
    let password = match password.as_bytes() {
        Some(bytes) => bytes.to_vec(),
        None => {
            let text = password.as_text().ok_or_else(|| unreadable("password"))?;
            text.into_owned().into_bytes()
        }
    };
    let texts = |attribute: &str| -> Result<Vec<String>, PublishError> {
        let listed = state.get(attribute).ok_or_else(|| unreadable(attribute))?;
        let texts = listed
            .elements()
            .map(|text| Some(text.as_text()?.into_owned()));
        texts
            .collect::<Option<_>>()
            .ok_or_else(|| unreadable(attribute))
    };
    let roles = texts("roles")?;
    let roles = roles.iter().map(String::as_str);
    Ok(User::new(name, password, roles, texts("domains")?))
}

fn reference(value: Value<'_>) -> Option<Oid> {
    value.persistent_id()?;
    match Reference::read(value)? {
        Reference::Strong { oid, .. } => Some(oid),
        Reference::Weak { .. } | Reference::Foreign { .. } => None,
    }
}

const USER_CLASSES: &[(&str, &str)] = &[
    ("AccessControl.users", "User"),
    ("AccessControl.User", "User"),
];
