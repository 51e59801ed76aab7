//! Refuses request heads that hyper accepts but RFC 9112 forbids.

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request, Uri, Version};

use crate::model::ApiError;

/// The maximum bytes of the request line and the headers; a longer head gets 431.
pub const HEAD_BYTES: usize = 32 * 1024;

/// Checks the target, the `Host` and the length of a head.
///
/// # Errors
/// 400 or 431.
pub fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let (uri, headers) = (request.uri(), request.headers());
    if length(request) > HEAD_BYTES {
        return Err(ApiError::headers_too_large(HEAD_BYTES));
    }
    if *request.method() == Method::CONNECT || uri.path_and_query().is_none() {
        return Err(ApiError::invalid("This server is not a proxy: the request target must be a path, such as /keys."));
    }
    if uri.path() == "*" && *request.method() != Method::OPTIONS {
        return Err(ApiError::invalid("The request target `*` is for OPTIONS only: it must be a path, such as /keys."));
    }
    check_host(request.version(), uri, headers)
}

/// Returns the length of a head in bytes, in the usual form with one space after each colon.
fn length<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let authority = request.uri().authority().map_or(0, |authority| authority.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + authority + target + "  HTTP/1.1\r\n\r\n".len() + headers.sum::<usize>()
}

/// Checks the `Host` (RFC 9112, section 3.2).
fn check_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        // HTTP/1.0 does not require it.
        return if version < Version::HTTP_11 {
            Ok(())
        } else {
            Err(ApiError::invalid("The header `Host` is required."))
        };
    };
    if hosts.next().is_some() {
        return Err(ApiError::invalid("The header `Host` must be given once."));
    }
    let host = host.to_str().ok().filter(|host| host.bytes().all(is_host_byte)).ok_or_else(|| {
        ApiError::invalid("The header `Host` must be a host name or an address, with a port if it needs one.")
    })?;
    match uri.authority() {
        Some(authority) if !is_same(uri, authority, host) => {
            Err(ApiError::invalid("The header `Host` must name the host of the request target."))
        }
        _ => Ok(()),
    }
}

/// Whether a byte may be part of a host and port (RFC 3986), without user information.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&byte)
}

fn is_same(uri: &Uri, authority: &Authority, host: &str) -> bool {
    let default_port = if uri.scheme_str() == Some("https") { ":443" } else { ":80" };
    let plain = |text: &str| -> String {
        let text = text.to_ascii_lowercase();
        text.strip_suffix(default_port).map_or_else(|| text.clone(), str::to_owned)
    };
    plain(authority.as_str()) == plain(host)
}
