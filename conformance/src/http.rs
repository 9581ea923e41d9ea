//! A small HTTP client that shows an answer as it came, with no redirects, retries or cookies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Headers besides `host`, `content-length` and `connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request with neither headers nor body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a name and password in the Basic scheme.
    #[must_use]
    pub fn basic(self, name: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{name}:{password}"));
        self.header("authorization", &format!("Basic {credentials}"))
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The method and target, with the headers that make this request special.
    pub fn title(&self) -> String {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!(" [{name}: {value}]"))
            .collect();
        format!("{} {}{headers}", self.method, self.target)
    }
}

/// An answer, header names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, without any transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks once, on a connection of its own.
///
/// # Errors
/// When there is no whole answer.
pub fn send(address: SocketAddr, request: &Request) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    connection.write(request, "close")?;
    connection.read(&request.method)
}

/// `GET`s `target`, on a connection of its own.
///
/// # Errors
/// When there is no whole answer.
pub fn get(address: SocketAddr, target: &str) -> Result<Response> {
    send(address, &Request::new("GET", target))
}

/// A connection that is kept open from request to request.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody accepts.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_write_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            address,
        })
    }

    /// Asks, and keeps the connection.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn send(&mut self, request: &Request) -> Result<Response> {
        self.write(request, "keep-alive")?;
        self.read(&request.method)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Reads one answer to a request of this method.
    ///
    /// # Errors
    /// When it is not whole, or no answer.
    pub fn read(&mut self, method: &str) -> Result<Response> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("not a status line: {status_line:?}"))?;
        let headers = self.headers()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        let bodyless = method == "HEAD" || status == 204 || status == 304;
        if !bodyless {
            response.body = self.read_body(&response)?;
        }
        Ok(response)
    }

    fn write(&mut self, request: &Request, connection: &str) -> Result<()> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: {connection}\r\n",
            request.method, request.target, self.address
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !request.body.is_empty() || matches!(request.method.as_str(), "PUT" | "POST") {
            head.push_str(&format!("content-length: {}\r\n", request.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&request.body);
        self.send_raw(&bytes)
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("not a header: {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, response: &Response) -> Result<Vec<u8>> {
        if response
            .header("transfer-encoding")
            .is_some_and(|coding| coding == "chunked")
        {
            return self.read_chunks();
        }
        let Some(length) = response.header("content-length") else {
            let mut body = Vec::new();
            self.stream.read_to_end(&mut body)?;
            return Ok(body);
        };
        self.read_exactly(
            length
                .parse()
                .with_context(|| format!("not a length: {length:?}"))?,
        )
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or(""), 16)
                .with_context(|| format!("not a chunk size: {line:?}"))?;
            if length == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(length)?);
            self.line()?;
        }
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .context("the body is cut short")?;
        Ok(body)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream
            .read_until(b'\n', &mut line)
            .context("reading an answer")?;
        if line.pop() != Some(b'\n') {
            bail!("the connection was closed within the head of an answer");
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}
