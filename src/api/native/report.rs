//! `POST /v1/keys/usage`: a service that caches checks reports how often it accepted each key.

use std::collections::HashMap;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{ApiError, KeyId, Timestamp};
use crate::security_log::authenticated;
use crate::web::client_address::ClientAddress;
use crate::web::fields::Fields;
use crate::web::json::Json;
use crate::web::openapi::Problem;
use crate::web::{Services, fast_path, time};

/// The maximum number of keys in a report; more is a 400.
const MAX_KEYS: usize = 500;
/// The maximum number of uses of one key in a report, more than is possible between two reports; more is a 400.
const MAX_USES_PER_KEY: u32 = 1_000_000_000;
/// The maximum number of uses of all keys in a report; more is a 400.
const MAX_TOTAL_USES: u64 = 10_000_000_000;
/// The maximum age of a use, in milliseconds: a day. An older use counts as this old.
const MAX_AGE_MS: i64 = 24 * 3_600_000;

/// A report of the uses of keys.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Report {
    /// One entry per key, at most 500. The sum of the counts is at most 10,000,000,000.
    #[schema(max_items = 500)]
    uses: Vec<Use>,
}

/// The uses of one key.
#[derive(Debug, Deserialize, ToSchema)]
struct Use {
    #[schema(pattern = "^ak_[0-9a-f]{16}$")]
    key_id: String,
    /// The number of uses since the last report.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    count: u32,
    /// The time of the last use. The default is now; a time more than a day ago counts as a day ago.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
}

/// The outcome of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reported {
    /// The number of keys that belong to the caller's organisation and were counted.
    counted: usize,
}

/// Report usage
///
/// For services that cache the outcome of checks: reports how often the service accepted each key from its cache. Keys
/// of other organisations are ignored.
#[utoipa::path(
    post,
    path = "/v1/keys/usage",
    operation_id = "reportKeyUsage",
    tag = "Key verification",
    request_body(content = Report, example = json!({ "uses": [
        { "key_id": "ak_8f3a1b2c4d5e6f7a", "count": 17, "last_used_at": "2026-03-01T12:00:00Z" },
    ] })),
    responses(
        (status = 200, description = "Counted.", body = Reported, example = json!({ "counted": 1 })),
        Problem<400>, Problem<401>, Problem<403>, Problem<413>, Problem<415>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub(super) async fn report(
    State(services): State<Services>,
    parts: Parts,
    body: Result<Json<Report>, ApiError>,
) -> Result<Answer<Reported>, ApiError> {
    let organisation =
        fast_path::authenticate_service(&services, &parts.headers, ClientAddress::of(&parts, &services.site)).await?;
    authenticated();
    let Json(report) = body?;
    let now = services.clock.now();
    let mut fields = Fields::default();
    if report.uses.len() > MAX_KEYS {
        return Err(ApiError::invalid_field("uses", format!("must have at most {MAX_KEYS} entries")));
    }
    let mut uses = Vec::with_capacity(report.uses.len());
    let mut places = HashMap::with_capacity(report.uses.len());
    for (place, used) in report.uses.iter().enumerate() {
        let id = fields.take(&format!("uses[{place}].key_id"), used.key_id.parse::<KeyId>());
        if let Some(id) = id
            && let Some(first) = places.insert(id, place)
        {
            let wrong = format!("must not be that of another entry: `uses[{first}]` has it as well");
            fields.take::<(), _>(&format!("uses[{place}].key_id"), Err(wrong));
        }
        let at = match used.last_used_at.as_deref() {
            None => Some(now),
            Some(text) => fields.take(&format!("uses[{place}].last_used_at"), moment(text, now)),
        };
        if !(1..=MAX_USES_PER_KEY).contains(&used.count) {
            let wrong = format!("must be a number from 1 to {MAX_USES_PER_KEY}");
            fields.take::<(), _>(&format!("uses[{place}].count"), Err(wrong));
        }
        uses.extend(id.zip(at).map(|(id, at)| (id, used.count, at)));
    }
    if report.uses.iter().map(|used| u64::from(used.count)).sum::<u64>() > MAX_TOTAL_USES {
        let wrong = format!("must have counts of at most {MAX_TOTAL_USES} together: send several reports");
        fields.take::<(), _>("uses", Err(wrong));
    }
    if !fields.are_right() {
        return Err(fields.error());
    }
    let counted = services.usage.report(organisation, &uses).await?;
    Ok(Answer(Reported { counted }))
}

/// Parses a time and clamps it to the last day. A time in the future counts as now, because clocks differ.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    let at = time::parse(text).ok_or("must be a time like 2026-03-01T12:00:00Z")?;
    Ok(at.clamp(now.plus(-MAX_AGE_MS), now))
}
