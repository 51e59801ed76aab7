//! The response of every stream of server-sent events.

use std::convert::Infallible;
use std::future::ready;

use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::sse::{Event, Sse};
use futures::{Stream, StreamExt};

/// Headers of a stream of server-sent events.
type Headers = [(HeaderName, HeaderValue); 2];

/// Returns a stream of server-sent events and its headers, which forbid caching and buffering.
///
/// The stream begins with a comment, sent at once: Firefox opens an `EventSource` when the first bytes of the body
/// arrive, not when the headers do.
pub fn event_stream<S>(events: S) -> (Headers, Sse<impl Stream<Item = Result<Event, Infallible>>>)
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let opening = futures::stream::once(ready(Ok(Event::default().comment("open"))));
    let headers = [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx buffers responses by default.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Sse::new(opening.chain(events)))
}
