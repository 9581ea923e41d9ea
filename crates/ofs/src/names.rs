//! The names that a DTML page can use, in Zope's order: keyword arguments, the attributes of the
//! objects it is rendered for, the request.
//!
//! Access is checked as Zope's policy does. What everybody may is given at once; for anything else
//! both the user and the owner of the page must be allowed, and proxy roles are refused.

use dtml::{Namespace, NamespaceError, Output, Value};
use pickle::Kind;
use publisher::{Attribute, Call, Login, Placed, PublishError, Requirement};

use crate::request_names;
use crate::stock::Stock;
use crate::{file, item, page, state};

/// The namespace of a page being rendered.
pub(crate) struct Names<'c, 'r> {
    call: &'c mut Call<'r>,
    frames: Vec<Frame>,
    /// The pages being rendered, the innermost last.
    running: Vec<Placed>,
}

/// A layer of names; later ones come first.
enum Frame {
    Request,
    /// Fixed words.
    Words(Vec<(String, Value)>),
    /// An object's attributes, acquired ones too.
    Object(Placed),
    /// An object's own attributes.
    Own(Placed),
    /// A dict in a page's state.
    Stored(Placed, &'static str),
}

impl<'c, 'r> Names<'c, 'r> {
    /// The names for a page rendered for `client`.
    pub(crate) fn new(call: &'c mut Call<'r>, client: &Placed) -> Self {
        Self {
            frames: vec![Frame::Request, Frame::Object(client.clone())],
            call,
            running: Vec::new(),
        }
    }

    /// Renders a page with these names, and its own in front of them.
    pub(crate) fn render(&mut self, stock: Stock, this: &Placed) -> Result<Output, PublishError> {
        self.call.budget.use_render()?;
        let template = page::parse(stock, this)?;
        let kept = self.frames.len();
        self.push_own(stock, this)?;
        self.running.push(this.clone());
        let rendered = template.render(self).map_err(page::error);
        self.running.pop();
        self.frames.truncate(kept);
        rendered
    }

