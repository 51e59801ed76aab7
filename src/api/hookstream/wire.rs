//! Between hookstream's bodies and the domain.

use ipnet::{IpNet, Ipv4Net};

use crate::accounts::{Caller, PlaceError};
use crate::api::time::{parse, seconds};
use crate::keys::{Draft, Issued, Key, KeyStringForm, Limits};
use crate::model::wire::{ApiKeyItem, CreateApiKey, CreatedApiKey, Extras, Quota, RateLimit};
use crate::model::{ApiError, EnvironmentId, FieldError, KeyName, OrganisationId, Scopes, Timestamp};

/// The most bytes of metadata, as JSON.
const METADATA_LIMIT: usize = 4 * 1024;
/// The most networks of an allowlist.
const MOST_NETWORKS: usize = 100;
/// The longest window of a rate limit: a day.
const LONGEST_WINDOW: u32 = 24 * 3600;
/// The largest rate limit, which leaves the arithmetic room.
const LARGEST_RATE: u32 = 1_000_000_000;

/// There is no such organisation or environment for the caller (seed 001's wording).
pub(super) fn no_place(_: PlaceError) -> ApiError {
    ApiError::not_found("Environment not found")
}

/// Collects what is wrong with a request, so that one answer says it all.
struct Fields(Vec<FieldError>);

impl Fields {
    fn take<T, E: ToString>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.0.push(FieldError::new(field, error))).ok()
    }
}

/// Reads a request for a key.
pub(super) fn draft(request: CreateApiKey, caller: &Caller, now: Timestamp) -> Result<Draft, ApiError> {
    let mut fields = Fields(Vec::new());
    let name = fields.take(
        "name",
        match &request.name {
            Some(name) => KeyName::parse(name).map_err(|error| error.to_string()),
            None => Err("is required".to_owned()),
        },
    );
    let place = match (&request.org_id, &request.env_id) {
        (None, None) => Some(None),
        (Some(organisation), Some(environment)) => {
            // An id of another form is an id that does not exist.
            let id = organisation.parse::<OrganisationId>().ok().zip(environment.parse::<EnvironmentId>().ok());
            Some(Some(id))
        }
        (Some(_), None) => fields.take("env_id", Err("is required together with `org_id`")),
        (None, Some(_)) => fields.take("org_id", Err("is required together with `env_id`")),
    };
    let scopes = match &request.scopes {
        Some(scopes) => fields.take("scopes", Scopes::parse(scopes.as_deref())).map(Some),
        None => Some(None),
    };
    let limits = limits(&request, now, &mut fields);
    if let Some(metadata) = &request.metadata
        && serde_json::to_string(metadata).map_or(usize::MAX, |json| json.len()) > METADATA_LIMIT
    {
        fields.0.push(FieldError::new("metadata", "must have at most 4 KiB as JSON"));
    }
    let (Some(name), Some(asked), Some(scopes), Some(limits), true) =
        (name, place, scopes, limits, fields.0.is_empty())
    else {
        return Err(ApiError::invalid_fields(fields.0));
    };
    let place = match asked {
        Some(None) => Err(PlaceError),
        Some(Some(ids)) => caller.place(Some(ids)),
        None => caller.place(None),
    }
    .map_err(no_place)?;
    Ok(Draft {
        name,
        place,
        scopes,
        default_scopes: if asked.is_some() { Scopes::All } else { Scopes::Unset },
        limits,
        metadata: request.metadata.filter(|map| !map.is_empty()),
        form: KeyStringForm::Hookstream,
    })
}

fn limits(request: &CreateApiKey, now: Timestamp, fields: &mut Fields) -> Option<Limits> {
    let expires_at = request.expires_at.as_deref().map(|text| fields.take("expires_at", expiry(text, now)));
    let ip_allowlist = request.ip_allowlist.as_deref().map(|texts| fields.take("ip_allowlist", networks(texts)));
    let rate_limit = request.rate_limit.map(|rate| fields.take("rate_limit", check_rate(rate)));
    let quota = request.quota.map(|quota| fields.take("quota", check_quota(quota)));
    Some(Limits {
        expires_at: settled(expires_at)?,
        ip_allowlist: settled(ip_allowlist)?,
        rate_limit: settled(rate_limit)?,
        quota: settled(quota)?,
    })
}

/// `None` when a value was given and is wrong.
#[expect(clippy::option_option, reason = "not given, wrong, and right are three things")]
fn settled<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
    }
}

fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, &'static str> {
    match parse(text) {
        None => Err("must be a time like 2026-03-01T12:00:00Z"),
        Some(at) if at <= now => Err("must be in the future"),
        // Late on the last day in another zone: RFC 3339 cannot say it in UTC.
        Some(at) if seconds(at).is_empty() => Err("must be before the year 10000"),
        Some(at) => Ok(at),
    }
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
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

fn check_rate(rate: RateLimit) -> Result<RateLimit, String> {
    if rate.limit == 0 || rate.limit > LARGEST_RATE {
        Err(format!("must have a `limit` of 1 to {LARGEST_RATE}"))
    } else if rate.window_seconds == 0 || rate.window_seconds > LONGEST_WINDOW {
        Err(format!("must have a `window_seconds` of 1 to {LONGEST_WINDOW}"))
    } else {
        Ok(rate)
    }
}

fn check_quota(quota: Quota) -> Result<Quota, &'static str> {
    if quota.limit == 0 || i64::try_from(quota.limit).is_err() {
        Err("must have a `limit` of 1 to 9223372036854775807")
    } else {
        Ok(quota)
    }
}

fn extras(key: &Key) -> Extras {
    Extras {
        expires_at: key.limits.expires_at.map(seconds),
        ip_allowlist: key.limits.ip_allowlist.as_ref().map(|list| list.iter().map(ToString::to_string).collect()),
        rate_limit: key.limits.rate_limit,
        quota: key.limits.quota,
        metadata: key.metadata.clone(),
    }
}

/// The answer that shows the key's string, which is gone after it.
pub(super) fn created(issued: Issued) -> CreatedApiKey {
    let key = issued.key;
    CreatedApiKey {
        id: key.id.to_string(),
        extras: extras(&key),
        key: issued.plain.reveal(),
        scopes: key.scopes.to_wire(),
        created_at: seconds(key.created_at),
        key_prefix: key.prefix,
        name: key.name,
    }
}

/// A key in a listing.
pub(super) fn item(key: &Key) -> ApiKeyItem {
    ApiKeyItem {
        id: key.id.to_string(),
        name: key.name.clone(),
        key_prefix: key.prefix.clone(),
        scopes: key.scopes.to_wire(),
        request_count: key.request_count,
        revoked: u8::from(key.revoked_at.is_some()),
        created_at: seconds(key.created_at),
        last_used_at: key.last_used_at.map(seconds),
        extras: extras(key),
    }
}
