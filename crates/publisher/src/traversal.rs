//! From a URL to the object that it publishes (`BaseRequest.traverse`).
//!
//! Names are taken from a reversed stack, which hooks may change. Each step asks the object for
//! the name: its own attribute, then one acquired, then, in the verbs of WebDAV, what could be put
//! there. At the end of the names a default page or method is looked for. The roles that the last
//! step requires are what the user must have.

use std::sync::Arc;

use security::Roles;

use crate::access::{permission_roles, requirement_roles};
use crate::acquisition::{Attribute, DataKind, Placed, World};
use crate::class::{Member, Publish, Requirement};
use crate::error::PublishError;
use crate::url::quote;
use crate::urls::Urls;

/// What a step of traversal reached.
#[derive(Clone)]
pub enum Target {
    /// An object of the database.
    Object(Placed),
    /// A class attribute of one.
    Member {
        /// The instance.
        of: Placed,
        /// The attribute's name.
        name: String,
        /// What the class says of it.
        member: Arc<Member>,
    },
    /// Bytes in an object's state.
    Bytes {
        /// The object.
        of: Placed,
        /// The attribute's name.
        name: String,
    },
    /// An object that is not there yet.
    Absent {
        /// The folder it would be in.
        container: Placed,
        /// Its id.
        id: String,
    },
    /// A class attribute of an object that is not there yet.
    AbsentMember {
        /// The folder it would be in.
        container: Placed,
        /// Its id.
        id: String,
        /// The attribute's name.
        name: String,
        /// What the class says of it.
        member: Arc<Member>,
    },
}

/// A traversal on its way.
pub struct Traversal<'a> {
    /// Where objects are loaded from.
    pub world: World<'a>,
    verb: String,
    /// The name that is asked for where the names end: `index_html`, or a verb.
    method: String,
    no_acquire: bool,
    stack: Vec<String>,
    /// The object that traversal stands at. It is the last of the parents, except where an acquired
    /// object made way for what could be put at its place.
    object: Target,
    parents: Vec<Target>,
    roles: Roles,
    urls: Urls,
    entry_name: String,
    base: Option<String>,
    is_hacked: bool,
}

/// The end of a traversal.
pub(crate) struct Reached {
    pub(crate) published: Target,
    /// The objects that led there, innermost first (`PARENTS`).
    pub(crate) parents: Vec<Target>,
    pub(crate) roles: Roles,
    pub(crate) urls: Urls,
    /// The name of the last step.
    pub(crate) base: Option<String>,
}

/// A traversal that failed, and how far it had come: error pages are looked for there.
pub(crate) struct Lost {
    pub(crate) error: PublishError,
    pub(crate) parents: Vec<Target>,
    pub(crate) urls: Urls,
}

/// How many names and default pages are followed before a request is given up.
const STEPS_MAX: usize = 1000;

impl<'a> Traversal<'a> {
    /// Traverses `path`, percent-decoded, from `root` with the HTTP verb `verb`.
    pub(crate) fn run(
        world: World<'a>,
        root: &Placed,
        verb: &str,
        path: &str,
        server: String,
    ) -> Result<Reached, Box<Lost>> {
        let verb = verb.to_uppercase();
        let is_browser = matches!(verb.as_str(), "GET" | "POST" | "PURGE");
        let mut traversal = Self {
            world,
            method: if is_browser {
                DEFAULT_PAGE.to_owned()
            } else {
                verb.clone()
            },
            no_acquire: !is_browser && verb != "HEAD",
            verb,
            stack: Vec::new(),
            object: Target::Object(root.clone()),
            parents: vec![Target::Object(root.clone())],
            roles: Roles::manager(),
            urls: Urls {
                actual: format!("{server}{}", quote(path)),
                server,
                virtual_root: vec![String::new()],
                ..Urls::default()
            },
            entry_name: String::new(),
            base: None,
            is_hacked: false,
        };
        match traversal.walk(path) {
            Ok(()) => Ok(traversal.reached()),
            Err(error) => {
                traversal.parents.reverse();
                Err(Box::new(Lost {
                    error,
                    parents: traversal.parents,
                    urls: traversal.urls,
                }))
            }
        }
    }

    fn reached(mut self) -> Reached {
        self.parents.reverse();
        let published = self.parents.remove(0);
        Reached {
            published,
            parents: self.parents,
            roles: self.roles,
            urls: self.urls,
            base: self.base,
        }
    }

