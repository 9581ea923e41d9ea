//! Small methods that all stock items have: their id, title, URL and properties.

use pickle::{Kind, Value};
use publisher::{Answer, Attribute, Call, Class as _, DataKind, Placed, PublishError, escape_html};

use crate::state;
use crate::stock::Stock;

/// Answers one of these methods.
pub(crate) fn call(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
    name: &str,
) -> Option<Result<Answer, PublishError>> {
    let text = match name {
        "getId" => Ok(stock.id_of(this)),
        "title_or_id" => title_or_id(stock, this),
        "title_and_id" => title_and_id(stock, this),
        "absolute_url" | "absolute_url_path" if call.form.all("relative").next().is_some() => {
            return None;
        }
        "absolute_url" => Ok(call.absolute_url(this)),
        "absolute_url_path" => Ok(absolute_url_path(call, this)),
        "tag" if stock.is_image() => tag(call, this),
        "getProperty" => return Some(get_property(stock, call, this)),
        "manage_workspace" => return Some(manage_workspace(stock, call, this)),
        _ => return None,
    };
    Some(text.map(Answer::Text))
}

/// The title, or the id where it is empty.
pub(crate) fn title_or_id(stock: Stock, this: &Placed) -> Result<String, PublishError> {
    let title = state::text(this, "title", stock.default_title())?;
    Ok(if title.is_empty() {
        stock.id_of(this)
    } else {
        title
    })
}

/// The title and in parentheses the id.
pub(crate) fn title_and_id(stock: Stock, this: &Placed) -> Result<String, PublishError> {
    let title = state::text(this, "title", stock.default_title())?;
    let id = stock.id_of(this);
    Ok(if title.is_empty() {
        id
    } else if stock == Stock::Application {
        title
    } else {
        format!("{title} ({id})")
    })
}

/// The path part of the URL.
pub(crate) fn absolute_url_path(call: &Call<'_>, this: &Placed) -> String {
    let path = call.urls.path_of_physical_path(&this.physical_path());
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

/// The HTML element that shows an image (`Image.tag`).
pub(crate) fn tag(call: &Call<'_>, this: &Placed) -> Result<String, PublishError> {
    let scalar = |name: &str| -> Result<String, PublishError> {
        let value = this.object().state().get(name);
        value.map_or_else(
            || Ok(String::new()),
            |value| shown(value).ok_or_else(unknown),
        )
    };
    let (width, height) = (scalar("width")?, scalar("height")?);
    let alt = state::text(this, "alt", "")?;
    let title = state::text(this, "title", "")?;
    let mut tag = format!(
        "<img src=\"{}\" alt=\"{}\" title=\"{}\"",
        call.absolute_url(this),
        escape_html(&alt),
        escape_html(&title)
    );
    for (name, value) in [("height", height), ("width", width)] {
        if !value.is_empty() {
            tag.push_str(&format!(" {name}=\"{value}\""));
        }
    }
    Ok(tag + " />")
}

fn get_property(stock: Stock, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
    let id = call.required("id")?.to_owned();
    if call.form.all("d").next().is_some() {
        return Err(PublishError::unsupported("getProperty with a default"));
    }
    if !has_property(stock, this, &id) {
        return Ok(Answer::Nothing);
    }
    let missing = || PublishError::Exception {
        class: "AttributeError",
        message: id.clone(),
    };
    match this.find(call.world(), &id)? {
        Some(Attribute::Data {
            kind: DataKind::Nothing,
            ..
        }) => Ok(Answer::Nothing),
        Some(Attribute::Data { of, name, .. }) => {
            let value = of.object().state().get(&name).ok_or_else(missing)?;
            if !state::is_true(value) {
                return Ok(Answer::Nothing);
            }
            match value.as_bytes() {
                Some(bytes) => Ok(Answer::Bytes(bytes.to_vec())),
                None => shown(value).map(Answer::Text).ok_or_else(unknown),
            }
        }
        // What the class itself has for these is text.
        Some(Attribute::Member { .. }) if id == "title" => {
            Ok(Answer::Text(stock.default_title().to_owned()))
        }
        Some(Attribute::Member { .. }) => Ok(Answer::Nothing),
        Some(Attribute::Object(_)) => Err(unknown()),
        None => Err(missing()),
    }
}

/// Leads to the first management screen that the user may see: the edit form, or the item itself.
fn manage_workspace(
    stock: Stock,
    call: &mut Call<'_>,
    this: &Placed,
) -> Result<Answer, PublishError> {
    let unknown = || PublishError::unsupported(format!("manage_workspace of {this:?}"));
    let login = call.login.ok_or_else(unknown)?;
    let form = stock.member("manage_main").ok_or_else(unknown)?;
    let screen = [
        ("manage_main", form.requirement.clone()),
        ("", stock.requirement()),
    ]
    .into_iter()
    .find(|(_, requirement)| login.may(&publisher::roles_required(requirement, this), this));
    let (screen, _) = screen.ok_or_else(unknown)?;
    let folder = call.urls.url_without(1).unwrap_or_default();
    let location = format!("{folder}/{screen}");
    call.reply.set_status(302);
    call.reply.set_header("location", &location);
    Ok(Answer::Text(location))
}

fn has_property(stock: Stock, this: &Placed, id: &str) -> bool {
    match this.object().state().get("_properties") {
        None => stock.default_properties().contains(&id),
        Some(listed) => listed.elements().any(|property| {
            property
                .get("id")
                .and_then(Value::as_text)
                .is_some_and(|known| known == id)
        }),
    }
}

/// `str(value)` of the simple values.
pub(crate) fn shown(value: Value<'_>) -> Option<String> {
    match value.kind() {
        Kind::Bool(true) => Some("True".to_owned()),
        Kind::Bool(false) => Some("False".to_owned()),
        kind @ (Kind::Int(_) | Kind::BigInt(_)) => kind.decimal(),
        _ => value.as_text().map(std::borrow::Cow::into_owned),
    }
}

fn unknown() -> PublishError {
    PublishError::unsupported("a property of this kind")
}
