//! Converts between hookstream's bodies and the domain.

use crate::domain::{Caller, Denied, Key, Limits};
use crate::keys::{Draft, Issued, KeyStringForm};
use crate::model::wire::{ApiKeyItem, CreateApiKey, CreatedApiKey, Extras};
use crate::model::{ApiError, EnvironmentId, KeyName, OrganisationId, Scopes, Timestamp};
use crate::web::fields::{self, Fields};
use crate::web::time::seconds;

/// Returns the error for an organisation or environment that the caller may not use.
pub(super) fn no_place(denied: Denied) -> ApiError {
    match denied {
        // The text is part of the hookstream contract.
        Denied::Hidden => ApiError::not_found("Environment not found"),
        Denied::NotAllowed => ApiError::forbidden("Your role in the organisation does not allow you to create keys."),
    }
}

/// Validates a request for a key.
pub(super) fn draft(request: CreateApiKey, caller: &Caller, now: Timestamp) -> Result<Draft, ApiError> {
    let mut fields = Fields::default();
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
            // An id in another form counts as an id that does not exist.
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
    let metadata = match request.metadata.clone() {
        Some(metadata) => fields.take("metadata", fields::metadata(metadata)),
        None => Some(None),
    };
    let (Some(name), Some(requested), Some(scopes), Some(limits), Some(metadata)) =
        (name, place, scopes, limits, metadata)
    else {
        return Err(fields.error());
    };
    let place = match requested {
        Some(None) => Err(Denied::Hidden),
        Some(Some(ids)) => caller.place(Some(ids)),
        None => caller.place(None),
    }
    .map_err(no_place)?;
    Ok(Draft {
        name,
        place,
        scopes,
        default_scopes: if requested.is_some() { Scopes::All } else { Scopes::Unset },
        limits,
        metadata,
        form: KeyStringForm::Hookstream,
    })
}

fn limits(request: &CreateApiKey, now: Timestamp, fields: &mut Fields) -> Option<Limits> {
    let expires_at = request.expires_at.as_deref().map(|text| fields.take("expires_at", fields::expiry(text, now)));
    let ip_allowlist =
        request.ip_allowlist.as_deref().map(|texts| fields.take("ip_allowlist", fields::networks(texts)));
    let rate_limit = request.rate_limit.map(|rate| fields.take("rate_limit", fields::rate_limit(rate)));
    let quota = request.quota.map(|quota| fields.take("quota", fields::quota(quota)));
    Some(Limits {
        expires_at: settled(expires_at)?,
        ip_allowlist: settled(ip_allowlist)?,
        rate_limit: settled(rate_limit)?,
        quota: settled(quota)?,
    })
}

/// Returns `None` if a value was given and is invalid.
#[expect(clippy::option_option, reason = "not given, invalid and valid are three cases")]
fn settled<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
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

/// Returns the response to a creation. No other response shows the key string.
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

/// Returns a key as a list shows it.
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
