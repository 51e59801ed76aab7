//! `GET /v1/cluster`: the nodes of the database, for operators.

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

/// The nodes of the database.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Cluster {
    /// The nodes, oldest first. A single server is listed as one node.
    nodes: Vec<Node>,
    /// The sequence number of the last change of a key.
    last_change: i64,
    /// The id of the database that counts the changes.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    epoch: String,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    /// The id of the node, new at each start.
    #[schema(pattern = "^node_[0-9a-f]{16}$")]
    id: String,
    name: String,
    version: String,
    /// The start time, by the node's clock.
    #[schema(format = DateTime)]
    started_at: String,
    /// `live`, or `gone`: the lease has ended, and the node answers nothing from its cache.
    #[schema(pattern = "^(live|gone)$")]
    state: &'static str,
    /// The time for which the node may still trust its cache without a renewal; null for a single server, which needs
    /// no lease.
    #[schema(required)]
    lease_milliseconds: Option<i64>,
    /// The sequence number of the last change that the node has applied to its cache.
    heard: i64,
    /// The number of changes that the node has not applied yet.
    lag: i64,
    /// Whether this node sent the response.
    is_self: bool,
    /// Whether the node reaches its Redis; null without Redis.
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

/// Cluster nodes
///
/// Only for operators of the server, such as the owner of its first account. A revocation is answered once every `live`
/// node has dropped the key.
#[utoipa::path(
    get,
    path = "/v1/cluster",
    operation_id = "showCluster",
    tag = "Server",
    responses(
        (status = 200, description = "The nodes.", body = Cluster, example = json!({
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
        return Err(ApiError::forbidden("Only operators of the server may see this."));
    }
    Ok(Json(services.changes.nodes().await?.into()))
}
