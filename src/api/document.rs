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
        (name = "Accounts", description = "hookstream: registration, and sign-in by session."),
        (name = "API keys", description = "hookstream: create, list and revoke keys. The dashboard uses these operations."),
        (name = "Organisations", description = "Organisations and their environments."),
        (name = "Members", description = "The members of an organisation, and invitations to it."),
        (name = "Current key", description = "For the holder of a key: the key that the request presents."),
        (name = "Key verification", description = "For services and gateways: verify the keys that clients present."),
        (name = "Key management", description = "One key: its details, permissions, limits and revocation."),
        (name = "Access tokens", description = "HookSentry: sign-in by Bearer token."),
        (name = "Tenant keys", description = "HookSentry: the keys of a tenant."),
        (name = "Events", description = "HookSentry: send and read events."),
        (name = "Server", description = "Health, cluster nodes, and this document."),
    ),
    components(schemas(crate::model::ApiError)),
)]
pub struct Head;
