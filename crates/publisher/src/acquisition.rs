//! Acquisition: objects in the context they were reached through.
//!
//! Zope wraps an object each time it is taken from another one, and looks attributes up along the
//! wrappers. A [`Placed`] is such a wrapper as an immutable value. Two orders live in it: the
//! *context* (how the URL reached the object: [`Placed::parent`]) and the *containment* (where it
//! is stored: [`Placed::inner`], then its parent). Look-up follows Acquisition's
//! `Wrapper_findattr` step by step, because which of two objects of one name is found depends on it.

use std::collections::HashSet;
use std::sync::Arc;

use pickle::{Kind, Value};
use storage::Oid;
use zodb::{Connection, Object, Reference};

use crate::class::{Class, ClassRegistry, Member};
use crate::error::PublishError;

/// Where attributes lead: the snapshot and the known classes.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The snapshot, with the request's own changes.
    pub connection: &'a Connection,
    /// The classes that are published natively.
    pub registry: &'a ClassRegistry,
}

/// An object in its context. Cloning is cheap.
#[derive(Clone)]
pub struct Placed(Arc<Wrapper>);

struct Wrapper {
    object: Arc<Object>,
    class: Option<Arc<dyn Class>>,
    /// The wrapper that this one is put around; `None` around the bare object.
    around: Option<Placed>,
    /// `None` at the root, whose container is the request.
    container: Option<Placed>,
}

/// An attribute that was found.
#[derive(Clone)]
pub enum Attribute {
    /// An object of the database, in the context it was found in.
    Object(Placed),
    /// Something that the Python class defines.
    Member {
        /// The instance it was found on.
        of: Placed,
        /// The attribute's name.
        name: String,
        /// What the class says of it.
        member: Arc<Member>,
    },
    /// A value in the instance's own state.
    Data {
        /// The instance.
        of: Placed,
        /// The attribute's name.
        name: String,
        /// What kind of value it is.
        kind: DataKind,
    },
}

/// The kinds of values that publishing treats differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// `None`.
    Nothing,
    /// Bytes, which Zope publishes as they are.
    Bytes,
    /// Text, numbers, lists and so on, which are never published.
    Plain,
    /// An instance of a Python class stored within the object.
    Instance(String),
}

impl Placed {
    /// The root of a site.
    pub(crate) fn root(object: Arc<Object>, registry: &ClassRegistry) -> Self {
        Self::wrap(object, registry, None)
    }

    fn wrap(object: Arc<Object>, registry: &ClassRegistry, container: Option<Self>) -> Self {
        let class = registry.class(object.class()).cloned();
        Self(Arc::new(Wrapper {
            object,
            class,
            around: None,
            container,
        }))
    }

    /// The object `oid` as an attribute of `self`.
    ///
    /// # Errors
    /// [`PublishError::Objects`] where it cannot be loaded.
    pub fn child(&self, world: World<'_>, oid: Oid) -> Result<Self, PublishError> {
        let object = world.connection.load(oid)?;
        Ok(Self::wrap(object, world.registry, Some(self.clone())))
    }

    /// The same place with the object's state as it is in the transaction now.
    ///
    /// # Errors
    /// [`PublishError::Objects`] where it cannot be loaded.
    pub fn reload(&self, world: World<'_>) -> Result<Self, PublishError> {
        let object = world.connection.load(self.oid())?;
        Ok(Self(Arc::new(Wrapper {
            object,
            class: self.0.class.clone(),
            around: self.0.around.clone(),
            container: self.0.container.clone(),
        })))
    }

    /// The object itself.
    pub fn object(&self) -> &Arc<Object> {
        &self.0.object
    }

    /// Its id in the database.
    pub fn oid(&self) -> Oid {
        self.0.object.oid()
    }

    /// Its class, where that is published natively.
    pub fn class(&self) -> Option<&Arc<dyn Class>> {
        self.0.class.as_ref()
    }

    /// Its class.
    ///
    /// # Errors
    /// [`PublishError::Unsupported`], naming the class.
    pub fn known_class(&self) -> Result<&Arc<dyn Class>, PublishError> {
        self.class()
            .ok_or_else(|| PublishError::unsupported(self.object().class().to_string()))
    }

