//! The listener: limits connections and headers, closes idle connections, and finishes running requests at the end.

use std::future::ready;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::TryFutureExt;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::refusals::{RefusalRewriter, refusal};
use super::request_head::{self, HEAD_BYTES};
use crate::api::{hooksentry, native};
use crate::web::client_address::Peer;
use crate::web::{ResponseFuture, Services};

/// The interval of the idle checks of a connection.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that is idle in this many checks in a row is closed: the client sends nothing, does not finish its
/// headers or body, or does not read the response. Together the checks take longer than any request may.
const MAX_IDLE_CHECKS: u32 = 3;
/// The time for running requests after the signal to stop; slower ones are cut off.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until `stop` resolves, then waits for running requests.
pub async fn serve(
    listener: TcpListener,
    services: Arc<Services>,
    router: Router,
    max_connections: u32,
    stop: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(max_connections as usize));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        // Acquires a permit before accepting: beyond the limit, connections wait in the system's queue.
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually too many open files, which ends when some are closed.
                tracing::warn!(%error, "cannot accept a connection; will retry");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (services, router, watcher) = (Arc::clone(&services), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, peer, &services, &router, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "shutdown: some requests did not finish within {} s; their connections are closed",
            SHUTDOWN_TIMEOUT.as_secs()
        );
    }
}

/// Serves one connection until it ends.
async fn connection(stream: TcpStream, peer: SocketAddr, services: &Arc<Services>, router: &Router, watcher: Watcher) {
    // Responses are written whole, so Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let active = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        active.store(true, Ordering::Relaxed);
        if let Err(error) = request_head::check(&request) {
            tracing::debug!(status = error.status, error = error.detail, "a request head was refused");
            let refused: ResponseFuture<'_> = Box::pin(ready(Ok(refusal(services, error, request.uri().path()))));
            return refused;
        }
        let fast = native::fast_path(services, Peer(peer), request);
        match fast.or_else(|request| hooksentry::fast_path(services, Peer(peer), request)) {
            Ok(answer) => answer,
            Err(request) => {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                let answer = router.clone().oneshot(request);
                let active = Arc::clone(&active);
                Box::pin(answer.map_ok(|answer| answer.map(|body| mark_active(body, active))))
            }
        }
    });
    let mut http = http1::Builder::new();
    // hyper's header timeout costs a timer per request; our idle check costs one per interval.
    // No vectored writes: most responses are small, and copying one is faster than sending two pieces.
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES).writev(false);
    let connection =
        watcher.watch(http.serve_connection(TokioIo::new(RefusalRewriter::new(stream, Arc::clone(services))), service));
    match while_active(&active, connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection failed"),
        None => tracing::debug!("an idle connection was closed"),
    }
}

/// Wraps a response body that may be long: each piece marks the connection as active.
fn mark_active(body: Body, active: Arc<AtomicBool>) -> Body {
    Body::new(body.map_frame(move |frame| {
        active.store(true, Ordering::Relaxed);
        frame
    }))
}

/// Waits for the end of a connection; `None` if it was idle for too long.
async fn while_active<C: Future>(active: &AtomicBool, connection: C) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut idle_checks = 0;
    while idle_checks < MAX_IDLE_CHECKS {
        if let Ok(ended) = tokio::time::timeout(IDLE_CHECK_INTERVAL, connection.as_mut()).await {
            return Some(ended);
        }
        idle_checks = if active.swap(false, Ordering::Relaxed) { 0 } else { idle_checks + 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_a_minute() {
        let began = Instant::now();
        assert_eq!(while_active(&AtomicBool::new(false), std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), IDLE_CHECK_INTERVAL * MAX_IDLE_CHECKS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_used_every_39_s_stays_open() {
        let active = AtomicBool::new(false);
        let used = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(39)).await;
                active.store(true, Ordering::Relaxed);
            }
        };
        assert_eq!(while_active(&active, used).await, Some(()));
    }
}
