//! Databases in asynchronous programs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use storage::{CommitError, MemoryStorage, Oid, TransactionMeta};
use tokio::sync::oneshot;
use zeo_net::{AsyncDatabase, ClientOptions};
use zodb::{
    Connection, Data, Database, DatabaseOptions, PersistentMapping, TransactError, ViewError,
    ZodbError,
};

use crate::world::{TestServer, options};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn near() -> AsyncDatabase {
    let storage = Arc::new(MemoryStorage::new());
    AsyncDatabase::new(Database::new(storage, DatabaseOptions::default()))
}

fn count(connection: &Connection, oid: Oid) -> Result<i128, ViewError> {
    match PersistentMapping::load(connection, oid)?.get("count") {
        Some(Data::Int(count)) => Ok(count),
        _ => Ok(0),
    }
}

fn set(connection: &mut Connection, oid: Oid, count: i128) -> Result<(), ViewError> {
    let mut mapping = PersistentMapping::new();
    mapping.set("count", Data::Int(count));
    mapping.store(connection, oid)?;
    Ok(())
}

async fn made(database: &AsyncDatabase, objects: u64) -> Vec<Oid> {
    let made = database.transact(0, move |connection| {
        let mut oids = Vec::new();
        for number in 0..objects {
            let oid = connection.new_oid()?;
            set(connection, oid, i128::from(number))?;
            oids.push(oid);
        }
        Ok::<_, ViewError>((oids, TransactionMeta::default()))
    });
    made.await.unwrap()
}

/// Over a server, and all at a time: nothing that is counted is lost.
#[test]
fn transactions_that_meet_are_done_again() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    block_on(async {
        let client = options(server.address);
        let database = AsyncDatabase::connect(client, DatabaseOptions::default());
        let database = database.await.unwrap();
        let oid = made(&database, 1).await[0];
        let attempts = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (database, attempts) = (database.clone(), attempts.clone());
                tokio::spawn(async move {
                    let add = move |connection: &mut Connection| {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        let count = count(connection, oid)?;
                        set(connection, oid, count + 1)?;
                        Ok::<_, ViewError>(((), TransactionMeta::default()))
                    };
                    database.transact(1_000, add).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let found = database
            .read(move |connection| count(connection, oid))
            .await;
        assert_eq!(found.unwrap(), 10);
        assert!(attempts.load(Ordering::Relaxed) >= 10);
    });
}

#[test]
fn objects_come_in_order_and_an_error_ends_them() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    block_on(async {
        let client = options(server.address);
        let database = AsyncDatabase::connect(client.clone(), DatabaseOptions::default());
        let mut oids = made(&database.await.unwrap(), 250).await;
        // With a cache that has none of them.
        let database = AsyncDatabase::connect(client, DatabaseOptions::default());
        let database = database.await.unwrap();
        let mut objects = database.objects(oids.clone());
        let mut found = Vec::new();
        while let Some(object) = objects.next().await {
            found.push(object.unwrap().oid());
        }
        assert_eq!(found, oids);

        oids.insert(3, Oid::new(1 << 40));
        let mut objects = database.objects(oids);
        for _ in 0..3 {
            objects.next().await.unwrap().unwrap();
        }
        assert!(objects.next().await.unwrap().unwrap_err().is_not_found());
        assert!(objects.next().await.is_none());
    });
}

#[test]
fn work_whose_stream_is_dropped_is_told_to_break_off() {
    block_on(async {
        let database = near();
        let (told, hears) = oneshot::channel();
        let mut stream = database.stream(move |_, hand_out| {
            let mut numbers = 0_u64..;
            let handed_out = numbers.find(|number| hand_out(*number) == ControlFlow::Break(()));
            told.send(handed_out).unwrap();
            Ok::<_, ZodbError>(())
        });
        for number in 0..1_000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), number);
        }
        drop(stream);
        let handed_out = hears.await.unwrap().unwrap();
        assert!(handed_out >= 1_000, "{handed_out}");
    });
}

#[test]
fn errors_and_panics_reach_who_waits() {
    block_on(async {
        let database = near();
        let oid = made(&database, 1).await[0];
        let refused = database.transact(5, |_| Err::<((), TransactionMeta), _>("not today"));
        let error = refused.await.unwrap_err();
        assert!(matches!(error, TransactError::Work("not today")));
        // Somebody else is always faster.
        let other = database.database().clone();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let late = database.transact(2, move |connection| {
            counted.fetch_add(1, Ordering::Relaxed);
            set(connection, oid, 1)?;
            let mut faster = other.connect();
            set(&mut faster, oid, 2)?;
            faster.commit(TransactionMeta::default()).unwrap();
            Ok::<_, ViewError>(((), TransactionMeta::default()))
        });
        let error = late.await.unwrap_err();
        let is_conflict = matches!(error, TransactError::Commit(CommitError::Conflict(_)));
        assert!(is_conflict, "{error}");
        assert_eq!(attempts.load(Ordering::Relaxed), 3);

        let panics = database.clone();
        let task = tokio::spawn(async move {
            let work = |_: &Connection| -> Result<(), ZodbError> { panic!("in the closure") };
            panics.read(work).await
        });
        assert!(task.await.unwrap_err().is_panic());
        // The turn was given back.
        for _ in 0..2 * AsyncDatabase::CLOSURES_MAX {
            let count = database.read(move |connection| count(connection, oid));
            assert_eq!(count.await.unwrap(), 2);
        }
        let nowhere = ClientOptions::default();
        let nowhere = ClientOptions {
            wait: std::time::Duration::ZERO,
            ..nowhere
        };
        let refused = AsyncDatabase::connect(nowhere, DatabaseOptions::default());
        refused.await.unwrap_err();
    });
}

/// More than may run at a time, with all threads of the runtime free for others.
#[test]
fn closures_wait_for_their_turn_without_a_thread() {
    block_on(async {
        let database = near();
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..4 * AsyncDatabase::CLOSURES_MAX)
            .map(|_| {
                let (running, most) = (running.clone(), most.clone());
                let database = database.clone();
                tokio::spawn(async move {
                    let work = move |_: &Connection| {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        Ok::<_, ZodbError>(())
                    };
                    database.read(work).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=AsyncDatabase::CLOSURES_MAX).contains(&most), "{most}");
    });
}
