//! `GET /v1/cluster`: who serves the database, for operators.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cluster::{NodeState, Nodes};
use crate::domain::Action;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;
use crate::web::openapi::Problem;
use crate::web::time::seconds;

/// The servers of the database.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    /// Oldest first. Where there is only one server, that one.
    nodes: Vec<Node>,
    /// The number of the last change of a key.
    last_change: i64,
    /// Which database that number is of.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    epoch: String,
}

/// A server.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    /// Another one at each start.
    #[schema(pattern = "^node_[0-9a-f]{16}$")]
    id: String,
    name: String,
    version: String,
    /// By its own clock.
    #[schema(format = DateTime)]
    started_at: String,
    /// `live`, or `gone`: then it answers nothing from its memory.
    #[schema(pattern = "^(live|gone)$")]
    state: &'static str,
    /// How long it may still go by its memory if nothing more is heard of it; null for an only server, which always may.
    #[schema(required)]
    lease_milliseconds: Option<i64>,
    /// The last change that it has dropped from its memory.
    heard: i64,
    /// How many changes it has not heard of.
    lag: i64,
    /// Whether it is the one that answers this.
    is_self: bool,
    /// Whether its Redis answers; null without one.
    #[schema(required)]
    redis: Option<bool>,
}

impl From<Nodes> for Cluster {
    fn from(found: Nodes) -> Self {
        let node = |node: NodeState| Node {
            id: node.id.to_string(),
            name: node.name,
            version: node.version,
            started_at: seconds(node.started_at),
            state: if node.lease_left.is_zero() { "gone" } else { "live" },
            lease_milliseconds: i64::try_from(node.lease_left.as_millis()).ok(),
            heard: node.heard,
            lag: found.last_change - node.heard,
            is_self: node.is_self,
            redis: node.redis,
        };
        Self {
            nodes: found.nodes.into_iter().map(node).collect(),
            last_change: found.last_change,
            epoch: format!("{:016x}", found.epoch),
        }
    }
}

/// The servers of the database
///
/// For the operator of the server, whose account was its first. A revocation is answered when every node that is `live` has heard of it.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    operation_id = "showCluster",
    tag = "Service",
    responses(
        (status = 200, description = "All of them.", body = Cluster, example = json!({
            "nodes": [{
                "id": "node_8f3a1b2c4d5e6f7a", "name": "web-1:3000", "version": "0.1.0", "started_at": "2026-03-01T12:00:00Z",
                "state": "live", "lease_milliseconds": 4700, "heard": 142, "lag": 0, "is_self": true, "redis": true,
            }],
            "last_change": 142,
            "epoch": "5b6c7d8e9f0a1b2c",
        })),
        Problem<401>, Problem<403>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = [])),
)]
pub(super) async fn show(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
) -> Result<Json<Cluster>, ApiError> {
    if !person.may(Action::SeeServer) {
        return Err(ApiError::forbidden("Only the operator of the server, whose account was its first, may see this."));
    }
    Ok(Json(services.changes.nodes().await?.into()))
}
