//! Liveness and readiness.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tokio::sync::Mutex;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::model::ApiError;
use crate::store::Db;
use crate::web::Services;
use crate::web::openapi::Problem;

/// The time for which the outcome of a test write is reused.
const OUTCOME_LIFETIME: Duration = Duration::from_secs(1);
/// The timeout of a test write; a slower write counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The time of a test write, and its outcome.
type Probe = (Instant, Result<(), &'static str>);

/// Checks whether the database takes writes. Writes at most one row per second, for any number of requests.
#[derive(Debug, Clone)]
pub struct Readiness {
    db: Db,
    last: Arc<Mutex<Option<Probe>>>,
}

impl Readiness {
    /// Creates the check, without a test write.
    pub fn new(db: Db) -> Self {
        Self { db, last: Arc::default() }
    }

    /// Returns the outcome of the last test write, or of a new one. The error is a text for the operator.
    async fn check(self) -> Result<(), &'static str> {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = *last
            && at.elapsed() < OUTCOME_LIFETIME
        {
            return outcome;
        }
        let outcome = match tokio::time::timeout(WRITE_TIMEOUT, self.db.check_writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "not ready: the database accepts no writes");
                Err(error.public_reason())
            }
            Err(_) => {
                tracing::error!("not ready: the database did not accept a write within {} s", WRITE_TIMEOUT.as_secs());
                Err("The database does not answer. Try again in a moment.")
            }
        };
        *last = Some((Instant::now(), outcome));
        outcome
    }
}

/// The state of the server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    #[schema(pattern = "^(ok|ready)$")]
    status: &'static str,
}

/// Liveness
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "Server",
    responses(
        (status = 200, description = "The process is running.", body = Health, example = json!({ "status": "ok" })),
    ),
)]
pub async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Readiness
///
/// Ready means that the database takes writes and the server is not about to stop.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "Server",
    responses(
        (status = 200, description = "The server is ready.", body = Health, example = json!({ "status": "ready" })),
        Problem<503>,
    ),
)]
pub async fn ready(State(services): State<Services>, Extension(readiness): Extension<Readiness>) -> Response {
    if services.stopping.is_cancelled() {
        return ApiError::unavailable("The server is about to stop.").into_response();
    }
    // In a separate task: a client that disconnects must not cancel the write.
    let checked = tokio::spawn(readiness.check().in_current_span()).await;
    match checked.unwrap_or(Err("The database could not be tested.")) {
        Ok(()) => Json(Health { status: "ready" }).into_response(),
        Err(reason) => ApiError::unavailable(reason).into_response(),
    }
}
