//! The OpenAPI document: what the contracts' parts of it have in common.
//!
//! Every contract describes its own operations, next to their handlers and by the types that these
//! read and write. Here are the words that they share: the credentials, the errors, and what is true
//! of every answer and of every body.

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

/// What the parameter of that name says, wherever a key ends or changes.
pub const DESCENDANTS: &str = "Whether the keys that the key made, and those that they made, end or are narrowed with \
    it. They do, unless this is `false`.";

/// Says once what is true of all operations of a document.
pub fn complete(document: &mut Document) {
    Shared.modify(document);
}

/// An answer that is an error in problem details, for `responses(…)` of an operation.
pub struct Problem<const STATUS: u16>;

/// The errors that have an answer of their own under `components`.
const PROBLEMS: [(u16, &str, &str); 10] = [
    (
        400,
        "Invalid",
        "No JSON, a wrong type, a missing, unknown or unusable field or parameter. `errors` names the fields.",
    ),
    (401, "Unauthenticated", "No credential, or a bad one."),
    (403, "Forbidden", "Known, but not allowed; or another site made a browser send it."),
    (404, "NotFound", "Unknown, or not the caller's to see."),
    (409, "Conflict", "Not in the state that this needs."),
    (413, "TooLarge", "The body has more bytes than it may have."),
    (415, "NotJson", "The body is not declared as `application/json`."),
    (429, "TooMany", "Too many requests or attempts; `Retry-After` says when to come again."),
    (500, "Internal", "Something went wrong; the server's log has it under the answer's `X-Request-Id`."),
    (503, "Unavailable", "The database does not answer, or the request took too long. Nothing was done by halves."),
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
        response = response.header("Retry-After", header("Seconds after which to try again.", Type::Integer));
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
                "The session of `POST /v1/auth/login`. Its name is `__Host-session` where the server is reached by https.",
            ))),
        ),
        (
            "better_auth_session",
            SecurityScheme::ApiKey(ApiKey::Cookie(api_key(
                "better-auth.session_token",
                "The same session under the name that other clients use; also `__Secure-better-auth.session_token`.",
            ))),
        ),
        ("session_token", bearer("The same session, the cookie's value as a Bearer token.")),
        ("access_token", bearer("`accessToken` of `POST /api/v1/auth/login`.")),
        ("api_key", SecurityScheme::ApiKey(ApiKey::Header(api_key("X-API-Key", "An API key of any contract.")))),
        ("api_key_bearer", bearer("An API key as a Bearer token.")),
    ];
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
}

/// A field that is not known is a 400 in every body that is read (`json::from_body`).
fn close_request_bodies(components: &mut Components) {
    const READ: [&str; 11] = [
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
    ];
    for name in READ {
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
            // No format of JSON Schema: an address, or a network as 203.0.113.0/24.
            item.format = Some(SchemaFormat::Custom("network".to_owned()));
        }
    }
    if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut("CreateApiKey") {
        // Both ids, or neither.
        let both = |kind: &str| json!({ "org_id": { "type": kind }, "env_id": { "type": kind } });
        let either: Value = json!([
            { "properties": both("string"), "required": ["org_id", "env_id"] },
            { "properties": both("null") },
        ]);
        object.extensions.get_or_insert_with(Extensions::default).insert("anyOf".to_owned(), either);
    }
}
