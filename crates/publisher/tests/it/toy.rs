//! A class that says where it was found, and a way to make trees of it.

use std::sync::Arc;
use std::time::Duration;

use pickle::{NodeId, Pickles};
use publisher::{
    Answer, Attribute, Body, Call, Class, ClassRegistry, Member, Placed, Publish, PublishError,
    Publisher, PublisherOptions, Request, Requirement, Response,
};
use storage::{MemoryStorage, Oid, Record, Storage, Tid, TransactionMeta};
use zodb::{ClassName, Database, DatabaseOptions, Object, Reference};

/// Answers with its own path, or with the path of the object that it acquires by the name in the
/// form field `find`.
pub(crate) struct Toy {
    pub(crate) is_top: bool,
}

impl Class for Toy {
    fn member(&self, name: &str) -> Option<Arc<Member>> {
        let publish = match name {
            "hidden" => Publish::Never,
            "by_post" => Publish::Verb("POST".to_owned()),
            "__allow_groups__" if self.is_top => Publish::Never,
            _ => return None,
        };
        Some(Arc::new(Member {
            publish,
            requirement: Requirement::Inherited,
            is_none: false,
            is_object: false,
        }))
    }

    fn requirement(&self) -> Requirement {
        Requirement::Public
    }

    fn id(&self, object: &Object) -> String {
        let id = object.state().get("id").and_then(pickle::Value::as_str);
        id.unwrap_or_default().to_owned()
    }

    fn call(&self, call: &mut Call<'_>, this: &Placed) -> Result<Answer, PublishError> {
        let Some(name) = call.form.text("find") else {
            return Ok(Answer::Text(this.physical_path().join("/")));
        };
        Ok(Answer::Text(match this.find(call.world(), name)? {
            Some(Attribute::Object(found)) => found.physical_path().join("/"),
            _ => "nothing".to_owned(),
        }))
    }

    fn call_member(
        &self,
        _call: &mut Call<'_>,
        this: &Placed,
        name: &str,
    ) -> Result<Answer, PublishError> {
        Ok(Answer::Text(format!(
            "{} {name}",
            this.physical_path().join("/")
        )))
    }

    fn is_top(&self) -> bool {
        self.is_top
    }
}

/// A database being filled with toys.
pub(crate) struct Tree {
    storage: Arc<MemoryStorage>,
    database: Arc<Database>,
}

impl Tree {
    /// The site of a list of paths; each is an object in the one before it.
    pub(crate) fn of(paths: &[&str]) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let database = Database::new(storage.clone(), DatabaseOptions::default());
        let mut connection = database.connect();
        let mut root = new(
            "persistent.mapping",
            "PersistentMapping",
            |pickles, state| {
                let top = reference(Oid::new(1), "Top").write(pickles);
                let data = pickles.dict(Vec::new());
                pickles.dict_set(data, "Application", top);
                pickles.dict_set(state, "data", data);
            },
        );
        connection.store(Oid::ROOT, root).unwrap();
        let all: Vec<_> = std::iter::once("").chain(paths.iter().copied()).collect();
        for (number, path) in (1..).zip(&all) {
            let class = if path.is_empty() { "Top" } else { "Toy" };
            root = new("toy", class, |pickles, state| {
                let id = pickles.str(path.rsplit('/').next().unwrap());
                pickles.dict_set(state, "id", id);
                for (number, child) in (1..).zip(&all) {
                    if let Some((container, name)) = child.rsplit_once('/')
                        && container == *path
                    {
                        let child = reference(Oid::new(number), "Toy").write(pickles);
                        pickles.dict_set(state, name, child);
                    }
                }
            });
            connection.store(Oid::new(number), root).unwrap();
        }
        connection.commit(TransactionMeta::default()).unwrap();
        Self { storage, database }
    }

    /// Changes the state of the object with this number in the list of paths; 0 is the top.
    pub(crate) fn change(&self, number: u64, change: impl FnOnce(&mut Pickles, NodeId)) {
        let mut connection = self.database.connect();
        let oid = Oid::new(number + 1);
        let object = connection.load(oid).unwrap();
        let mut pickles = object.pickles().clone();
        change(&mut pickles, object.state().id());
        connection.store(oid, pickles).unwrap();
        connection.commit(TransactionMeta::default()).unwrap();
    }

    /// Puts a record of any bytes in the place of an object.
    pub(crate) fn damage(&self, number: u64, record: &[u8]) {
        let oid = Oid::new(number + 1);
        let base = self
            .storage
            .load_before(oid, Tid::MAX)
            .unwrap()
            .unwrap()
            .tid;
        let mut commit = self
            .storage
            .clone()
            .begin(TransactionMeta::default())
            .unwrap();
        commit.store(oid, base, Record::from(record)).unwrap();
        commit.vote().unwrap().finish(Box::new(|_tid| {})).unwrap();
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let mut registry = ClassRegistry::new();
        registry.register("toy", "Toy", Arc::new(Toy { is_top: false }));
        registry.register("toy", "Top", Arc::new(Toy { is_top: true }));
        let options = PublisherOptions::new(|| Duration::from_secs(1), |_pause| {});
        Publisher::new(self.database.clone(), registry, options)
    }

    pub(crate) fn ask(&self, method: &str, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let response = self.publisher().publish(&Request {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            host: "h".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Request::default()
        });
        (response.status, text(response))
    }

    pub(crate) fn get(&self, target: &str) -> (u16, String) {
        self.ask("GET", target)
    }
}

fn text(response: Response) -> String {
    match response.body {
        Body::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        Body::Stream { .. } => panic!("toys are not streamed"),
    }
}

fn new(module: &str, name: &str, fill: impl FnOnce(&mut Pickles, NodeId)) -> Pickles {
    let mut pickles = Pickles::new();
    let class = pickles.global(module, name);
    let state = pickles.dict(Vec::new());
    pickles.push_root(class);
    pickles.push_root(state);
    fill(&mut pickles, state);
    pickles
}

fn reference(oid: Oid, class: &str) -> Reference {
    Reference::Strong {
        oid,
        class: Some(ClassName::new("toy", class)),
    }
}
