//! The shared parts of the OpenAPI document.
//!
//! Every contract describes its own operations, next to their handlers and with the types that these read and write.
//! This module adds the credentials, the errors, and the properties of all responses and request bodies.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, SchemaFormat};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, Object, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
};
use utoipa::{IntoResponses, Modify};

/// The description of the parameter `descendants` of all operations that end or change a key.
pub const DESCENDANTS: &str = "Whether the key's descendants (the keys that it made, and their descendants) are \
    revoked or narrowed with it. `true` by default.";

/// Adds the shared parts to a document.
pub fn complete(document: &mut Document) {
    Shared.modify(document);
}

/// An error response with problem details, for `responses(…)` of an operation.
pub struct Problem<const STATUS: u16>;

/// The error responses under `components`: status, name and description.
const PROBLEMS: [(u16, &str, &str); 10] = [
    (
        400,
        "Invalid",
        "Invalid JSON, a wrong type, or a missing, unknown or invalid field or parameter. `errors` names the fields.",
    ),
    (401, "Unauthenticated", "The credential is missing or invalid."),
    (403, "Forbidden", "The caller is not allowed to do this, or a browser sent a cross-site request."),
    (404, "NotFound", "The object does not exist, or is not visible to the caller."),
    (409, "Conflict", "The object is not in the required state."),
    (413, "TooLarge", "The body is too large."),
    (415, "NotJson", "The body is not declared as `application/json`."),
    (429, "TooMany", "Too many requests or attempts. `Retry-After` says when to retry."),
    (500, "Internal", "Internal error. The server logs the cause under the response's `X-Request-Id`."),
    (503, "Unavailable", "The database does not answer, or the request took too long. Changes are never partial."),
];

impl<const STATUS: u16> IntoResponses for Problem<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        PROBLEMS
            .iter()
            .filter(|(status, _, _)| *status == STATUS)
            .map(|(status, name, _)| (status.to_string(), RefOr::Ref(Ref::from_response_name(*name))))
            .collect()
    }
}

struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        for (status, name, description) in PROBLEMS {
            components.responses.insert(name.to_owned(), RefOr::T(problem(status, description)));
        }
        add_credentials(components);
        close_request_bodies(components);
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let anywhere = Problem::<500>::responses().into_iter().chain(Problem::<503>::responses());
                operation.responses.responses.extend(anywhere);
            }
        }
    }
}

fn problem(status: u16, description: &str) -> Response {
    let header = |description: &str, kind: Type| {
        let schema = Object::with_type(kind);
        HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
    };
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response = ResponseBuilder::new().description(description).content("application/problem+json", content);
    if status == 401 {
        response = response.header("WWW-Authenticate", header("Always `Bearer`.", Type::String));
    }
    if matches!(status, 429 | 503) {
        response = response.header("Retry-After", header("Seconds to wait before a retry.", Type::Integer));
    }
    response.build()
}

fn add_credentials(components: &mut Components) {
    let api_key = |name: &str, what: &str| ApiKeyValue::with_description(name, what);
    let bearer = |what: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build())
    };
    let schemes = [
        (
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(api_key(
                "session",
                "The session of `POST /v1/auth/login`. Named `__Host-session` if the server's public URL is HTTPS.",
            ))),
        ),
        (
            "better_auth_session",
            SecurityScheme::ApiKey(ApiKey::Cookie(api_key(
                "better-auth.session_token",
                "The session cookie under the name that other clients use; also `__Secure-better-auth.session_token`.",
            ))),
        ),
        ("session_token", bearer("The value of the session cookie as a Bearer token.")),
        ("access_token", bearer("`accessToken` of `POST /api/v1/auth/login`.")),
        ("api_key", SecurityScheme::ApiKey(ApiKey::Header(api_key("X-API-Key", "An API key of any contract.")))),
        ("api_key_bearer", bearer("An API key as a Bearer token.")),
    ];
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
}

/// Documents that an unknown field is a 400 in every request body (`json::from_body`).
fn close_request_bodies(components: &mut Components) {
    const REQUEST_BODIES: [&str; 19] = [
        "CreateApiKey",
        "RateLimit",
        "Quota",
        "Credentials",
        "LogIn",
        "RefreshToken",
        "CreateKey",
        "EditKey",
        "Verify",
        "Report",
        "Use",
        "CreateOrganisation",
        "EditOrganisation",
        "DeleteOrganisation",
        "CreateEnvironment",
        "EditEnvironment",
        "ChangeRole",
        "Invite",
        "AcceptInvitation",
    ];
    for name in REQUEST_BODIES {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    for name in ["CreateApiKey", "EditKey"] {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name)
            && let Some(RefOr::T(Schema::Array(list))) = object.properties.get_mut("ip_allowlist")
            && let ArrayItems::RefOrSchema(item) = &mut list.items
            && let RefOr::T(Schema::Object(item)) = &mut **item
        {
            // A format of our own, because JSON Schema has none: an address, or a network such as 203.0.113.0/24.
            item.format = Some(SchemaFormat::Custom("network".to_owned()));
        }
    }
    if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut("CreateApiKey") {
        // Both ids or none.
        let both = |kind: &str| json!({ "org_id": { "type": kind }, "env_id": { "type": kind } });
        let either: Value = json!([
            { "properties": both("string"), "required": ["org_id", "env_id"] },
            { "properties": both("null") },
        ]);
        object.extensions.get_or_insert_with(Extensions::default).insert("anyOf".to_owned(), either);
    }
}
