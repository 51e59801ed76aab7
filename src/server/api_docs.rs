//! The OpenAPI document of all operations.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use serde_json::Value;

use super::router;
use crate::web::openapi;

static JSON: LazyLock<Value> = LazyLock::new(|| {
    let mut document = router::operations();
    openapi::complete(&mut document);
    serde_json::to_value(document).unwrap_or_default()
});

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", *JSON));

/// Returns the document, for the API reference page.
pub fn json() -> &'static Value {
    &JSON
}

/// OpenAPI document
///
/// Returns this document (OpenAPI 3.1). `/docs/api` is the same as a page.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "Server",
    responses((status = 200, description = "The document.", body = Object)),
)]
pub async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], TEXT.as_str())
}
