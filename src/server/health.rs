//! Whether the process lives, and whether it should be sent requests.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::api::openapi::Problem;
use crate::model::ApiError;
use crate::store::Db;

/// Whether the server is about to stop.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<watch::Sender<bool>>);

impl Draining {
    /// From now on `/readyz` says no, and streams end.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves once it has begun.
    pub fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.0.subscribe();
        async move {
            // A server that is gone has nothing to wait for either.
            let _ = stopping.wait_for(|begun| *begun).await;
        }
    }
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    #[schema(pattern = "^(ok|ready)$")]
    status: &'static str,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "Service",
    responses((status = 200, description = "It does.", body = Health, example = json!({ "status": "ok" }))),
)]
pub async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether to send requests
///
/// The database answers, and the server is not about to stop.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "Service",
    responses(
        (status = 200, description = "It does, and is not.", body = Health, example = json!({ "status": "ready" })),
        Problem<503>,
    ),
)]
pub async fn ready(db: Db, draining: Draining) -> Response {
    if draining.has_begun() {
        return ApiError::unavailable("The server is about to stop.").into_response();
    }
    match tokio::time::timeout(Duration::from_secs(2), db.ping()).await {
        Ok(Ok(())) => Json(Health { status: "ready" }).into_response(),
        Ok(Err(error)) => ApiError::from(error).into_response(),
        Err(_) => ApiError::unavailable("The database does not answer.").into_response(),
    }
}
