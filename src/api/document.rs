//! The head of the OpenAPI document. The routers add the operations.

use utoipa::OpenApi;

/// The title, the description, the tags, and the error schema that all operations share.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey",
        description = "Self-hosted API keys: created in a dashboard, shown once, stored as a hash, revoked at once.\n\n\
            Several contracts share one store: a key that was created through one contract is visible, usable and \
            revocable through all of them.\n\n\
            If a request has several credentials, the first of these is used: `X-API-Key`, `Authorization`, cookie. \
            If that one is invalid, the response is a 401. Every response has an `X-Request-Id`.",
    ),
    servers((url = "/", description = "this server")),
    tags(
        (name = "Accounts", description = "hookstream: registering, signing in and out by session."),
        (name = "API keys", description = "hookstream: creating, listing and revoking keys. The dashboard uses these."),
        (name = "Using a key", description = "Operations for the owner of a key."),
        (name = "Checking keys", description = "For services and gateways: verify keys that clients present."),
        (name = "Managing a key", description = "One key: its details, permissions, limits and revocation."),
        (name = "Tokens", description = "HookSentry: signing in by Bearer token."),
        (name = "Tenant keys", description = "HookSentry: the keys of a tenant."),
        (name = "Events", description = "HookSentry: sending and reading events."),
        (name = "Service", description = "The server itself."),
    ),
    components(schemas(crate::model::ApiError)),
)]
pub struct Head;
