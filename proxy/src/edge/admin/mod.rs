//! The admin interface: HTTP/1.1 on a loopback address.
//!
//! What it shows and does stands in [`ROUTES`], which `GET /` lists. Whoever reaches it can drain
//! the sidecar, so that the configuration refuses any address that is not loopback.
//!
//! **Limits:** [`CONNECTIONS_MAX`] connections (others wait in the kernel's queue), a head within
//! [`HEAD_WITHIN`], a body within [`BODY_WITHIN`] and [`BODY_BYTES_MAX`].

mod answer;
mod log;
mod routes;
mod version;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::control::Order;
use super::shared::Shared;
use crate::edge::LogFile;
use crate::logs::Logs;

pub use answer::ROUTES;
use answer::Reply;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Longest body, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;
/// A request's head is waited for this long, the next one of the same connection too.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A body is waited for this long.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// What the interface shows and whom it gives orders.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) logs: Option<Logs>,
    pub(super) log_file: Option<LogFile>,
}

/// Serves until it is aborted.
pub(super) async fn serve(listener: TcpListener, admin: Admin) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let permit = Arc::clone(&permits).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = admin.clone();
                connections.spawn(async move {
                    if let Err(error) = connection(stream, admin).await {
                        tracing::debug!(target: "proxy::admin", %error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // No descriptors left, most likely: give others time to close some.
                tracing::warn!(target: "proxy::admin", %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, admin: Admin) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| respond(request, admin.clone()));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn respond(
    request: Request<Incoming>,
    admin: Admin,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = timeout(BODY_WITHIN, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let reply = match body {
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            admin.answer(&head.method, path, query, &body).await
        }
        Ok(Err(_)) => Reply::text(
            413,
            format!("more than {BODY_BYTES_MAX} bytes, or cut off\n"),
        ),
        Err(_) => Reply::text(408, "the body did not come\n".to_owned()),
    };
    tracing::debug!(
        target: "proxy::admin",
        method = %head.method,
        path = head.uri.path(),
        status = reply.status.as_u16(),
        "answered"
    );
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    let kind = HeaderValue::from_static(reply.kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
