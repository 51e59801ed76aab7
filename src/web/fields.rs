//! What the fields of a key may be, in whatever contract they come.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};

use super::time::{parse, seconds};
use crate::model::{ApiError, FieldError, Quota, RateLimit, Timestamp};

/// The most bytes of metadata, as JSON.
const METADATA_LIMIT: usize = 4 * 1024;
/// The most networks of an allowlist.
const MOST_NETWORKS: usize = 100;
/// The longest window of a rate limit: a day.
const LONGEST_WINDOW: u32 = 24 * 3600;
/// The largest rate limit, which leaves the arithmetic room.
const LARGEST_RATE: u32 = 1_000_000_000;

/// Collects what is wrong with a request, so that one answer says it all.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Notes what is wrong with a field.
    pub fn take<T, E: ToString>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.0.push(FieldError::new(field, error))).ok()
    }

    /// A 400 with all of it.
    pub fn error(self) -> ApiError {
        ApiError::invalid_fields(self.0)
    }

    /// Whether nothing is wrong.
    pub fn are_right(&self) -> bool {
        self.0.is_empty()
    }
}

/// The moment from which a key is refused.
///
/// # Errors
/// What would be right.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    match parse(text) {
        None => Err("must be a time like 2026-03-01T12:00:00Z"),
        Some(at) if at <= now => Err("must be in the future"),
        // Late on the last day in another zone: RFC 3339 cannot say it in UTC.
        Some(at) if seconds(at).is_empty() => Err("must be before the year 10000"),
        Some(at) => Ok(at),
    }
}

/// An allowlist.
///
/// # Errors
/// What would be right.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    if texts.is_empty() {
        return Err("must name at least one network, or be left out".to_owned());
    }
    if texts.len() > MOST_NETWORKS {
        return Err(format!("must name at most {MOST_NETWORKS} networks"));
    }
    texts
        .iter()
        .map(|text| {
            let network =
                text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
            network.map(|network| canonical(network.trunc())).map_err(|_| {
                let shown: String = text.chars().take(60).collect();
                format!("`{shown}` is not a network: write 203.0.113.0/24 or 2001:db8::/32")
            })
        })
        .collect()
}

/// Addresses are compared in their shortest form, so an IPv4 network in IPv6 clothes is undressed.
fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - 96).ok())
            .map_or(network, IpNet::V4),
        _ => network,
    }
}

/// A rate limit within its bounds.
///
/// # Errors
/// What would be right.
pub fn rate_limit(rate: RateLimit) -> Result<RateLimit, String> {
    if rate.limit == 0 || rate.limit > LARGEST_RATE {
        Err(format!("must have a `limit` of 1 to {LARGEST_RATE}"))
    } else if rate.window_seconds == 0 || rate.window_seconds > LONGEST_WINDOW {
        Err(format!("must have a `window_seconds` of 1 to {LONGEST_WINDOW}"))
    } else {
        Ok(rate)
    }
}

/// A quota within its bounds.
///
/// # Errors
/// What would be right.
pub fn quota(quota: Quota) -> Result<Quota, &'static str> {
    if quota.limit == 0 || i64::try_from(quota.limit).is_err() {
        Err("must have a `limit` of 1 to 9223372036854775807")
    } else {
        Ok(quota)
    }
}

/// Metadata of a bearable size; `None` if there is none in it.
///
/// # Errors
/// What would be right.
pub fn metadata(map: BTreeMap<String, String>) -> Result<Option<BTreeMap<String, String>>, &'static str> {
    if serde_json::to_string(&map).map_or(usize::MAX, |json| json.len()) > METADATA_LIMIT {
        return Err("must have at most 4 KiB as JSON");
    }
    Ok((!map.is_empty()).then_some(map))
}
