//! The threads on which pages are computed.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{io, thread};

use bytes::Bytes;
use publisher::{Body, Request, Response};
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::Publish;
use crate::options::STREAM_PIECES_MAX;
use crate::queue::{Job, Queue};
use crate::response::{Answer, AnswerBody, Cut};

/// Starts `count` workers. The receiver ends when the last of them has left.
pub(crate) fn start<P: Publish + ?Sized + 'static>(
    count: usize,
    queue: &Arc<Queue>,
    publish: &Arc<P>,
) -> io::Result<mpsc::Receiver<()>> {
    let (alive, gone) = mpsc::channel(1);
    for number in 1..=count {
        let (queue, publish, alive) = (queue.clone(), publish.clone(), alive.clone());
        thread::Builder::new()
            .name(format!("worker-{number}"))
            // The default would be too little for pages that include each other deeply, and a
            // stack that overflows ends the process.
            .stack_size(publisher::STACK_BYTES)
            .spawn(move || {
                while let Some(job) = queue.pop() {
                    work(publish.as_ref(), job);
                    queue.done();
                }
                drop(alive);
            })?;
    }
    Ok(gone)
}

/// Answers one request. Whatever panics in there ends here.
fn work<P: Publish + ?Sized>(publish: &P, job: Job) {
    let Job { request, reply } = job;
    let response = catch_unwind(AssertUnwindSafe(|| publish.publish(&request)));
    let Response { status, headers, body } = response.unwrap_or_else(|panic| {
        error!(request = %request.id, path = %request.path, panic = text(&*panic), "a page panicked");
        failure()
    });
    let length = body.len();
    let answer = |body| Answer {
        status,
        headers,
        length,
        body,
    };
    // A send fails when the client has hung up: then nobody misses the answer.
    match body {
        Body::Bytes(bytes) => {
            let _ = reply.send(answer(AnswerBody::Whole(Bytes::from(bytes))));
        }
        Body::Stream { chunks, .. } if request.method == "HEAD" => {
            drop(chunks);
            let _ = reply.send(answer(AnswerBody::Whole(Bytes::new())));
        }
        Body::Stream { chunks, .. } => {
            let (pieces, receiver) = mpsc::channel(STREAM_PIECES_MAX);
            if reply.send(answer(AnswerBody::Pieces(receiver))).is_ok() {
                stream(&request, chunks, &pieces);
            }
        }
    }
}

/// Sends the pieces as fast as the client takes them. The receiver goes away when the client does,
/// or when it has taken nothing for too long; that ends the stream and frees this worker.
fn stream<E: Display>(
    request: &Request,
    mut chunks: impl Iterator<Item = Result<Vec<u8>, E>>,
    pieces: &mpsc::Sender<Result<Bytes, Cut>>,
) {
    loop {
        let cut = match catch_unwind(AssertUnwindSafe(|| chunks.next())) {
            Ok(None) => return,
            Ok(Some(Ok(chunk))) => {
                if pieces.blocking_send(Ok(Bytes::from(chunk))).is_err() {
                    return;
                }
                continue;
            }
            Ok(Some(Err(error))) => error.to_string(),
            Err(panic) => format!("panic: {}", text(&*panic)),
        };
        warn!(request = %request.id, path = %request.path, error = cut, "an answer was cut short");
        let _ = pieces.blocking_send(Err(Cut));
        return;
    }
}

fn failure() -> Response {
    Response {
        status: 500,
        headers: vec![("content-type".into(), "text/plain; charset=utf-8".into())],
        body: Body::Bytes(b"500 Internal Server Error: the page could not be computed\n".to_vec()),
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