    /// The object it was reached through (`aq_parent`).
    pub fn parent(&self) -> Option<&Self> {
        self.0.container.as_ref()
    }

    /// The object where it is stored (`aq_inner`): the innermost of its wrappers.
    pub fn inner(&self) -> &Self {
        let mut wrapper = self;
        while let Some(around) = &wrapper.0.around {
            wrapper = around;
        }
        wrapper
    }

    /// The object and its parents by containment, up to the root.
    pub fn containment(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self.inner()), |place| place.parent().map(Self::inner))
    }

    /// The ids from the root to the object; the first one is empty.
    pub fn physical_path(&self) -> Vec<String> {
        let mut path: Vec<_> = self
            .containment()
            .map(|place| match place.class() {
                Some(class) if class.is_top() => String::new(),
                Some(class) => class.id(place.object()),
                None => String::new(),
            })
            .collect();
        path.reverse();
        path
    }

    /// The attribute that the object has by itself: in its state or by its class.
    ///
    /// # Errors
    /// Fails for an object of an unknown class, and where the attribute cannot be loaded.
    pub fn own(&self, world: World<'_>, name: &str) -> Result<Option<Attribute>, PublishError> {
        let class = self.known_class()?;
        if let Some(value) = self.object().state().get(name) {
            return self.stored(world, name, value).map(Some);
        }
        Ok(class.member(name).map(|member| Attribute::Member {
            of: self.clone(),
            name: name.to_owned(),
            member,
        }))
    }

    /// The attribute of this name, acquired if need be (`getattr` on a wrapper).
    ///
    /// # Errors
    /// As [`Placed::own`].
    pub fn find(&self, world: World<'_>, name: &str) -> Result<Option<Attribute>, PublishError> {
        self.find_from(&mut Search::new(world, name), true, true)
    }

    fn find_from(
        &self,
        search: &mut Search<'_>,
        search_self: bool,
        search_parent: bool,
    ) -> Result<Option<Attribute>, PublishError> {
        search.enter()?;
        let found = self.find_at(search, search_self, search_parent);
        search.depth -= 1;
        found
    }

    fn find_at(
        &self,
        search: &mut Search<'_>,
        search_self: bool,
        search_parent: bool,
    ) -> Result<Option<Attribute>, PublishError> {
        let place = (Arc::as_ptr(&self.0).addr(), search_self, search_parent);
        if search.has_failed_at(place) {
            return Ok(None);
        }
        if search_self {
            let found = match &self.0.around {
                Some(around) => around
                    .find_from(search, true, true)?
                    .map(|found| found.rebound(self)),
                None => self.own(search.world, search.name)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        if search_parent && !search.name.starts_with('_') {
            let found = self.acquire(search)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        search.fail_at(place);
        Ok(None)
    }

    /// `Wrapper_acquire`: asks the container, skipping what is searched anyway.
    fn acquire(&self, search: &mut Search<'_>) -> Result<Option<Attribute>, PublishError> {
        let Some(container) = &self.0.container else {
            return Ok(None);
        };
        let (mut search_self, mut search_parent) = (true, true);
        if let Some(around) = &self.0.around {
            if same(around.parent(), container.parent()) {
                search_parent = false;
            } else if around.parent().is_some() && same(around.parent(), container.around()) {
                search_self = false;
            }
            if container.parent().is_some_and(|parent| parent.is(around)) {
                search_parent = false;
            }
        }
        let found = container.find_from(search, search_self, search_parent)?;
        Ok(found.map(|found| match found {
            Attribute::Object(object) => Attribute::Object(object.of(self)),
            other => other,
        }))
    }

    /// Wraps once more, for having been taken from `container` (`__of__`). Layers that repeat the
    /// context are taken off, as in Acquisition.
    fn of(&self, container: &Self) -> Self {
        let mut around = Some(self.clone());
        while let Some(inner) = &around {
            if inner.parent().is_none() || !same(inner.parent(), container.around()) {
                break;
            }
            around = inner.0.around.clone();
        }
        Self(Arc::new(Wrapper {
            object: self.0.object.clone(),
            class: self.0.class.clone(),
            around,
            container: Some(container.clone()),
        }))
    }

    fn around(&self) -> Option<&Self> {
        self.0.around.as_ref()
    }

    /// Whether both are the very same wrapper: same object, reached in the same way.
    pub(crate) fn is_same_wrapper(&self, other: &Self) -> bool {
        self.is(other)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn stored(
        &self,
        world: World<'_>,
        name: &str,
        value: Value<'_>,
    ) -> Result<Attribute, PublishError> {
        // Eight characters of text would be read as an id as well.
        let id = value.persistent_id();
        if let Some(reference) = id.and_then(Reference::read) {
            return match reference {
                Reference::Strong { oid, .. } => self.child(world, oid).map(Attribute::Object),
                Reference::Weak { .. } | Reference::Foreign { .. } => {
                    let what = format!(
                        "{}.{name}, a weak or foreign reference",
                        self.object().class()
                    );
                    Err(PublishError::unsupported(what))
                }
            };
        }
        Ok(Attribute::Data {
            of: self.clone(),
            name: name.to_owned(),
            kind: data_kind(value),
        })
    }
}

/// One look-up.
struct Search<'a> {
    world: World<'a>,
    name: &'a str,
    depth: usize,
    visits: u32,
    failed: HashSet<Place>,
}

/// How many wrappers a look-up may go through in a row, which it does by recursion. A URL of as many
/// names as traversal follows at all takes half of them.
const WRAPPERS_MAX: usize = 2000;

/// A wrapper, and what of it is searched.
type Place = (usize, bool, bool);

/// After so many wrappers a look-up remembers where it has been. Along a long way of acquired
/// objects the same wrappers lie behind one another in exponentially many ways, and Zope goes them
/// all: some two hundred names in a URL keep it busy for good.
const VISITS_PLAIN_MAX: u32 = 64;

impl<'a> Search<'a> {
    fn new(world: World<'a>, name: &'a str) -> Self {
        Self {
            world,
            name,
            depth: 0,
            visits: 0,
            failed: HashSet::new(),
        }
    }

    /// Goes on to the next wrapper, one level deeper.
    fn enter(&mut self) -> Result<(), PublishError> {
        if self.depth >= WRAPPERS_MAX {
            return Err(PublishError::Exception {
                class: "RecursionError",
                message: format!(
                    "{} is looked for through more than {WRAPPERS_MAX} objects",
                    self.name
                ),
            });
        }
        self.depth += 1;
        Ok(())
    }

    fn has_failed_at(&mut self, place: Place) -> bool {
        self.visits = self.visits.saturating_add(1);
        self.visits > VISITS_PLAIN_MAX && self.failed.contains(&place)
    }

    fn fail_at(&mut self, place: Place) {
        if self.visits > VISITS_PLAIN_MAX {
            self.failed.insert(place);
        }
    }
}

impl std::fmt::Debug for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} at {}",
            self.object().class(),
            self.physical_path().join("/")
        )
    }
}

