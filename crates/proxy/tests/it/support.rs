//! A balancer to test, backends that do as they are told, and a client that speaks raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::{Check, Handle, Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Long enough for a loaded machine; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Balancer {
    pub(crate) fn start(origins: &[&Origin], change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options {
            members: origins.iter().map(|origin| origin.address.into()).collect(),
            threads: NonZeroUsize::MIN,
            check: Check::Connect,
            ..Options::default()
        };
        change(&mut options);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            handle,
            stop: Some(stop),
            running,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take();
        timeout(PATIENCE, self.running)
            .await
            .expect("it stops")
            .unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on its own connection.
    pub(crate) async fn ask(&self, request: &str) -> Response {
        let mut client = self.client().await;
        client.send(request.as_bytes()).await;
        client.response().await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: site\r\n\r\n"))
            .await
    }
}

/// What a backend does with a request.
pub(crate) enum Act {
    /// Answers with this body.
    Answer(&'static str),
    /// Writes these bytes and goes on.
    Raw(Vec<u8>),
    /// Writes these bytes, then breaks the connection with a reset.
    Reset(Vec<u8>),
    /// Writes these bytes and closes the connection, as if it had been idle for too long.
    Close(Vec<u8>),
    /// Answers when the gate opens.
    Wait(oneshot::Receiver<()>),
    /// Never answers.
    Hang,
}

/// A request as it reached a backend.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    shared: Arc<OriginShared>,
    task: JoinHandle<()>,
}

struct OriginShared {
    act: Box<dyn Fn(&Seen) -> Act + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl Origin {
    pub(crate) async fn start(act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(OriginShared {
            act: Box::new(act),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
        });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(serve(stream, shared.clone()));
                }
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) async fn answering(body: &'static str) -> Self {
        Self::start(move |_| Act::Answer(body)).await
    }

    /// Like `kill -9`: the listener and all connections are gone, the latter with resets.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections on which at least one request came.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn in_flight_max(&self) -> usize {
        self.shared.in_flight_max.load(Ordering::SeqCst)
    }
}

/// Counts a request for as long as the backend works on it.
struct Working<'a>(&'a OriginShared);

impl<'a> Working<'a> {
    fn on(shared: &'a OriginShared) -> Self {
        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.in_flight_max.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<OriginShared>) {
    // A killed process' sockets reset when bytes are unread or follow; here they always do.
    stream.set_zero_linger().unwrap();
    let mut buffer = Vec::new();
    let mut is_first = true;
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        if std::mem::take(&mut is_first) {
            shared.connections.fetch_add(1, Ordering::SeqCst);
        }
        shared.seen.lock().unwrap().push(seen.clone());
        let working = Working::on(&shared);
        let is_head = seen.head.starts_with("HEAD ");
        let bytes = match (shared.act)(&seen) {
            Act::Answer(body) => answer(body, is_head),
            Act::Raw(bytes) => bytes,
            Act::Wait(gate) => {
                let _ = gate.await;
                answer("waited", is_head)
            }
            Act::Reset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::Close(bytes) => {
                drop(working);
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                // Without zero linger the bytes arrive before the end.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            Act::Hang => std::future::pending().await,
        };
        drop(working);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

pub(crate) fn answer(body: &str, is_head: bool) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    format!("{head}{}", if is_head { "" } else { body }).into_bytes()
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = fill_until(stream, buffer, |bytes| {
        find(bytes, b"\r\n\r\n").map(|at| at + 4)
    })
    .await?;
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let end = match header(&head, "content-length") {
        Some(length) => {
            let length: usize = length.parse().unwrap();
            fill_until(stream, buffer, |bytes| {
                (bytes.len() >= length).then_some(length)
            })
            .await?
        }
        None if header(&head, "transfer-encoding").is_some() => {
            let end = b"0\r\n\r\n";
            fill_until(stream, buffer, |bytes| {
                find(bytes, end).map(|at| at + end.len())
            })
            .await?
        }
        None => 0,
    };
    Some(Seen {
        head,
        body: buffer.drain(..end).collect(),
    })
}

async fn fill_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = done(buffer) {
            return Some(end);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

pub(crate) struct Client(pub(crate) TcpStream);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next response, which must have a length (or be to `HEAD`: then use `head`).
    pub(crate) async fn response(&mut self) -> Response {
        let head = self.head().await;
        let length = head
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        patiently(self.0.read_exact(&mut body)).await.unwrap();
        Response { body, ..head }
    }

    pub(crate) async fn head(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently(self.0.read_u8()).await.expect("a response head"));
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response {
            status,
            head,
            body: Vec::new(),
        }
    }

    /// What comes until the balancer closes; an error if it resets.
    pub(crate) async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        patiently(self.0.read_to_end(&mut rest)).await?;
        Ok(rest)
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

/// Waits for a state that has no event of its own.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    patiently(async {
        while !is_so() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
