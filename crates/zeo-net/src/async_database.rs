//! Databases for asynchronous programs.

use std::fmt;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use storage::{Oid, Severity, StorageError, TransactionMeta};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use zodb::{Connection, Database, DatabaseOptions, Object, TransactError, ZodbError};

use crate::{ClientOptions, ZeoStorage};

/// A [`Database`] for programs on tokio: transactions are closures, which run where threads may
/// wait, and what they come to is awaited. Clones are the same database.
///
/// It takes a runtime with its clock ([`enable_all`](tokio::runtime::Builder::enable_all)). At most
/// [`CLOSURES_MAX`](Self::CLOSURES_MAX) closures run at a time, the others wait for their turn
/// without a thread.
///
/// **Work that has begun goes on when its future is dropped**: a transaction may be committed though
/// nobody heard of it.
///
/// ```
/// use storage::{MemoryStorage, Oid, TransactionMeta};
/// use zeo_net::AsyncDatabase;
/// use zodb::{Data, Database, DatabaseOptions, PersistentMapping, ViewError};
///
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let storage = std::sync::Arc::new(MemoryStorage::new());
/// # let database = AsyncDatabase::new(Database::new(storage, DatabaseOptions::default()));
/// // let database = AsyncDatabase::connect(client_options, database_options).await?;
/// database
///     .transact(3, |connection| {
///         let mut root = PersistentMapping::new();
///         root.set("title", "Zodiac");
///         root.store(connection, Oid::ROOT)?;
///         Ok::<_, ViewError>(((), TransactionMeta::default()))
///     })
///     .await?;
/// let title = database
///     .read(|connection| Ok::<_, ViewError>(PersistentMapping::load(connection, Oid::ROOT)?.get("title")))
///     .await?;
/// assert_eq!(title, Some(Data::from("Zodiac")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AsyncDatabase {
    database: Arc<Database>,
    turns: Arc<Semaphore>,
}

impl AsyncDatabase {
    /// How many closures run at a time: as many threads may wait for the storage.
    pub const CLOSURES_MAX: usize = 64;

    /// A database that is open already, on whatever storage.
    pub fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            turns: Arc::new(Semaphore::new(Self::CLOSURES_MAX)),
        }
    }

    /// Connects to storage servers, as [`ZeoStorage::connect`] does.
    ///
    /// # Errors
    /// Those of [`ZeoStorage::connect`].
    pub async fn connect(
        client: ClientOptions,
        database: DatabaseOptions,
    ) -> Result<Self, StorageError> {
        let storage = awaited(spawn_blocking(move || ZeoStorage::connect(client)).await).await?;
        Ok(Self::new(Database::new(storage, database)))
    }

    /// The database, for what may wait.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Runs `work` on a snapshot of now. What it changes is forgotten.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.run(move |database| work(&database.connect())).await
    }

    /// Runs `work` in a transaction and commits it; on a conflict does so again on a fresh snapshot,
    /// after a pause, at most `retries_max` times.
    ///
    /// # Errors
    /// As [`Database::transact`].
    pub async fn transact<T, E, W>(
        &self,
        retries_max: u32,
        mut work: W,
    ) -> Result<T, TransactError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        W: FnMut(&mut Connection) -> Result<(T, TransactionMeta), E> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        let mut retries = 0;
        loop {
            let attempt = self.run(move |database| {
                let outcome = database.transact(0, |_| {}, &mut work);
                (outcome, work)
            });
            let (outcome, again) = attempt.await;
            match outcome {
                Err(TransactError::Commit(error))
                    if error.severity() == Severity::Retry && retries < retries_max =>
                {
                    tracing::debug!(%error, retries, "transaction is repeated");
                }
                outcome => return outcome,
            }
            work = again;
            retries += 1;
            // Not all who met should meet again.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What `work` hands out on a snapshot of now, one by one. It is held up while nobody takes it,
    /// and told to break off when the stream is dropped.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use storage::{MemoryStorage, Oid};
    /// # use zeo_net::AsyncDatabase;
    /// # use zodb::{Database, DatabaseOptions, ZodbError};
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// # let storage = std::sync::Arc::new(MemoryStorage::new());
    /// # let database = AsyncDatabase::new(Database::new(storage, DatabaseOptions::default()));
    /// let mut numbers = database.stream(|connection, hand_out| {
    ///     for number in 0..1_000 {
    ///         // ... or whatever is found in `connection`, a `Tree` for example.
    ///         if hand_out(number).is_break() {
    ///             break;
    ///         }
    ///     }
    ///     Ok::<_, ZodbError>(())
    /// });
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next().await {
    ///     sum += number?;
    /// }
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream<T, E, W>(&self, work: W) -> DatabaseStream<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&Connection, &mut dyn FnMut(T) -> ControlFlow<()>) -> Result<(), E>
            + Send
            + 'static,
    {
        let (sender, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
        let this = self.clone();
        tokio::spawn(async move {
            let ended = sender.clone();
            let run = this.run(move |database| {
                let mut hand_out = |item| match sender.blocking_send(Ok(item)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_nobody) => ControlFlow::Break(()),
                };
                work(&database.connect(), &mut hand_out)
            });
            tokio::select! {
                // Whoever has no turn yet need not begin.
                biased;
                () = ended.closed() => {}
                outcome = run => if let Err(error) = outcome {
                    let _nobody_listens = ended.send(Err(error)).await;
                },
            }
        });
        DatabaseStream { receiver }
    }

    /// These objects, in this order, as one snapshot of now sees them. A storage far away is asked
    /// for many at a time.
    pub fn objects(
        &self,
        oids: impl IntoIterator<Item = Oid>,
    ) -> DatabaseStream<Arc<Object>, ZodbError> {
        let oids: Vec<Oid> = oids.into_iter().collect();
        self.stream(move |connection, hand_out| {
            for together in oids.chunks(PREFETCHED_MAX) {
                connection.prefetch(together.iter().copied());
                for oid in together {
                    if hand_out(connection.load(*oid)?).is_break() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Database>) -> T + Send + 'static,
    ) -> T {
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.expect("nobody closes it");
        let database = self.database.clone();
        let done = spawn_blocking(move || {
            // Held as long as the work goes on, whatever becomes of the future.
            let _turn = turn;
            work(&database)
        });
        awaited(done.await).await
    }
}

/// A panic of the work is one of whoever waits for it.
async fn awaited<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(value) => value,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and nobody will ask again.
        Err(Err(_cancelled)) => std::future::pending().await,
    }
}

/// What comes from a database one by one; after an error nothing more. From
/// [`AsyncDatabase::stream`] and [`AsyncDatabase::objects`].
pub struct DatabaseStream<T, E> {
    receiver: mpsc::Receiver<Result<T, E>>,
}

impl<T, E> DatabaseStream<T, E> {
    /// The next one.
    pub async fn next(&mut self) -> Option<Result<T, E>> {
        self.receiver.recv().await
    }
}

impl<T, E> Stream for DatabaseStream<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

impl<T, E> fmt::Debug for DatabaseStream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseStream").finish_non_exhaustive()
    }
}

/// The first pause after a conflict; it doubles, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How much of a stream waits to be taken.
const STREAM_ITEMS_MAX: usize = 64;
/// How many objects are asked for together.
const PREFETCHED_MAX: usize = 100;
