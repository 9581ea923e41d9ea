//! The folder that takes an imported object: a folder of Zope (`OFS.ObjectManager`), or a mapping.

use std::sync::Arc;

use pickle::{Kind, NodeId, Pickles, uncompressed};
use storage::{Oid, Record, Storage, StorageError, Tid};
use zodb::{ClassName, Reference};

use crate::zexp::ImportError;

/// A folder as it is now.
pub(super) struct Folder {
    oid: Oid,
    base: Tid,
    pickles: Pickles,
    kind: FolderKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FolderKind {
    /// Items are attributes, and `_objects` lists them.
    Zope,
    /// A `PersistentMapping`, such as the root of every database.
    Mapping,
}

impl Folder {
    pub(super) fn open(storage: &Arc<dyn Storage>, oid: Oid) -> Result<Self, ImportError> {
        let odd = |what: &str| ImportError::Place(format!("object {oid} {what}"));
        let found = storage.load_before(oid, Tid::MAX);
        let revision = match found {
            Ok(Some(revision)) => revision,
            Ok(None) | Err(StorageError::NotFound { .. }) => return Err(odd("does not exist")),
            Err(error) => return Err(ImportError::Place(error.to_string())),
        };
        let record = uncompressed(&revision.record).map_err(|_| odd("cannot be read"))?;
        let pickles = Pickles::decode(&record).map_err(|_| odd("cannot be read"))?;
        let (Some(class), Some(state)) = (pickles.root(0), pickles.root(1)) else {
            return Err(odd("cannot be read"));
        };
        let class = class.as_global();
        let is_mapping = class.is_some_and(|(_, name)| name == "PersistentMapping");
        let is_list = |name| matches!(state.get(name).map(|it| it.kind()), Some(Kind::Tuple(_)));
        let kind = if is_mapping
            && matches!(state.get("data").map(|it| it.kind()), Some(Kind::Dict(_)))
        {
            FolderKind::Mapping
        } else if state.get("_tree").is_some() {
            return Err(odd(
                "is a large folder (BTreeFolder2): import there through Zope",
            ));
        } else if is_list("_objects") || class.is_some_and(|class| EMPTY_FOLDERS.contains(&class)) {
            FolderKind::Zope
        } else if class.is_some_and(|(module, _)| module.starts_with(BTREES)) {
            return Err(odd(
                "is a BTree, which import does not write into: a folder of Zope or a \
                 PersistentMapping takes it",
            ));
        } else {
            return Err(odd("is no folder of Zope and no PersistentMapping"));
        };
        if !matches!(state.kind(), Kind::Dict(_)) {
            return Err(odd("is no folder of Zope and no PersistentMapping"));
        }
        Ok(Self {
            oid,
            base: revision.tid,
            pickles,
            kind,
        })
    }

    /// The name of the object in this folder. An object of Zope knows it as its id.
    pub(super) fn name(
        &self,
        object: &mut Pickles,
        wanted: Option<&str>,
    ) -> Result<String, ImportError> {
        let state = object
            .root(1)
            .filter(|state| matches!(state.kind(), Kind::Dict(_)));
        let own = |key| state.and_then(|state| state.get(key)?.as_text());
        let key = if own("id").is_none_or(|id| id.is_empty()) && own("__name__").is_some() {
            "__name__"
        } else {
            "id"
        };
        let known = own(key)
            .filter(|id| !id.is_empty())
            .map(|id| id.into_owned());
        let name = wanted.map(str::to_owned).or_else(|| known.clone());
        let name = name.ok_or_else(|| {
            ImportError::Place("the object has no id of its own: name it (--name)".to_owned())
        })?;
        self.check_free(&name)?;
        let state = state.map(|state| state.id());
        if self.kind == FolderKind::Zope
            && known.as_ref() != Some(&name)
            && let Some(state) = state
        {
            let value = object.str(&name);
            object.dict_set(state, key, value);
        }
        Ok(name)
    }

