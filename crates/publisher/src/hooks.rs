//! Traversal hooks: objects that act on a request when it passes their folder.
//!
//! A folder lists them in `__before_traverse__`, a dict `(priority, name) -> hook`, from which Zope
//! derives `__before_publishing_traverse__`. A hook is called through `NameCaller`, which names a
//! sibling, or is an object itself.

use std::sync::Arc;

use pickle::{Kind, Value};
use zodb::Reference;

use crate::acquisition::{Attribute, Placed, World};
use crate::class::Class;
use crate::error::PublishError;

/// A hook that has to run.
pub(crate) struct Hook {
    pub(crate) object: Placed,
    pub(crate) class: Arc<dyn Class>,
}

/// The hooks of a folder in the order they run.
///
/// # Errors
/// [`PublishError::Unsupported`] for every hook that is not known: it might log users in, refuse
/// them or lead them elsewhere.
pub(crate) fn of(world: World<'_>, folder: &Placed) -> Result<Vec<Hook>, PublishError> {
    let state = folder.object().state();
    let Some(derived) = state.get("__before_publishing_traverse__") else {
        return Ok(Vec::new());
    };
    let unknown = |what: &str| {
        Err(PublishError::unsupported(format!(
            "the traversal hook {what}"
        )))
    };
    let Some(listed) = state.get("__before_traverse__") else {
        return unknown(&class_name(derived));
    };
    let mut ordered = Vec::new();
    for (key, hook) in listed.entries() {
        let mut parts = key.elements();
        let priority = parts.next().and_then(Value::as_int).unwrap_or_default();
        let name = parts
            .next()
            .and_then(|name| Some(name.as_text()?.into_owned()));
        ordered.push(((priority, name), hook));
    }
    ordered.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut hooks = Vec::new();
    for (_, hook) in ordered {
        if let Some(Reference::Strong { oid, .. }) =
            hook.persistent_id().and_then(|_| Reference::read(hook))
        {
            let class = world.connection.load(oid)?.class().to_string();
            if !world.registry.is_passive_hook(&class) {
                return unknown(&class);
            }
            continue;
        }
        let class = class_name(hook);
        if world.registry.is_passive_hook(&class) {
            continue;
        }
        if class != NAME_CALLER {
            return unknown(&class);
        }
        hooks.extend(named(world, folder, hook)?);
    }
    Ok(hooks)
}

/// The sibling that a `NameCaller` names; one that is gone is passed over.
fn named(
    world: World<'_>,
    folder: &Placed,
    caller: Value<'_>,
) -> Result<Option<Hook>, PublishError> {
    let name = caller
        .instance()
        .and_then(|instance| instance.state?.get("name")?.as_text())
        .unwrap_or_default();
    Ok(match folder.find(world, &name)? {
        Some(Attribute::Object(object)) => {
            let class = object.known_class()?.clone();
            Some(Hook { object, class })
        }
        _ => None,
    })
}

fn class_name(value: Value<'_>) -> String {
    let class = match value.kind() {
        Kind::Instance(instance) => instance.class.as_global(),
        _ => None,
    };
    class.map_or_else(
        || "of an unknown kind".to_owned(),
        |(module, name)| format!("{module}.{name}"),
    )
}

const NAME_CALLER: &str = "ZPublisher.BeforeTraverse.NameCaller";
