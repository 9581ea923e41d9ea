//! A server around a closure, and a client that speaks raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use httpd::{Options, Publish, Server};
use publisher::{Body, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Long enough for a loaded machine; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(
        change: impl FnOnce(&mut Options),
        publish: impl Publish + 'static,
    ) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(Arc::new(publish), async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop: Some(stop),
            task,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take();
        patiently(self.task).await.unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn ask(&self, request: &str) -> Reply {
        let mut client = self.client().await;
        client.send(request.as_bytes()).await;
        client.reply().await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: site\r\n\r\n"))
            .await
    }
}

pub(crate) fn text(text: &str) -> Response {
    Response {
        status: 200,
        headers: vec![("content-type".into(), "text/plain".into())],
        body: Body::Bytes(text.into()),
    }
}

/// Answers with what it was asked, line by line.
pub(crate) fn echo(request: &Request) -> Response {
    let mut lines = format!(
        "{} {} {} {} {} {}\n",
        request.method,
        request.scheme,
        request.host,
        request.path,
        request.query,
        request.remote_addr.unwrap(),
    );
    for (name, value) in &request.headers {
        lines.push_str(&format!("{name}={}\n", String::from_utf8_lossy(value)));
    }
    lines.push_str(&format!("body={}", String::from_utf8_lossy(&request.body)));
    text(&lines)
}

pub(crate) struct Client(pub(crate) TcpStream);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let length = head
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        patiently(self.0.read_exact(&mut body)).await.unwrap();
        Reply { body, ..head }
    }

    pub(crate) async fn head(&mut self) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently(self.0.read_u8()).await.expect("a response head"));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply {
            status,
            head,
            body: Vec::new(),
        }
    }

    /// What comes until the server closes; an error if it resets.
    pub(crate) async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        patiently(self.0.read_to_end(&mut rest)).await?;
        Ok(rest)
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

/// Asks for the health until it is as wanted.
pub(crate) async fn until_health(server: &Running, wanted: &str) {
    patiently(async {
        while !server.get("/_zodiac/health").await.text().contains(wanted) {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
