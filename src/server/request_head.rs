//! Refuses heads of requests that RFC 9112 does not allow, and that hyper accepts.

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Request, Uri, Version};

use crate::model::ApiError;

/// Bytes of the request line and the headers; a longer head is answered by 431.
pub const HEAD_BYTES: usize = 32 * 1024;

/// Checks the target, the `Host` and the length.
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

/// The bytes of a head as it is usually written: with one space after each colon.
fn length<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let authority = request.uri().authority().map_or(0, |authority| authority.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + authority + target + "  HTTP/1.1\r\n\r\n".len() + headers.sum::<usize>()
}

/// RFC 9112, section 3.2.
fn check_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        // HTTP/1.0 has none.
        return if version < Version::HTTP_11 {
            Ok(())
        } else {
            Err(ApiError::invalid("The header `Host` is required."))
        };
    };
    if hosts.next().is_some() {
        return Err(ApiError::invalid("The header `Host` must be given once."));
    }
    let host = host.to_str().ok().filter(|host| host.bytes().all(is_of_authority)).ok_or_else(|| {
        ApiError::invalid("The header `Host` must be a host name or an address, with a port if it needs one.")
    })?;
    match uri.authority() {
        Some(authority) if !is_same(uri, authority, host) => {
            Err(ApiError::invalid("The header `Host` must name the host of the request target."))
        }
        _ => Ok(()),
    }
}

/// RFC 3986: a host and a port, without what belongs to a user.
fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&byte)
}

fn is_same(uri: &Uri, authority: &Authority, host: &str) -> bool {
    let usual = if uri.scheme_str() == Some("https") { ":443" } else { ":80" };
    let plain = |text: &str| -> String {
        let text = text.to_ascii_lowercase();
        text.strip_suffix(usual).map_or_else(|| text.clone(), str::to_owned)
    };
    plain(authority.as_str()) == plain(host)
}
