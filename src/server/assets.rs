//! Static files: embedded in the binary, compressed with brotli, under a URL that changes with the content, so that
//! browsers may cache them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use leptos::config::LeptosOptions;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

use crate::model::ApiError;

/// The files that `make build` produces. A debug build reads them from the folder.
#[derive(RustEmbed)]
#[folder = "target/site"]
#[allow_missing = true]
struct Site;

/// The version in the URL: the first 64 bits of the SHA-256 of all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Site::iter().filter(|name| name.starts_with("pkg/")).collect();
    names.sort();
    let mut hash = Sha256::new();
    for file in names.iter().filter_map(|name| Site::get(name)) {
        hash.update(file.metadata.sha256_hash());
    }
    hex::encode(&hash.finalize()[..8])
});

/// Returns the options by which Leptos names the files in a page.
pub fn leptos_options() -> LeptosOptions {
    LeptosOptions::builder()
        .output_name("latchkey")
        .site_root("target/site")
        .site_pkg_dir(format!("pkg/{}", *VERSION))
        .build()
}

/// Whether the browser files were built. Without them the pages have no style and no islands.
pub fn are_built() -> bool {
    Site::get("pkg/latchkey.wasm").is_some()
}

/// `GET /pkg/{version}/{file}`: immutable.
pub async fn versioned(Path((version, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    if version != *VERSION {
        return ApiError::not_found("This file belongs to another version: reload the page.").into_response();
    }
    send(&format!("pkg/{file}"), &headers, "public, max-age=31536000, immutable")
}

/// Returns a file of the root folder, such as `/favicon.svg`.
pub fn public(name: &'static str, headers: HeaderMap) -> Response {
    send(name, &headers, "public, max-age=3600")
}

fn send(name: &str, headers: &HeaderMap, cache: &'static str) -> Response {
    let takes_brotli = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.trim().split_once(';').unwrap_or((coding.trim(), ""));
            name.eq_ignore_ascii_case("br") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
        });
    // `.br` files have no URLs of their own.
    let plain = if std::path::Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("br"))
    {
        None
    } else {
        Site::get(name)
    };
    let Some(plain) = plain else {
        return ApiError::not_found("There is no such file.").into_response();
    };
    let packed = if takes_brotli { Site::get(&format!("{name}.br")) } else { None };
    let mut response_headers = HeaderMap::new();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let kind =
        HeaderValue::from_str(kind.as_ref()).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    response_headers.insert(CONTENT_TYPE, kind);
    response_headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    response_headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if packed.is_some() {
        response_headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    let body = match packed.unwrap_or(plain).data {
        std::borrow::Cow::Borrowed(bytes) => axum::body::Body::from(bytes),
        std::borrow::Cow::Owned(bytes) => axum::body::Body::from(bytes),
    };
    (response_headers, body).into_response()
}