    fn push_own(&mut self, stock: Stock, this: &Placed) -> Result<(), PublishError> {
        if state::is_set(this, "globals") {
            // They belong below the request; nothing in Zope itself sets them.
            return Err(PublishError::unsupported("DTML with globals"));
        }
        if stock == Stock::DtmlDocument {
            self.frames.push(Frame::Own(this.clone()));
        }
        self.frames.push(Frame::Stored(this.clone(), "_vars"));
        let title = state::text(this, "title", stock.default_title())?;
        let mut words = vec![
            ("document_id".to_owned(), Value::from(stock.id_of(this))),
            ("document_title".to_owned(), Value::from(title)),
        ];
        if self.running.is_empty() {
            let extra = self.call.extra.iter();
            words
                .extend(extra.map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))));
        }
        self.frames.push(Frame::Words(words));
        Ok(())
    }

    fn find(&mut self, name: &str) -> Result<Option<Value>, PublishError> {
        for index in (0..self.frames.len()).rev() {
            let found = match &self.frames[index] {
                Frame::Request => return request_names::lookup(self.call, name),
                Frame::Words(words) => {
                    let word = words.iter().find(|(known, _)| known == name);
                    if let Some((_, value)) = word {
                        return Ok(Some(value.clone()));
                    }
                    None
                }
                Frame::Object(_) | Frame::Own(_) if name.starts_with('_') => None,
                Frame::Object(placed) => {
                    let placed = placed.clone();
                    self.attribute(&placed, name, true)?
                }
                Frame::Own(placed) => {
                    let placed = placed.clone();
                    self.attribute(&placed, name, false)?
                }
                Frame::Stored(placed, dict) => {
                    let value = placed
                        .object()
                        .state()
                        .get(dict)
                        .and_then(|dict| dict.get(name));
                    value.map(|value| data(value))
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// An attribute's value, called where that is what DTML does.
    fn attribute(
        &mut self,
        placed: &Placed,
        name: &str,
        acquires: bool,
    ) -> Result<Option<Value>, PublishError> {
        if name.starts_with("aq_") {
            return Err(PublishError::unsupported(format!(
                "DTML: the attribute {name}"
            )));
        }
        let world = self.call.world();
        let found = if acquires {
            placed.find(world, name)?
        } else {
            placed.own(world, name)?
        };
        let Some(found) = found else { return Ok(None) };
        self.check_access(placed, name, &found)?;
        match found {
            Attribute::Data { of, name, .. } => Ok(of.object().state().get(&name).map(data)),
            Attribute::Object(object) => self.object_value(&object).map(Some),
            Attribute::Member { of, name, member } => {
                if member.is_none {
                    return Ok(Some(Value::None));
                }
                self.member_value(&of, &name).map(Some)
            }
        }
    }

    fn object_value(&mut self, object: &Placed) -> Result<Value, PublishError> {
        object.known_class()?;
        let Some(stock) = stock_of(object) else {
            return Err(PublishError::unsupported(
                object.object().class().to_string(),
            ));
        };
        match stock {
            Stock::DtmlMethod | Stock::DtmlDocument => Ok(match self.render(stock, object)? {
                Output::Text(text) => Value::Text(text),
                Output::Bytes(bytes) => Value::Bytes(bytes),
            }),
            Stock::Image => item::tag(self.call, object).map(Value::Text),
            Stock::File => file::text(self.call.connection, object).map(Value::Text),
            other => Ok(Value::Other(format!("{other:?}"))),
        }
    }

    /// The class attributes that make sense in a page without arguments.
    fn member_value(&mut self, of: &Placed, name: &str) -> Result<Value, PublishError> {
        let unsupported =
            || PublishError::unsupported(format!("DTML: {}.{name}", of.object().class()));
        let stock = stock_of(of).ok_or_else(unsupported)?;
        Ok(Value::Text(match name {
            "id" | "getId" => stock.id_of(of),
            "title" => stock.default_title().to_owned(),
            "title_or_id" => item::title_or_id(stock, of)?,
            "title_and_id" => item::title_and_id(stock, of)?,
            "absolute_url" => self.call.absolute_url(of),
            "absolute_url_path" => item::absolute_url_path(self.call, of),
            "meta_type" => stock.meta_type().to_owned(),
            "tag" if stock == Stock::Image => item::tag(self.call, of)?,
            "alt" | "width" | "height" if stock == Stock::Image => String::new(),
            "precondition" if stock.is_file() => String::new(),
            _ => return Err(unsupported()),
        }))
    }

    /// Whether the page may have an attribute (`ZopeSecurityPolicy.validate`).
    fn check_access(
        &self,
        through: &Placed,
        name: &str,
        found: &Attribute,
    ) -> Result<(), PublishError> {
        let (requirement, place) = match found {
            Attribute::Object(object) => (object.known_class()?.requirement(), object),
            Attribute::Member { of, member, .. } => (member.requirement.clone(), of),
            Attribute::Data { of, .. } => {
                let member = of.known_class()?.member(name);
                (
                    member.map_or(Requirement::Inherited, |m| m.requirement.clone()),
                    of,
                )
            }
        };
        // What says nothing is protected like the object it is on, which must allow that; all
        // stock items do.
        let (requirement, place) = match requirement {
            Requirement::Inherited => {
                let holder = if matches!(found, Attribute::Object(_)) {
                    through
                } else {
                    place
                };
                acquired_requirement(holder)?
            }
            other => (other, place),
        };
        let roles = publisher::roles_required(&requirement, place);
        if roles.is_public() {
            return Ok(());
        }
        let is_allowed = self
            .call
            .login
            .is_some_and(|login| login.may(&roles, place));
        if !is_allowed {
            return Err(PublishError::Unauthorized);
        }
        self.check_owner(&roles, place)
    }

    /// Whether the owner of the running page may have what it asks for, too: else whoever can
    /// write a page could make others fetch for them what they must not see.
    fn check_owner(&self, roles: &security::Roles, place: &Placed) -> Result<(), PublishError> {
        let Some(page) = self.running.last() else {
            return Ok(());
        };
        if state::is_set(page, "_proxy_roles") {
            return Err(PublishError::unsupported("DTML with proxy roles"));
        }
        let owner = page
            .containment()
            .find_map(|place| place.object().state().get("_owner"));
        let Some(owner) = owner.filter(|owner| !owner.is_none()) else {
            return Ok(());
        };
        let mut parts = owner.elements();
        let path: Option<Vec<String>> = parts.next().and_then(|path| {
            path.elements()
                .map(|name| Some(name.as_text()?.into_owned()))
                .collect()
        });
        let user = parts
            .next()
            .and_then(|user| Some(user.as_text()?.into_owned()));
        let (Some(path), Some(user)) = (path, user) else {
            return Err(PublishError::unsupported("DTML with an owner of this kind"));
        };
        let root = page.containment().last().unwrap_or(page);
        let owner = Login::of_user(self.call.world(), root, &path, &user)?;
        if owner.is_some_and(|owner| owner.may(roles, place)) {
            Ok(())
        } else {
            Err(PublishError::Unauthorized)
        }
    }
}

impl Namespace for Names<'_, '_> {
    fn lookup(&mut self, name: &str) -> Result<Option<Value>, NamespaceError> {
        self.call.budget.use_lookup()?;
        self.find(name).map_err(Into::into)
    }

    fn enter(&mut self) -> Result<(), NamespaceError> {
        self.call.budget.enter().map_err(Into::into)
    }

    fn leave(&mut self) {
        self.call.budget.leave();
    }

    fn take(&mut self, bytes: usize) -> Result<(), NamespaceError> {
        self.call.budget.use_bytes(bytes).map_err(Into::into)
    }
}

/// What an object requires; where it says nothing, what the objects around it do.
fn acquired_requirement(holder: &Placed) -> Result<(Requirement, &Placed), PublishError> {
    let around = std::iter::successors(Some(holder), |place| place.parent());
    for place in around {
        let requirement = place.known_class()?.requirement();
        if requirement != Requirement::Inherited {
            return Ok((requirement, place));
        }
    }
    Ok((Requirement::Private, holder))
}

fn stock_of(placed: &Placed) -> Option<Stock> {
    Stock::of_class(placed.object().class())
}

/// A stored value as DTML sees it.
fn data(value: pickle::Value<'_>) -> Value {
    match value.kind() {
        Kind::None => Value::None,
        Kind::Bool(value) => Value::Bool(value),
        Kind::Int(value) => Value::Int(value),
        Kind::Float(value) => Value::Float(value),
        Kind::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Kind::Tuple(_) => Value::Other("tuple".to_owned()),
        Kind::List(_) => Value::Other("list".to_owned()),
        Kind::Dict(_) => Value::Other("dict".to_owned()),
        _ => value.as_text().map_or_else(
            || Value::Other("object".to_owned()),
            |text| Value::Text(text.into_owned()),
        ),
    }
}
