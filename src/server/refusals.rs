//! Gives the refusals that hyper writes by itself the form of all others.
//!
//! A head that hyper cannot read reaches no service: hyper answers with a status and nothing else, and closes the
//! connection. This stream recognises such an answer on its way out, and writes a whole one in its place.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::layers::{self, ErrorForm};
use super::request_head::HEAD_BYTES;
use crate::model::ApiError;
use crate::web::observe::{self, RequestId};
use crate::web::{Services, problem};

/// A longer first write is not hyper's own.
const LONGEST_REFUSAL: usize = 256;

/// An error answer to a request for `path` that reaches no handler. The connection ends with it, because whatever
/// follows may not be the next request.
pub fn refusal(services: &Services, error: ApiError, path: &str) -> Response {
    let form = match ErrorForm::of(path) {
        // No person sends such a head.
        ErrorForm::Page => ErrorForm::Problem,
        form => form,
    };
    let mut response = layers::failed(error, form);
    observe::mark(&mut response, RequestId::new(&services.entropy), &services.site);
    layers::harden(&mut response);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The stream of a connection.
pub struct Explained<S> {
    stream: S,
    services: Arc<Services>,
    /// Bytes of an answer that are still to be written.
    rest: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    /// Wraps a stream.
    pub fn new(stream: S, services: Arc<Services>) -> Self {
        Self { stream, services, rest: Vec::new() }
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The refusal in the place of hyper's; `None` for every other answer, none of which has such a status and no body.
fn explained(services: &Services, written: &[u8]) -> Option<Vec<u8>> {
    let status: &[u8; 13] = written.first_chunk()?;
    let error = match status {
        b"HTTP/1.1 400 " => ApiError::invalid("The request line or a header is not HTTP/1.1."),
        b"HTTP/1.1 414 " | b"HTTP/1.1 431 " => ApiError::headers_too_large(HEAD_BYTES),
        _ => return None,
    };
    let head = str::from_utf8(written).ok().filter(|head| head.len() <= LONGEST_REFUSAL)?.strip_suffix("\r\n\r\n")?;
    if !head.lines().any(|line| line == "content-length: 0") {
        return None;
    }
    let date = head.lines().find(|line| line.starts_with("date: ")).unwrap_or("date: Thu, 01 Jan 1970 00:00:00 GMT");
    let body = serde_json::to_vec(&error).unwrap_or_default();
    let status = problem::status(&error);
    // The path is in the head that could not be read.
    let mut response = refusal(services, error, "");
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut text = format!("HTTP/1.1 {status}\r\n{date}\r\n").into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    Some(text)
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(context))?;
        match explained(&self.services, bytes) {
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
            Some(text) => {
                self.rest = text;
                // Whatever does not go out now goes out with the flush that follows.
                match self.poll_rest(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(bytes.len())),
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
