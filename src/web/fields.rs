//! Validates the fields of a key, for all contracts.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};

use super::time::{parse, seconds};
use crate::model::{ApiError, FieldError, Quota, RateLimit, Timestamp};

/// The maximum size of metadata, in bytes of JSON; more is a 400.
const MAX_METADATA_BYTES: usize = 4 * 1024;
/// The maximum number of networks in an IP allowlist; more is a 400.
const MAX_NETWORKS: usize = 100;
/// The longest window of a rate limit: a day. A longer one is a 400.
const MAX_WINDOW_SECONDS: u32 = 24 * 3600;
/// The largest rate limit, low enough that the arithmetic cannot overflow. A larger one is a 400.
const MAX_RATE: u32 = 1_000_000_000;

/// Collects the errors of all fields of a request, so that one response lists them all.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// Returns the parsed value of a field, or records its error.
    pub fn take<T, E: ToString>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.0.push(FieldError::new(field, error))).ok()
    }

    /// Returns a 400 with all recorded errors.
    pub fn error(self) -> ApiError {
        ApiError::invalid_fields(self.0)
    }

    /// Whether no error was recorded.
    pub fn are_right(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses the expiry of a key: the moment from which the key is refused.
///
/// # Errors
/// A description of the valid values.
pub fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    match parse(text) {
        None => Err("must be a time like 2026-03-01T12:00:00Z"),
        Some(at) if at <= now => Err("must be in the future"),
        // Late on the last day of 9999 in another time zone: in UTC, RFC 3339 cannot express the year.
        Some(at) if seconds(at).is_empty() => Err("must be before the year 10000"),
        Some(at) => Ok(at),
    }
}

/// Parses an IP allowlist.
///
/// # Errors
/// A description of the valid values.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    if texts.is_empty() {
        return Err("must name at least one network, or be left out".to_owned());
    }
    if texts.len() > MAX_NETWORKS {
        return Err(format!("must name at most {MAX_NETWORKS} networks"));
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

/// Converts an IPv4-mapped IPv6 network to IPv4, because client addresses are compared in that form.
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

/// Checks the bounds of a rate limit.
///
/// # Errors
/// A description of the valid values.
pub fn rate_limit(rate: RateLimit) -> Result<RateLimit, String> {
    if rate.limit == 0 || rate.limit > MAX_RATE {
        Err(format!("must have a `limit` of 1 to {MAX_RATE}"))
    } else if rate.window_seconds == 0 || rate.window_seconds > MAX_WINDOW_SECONDS {
        Err(format!("must have a `window_seconds` of 1 to {MAX_WINDOW_SECONDS}"))
    } else {
        Ok(rate)
    }
}

/// Checks the bounds of a quota.
///
/// # Errors
/// A description of the valid values.
pub fn quota(quota: Quota) -> Result<Quota, &'static str> {
    if quota.limit == 0 || i64::try_from(quota.limit).is_err() {
        Err("must have a `limit` of 1 to 9223372036854775807")
    } else {
        Ok(quota)
    }
}

/// Checks the size of metadata. Returns `None` for an empty map.
///
/// # Errors
/// A description of the valid values.
pub fn metadata(map: BTreeMap<String, String>) -> Result<Option<BTreeMap<String, String>>, &'static str> {
    if serde_json::to_string(&map).map_or(usize::MAX, |json| json.len()) > MAX_METADATA_BYTES {
        return Err("must have at most 4 KiB as JSON");
    }
    Ok((!map.is_empty()).then_some(map))
}