    fn walk(&mut self, path: &str) -> Result<(), PublishError> {
        self.stack = clean(path)?;
        self.stack.reverse();
        let root = self.object.clone();
        self.roles = self.roles_of(None, &root)?;
        for _ in 0..STEPS_MAX {
            self.run_hooks()?;
            let name = match self.stack.pop() {
                Some(name) => name,
                None => match self.default_name()? {
                    Some(name) => name,
                    None => return self.check_acquired(),
                },
            };
            self.step(name)?;
        }
        Err(PublishError::http(400, "The path has too many names."))
    }

    /// Follows one name.
    fn step(&mut self, name: String) -> Result<(), PublishError> {
        self.urls.steps.push(quote(&name));
        let url = self.urls.url();
        let from = self.object.clone();
        let target = self.traverse_name(&from, &name, &url)?;
        self.roles = self.roles_of(Some((&from, &name)), &target)?;
        self.parents.push(target.clone());
        self.object = target;
        self.entry_name = name;
        Ok(())
    }

    /// Where the names have ended: the name of a default page or method, if there is one to follow.
    fn default_name(&mut self) -> Result<Option<String>, PublishError> {
        self.forget_acquired();
        let object = self.object.clone();
        if self.entry_name != self.method && self.has_default(&object)? {
            self.is_hacked = true;
            let name = std::mem::replace(&mut self.method, DEFAULT_PAGE.to_owned());
            return Ok(Some(name));
        }
        if let Target::Object(placed) = &object
            && let Some(call) = placed.known_class()?.member("__call__")
        {
            if call.publish == Publish::Never {
                return Err(self.not_found());
            }
            self.roles = self.member_roles(&call, placed, self.roles.clone())?;
        }
        if self.is_hacked {
            let url = self.urls.url();
            self.base = url.rfind('/').map(|end| url[..end].to_owned());
        }
        Ok(None)
    }

    /// In the verbs of WebDAV the last object must not be an acquired one: what could be put at
    /// its place is meant instead.
    fn forget_acquired(&mut self) {
        let Target::Object(placed) = &self.object else {
            return;
        };
        let is_top = placed.class().is_some_and(|class| class.is_top());
        let is_acquired = !same_object(placed.parent(), placed.inner().parent());
        if !self.no_acquire || is_top || !is_acquired {
            return;
        }
        let Some(class) = placed.class() else { return };
        if let Some(Target::Object(container)) = self.parents.iter().rev().nth(1).cloned() {
            let id = class.id(placed.object());
            self.object = Target::Absent { container, id };
        }
    }

    fn has_default(&self, object: &Target) -> Result<bool, PublishError> {
        Ok(match object {
            Target::Object(placed) => placed
                .find(self.world, &self.method)?
                .is_some_and(|attribute| !attribute.is_none()),
            Target::Absent { .. } => self.absent_member(&self.method)?.is_some(),
            Target::Member { member, of, name }
                if member.is_object && self.method != DEFAULT_PAGE =>
            {
                return Err(within(of, name));
            }
            Target::Member { .. } | Target::AbsentMember { .. } | Target::Bytes { .. } => false,
        })
    }

    /// The verbs of WebDAV must not act on what was acquired by the last name.
    fn check_acquired(&self) -> Result<(), PublishError> {
        if !self.no_acquire {
            return Ok(());
        }
        let missing = || PublishError::Exception {
            class: "AttributeError",
            message: self.entry_name.clone(),
        };
        match self.parents.iter().rev().nth(1) {
            // The root itself with a verb that it does not know.
            None => Err(PublishError::Exception {
                class: "IndexError",
                message: "list index out of range".to_owned(),
            }),
            Some(Target::Object(placed)) => {
                let is_top = placed.known_class()?.is_top();
                if is_top || placed.own(self.world, &self.entry_name)?.is_some() {
                    Ok(())
                } else {
                    Err(missing())
                }
            }
            Some(_) => Ok(()),
        }
    }

    fn not_found(&self) -> PublishError {
        PublishError::NotFound {
            resource: self.urls.url(),
        }
    }
}

