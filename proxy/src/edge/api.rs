//! The application API on 13330: HTTP/1.1, POST, JSON in and out.
//!
//! An answer has status 200 also when it is a refusal: SOFARPC 5.13.2 reads the body of no other
//! one, so that the message would be lost.
//!
//! **Limits:** [`CONNECTIONS_MAX`] connections (others wait in the kernel's queue), a head within
//! [`HEAD_WITHIN`], a body within [`BODY_WITHIN`] and [`BODY_BYTES_MAX`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use meshproof_wire::mesh_api::{Answer, Operation};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;

/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request's head is waited for this long, the next one of the same connection too.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// A body is waited for this long.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// One call, on its way to the one who answers.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) body: Bytes,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Serves until `stop` changes: then the listener is closed, calls under way are answered, idle
/// connections are closed, and it returns. Ending it earlier cuts every connection.
pub(super) async fn serve(
    listener: TcpListener,
    asked: mpsc::Sender<Asked>,
    mut stop: watch::Receiver<()>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accept => accepted,
            _ = stop.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptors left, most likely: give others time to close some.
                tracing::warn!(target: "proxy::api", %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (asked, stop) = (asked.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, asked, stop).await {
                tracing::debug!(target: "proxy::api", %error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    asked: mpsc::Sender<Asked>,
    mut stop: watch::Receiver<()>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| respond(request, asked.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return ended,
        _ = stop.changed() => served.as_mut().graceful_shutdown(),
    }
    served.await
}

async fn respond(
    request: Request<Incoming>,
    asked: mpsc::Sender<Asked>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, answer) = match handle(request, &asked).await {
        Ok(answer) => (StatusCode::OK, answer),
        Err((status, why)) => {
            tracing::warn!(target: "proxy::api", %status, why, "request refused");
            let answer = Answer {
                error_message: why,
                ..Answer::default()
            };
            (status, answer)
        }
    };
    let body = serde_json::to_vec(&answer).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let post = hyper::header::HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, post);
    }
    Ok(response)
}

async fn handle(
    request: Request<Incoming>,
    asked: &mpsc::Sender<Asked>,
) -> Result<Answer, (StatusCode, String)> {
    let path = request.uri().path();
    let Some(operation) = Operation::of_path(path) else {
        let known: Vec<&str> = Operation::ALL.iter().map(|known| known.path()).collect();
        return Err((
            StatusCode::NOT_FOUND,
            format!(
                "there is no `{}`, expected one of {}",
                path.escape_debug(),
                known.join(", ")
            ),
        ));
    };
    if request.method() != Method::POST {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            format!("`{path}` was asked by {}, expected POST", request.method()),
        ));
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = timeout(BODY_WITHIN, body).await.map_err(|_| {
        (
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", BODY_WITHIN.as_secs()),
        )
    })?;
    let body = body.map_err(|error| {
        (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body cannot be read: {error}, expected at most {BODY_BYTES_MAX} bytes"),
        )
    })?;
    let (answer, answered) = oneshot::channel();
    let asking = Asked {
        operation,
        body: body.to_bytes(),
        answer,
    };
    let ends = || {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the sidecar is ending, ask its successor".to_owned(),
        )
    };
    asked.send(asking).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())
}
