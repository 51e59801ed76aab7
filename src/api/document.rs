//! The head of the OpenAPI document; the operations are those of the routers.

use utoipa::OpenApi;

/// The title, the description, the tags, and the error that all operations share.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey",
        description = "Self-hosted API keys: made in a dashboard, shown once, stored as a hash, revoked at once.\n\n\
            One store behind several contracts: a key that was made through one is visible, usable and revocable \
            through all of them.\n\n\
            Of several credentials in one request the first of these counts: `X-API-Key`, `Authorization`, cookie. \
            One that is there and bad is a 401. Every answer carries `X-Request-Id`.",
    ),
    servers((url = "/", description = "this server")),
    tags(
        (name = "Accounts", description = "hookstream: registering, signing in and out by session."),
        (name = "API keys", description = "hookstream: making, listing and revoking keys. The dashboard uses these."),
        (name = "Using a key", description = "What a key itself can ask."),
        (name = "Checking keys", description = "For services and gateways: is the key good that somebody presents to them?"),
        (name = "Managing a key", description = "One key: all about it, what it may do, and its end."),
        (name = "Tokens", description = "HookSentry: signing in by Bearer token."),
        (name = "Tenant keys", description = "HookSentry: the keys of a tenant."),
        (name = "Events", description = "HookSentry: sending events in, and reading them."),
        (name = "Service", description = "The server itself."),
    ),
    components(schemas(crate::model::ApiError)),
)]
pub struct Head;