/// One step.
impl Traversal<'_> {
    fn traverse_name(
        &mut self,
        from: &Target,
        name: &str,
        url: &str,
    ) -> Result<Target, PublishError> {
        if name.starts_with("++") {
            return Err(PublishError::unsupported("namespace traversal (++name++)"));
        }
        match from {
            Target::Object(placed) => {
                let class = placed.known_class()?.clone();
                match class.traverse(placed, self, name) {
                    Some(target) => target,
                    None => self.traverse_object(placed, name, url),
                }
            }
            Target::Absent { container, id } => self.traverse_absent(container, id, name),
            Target::Member { member, of, name } if member.is_object => Err(within(of, name)),
            // Methods have Python attributes only; those never are published.
            Target::Member { .. } | Target::AbsentMember { .. } | Target::Bytes { .. } => {
                Err(not_found(if name.starts_with('_') { name } else { url }))
            }
        }
    }

    fn traverse_object(
        &self,
        placed: &Placed,
        name: &str,
        url: &str,
    ) -> Result<Target, PublishError> {
        if name.starts_with('_') {
            return Err(not_found(name));
        }
        if let Some(target) = acquisition_name(placed, name)? {
            return Ok(target);
        }
        let view = name.strip_prefix("@@");
        if VIEWS.contains(&view.unwrap_or(name)) && view.is_some() {
            return Err(PublishError::unsupported(format!("the view {name}")));
        }
        if view.is_some() {
            return Err(not_found(url));
        }
        let found = match placed.own(self.world, name)? {
            None if VIEWS.contains(&name) => {
                return Err(PublishError::unsupported(format!("the view {name}")));
            }
            None => placed.find(self.world, name)?,
            own => own,
        };
        match found {
            Some(attribute) => self.publishable(attribute, name),
            None => self.missing(placed, name, url),
        }
    }

    /// What stands for a name that is not there.
    fn missing(&self, placed: &Placed, name: &str, url: &str) -> Result<Target, PublishError> {
        let class = placed.known_class()?;
        if class.holds_items() && !matches!(self.verb.as_str(), "GET" | "POST") {
            return Ok(Target::Absent {
                container: placed.clone(),
                id: name.to_owned(),
            });
        }
        Err(if class.is_top() {
            not_found(&format!("{name}\n{}", self.verb))
        } else {
            not_found(url)
        })
    }

    fn traverse_absent(
        &self,
        container: &Placed,
        id: &str,
        name: &str,
    ) -> Result<Target, PublishError> {
        if let Some(member) = self.absent_member(name)? {
            if !self.may_publish(&member.publish) {
                return Err(not_found(name));
            }
            return Ok(Target::AbsentMember {
                container: container.clone(),
                id: id.to_owned(),
                name: name.to_owned(),
                member,
            });
        }
        if let Some(attribute) = container.find(self.world, name)? {
            return self.publishable(attribute, name);
        }
        Err(match self.verb.as_str() {
            "PUT" | "MKCOL" | "LOCK" => {
                PublishError::http(409, "Collection ancestors must already exist.")
            }
            _ => PublishError::http(404, "The requested resource was not found."),
        })
    }

    fn publishable(&self, attribute: Attribute, name: &str) -> Result<Target, PublishError> {
        match attribute {
            Attribute::Object(placed) => Ok(Target::Object(placed)),
            Attribute::Member { of, name, member } if self.may_publish(&member.publish) => {
                Ok(Target::Member { of, name, member })
            }
            Attribute::Data {
                of,
                name,
                kind: DataKind::Bytes,
            } => Ok(Target::Bytes { of, name }),
            Attribute::Data {
                kind: DataKind::Instance(class),
                ..
            } => Err(PublishError::unsupported(class)),
            // `Forbidden`, shown as if it were not there.
            Attribute::Member { .. } | Attribute::Data { .. } => Err(not_found(name)),
        }
    }

    fn may_publish(&self, publish: &Publish) -> bool {
        match publish {
            Publish::Never => false,
            Publish::Always => true,
            Publish::Verb(verb) => *verb == self.verb,
        }
    }

    fn absent_member(&self, name: &str) -> Result<Option<Arc<Member>>, PublishError> {
        let item = self
            .world
            .registry
            .absent_item()
            .ok_or_else(|| PublishError::unsupported("what is not there"))?;
        Ok(item.member(name))
    }
}