    fn check_free(&self, name: &str) -> Result<(), ImportError> {
        let refuse = |what: &str| Err(ImportError::Place(format!("the name {name:?} {what}")));
        if name.is_empty() || name.contains('/') || name.starts_with('_') || name.contains('\0') {
            return refuse("is none that an item can have");
        }
        let taken = match self.kind {
            FolderKind::Zope => self.state().get(name).is_some(),
            FolderKind::Mapping => self
                .state()
                .get("data")
                .is_some_and(|data| data.get(name).is_some()),
        };
        if taken {
            return refuse(&format!("is taken in {}", self.oid));
        }
        Ok(())
    }

    fn state(&self) -> pickle::Value<'_> {
        self.pickles
            .root(1)
            .expect("the folder was opened with a state")
    }

    /// The folder's new record with the object in it, and what it is based on.
    pub(super) fn with(
        mut self,
        name: &str,
        oid: Oid,
        object: &Pickles,
        meta_type: Option<&str>,
    ) -> Result<(Oid, Tid, Record), ImportError> {
        let class = object.root(0).and_then(|class| class.as_global());
        let reference = Reference::Strong {
            oid,
            class: class.map(|(module, name)| ClassName::new(module, name)),
        };
        let state = self.state().id();
        match self.kind {
            FolderKind::Mapping => {
                let data = self.state().get("data").map(|data| data.id());
                let reference = reference.write(&mut self.pickles);
                self.pickles
                    .dict_set(data.unwrap_or(state), name, reference);
            }
            FolderKind::Zope => {
                let meta_type = meta_type.or_else(|| known_meta_type(class?)).ok_or_else(|| {
                    let (module, class) = class.unwrap_or_default();
                    ImportError::Place(format!(
                        "what folders call the kind of {module}.{class} is not known: say it (--meta-type)"
                    ))
                })?;
                let reference = reference.write(&mut self.pickles);
                self.pickles.dict_set(state, name, reference);
                self.list(state, name, meta_type);
            }
        }
        Ok((self.oid, self.base, self.pickles.encode().into()))
    }

    /// Adds the entry of `_objects`.
    fn list(&mut self, state: NodeId, name: &str, meta_type: &str) {
        let listed = self.state().get("_objects");
        let mut entries: Vec<NodeId> = listed
            .into_iter()
            .flat_map(|listed| listed.elements())
            .map(|entry| entry.id())
            .collect();
        let pickles = &mut self.pickles;
        let (id_key, kind_key) = (pickles.str("id"), pickles.str("meta_type"));
        let (id, kind) = (pickles.str(name), pickles.str(meta_type));
        entries.push(pickles.dict(vec![(id_key, id), (kind_key, kind)]));
        let entries = pickles.tuple(entries);
        pickles.dict_set(state, "_objects", entries);
    }
}

fn known_meta_type((module, class): (&str, &str)) -> Option<&'static str> {
    let known = META_TYPES
        .iter()
        .find(|(known, _)| *known == (module, class));
    known.map(|(_, meta_type)| *meta_type)
}

/// The package of all BTrees.
const BTREES: &str = "BTrees.";
/// Folders whose `_objects` is not stored while they are empty.
const EMPTY_FOLDERS: [(&str, &str); 2] = [
    ("OFS.Folder", "Folder"),
    ("OFS.OrderedFolder", "OrderedFolder"),
];

/// `meta_type` of the stock classes, which is an attribute of the class.
const META_TYPES: [((&str, &str), &str); 9] = [
    (("OFS.Folder", "Folder"), "Folder"),
    (("OFS.OrderedFolder", "OrderedFolder"), "Folder (Ordered)"),
    (("OFS.Image", "File"), "File"),
    (("OFS.Image", "Image"), "Image"),
    (("OFS.DTMLDocument", "DTMLDocument"), "DTML Document"),
    (("OFS.DTMLMethod", "DTMLMethod"), "DTML Method"),
    (
        (
            "Products.PageTemplates.ZopePageTemplate",
            "ZopePageTemplate",
        ),
        "Page Template",
    ),
    (
        ("Products.PythonScripts.PythonScript", "PythonScript"),
        "Script (Python)",
    ),
    (("OFS.userfolder", "UserFolder"), "User Folder"),
];
