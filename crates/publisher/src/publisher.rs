//! Publishing: one request is one transaction on one snapshot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pickle::Value;
use security::{Client, Credentials};
use storage::{CommitError, Severity, StorageError, TransactionMeta};
use zodb::{Connection, Database, Reference};

use crate::access::{self, Login};
use crate::acquisition::{Placed, World};
use crate::call::Call;
use crate::class::ClassRegistry;
use crate::error::PublishError;
use crate::error_reply::{Progress, RETRY_AFTER};
use crate::form::Form;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::response::Response;
use crate::traversal::{Lost, Reached, Target, Traversal};
use crate::{page, url};

/// Publishes the objects of one database. Shared by all worker threads.
pub struct Publisher {
    database: Arc<Database>,
    pub(crate) registry: ClassRegistry,
    pub(crate) options: PublisherOptions,
}

/// What a [`Publisher`] needs from its surroundings, and its limits.
#[derive(Clone)]
pub struct PublisherOptions {
    /// How often a request is done again after a conflict (`max-conflict-retries`).
    pub retries_max: u32,
    /// What a browser names when it asks for a password (`http-realm`): text without quotation
    /// marks and line breaks. Default `Zope`.
    pub realm: String,
    /// Whether a request sees everything that was committed anywhere before it came, and not only
    /// what this publisher has heard of. Costs a question to the storage server. Default true.
    pub server_sync: bool,
    /// The time since 1970, UTC.
    pub clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Waits on the calling thread, between a conflict and the next attempt.
    pub pause: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl PublisherOptions {
    /// Zope's limits, with this clock and this way to wait.
    pub fn new(
        clock: impl Fn() -> Duration + Send + Sync + 'static,
        pause: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Self {
        Self {
            retries_max: 3,
            realm: "Zope".to_owned(),
            server_sync: true,
            clock: Arc::new(clock),
            pause: Arc::new(pause),
        }
    }
}

impl fmt::Debug for PublisherOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherOptions")
            .field("retries_max", &self.retries_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("registry", &self.registry)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The longest pause before the first repetition; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(20);

impl Publisher {
    /// A publisher of `database` that knows the classes of `registry`.
    pub fn new(
        database: Arc<Database>,
        registry: ClassRegistry,
        options: PublisherOptions,
    ) -> Self {
        Self {
            database,
            registry,
            options,
        }
    }

    /// The database it publishes.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Answers one request. Its changes are committed when this returns.
    ///
    /// After a conflict, or when the storage server went away before the order to finish, the
    /// request is done again on a fresh snapshot, a few times at most. Nothing that goes wrong here
    /// concerns more than this request.
    pub fn publish(&self, request: &Request) -> Response {
        let mut retries = 0;
        loop {
            let mut connection = self.connect();
            let (reply, meta) = self.attempt(request, &mut connection);
            if !connection.is_changed() {
                return reply.finish();
            }
            match connection.commit(meta) {
                Ok(_tid) => return reply.finish(),
                Err(error) if may_repeat(&error) && retries < self.options.retries_max => {
                    retries += 1;
                    tracing::info!(path = request.path, id = request.id, retries, %error, "done again");
                    let longest = PAUSE_FIRST.saturating_mul(1 << retries.min(8));
                    (self.options.pause)(longest.mul_f64(fastrand::f64()));
                }
                Err(error) => return refused(request, &error),
            }
        }
    }

    /// A snapshot of now. While the storage server is away, of what was known last.
    fn connect(&self) -> Connection {
        if self.options.server_sync
            && let Err(error) = self.database.storage().sync()
        {
            tracing::debug!(%error, "a snapshot of what was known last");
        }
        self.database.connect()
    }

    /// Does the request once, without committing.
    fn attempt(&self, request: &Request, connection: &mut Connection) -> (Reply, TransactionMeta) {
        let mut reply = Reply::default();
        let mut progress = Progress::default();
        let result = self.try_attempt(request, connection, &mut reply, &mut progress);
        match result {
            Ok(meta) => (reply, meta),
            Err(error) => {
                log(request, &error);
                // Forgets what was changed until then.
                let fresh = self.database.snapshot_before(connection.before());
                *connection = fresh;
                let reply = self.error_reply(request, connection, reply, &mut progress, &error);
                (reply, TransactionMeta::default())
            }
        }
    }

    fn try_attempt(
        &self,
        request: &Request,
        connection: &mut Connection,
        reply: &mut Reply,
        progress: &mut Progress,
    ) -> Result<TransactionMeta, PublishError> {
        let form = Form::of(request)?;
        let reached = self.traverse(request, connection, progress)?;
        reply.set_base(reached.base.as_deref());
        let login = self.log_in(request, connection, &reached)?;
        let mut call = Call {
            request,
            form: &form,
            connection,
            registry: &self.registry,
            reply,
            urls: &reached.urls,
            parents: &reached.parents,
            login: Some(&login),
            extra: &[],
            budget: &mut progress.budget,
            now: (self.options.clock)(),
        };
        let answer = self.call(&mut call, &reached.published)?;
        reply.set_answer(answer);
        Ok(meta(&reached.published, &login))
    }

    fn traverse(
        &self,
        request: &Request,
        connection: &Connection,
        progress: &mut Progress,
    ) -> Result<Reached, PublishError> {
        let world = World {
            connection,
            registry: &self.registry,
        };
        let path = url::unquote(&request.path)
            .ok_or_else(|| PublishError::http(400, "The path is not UTF-8."))?;
        let server = url::server_url(&request.scheme, &request.host);
        let root = root(world)?;
        match Traversal::run(world, &root, &request.method, &path, server) {
            Ok(reached) => {
                progress.parents.clone_from(&reached.parents);
                progress.published = Some(reached.published.clone());
                progress.urls = reached.urls.clone();
                Ok(reached)
            }
            Err(lost) => {
                let Lost {
                    error,
                    parents,
                    urls,
                } = *lost;
                progress.parents = parents;
                progress.urls = urls;
                Err(error)
            }
        }
    }

    fn log_in(
        &self,
        request: &Request,
        connection: &Connection,
        reached: &Reached,
    ) -> Result<Login, PublishError> {
        let header = request
            .headers
            .iter()
            .find(|(name, _)| name == "authorization");
        let credentials = match header {
            None => None,
            Some((_, value)) => Credentials::from_header(value)
                .map_err(|error| PublishError::http(400, error.to_string()))?,
        };
        let address = request
            .remote_addr
            .map(|address| address.to_string())
            .unwrap_or_default();
        let client = Client {
            address: &address,
            host: None,
        };
        let world = World {
            connection,
            registry: &self.registry,
        };
        access::validate(
            world,
            &reached.published,
            &reached.parents,
            &reached.roles,
            credentials.as_ref(),
            &client,
        )
    }

    fn call(&self, call: &mut Call<'_>, published: &Target) -> Result<Answer, PublishError> {
        match published {
            Target::Object(placed) => placed.known_class()?.clone().call(call, placed),
            Target::Member { of, name, .. } => {
                of.known_class()?.clone().call_member(call, of, name)
            }
            Target::Bytes { of, name } => {
                let value = of.object().state().get(name);
                let bytes = value.and_then(Value::as_bytes).unwrap_or_default();
                Ok(Answer::Bytes(bytes.to_vec()))
            }
            Target::AbsentMember {
                container,
                id,
                name,
                ..
            } => self
                .registry
                .absent_item()
                .ok_or_else(|| PublishError::unsupported(name.clone()))?
                .call_member(call, container, id, name),
            Target::Absent { id, .. } => Err(PublishError::NotFound {
                resource: id.clone(),
            }),
        }
    }
}

/// The object that URLs begin at: `Application` of the database's root.
fn root(world: World<'_>) -> Result<Placed, PublishError> {
    let root = world.connection.root()?;
    let application = root
        .state()
        .get("data")
        .and_then(|data| data.get("Application"));
    match application
        .and_then(Value::persistent_id)
        .and_then(Reference::read)
    {
        Some(Reference::Strong { oid, .. }) => {
            let object = world.connection.load(oid)?;
            Ok(Placed::root(object, world.registry))
        }
        _ => Err(PublishError::Exception {
            class: "KeyError",
            message: "the database's root holds no Application".to_owned(),
        }),
    }
}

/// What the transaction says of itself, as Zope writes it: undo listings show it.
fn meta(published: &Target, login: &Login) -> TransactionMeta {
    let (place, name) = match published {
        Target::Object(placed) => (placed, None),
        Target::Member { of, name, .. } | Target::Bytes { of, name } => (of, Some(name)),
        Target::Absent { container, .. } => (container, None),
        Target::AbsentMember {
            container, name, ..
        } => (container, Some(name)),
    };
    let mut path = place.physical_path();
    path.extend(name.cloned());
    let user = login.user_id().unwrap_or("None");
    TransactionMeta {
        user: format!("{} {user}", login.folder_path.join("/")).into_bytes(),
        description: path.join("/").into_bytes(),
        extension: Vec::new(),
    }
}

/// The response where a commit was refused for good.
fn refused(request: &Request, error: &CommitError) -> Response {
    let is_busy = error.severity() == Severity::Retry;
    tracing::warn!(path = request.path, id = request.id, %error, "commit refused");
    let mut reply = Reply::default();
    reply.set_header("content-type", page::CONTENT_TYPE);
    if is_busy {
        reply.set_header("retry-after", RETRY_AFTER);
    }
    let status = if is_busy { 503 } else { 500 };
    let shown = PublishError::http(status, url::escape_html(&error.to_string()));
    reply.set_error(status, page::render(&shown));
    reply.finish()
}

/// Whether nothing was committed and the same work may succeed when done again. A storage server
/// that stayed away for the whole wait is not waited for again.
fn may_repeat(error: &CommitError) -> bool {
    match error {
        CommitError::Conflict(_) | CommitError::ReadConflict(_) => true,
        CommitError::Storage(StorageError::Disconnected { waited }) => waited.is_zero(),
        _ => false,
    }
}

fn log(request: &Request, error: &PublishError) {
    match error.status() {
        500..=599 if error.status() != 501 => {
            tracing::error!(path = request.path, id = request.id, %error, "request failed");
        }
        status => tracing::debug!(path = request.path, id = request.id, status, %error, "error"),
    }
}
