//! The cluster page: the servers of the database, their leases, and their lag behind the change log.

use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::{ServerTabs, operators_only};
use crate::app::kit::{Frame, Moment, Page, Section, ago_or_date, thousands};
use crate::app::links::SERVER;
use crate::app::shell::{Answer, Document};
use crate::cluster::{LEASE, NodeState, Nodes};
use crate::model::{ApiError, Timestamp};
use crate::web::Services;
use crate::web::auth::SignedIn;

/// `GET /server`.
///
/// # Errors
/// 401 without a session, 403 for a person that is not an operator, 503 when the database fails.
pub async fn server(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    parts: Parts,
) -> Result<Answer, ApiError> {
    operators_only(&person)?;
    let nodes = services.changes.nodes().await?;
    let now = services.clock.now();
    let frame = Frame::of(person, &parts);
    Ok(Document::new("Server", move || view! { <ServerPage frame nodes now/> }).into())
}

#[component]
fn ServerPage(frame: Frame, nodes: Nodes, now: Timestamp) -> AnyView {
    let last_change = nodes.last_change;
    let changes = match last_change {
        0 => "No key has been changed or revoked yet.".to_owned(),
        1 => "1 change of a key so far.".to_owned(),
        more => format!("{} changes of keys so far.", thousands(more)),
    };
    let rows = nodes.nodes.into_iter().map(|node| view! { <Row node last_change now/> }).collect_view();
    view! {
        <Page frame section=Section::Server>
            <div class="page-head">
                <div>
                    <h1>"Cluster"</h1>
                    <p class="lead">
                        "The servers of this database. A revocation is confirmed once every live server has dropped "
                        "the key. It waits for a server that does not respond until that server’s lease has expired, "
                        "at most " {LEASE.as_secs()} " seconds."
                    </p>
                </div>
                <a class="button" href=SERVER>"Refresh"</a>
            </div>
            <div class="filters"><ServerTabs current=SERVER/></div>
            <table class="keys-table nodes" role="table" aria-label="Servers">
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="name">"Server"</th>
                        <th role="columnheader" scope="col">"Sync"</th>
                        <th role="columnheader" scope="col">"Redis"</th>
                        <th role="columnheader" scope="col">"Lease"</th>
                        <th role="columnheader" scope="col">"Started"</th>
                        <th role="columnheader" scope="col">"State"</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
            </table>
            <p class="table-note">{changes}</p>
        </Page>
    }
    .into_any()
}

#[component]
fn Row(node: NodeState, last_change: i64, now: Timestamp) -> AnyView {
    let is_live = !node.lease_left.is_zero();
    // A SQLite server is the only one, and needs no lease and no id.
    let is_one_of_several = node.lease_left != Duration::MAX;
    let sync = match last_change - node.heard {
        0 => "Up to date".to_owned(),
        1 => "1 change behind".to_owned(),
        lag => format!("{} changes behind", thousands(lag)),
    };
    let lease = match node.lease_left {
        Duration::MAX => "Not needed".to_owned(),
        left if left.is_zero() => "Expired".to_owned(),
        left => format!("{}.{} s left", left.as_secs(), left.subsec_millis() / 100),
    };
    let redis = match node.redis {
        None => "Not configured",
        Some(true) => "Connected",
        Some(false) => "Unreachable",
    };
    let (state_class, state) = if is_live { ("state active", "Live") } else { ("state revoked", "Gone") };
    view! {
        <tr role="row" class=(!is_live).then_some("ended")>
            <th role="rowheader" scope="row" class="name">
                <span class="title"><bdi>{node.name}</bdi> {(is_one_of_several && node.is_self).then_some(" (this server)")}</span>
                {is_one_of_several.then(|| view! { <code class="sub">{node.id.to_string()}</code> })}
            </th>
            <td role="cell" class="scopes" data-label="Sync">{sync}</td>
            <td role="cell" class="requests" data-label="Redis">{redis}</td>
            <td role="cell" class="used" data-label="Lease">{lease}</td>
            <td role="cell" class="created" data-label="Started">
                <Moment at=node.started_at words=ago_or_date(now, node.started_at)/>
                <span class="sub">"version " {node.version}</span>
            </td>
            <td role="cell" class="state-cell"><span class=state_class>{state}</span></td>
        </tr>
    }
    .into_any()
}
