//! Whether the process lives, and whether it should be sent requests.

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

/// The age at which the outcome of a test write is out of date.
const OUTCOME_LIFETIME: Duration = Duration::from_secs(1);
/// A test write that takes longer has failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// When a write was tried, and what came of it.
type Probe = (Instant, Result<(), &'static str>);

/// Whether the database takes writes. However many ask, one row is written a second.
#[derive(Debug, Clone)]
pub struct Readiness {
    db: Db,
    last: Arc<Mutex<Option<Probe>>>,
}

impl Readiness {
    /// Knows nothing yet.
    pub fn new(db: Db) -> Self {
        Self { db, last: Arc::default() }
    }

    /// The outcome of the last test write, or of a new one; in words for an operator.
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
                tracing::error!(%error, "not ready: the database takes no writes");
                Err(error.public_reason())
            }
            Err(_) => {
                tracing::error!("not ready: the database did not take a write within {} s", WRITE_TIMEOUT.as_secs());
                Err("The database does not answer. Try again in a moment.")
            }
        };
        *last = Some((Instant::now(), outcome));
        outcome
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
/// The database takes writes, and the server is not about to stop.
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
pub async fn ready(State(services): State<Services>, Extension(readiness): Extension<Readiness>) -> Response {
    if services.stopping.is_cancelled() {
        return ApiError::unavailable("The server is about to stop.").into_response();
    }
    // In a task of its own: a client that goes away must not end the write in the middle.
    let checked = tokio::spawn(readiness.check().in_current_span()).await;
    match checked.unwrap_or(Err("The database could not be tested.")) {
        Ok(()) => Json(Health { status: "ready" }).into_response(),
        Err(reason) => ApiError::unavailable(reason).into_response(),
    }
}
