//! The key endpoints of hookstream's contract, as Leptos server functions. The dashboard calls them too.
//!
//! [`api::hookstream::keys`](crate::api::hookstream::keys) implements them; this file has the addresses, the codecs and
//! the status of a success. A route moves the id of `DELETE /v1/auth/api-keys/:id` into the query, because the path of
//! a server function takes no parameters.

#![expect(missing_docs, reason = "the macro generates types without documentation from the arguments")]

use leptos::prelude::*;
use server_fn::codec::Json;

use super::codec::{StrictDelete, StrictJson, StrictQuery, strict};
use crate::model::ApiError;
// Imported as `wire::…`: the macro generates types with the same names as the arguments.
use crate::model::wire::{self, ApiKeyList, CreatedApiKey, Revoked};

/// `POST /v1/auth/api-keys`: creates a key; the only response with its string.
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[server(prefix = "/v1/auth", endpoint = "api-keys", input = StrictJson, output = Json)]
pub async fn create_api_key(request: wire::CreateApiKey) -> Result<CreatedApiKey, ApiError> {
    let (services, mut parts) = on_server::context()?;
    let created = crate::api::hookstream::keys::create(&services, &mut parts, request).await;
    on_server::answer(http::StatusCode::CREATED, created)
}

/// `GET /v1/auth/api-keys`: the caller's keys, or those of an organisation, masked.
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[server(prefix = "/v1/auth", endpoint = "api-keys", input = StrictQuery, output = Json)]
pub async fn list_api_keys(request: wire::ListApiKeys) -> Result<ApiKeyList, ApiError> {
    let (services, mut parts) = on_server::context()?;
    let listed = crate::api::hookstream::keys::list(&services, &mut parts, request).await;
    on_server::answer(http::StatusCode::OK, listed)
}

/// `DELETE /v1/auth/api-keys?id=…`: revokes a key.
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[server(prefix = "/v1/auth", endpoint = "api-keys", input = StrictDelete, output = Json)]
pub async fn revoke_api_key(request: wire::RevokeApiKey) -> Result<Revoked, ApiError> {
    let (services, mut parts) = on_server::context()?;
    let revoked = crate::api::hookstream::keys::revoke(&services, &mut parts, request).await;
    on_server::answer(http::StatusCode::OK, revoked)
}

strict!(StrictJson, CreateApiKey, serde_json::to_string, try_new_req_text(), body);
strict!(StrictQuery, ListApiKeys, serde_urlencoded::to_string, try_new_req_query(&), query);
strict!(StrictDelete, RevokeApiKey, serde_urlencoded::to_string, try_new_req_query(&), query);

/// Functions that the bodies share, on the server only.
#[cfg(feature = "ssr")]
mod on_server {
    use std::sync::Arc;

    use http::StatusCode;
    use http::header::{CACHE_CONTROL, HeaderValue};
    use http::request::Parts;
    use leptos::prelude::use_context;
    use leptos_axum::ResponseOptions;

    use crate::app::codec::on_server::mark;
    use crate::model::ApiError;
    use crate::web::Services;

    /// Returns the services and the request's head, which the route provides.
    pub(super) fn context() -> Result<(Services, Parts), ApiError> {
        let (services, parts) = use_context().zip(use_context::<Arc<Parts>>()).ok_or_else(ApiError::internal)?;
        Ok((services, Arc::unwrap_or_clone(parts)))
    }

    /// Sets the status of the response, and `no-store`: one response has a secret, the others change with every
    /// request.
    pub(super) fn answer<T>(success: StatusCode, result: Result<T, ApiError>) -> Result<T, ApiError> {
        match &result {
            Ok(_) => {
                if let Some(response) = use_context::<ResponseOptions>() {
                    response.set_status(success);
                    response.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                }
            }
            Err(error) => mark(error),
        }
        result
    }
}
