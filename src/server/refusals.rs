//! Replaces the refusals that hyper writes itself by problem details.
//!
//! A head that hyper cannot parse reaches no service: hyper answers with a status and an empty body, and closes the
//! connection. The stream [`RefusalRewriter`] recognises such a response on its way out, and writes a full one instead.

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

/// The maximum length of a refusal by hyper; a longer write is passed on unchanged.
const MAX_REFUSAL_BYTES: usize = 256;

/// Returns an error response to a request for `path` that reaches no handler. The response closes the connection,
/// because the bytes that follow may not be the next request.
pub fn refusal(services: &Services, error: ApiError, path: &str) -> Response {
    let form = match ErrorForm::of(path) {
        // Browsers do not send such a head.
        ErrorForm::Page => ErrorForm::Problem,
        form => form,
    };
    let mut response = layers::failed(error, form);
    observe::set_common_headers(&mut response, RequestId::new(&services.entropy), &services.site);
    layers::set_browser_headers(&mut response);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The stream of a connection, which replaces hyper's own refusals.
pub struct RefusalRewriter<S> {
    stream: S,
    services: Arc<Services>,
    /// Bytes of a refusal that are not written yet.
    rest: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> RefusalRewriter<S> {
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

/// Returns the replacement of a refusal by hyper; `None` for any other write. No response of ours has such a status and
/// an empty body.
fn replacement(services: &Services, written: &[u8]) -> Option<Vec<u8>> {
    let status: &[u8; 13] = written.first_chunk()?;
    let error = match status {
        b"HTTP/1.1 400 " => ApiError::invalid("The request line or a header is not HTTP/1.1."),
        b"HTTP/1.1 414 " | b"HTTP/1.1 431 " => ApiError::headers_too_large(HEAD_BYTES),
        _ => return None,
    };
    let head = str::from_utf8(written).ok().filter(|head| head.len() <= MAX_REFUSAL_BYTES)?.strip_suffix("\r\n\r\n")?;
    if !head.lines().any(|line| line == "content-length: 0") {
        return None;
    }
    let date = head.lines().find(|line| line.starts_with("date: ")).unwrap_or("date: Thu, 01 Jan 1970 00:00:00 GMT");
    let body = serde_json::to_vec(&error).unwrap_or_default();
    let status = problem::status(&error);
    // Without a path, which is in the unreadable head.
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

impl<S: AsyncRead + Unpin> AsyncRead for RefusalRewriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RefusalRewriter<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(context))?;
        match replacement(&self.services, bytes) {
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
            Some(text) => {
                self.rest = text;
                // hyper flushes next, which writes the remaining bytes.
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