/// Roles.
impl Traversal<'_> {
    /// The roles that `target` requires, reached by a name from somewhere (`getRoles`).
    fn roles_of(
        &self,
        from: Option<(&Target, &String)>,
        target: &Target,
    ) -> Result<Roles, PublishError> {
        match target {
            Target::Object(placed) => Ok(match placed.class() {
                Some(class) => requirement_roles(&class.requirement(), placed, &self.roles),
                // Refused before it is called; until then its own settings cannot be read.
                None => Roles::Undecidable {
                    what: placed.object().class().to_string(),
                },
            }),
            Target::Member { of, member, .. } => self.member_roles(member, of, self.roles.clone()),
            Target::AbsentMember {
                container, member, ..
            } => self.member_roles(member, container, self.roles.clone()),
            Target::Bytes { of, name } => {
                let named = from.is_some().then(|| of.class()?.member(name)).flatten();
                match named {
                    Some(member) => self.member_roles(&member, of, self.roles.clone()),
                    None => Ok(self.roles.clone()),
                }
            }
            Target::Absent { .. } => Ok(self.roles.clone()),
        }
    }

    fn member_roles(
        &self,
        member: &Member,
        place: &Placed,
        inherited: Roles,
    ) -> Result<Roles, PublishError> {
        Ok(match &member.requirement {
            Requirement::Permission {
                permission,
                default,
            } => permission_roles(permission, &Roles::Any(default.clone()), place),
            other => requirement_roles(other, place, &inherited),
        })
    }
}

/// What hooks may see and change.
impl Traversal<'_> {
    /// The names still to come, the next one last.
    pub fn stack(&mut self) -> &mut Vec<String> {
        &mut self.stack
    }

    /// The URLs so far.
    pub fn urls(&mut self) -> &mut Urls {
        &mut self.urls
    }

    /// Takes the object that traversal stands at off the path, makes the one before it the root of
    /// URLs, and returns that as the next step.
    pub fn enter_virtual_root(&mut self, path: &[&str]) -> Option<Target> {
        if self.parents.len() < 2 {
            return None;
        }
        self.parents.pop();
        self.set_virtual_root(path);
        self.parents.pop()
    }

    /// Makes the last object on the path the root of URLs, seen from outside as `path`.
    pub fn set_virtual_root(&mut self, path: &[&str]) {
        self.urls.script = path
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| quote(name))
            .collect();
        self.urls.steps.clear();
        if let Some(Target::Object(placed)) = self.parents.last() {
            self.urls.virtual_root = placed.physical_path();
        }
    }

    /// Runs the hooks of the object that traversal stands at, in the order of their priority.
    fn run_hooks(&mut self) -> Result<(), PublishError> {
        let Target::Object(placed) = self.object.clone() else {
            return Ok(());
        };
        if placed.class().is_none() {
            return Ok(());
        }
        for hook in crate::hooks::of(self.world, &placed)? {
            hook.class.before_traverse(&hook.object, self)?;
        }
        Ok(())
    }
}

/// The page of a folder, and what a URL that ends at something with such a method means.
const DEFAULT_PAGE: &str = "index_html";

/// The views that Zope 6.3 itself registers for stock classes. They are found after an object's
/// own attributes and before acquired ones.
const VIEWS: &[&str] = &[
    "+",
    "absolute_url",
    "adapter",
    "components.html",
    "edit-markers.html",
    "etc",
    "five_template",
    "manage_interfaces",
    "resource",
    "skin",
    "standard_macros",
    "view",
    "view_get_menu",
];

/// The names of a path in order.
fn clean(path: &str) -> Result<Vec<String>, PublishError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut names: Vec<String> = Vec::new();
    for name in path.split('/') {
        match name {
            "REQUEST" | "aq_self" | "aq_base" => return Err(not_found(path)),
            "" | "." => {}
            ".." => {
                names.pop().ok_or_else(|| not_found(path))?;
            }
            name => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// The attributes that wrappers add to what they wrap.
fn acquisition_name(placed: &Placed, name: &str) -> Result<Option<Target>, PublishError> {
    if !name.starts_with("aq_") {
        return Ok(None);
    }
    match name {
        "aq_parent" => placed
            .parent()
            .map(|parent| Some(Target::Object(parent.clone())))
            .ok_or_else(|| not_found(name)),
        "aq_inner" => Ok(Some(Target::Object(placed.inner().clone()))),
        _ => Err(PublishError::unsupported(format!("the attribute {name}"))),
    }
}

fn same_object(one: Option<&Placed>, other: Option<&Placed>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_same_wrapper(other),
        (None, None) => true,
        _ => false,
    }
}

fn within(of: &Placed, name: &str) -> PublishError {
    PublishError::unsupported(format!("the inside of {}.{name}", of.object().class()))
}

fn not_found(resource: &str) -> PublishError {
    PublishError::NotFound {
        resource: resource.to_owned(),
    }
}
