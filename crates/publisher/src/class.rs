//! What the publisher has to know of a Python class, and the registry of those it knows.

use std::collections::HashMap;
use std::sync::Arc;

use zodb::{ClassName, Object};

use crate::acquisition::Placed;
use crate::call::Call;
use crate::error::PublishError;
use crate::reply::Answer;
use crate::traversal::{Target, Traversal};

/// A Python class whose instances are published natively.
///
/// The publisher asks for what Zope would find on the class; instance attributes it reads from
/// the object's state itself.
pub trait Class: Send + Sync {
    /// The class attribute of this name, inherited ones included.
    fn member(&self, name: &str) -> Option<Arc<Member>>;

    /// The roles that the instances themselves require (`__roles__`).
    fn requirement(&self) -> Requirement;

    /// The id of an instance, which is its segment of the physical path.
    fn id(&self, object: &Object) -> String;

    /// Calls an instance that was reached by traversal. The default is that of a class without
    /// `__call__`: its `repr` is shown.
    fn call(&self, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
        let _ = call;
        Ok(Answer::Text(format!(
            "<{} at {}>",
            this.object().class().name(),
            self.id(this.object())
        )))
    }

    /// Calls the class attribute `name` of an instance.
    fn call_member(
        &self,
        call: &mut Call<'_>,
        this: &Placed,
        name: &str,
    ) -> Result<Answer, PublishError> {
        let _ = (call, name);
        Err(PublishError::unsupported(format!(
            "{}.{name}",
            this.object().class()
        )))
    }

    /// Makes an error page of an instance that is called `standard_error_message`. `None` where
    /// instances cannot do that natively: the built-in page is sent then.
    fn render_error(
        &self,
        call: &mut Call<'_>,
        this: &Placed,
        client: &Placed,
    ) -> Option<Result<String, PublishError>> {
        let _ = (call, this, client);
        None
    }

    /// The roles that the class itself sets for a permission, by the attribute's name
    /// (`_View_Permission`). In Zope only the application class has such attributes.
    fn class_setting(&self, attribute: &str) -> Option<security::Setting> {
        let _ = attribute;
        None
    }

    /// Whether instances are the top of a site (`isTopLevelPrincipiaApplicationObject`), with the
    /// traversal rules of `OFS.Application`.
    fn is_top(&self) -> bool {
        false
    }

    /// Whether instances hold items, so that for the verbs of WebDAV a name that is not there
    /// stands for what could be put there.
    fn holds_items(&self) -> bool {
        false
    }

    /// How to find users, where instances are user folders.
    fn user_folder(&self) -> Option<&dyn UserFolder> {
        None
    }

    /// Acts on a request before a name is taken from the stack, as a `__before_traverse__` hook
    /// that names this instance.
    fn before_traverse(
        &self,
        this: &Placed,
        traversal: &mut Traversal<'_>,
    ) -> Result<(), PublishError> {
        let _ = traversal;
        Err(PublishError::unsupported(format!(
            "{} as a traversal hook",
            this.object().class()
        )))
    }

    /// The class's own `__bobo_traverse__`: `None` for the usual rules.
    fn traverse(
        &self,
        this: &Placed,
        traversal: &mut Traversal<'_>,
        name: &str,
    ) -> Option<Result<Target, PublishError>> {
        let _ = (this, traversal, name);
        None
    }
}

/// What stands for an object that is not there yet: it answers the verbs of WebDAV
/// (`NullResource`).
pub trait AbsentItem: Send + Sync {
    /// The class attribute of this name.
    fn member(&self, name: &str) -> Option<Arc<Member>>;

    /// Calls it, for the item `id` of `container`.
    fn call_member(
        &self,
        call: &mut Call<'_>,
        container: &Placed,
        id: &str,
        name: &str,
    ) -> Result<Answer, PublishError>;
}

/// How the users of a user folder are found.
pub trait UserFolder: Send + Sync {
    /// The user of this login name.
    ///
    /// # Errors
    /// [`PublishError::Unsupported`] where the folder is set up in a way that is not known here.
    fn user(
        &self,
        connection: &zodb::Connection,
        folder: &Object,
        name: &str,
    ) -> Result<Option<security::User>, PublishError>;

    /// Whether a request without credentials can be handled as nobody's. `false` refuses it.
    fn takes_nobody(&self, folder: &Object) -> bool;
}

/// A class attribute as traversal sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who may publish it at all.
    pub publish: Publish,
    /// The roles it requires.
    pub requirement: Requirement,
    /// The attribute is `None`: it hides what would be acquired, and asks to be passed over as a
    /// default page.
    pub is_none: bool,
    /// The attribute is an object with attributes of its own, of which nothing is known.
    pub is_object: bool,
}

/// Whether something can be the end of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Never.
    Never,
    /// With any verb.
    Always,
    /// With this verb alone.
    Verb(String),
}

/// Where the roles that something requires come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// It says nothing: what was required on the way to it stays required.
    Inherited,
    /// Nothing is required.
    Public,
    /// Nobody may.
    Private,
    /// These roles.
    Roles(Vec<security::Role>),
    /// Those that have a permission at that place; the default where it is set nowhere.
    Permission {
        /// The permission's name.
        permission: String,
        /// Who has it by default.
        default: Vec<security::Role>,
    },
}

/// The classes that are published natively, by their Python names.
#[derive(Clone, Default)]
pub struct ClassRegistry {
    classes: HashMap<ClassName, Arc<dyn Class>>,
    passive_hooks: Vec<String>,
    absent_item: Option<Arc<dyn AbsentItem>>,
}

impl ClassRegistry {
    /// A registry that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes the instances of the Python class `name` of `module` by `class`.
    pub fn register(&mut self, module: &str, name: &str, class: Arc<dyn Class>) {
        self.classes.insert(ClassName::new(module, name), class);
    }

    /// Declares that traversal hooks of this class change nothing that is published natively.
    pub fn register_passive_hook(&mut self, name: &str) {
        self.passive_hooks.push(name.to_owned());
    }

    /// Sets what answers for objects that are not there.
    pub fn set_absent_item(&mut self, item: Arc<dyn AbsentItem>) {
        self.absent_item = Some(item);
    }

    /// The class of this Python name.
    pub fn class(&self, name: &ClassName) -> Option<&Arc<dyn Class>> {
        self.classes.get(name)
    }

    pub(crate) fn is_passive_hook(&self, name: &str) -> bool {
        self.passive_hooks.iter().any(|known| known == name)
    }

    pub(crate) fn absent_item(&self) -> Option<&Arc<dyn AbsentItem>> {
        self.absent_item.as_ref()
    }
}

impl std::fmt::Debug for ClassRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names: Vec<_> = self.classes.keys().map(ClassName::to_string).collect();
        names.sort();
        f.debug_struct("ClassRegistry")
            .field("classes", &names)
            .finish_non_exhaustive()
    }
}
