//! One request: judged, admitted, sent to a backend, perhaps to another one, answered.

use std::net::SocketAddr;
use std::sync::Arc;

use balance::{BackendId, Demand, Progress, Refusal as Denial, is_safe, may_retry};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER, SERVER,
    SET_COOKIE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tracing::warn;

use crate::access::Record;
use crate::exchange::{Failure, FailureKind, Reply, attempt};
use crate::forward::{Origin, clean_response, request_headers};
use crate::incoming::{Fault, Prepared, RequestBody, Upload, prepare};
use crate::mirrors::{List, Redirect};
use crate::outgoing::ResponseBody;
use crate::pages::page;
use crate::sanitize::Refusal;
use crate::shared::{Shared, now};
use crate::socket::{Link, REFUSED_PATH};
use crate::upstream::Upstream;

/// What the connections of one thread share.
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstream: Arc<Upstream>,
}

/// The two ends of a client's connection, and what its socket knows.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) link: Arc<Link>,
}

/// What every attempt sends again.
struct Template {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

/// Why there is no answer to pass on.
enum Trouble {
    /// The client's doing.
    Refused(Refusal),
    /// No slot.
    Denied(Denial),
    /// The last backend's doing.
    Failed(FailureKind),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.refusal())
    }
}

/// Paths between balancer and publisher; not for the outside.
const INTERNAL: &str = "/_zodiac";

impl Service {
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        client: Client,
    ) -> Response<ResponseBody> {
        let id = format!("{:016x}", fastrand::u64(..));
        let mut record = Record::begin(client.link.clone(), id, client.peer.ip().to_canonical());
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if path == REFUSED_PATH
            && let Some(&refusal) = client.link.refusal.get()
        {
            return own_answer(record, &Trouble::Refused(refusal));
        }
        record.request(parts.method.as_str(), path);
        if path == INTERNAL
            || path
                .strip_prefix(INTERNAL)
                .is_some_and(|p| p.starts_with('/'))
        {
            let refusal = Refusal {
                status: 404,
                reason: "there is nothing at this address",
            };
            return own_answer(record, &Trouble::Refused(refusal));
        }
        let mirrors = &self.shared.options.mirrors;
        if let Some(list) = mirrors.list(&parts, || self.shared.view()) {
            return list_answer(record, list);
        }
        if let Some(redirect) = mirrors.redirect {
            return self.redirect(redirect, &parts, &client, record);
        }
        match self.forward(&parts, body, &client, &mut record).await {
            Ok((reply, cookie)) => self.pass_on(reply, cookie, &parts.method, record),
            Err(trouble) => own_answer(record, &trouble),
        }
    }

    /// Sends the user to a backend.
    fn redirect(
        &self,
        redirect: Redirect,
        parts: &Parts,
        client: &Client,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let urls = &self.shared.options.mirrors.urls;
        let backend = self.shared.recommend(&self.demand(parts, client));
        let url = backend.and_then(|backend| urls.get(&backend));
        let location = url.map(|url| HeaderValue::from_str(&url.location(&parts.uri)));
        let Some(Ok(location)) = location else {
            return own_answer(record, &Trouble::Denied(Denial::NoBackends));
        };
        let status = redirect.status(&parts.method);
        record.answer(status.as_u16());
        let mut response = Response::new(ResponseBody::whole(String::new(), record));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
        headers.insert(SERVER, HeaderValue::from_static("Zodiac"));
        response
    }

    async fn forward(
        &self,
        parts: &Parts,
        body: Incoming,
        client: &Client,
        record: &mut Record,
    ) -> Result<(Reply, Option<HeaderValue>), Trouble> {
        let upload = Upload::new();
        let options = &self.shared.options;
        let mut body = prepare(body, options, &upload).await.map_err(|fault| {
            // The gate knows better what was wrong with the chunks.
            client
                .link
                .refusal
                .get()
                .map_or_else(|| fault.into(), |r| Trouble::Refused(*r))
        })?;
        let template = self.template(parts, client, &body, &record.id);
        let method = template.method.as_str();
        let mut wait_left = options.queue_wait;
        let mut tried: Vec<BackendId> = Vec::new();
        let mut last: Option<FailureKind> = None;
        let mut was_sent = false;
        let wanted = self.demand(parts, client);
        loop {
            // Only waiting counts, not the time that a backend computed before it failed.
            let begin = now();
            let demand = Demand {
                deadline: begin + wait_left,
                tried: tried.clone(),
                was_sent,
                may_probe: is_safe(method) && body.is_replayable(),
                ..wanted
            };
            let lease = match (self.shared.admit(demand).await, last) {
                (Ok(lease), _) => lease,
                (Err(Denial::Exhausted | Denial::BudgetSpent), Some(kind)) => {
                    return Err(Trouble::Failed(kind));
                }
                (Err(denial), _) => return Err(Trouble::Denied(denial)),
            };
            wait_left = wait_left.saturating_sub(now() - begin);
            record.attempt(lease.address());
            tried.push(lease.backend());
            let address = lease.address();
            let failure = match self.attempt(lease, &template, &mut body).await {
                Ok(reply) => return Ok((reply, self.cookie(wanted.session, address))),
                Err(failure) => failure,
            };
            if let Some(fault) = upload.fault() {
                return Err(fault.into());
            }
            warn!(request = record.id, backend = %address, %failure, "an attempt failed");
            // A page that takes too long here takes as long elsewhere, and twice the workers.
            let is_hopeless =
                failure.kind == FailureKind::TimedOut || matches!(body, Prepared::Spent);
            if is_hopeless || !may_retry(method, failure.progress, body.is_replayable()) {
                return Err(Trouble::Failed(failure.kind));
            }
            last = Some(failure.kind);
            was_sent |= failure.progress != Progress::NotSent;
        }
    }

    /// What a request says about the backend that it should get.
    fn demand(&self, parts: &Parts, client: &Client) -> Demand {
        let options = &self.shared.options;
        let peer = client.peer.ip().to_canonical();
        let backends = || self.shared.view().iter().map(|m| m.address).collect();
        let sessions = options.sessions.as_ref();
        Demand {
            key: options.key.key(&parts.uri, &parts.headers, peer),
            session: sessions.and_then(|s| s.backend(&parts.headers, backends)),
            ..Demand::first(now() + options.queue_wait)
        }
    }

    /// What a client is told whose session is with another backend from now on.
    fn cookie(&self, before: Option<SocketAddr>, backend: SocketAddr) -> Option<HeaderValue> {
        let sessions = self.shared.options.sessions.as_ref();
        let sessions = sessions.filter(|_| before != Some(backend));
        sessions.and_then(|sessions| sessions.cookie_of(backend))
    }

    async fn attempt(
        &self,
        lease: crate::shared::Lease,
        template: &Template,
        body: &mut Prepared,
    ) -> Result<Reply, Failure> {
        // A body that can be sent only once must not meet a connection that may be closing.
        let is_safe = is_safe(template.method.as_str()) && body.is_replayable();
        let request = || {
            // Called again only for safe requests, whose body is whole.
            let body = body
                .take()
                .unwrap_or_else(|| RequestBody::whole(bytes::Bytes::new()));
            template.request(body)
        };
        attempt(
            &self.upstream,
            &self.shared.options,
            lease,
            is_safe,
            request,
        )
        .await
    }

    fn template(&self, parts: &Parts, client: &Client, body: &Prepared, id: &str) -> Template {
        let host = parts.headers.get(HOST).cloned().or_else(|| {
            // HTTP/1.0 without Host: the client means what it connected to.
            let authority = parts.uri.authority().map(ToString::to_string);
            let host = authority.unwrap_or_else(|| client.local.to_string());
            HeaderValue::from_str(&host).ok()
        });
        let peer = client.peer.ip().to_canonical();
        let origin = Origin {
            peer,
            is_trusted: self.shared.options.trusts(peer),
            host: host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
            id,
            keeps_length: !body.is_replayable(),
        };
        let target = parts
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        Template {
            method: parts.method.clone(),
            uri: target.parse().unwrap_or_default(),
            headers: request_headers(&parts.headers, &origin),
        }
    }

    fn pass_on(
        &self,
        reply: Reply,
        cookie: Option<HeaderValue>,
        method: &Method,
        mut record: Record,
    ) -> Response<ResponseBody> {
        let Reply {
            mut head,
            held,
            rest,
        } = reply;
        clean_response(&mut head.headers);
        if matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        ) && method != Method::HEAD
        {
            head.headers.remove(CONTENT_LENGTH);
        }
        if let Some(cookie) = cookie {
            head.headers.append(SET_COOKIE, cookie);
        }
        record.answer(head.status.as_u16());
        let idle_wait = self.shared.options.response_idle_wait;
        let mut response = Response::new(ResponseBody::new(held, rest, idle_wait, record));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }
}

