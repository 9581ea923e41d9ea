//! Reading attributes that instances have, or their class has for them.

use pickle::{Kind, Value};
use publisher::{Placed, PublishError};

/// An attribute as text; `default` is the class's.
///
/// # Errors
/// [`PublishError::Unsupported`] where it is no text.
pub(crate) fn text(of: &Placed, name: &str, default: &str) -> Result<String, PublishError> {
    match of.object().state().get(name) {
        None => Ok(default.to_owned()),
        Some(value) => value
            .as_text()
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| {
                PublishError::unsupported(format!("{}.{name} that is no text", of.object().class()))
            }),
    }
}

/// Whether the attribute is there and holds for true in Python.
pub(crate) fn is_set(of: &Placed, name: &str) -> bool {
    of.object().state().get(name).is_some_and(is_true)
}

/// The truth of a value. What cannot be told is taken for true.
pub(crate) fn is_true(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::None => false,
        Kind::Bool(value) => value,
        Kind::Int(value) => value != 0,
        Kind::Float(value) => value != 0.0,
        Kind::Str(text) => !text.is_empty(),
        Kind::Bytes(bytes) | Kind::ByteString(bytes) => !bytes.is_empty(),
        Kind::Tuple(items) | Kind::List(items) => items.len() > 0,
        Kind::Dict(pairs) => pairs.len() > 0,
        _ => true,
    }
}
