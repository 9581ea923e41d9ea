//! From what the publisher answered to what goes over the wire.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SERVER,
    TRANSFER_ENCODING,
};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

/// What a worker sends back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// The length of the body that the publisher made, also when it is not sent.
    pub(crate) length: u64,
    pub(crate) body: AnswerBody,
}

pub(crate) enum AnswerBody {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Result<Bytes, Cut>>),
}

/// A body ended early; its connection is closed, so that the client sees it.
#[derive(Debug, thiserror::Error)]
#[error("the body ended before its announced length")]
pub(crate) struct Cut;

/// The body as hyper pulls it.
pub(crate) enum ResponseBody {
    Whole(Option<Bytes>),
    /// `left` of the announced length have not come yet.
    Pieces {
        receiver: mpsc::Receiver<Result<Bytes, Cut>>,
        left: u64,
    },
}

impl ResponseBody {
    fn empty() -> Self {
        Self::Whole(None)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces { receiver, left } => receiver.poll_recv(cx).map(|piece| match piece {
                Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                    Some(rest) => {
                        *left = rest;
                        Some(Ok(Frame::data(bytes)))
                    }
                    None => Some(Err(Cut)),
                },
                Some(Err(cut)) => Some(Err(cut)),
                None if *left > 0 => Some(Err(Cut)),
                None => None,
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Pieces { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Pieces { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

/// Makes the answer into a response. A status or header that cannot go over the wire is the
/// publisher's fault and becomes a 500.
pub(crate) fn response(answer: Answer, is_head: bool) -> Response<ResponseBody> {
    let Answer {
        status,
        headers,
        length,
        body,
    } = answer;
    let status = match StatusCode::from_u16(status) {
        Ok(status) if !status.is_informational() => status,
        _ => return unusable(&format!("the status {status}")),
    };
    let has_no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let sends_body = !is_head && !has_no_body;
    let body = match body {
        _ if !sends_body => ResponseBody::empty(),
        AnswerBody::Whole(bytes) if bytes.is_empty() => ResponseBody::empty(),
        AnswerBody::Whole(bytes) => ResponseBody::Whole(Some(bytes)),
        AnswerBody::Pieces(receiver) => ResponseBody::Pieces {
            receiver,
            left: length,
        },
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return unusable(&format!("the header name {name:?}"));
        };
        // Framing is ours: a body has the length it has.
        if name == CONNECTION || name == TRANSFER_ENCODING || (name == CONTENT_LENGTH && !is_head) {
            continue;
        }
        let Ok(value) = HeaderValue::from_bytes(&wire(&value)) else {
            return unusable(&format!("the value of header {name}"));
        };
        response.headers_mut().append(name, value);
    }
    if !has_no_body && !response.headers().contains_key(CONTENT_LENGTH) {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static("Zodiac"));
    response
}

/// Headers are Latin-1 on the wire, as WSGI has it; what does not fit goes as UTF-8.
fn wire(value: &str) -> Vec<u8> {
    value
        .chars()
        .map(|c| u8::try_from(u32::from(c)))
        .collect::<Result<_, _>>()
        .unwrap_or_else(|_| value.as_bytes().to_vec())
}

fn unusable(what: &str) -> Response<ResponseBody> {
    tracing::error!("{what} cannot go over the wire");
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the page's answer cannot be sent",
    )
}

/// A short answer of the server's own.
pub(crate) fn plain(status: StatusCode, message: &str) -> Response<ResponseBody> {
    let mut response = with_type(
        status,
        "text/plain; charset=utf-8",
        format!("{status}: {message}\n"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A plain answer after which the connection cannot go on: the rest of the request is unread.
pub(crate) fn closing(status: StatusCode, message: &str) -> Response<ResponseBody> {
    let mut response = plain(status, message);
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    text: String,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Whole(Some(Bytes::from(text))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(SERVER, HeaderValue::from_static("Zodiac"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let headers = headers
            .iter()
            .map(|&(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let body = AnswerBody::Whole(Bytes::from_static(b"body"));
        Answer {
            status,
            headers,
            length: 4,
            body,
        }
    }

    #[test]
    fn a_header_that_would_split_the_response_is_a_500() {
        let response = response(answer(200, &[("x-a", "1\r\nset-cookie: b")]), false);
        assert_eq!(response.status(), 500);
        assert!(!response.headers().contains_key("x-a"));
    }

    #[test]
    fn impossible_statuses_are_a_500() {
        for status in [0, 99, 101, 1000] {
            assert_eq!(response(answer(status, &[]), false).status(), 500);
        }
    }

    #[test]
    fn a_wrong_length_of_the_publisher_is_corrected() {
        let response = response(answer(200, &[("content-length", "400")]), false);
        assert_eq!(response.headers()[CONTENT_LENGTH], "4");
    }

    #[test]
    fn latin_1_goes_as_latin_1() {
        let response = response(answer(200, &[("x-name", "é"), ("x-more", "€")]), false);
        assert_eq!(response.headers()["x-name"].as_bytes(), b"\xe9");
        assert_eq!(response.headers()["x-more"].as_bytes(), "€".as_bytes());
    }

    #[test]
    fn answers_without_body_have_no_length() {
        let response = response(answer(204, &[("content-length", "4")]), false);
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert!(response.body().is_end_stream());
    }
}
