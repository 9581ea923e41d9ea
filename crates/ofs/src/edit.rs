//! Changing the state of objects: only the keys that change are touched.

use pickle::{NodeId, Pickles};
use publisher::PublishError;
use storage::Oid;
use zodb::{Connection, Object, Reference};

/// The state of an object while it is being changed, or made.
pub(crate) struct Edit {
    pickles: Pickles,
    state: NodeId,
}

impl Edit {
    /// Begins with the state of a stored object.
    ///
    /// # Errors
    /// [`PublishError::Unsupported`] where the state is no dict.
    pub(crate) fn of(object: &Object) -> Result<Self, PublishError> {
        let pickles = object.pickles().clone();
        let state = object.state();
        if !matches!(state.kind(), pickle::Kind::Dict(_)) {
            return Err(PublishError::unsupported(format!(
                "the state of a {}",
                object.class()
            )));
        }
        Ok(Self {
            state: state.id(),
            pickles,
        })
    }

    /// Begins a new object of a class.
    pub(crate) fn new(module: &str, name: &str) -> Self {
        let mut pickles = Pickles::new();
        let class = pickles.global(module, name);
        let state = pickles.dict(Vec::new());
        pickles.push_root(class);
        pickles.push_root(state);
        Self { pickles, state }
    }

    /// Sets an attribute to a value that `make` builds.
    pub(crate) fn set(mut self, name: &str, make: impl FnOnce(&mut Pickles) -> NodeId) -> Self {
        let value = make(&mut self.pickles);
        self.pickles.dict_set(self.state, name, value);
        self
    }

    pub(crate) fn set_str(self, name: &str, value: &str) -> Self {
        self.set(name, |pickles| pickles.str(value))
    }

    pub(crate) fn set_int(self, name: &str, value: i64) -> Self {
        self.set(name, |pickles| pickles.int(value))
    }

    pub(crate) fn set_bytes(self, name: &str, value: &[u8]) -> Self {
        self.set(name, |pickles| pickles.bytes(value))
    }

    pub(crate) fn set_reference(self, name: &str, reference: &Reference) -> Self {
        self.set(name, |pickles| reference.write(pickles))
    }

    /// Sets an attribute where it is not there yet.
    pub(crate) fn set_new_str(self, name: &str, value: &str) -> Self {
        if self.pickles.value(self.state).get(name).is_some() {
            return self;
        }
        self.set_str(name, value)
    }

    /// Adds an item to the `_objects` of a folder.
    pub(crate) fn add_item(self, id: &str, meta_type: &str) -> Self {
        let mut items: Vec<NodeId> = self
            .pickles
            .value(self.state)
            .get("_objects")
            .map(|items| items.elements().map(pickle::Value::id).collect())
            .unwrap_or_default();
        self.set("_objects", |pickles| {
            let item = pickles.dict(Vec::new());
            for (key, value) in [("id", id), ("meta_type", meta_type)] {
                let value = pickles.str(value);
                pickles.dict_set(item, key, value);
            }
            items.push(item);
            pickles.tuple(items)
        })
    }

    /// Gives the new object to its maker, as Zope's `_setObject` does: the local role Owner.
    pub(crate) fn owned_by(self, user: Option<&str>) -> Self {
        let Some(user) = user else { return self };
        self.set("__ac_local_roles__", |pickles| {
            let role = pickles.str("Owner");
            let roles = pickles.list(vec![role]);
            let all = pickles.dict(Vec::new());
            pickles.dict_set(all, user, roles);
            all
        })
    }

    /// Sets the explicit owner: the path of a user folder, and a user id.
    pub(crate) fn set_owner(self, folder: &[String], user: &str) -> Self {
        self.set("_owner", |pickles| {
            let names = folder.iter().map(|name| pickles.str(name)).collect();
            let parts = vec![pickles.list(names), pickles.str(user)];
            pickles.tuple(parts)
        })
    }

    /// Stores the changed object.
    pub(crate) fn store(self, connection: &mut Connection, oid: Oid) -> Result<(), PublishError> {
        Ok(connection.store(oid, self.pickles)?)
    }

    /// Stores the new object.
    pub(crate) fn create(self, connection: &mut Connection) -> Result<Reference, PublishError> {
        let oid = connection.create(self.pickles)?;
        Ok(connection.load(oid)?.reference())
    }
}