impl Template {
    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// The list of mirrors.
fn list_answer(mut record: Record, list: List) -> Response<ResponseBody> {
    record.answer(StatusCode::OK.as_u16());
    let mut response = Response::new(ResponseBody::whole(list.text, record));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(list.content_type);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("Zodiac"));
    response
}

/// An answer of the balancer's own.
fn own_answer(mut record: Record, trouble: &Trouble) -> Response<ResponseBody> {
    let (status, title, what, advice) = explain(trouble);
    record.answer(status.as_u16());
    let text = page(status.as_u16(), title, what, advice, &record.id);
    let mut response = Response::new(ResponseBody::whole(text, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(SERVER, HeaderValue::from_static("Zodiac"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    // After a refusal the rest of the request may be unread: what follows cannot be understood.
    if matches!(trouble, Trouble::Refused(refusal) if refusal.status != 404) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn explain(trouble: &Trouble) -> (StatusCode, &'static str, &'static str, &'static str) {
    match *trouble {
        Trouble::Refused(Refusal { status, reason }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            let title = status.canonical_reason().unwrap_or("Bad Request");
            (
                status,
                title,
                reason,
                "Sent again as it is, it will be refused again.",
            )
        }
        Trouble::Denied(denial) => {
            let what = match denial {
                Denial::NoBackends => "no server of this site is running",
                Denial::QueueFull => "too many requests are waiting already",
                Denial::DeadlinePassed => "all servers of this site stayed busy for too long",
                Denial::Exhausted | Denial::BudgetSpent => "the servers of this site fail",
            };
            let advice = "Please try again in a few seconds.";
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "The site is busy",
                what,
                advice,
            )
        }
        Trouble::Failed(FailureKind::TimedOut) => (
            StatusCode::GATEWAY_TIMEOUT,
            "The site took too long",
            "the server that works on it did not answer in time",
            "If it was a change, look whether it was made before you send it again.",
        ),
        Trouble::Failed(FailureKind::Connect) => (
            StatusCode::BAD_GATEWAY,
            "The site does not answer",
            "no server of this site accepts connections",
            "Please try again in a few seconds.",
        ),
        Trouble::Failed(FailureKind::Broken | FailureKind::Unusable) => (
            StatusCode::BAD_GATEWAY,
            "The site broke off",
            "the server that worked on it broke off before it had answered",
            "If it was a change, look whether it was made before you send it again.",
        ),
    }
}