impl Attribute {
    /// Whether the attribute is there but `None`.
    pub fn is_none(&self) -> bool {
        match self {
            Self::Object(_) => false,
            Self::Member { member, .. } => member.is_none,
            Self::Data { kind, .. } => *kind == DataKind::Nothing,
        }
    }

    /// What a wrapper around the one that found it makes of it: objects are wrapped once more,
    /// methods bound to the outer wrapper.
    fn rebound(self, outer: &Placed) -> Self {
        match self {
            Self::Object(object) => Self::Object(object.of(outer)),
            Self::Member { of, name, member } if same(Some(&of), outer.around()) => Self::Member {
                of: outer.clone(),
                name,
                member,
            },
            other => other,
        }
    }
}

fn same(one: Option<&Placed>, other: Option<&Placed>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is(other),
        // Both are contained in the request.
        (None, None) => true,
        _ => false,
    }
}

fn data_kind(value: Value<'_>) -> DataKind {
    match value.kind() {
        Kind::None => DataKind::Nothing,
        Kind::Bytes(_) => DataKind::Bytes,
        _ if value.instance().is_some() => {
            let class = value.instance().and_then(|instance| {
                let (module, name) = instance.class.as_global()?;
                Some(format!("{module}.{name}"))
            });
            DataKind::Instance(class.unwrap_or_else(|| "an instance".to_owned()))
        }
        _ => DataKind::Plain,
    }
}
