//! The listener: bounded connections, bounded headers, and an end that loses no request.

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

use super::refusals::{Explained, refusal};
use super::request_head::{self, HEAD_BYTES};
use crate::api::{hooksentry, native};
use crate::web::client_address::Peer;
use crate::web::{Answering, Services};

/// How often a connection is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(20);
/// A connection that was not in use for so many looks is closed: its client is idle, or does not finish
/// its headers or its body, or does not read the answer. Longer than any request may take.
const QUIET_LOOKS: u32 = 3;
/// How long requests that run may go on after the signal to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

/// Serves until `stop` resolves, then lets what runs finish.
pub async fn serve(
    listener: TcpListener,
    services: Arc<Services>,
    router: Router,
    max_connections: u32,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(max_connections as usize));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        // A place first: when there is none, connections wait in the system's queue.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files: it passes when some are closed.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (services, router, watcher) = (Arc::clone(&services), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, peer, &services, &router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// One connection, to its end.
async fn connection(stream: TcpStream, peer: SocketAddr, services: &Arc<Services>, router: &Router, watcher: Watcher) {
    // Answers are written whole; waiting to fill packets only delays them.
    let _ = stream.set_nodelay(true);
    let active = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        active.store(true, Ordering::Relaxed);
        if let Err(error) = request_head::check(&request) {
            tracing::debug!(status = error.status, error = error.detail, "a request head was refused");
            let refused: Answering<'_> = Box::pin(ready(Ok(refusal(services, error, request.uri().path()))));
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
                Box::pin(answer.map_ok(|answer| answer.map(|body| while_it_streams(body, active))))
            }
        }
    });
    let mut http = http1::Builder::new();
    // Its own time limit for headers costs a timer a request; ours costs one a look.
    // And an answer that is small, as most are, is sooner copied than sent in two pieces.
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES).writev(false);
    let connection =
        watcher.watch(http.serve_connection(TokioIo::new(Explained::new(stream, Arc::clone(services))), service));
    match while_active(&active, connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        None => tracing::debug!("a quiet connection was closed"),
    }
}

/// An answer that may be long, each piece of which shows that the connection is in use.
fn while_it_streams(body: Body, active: Arc<AtomicBool>) -> Body {
    Body::new(body.map_frame(move |frame| {
        active.store(true, Ordering::Relaxed);
        frame
    }))
}

/// Waits for the end of a connection; `None` if it was not in use for too long.
async fn while_active<C: Future>(active: &AtomicBool, connection: C) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut quiet = 0;
    while quiet < QUIET_LOOKS {
        if let Ok(ended) = tokio::time::timeout(CHECK_EVERY, connection.as_mut()).await {
            return Some(ended);
        }
        quiet = if active.swap(false, Ordering::Relaxed) { 0 } else { quiet + 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_uses_is_closed_after_a_minute() {
        let began = Instant::now();
        assert_eq!(while_active(&AtomicBool::new(false), std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), CHECK_EVERY * QUIET_LOOKS);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_used_now_and_then_is_not() {
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
