//! The query parameters as the OpenAPI document shows them. [`Query`](super::query::Query) reads them, names
//! and words in any case, which a schema cannot say.

use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The parameters of every listing.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "PascalCase")]
#[expect(dead_code, reason = "describes, and is never made")]
pub struct Paging {
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 10, nullable = false)]
    qt: Option<u32>,
    /// Which page.
    #[param(minimum = 1, maximum = 2_147_483_647, default = 1, nullable = false)]
    pg: Option<u32>,
    /// Which way round; without it `Desc`.
    #[param(inline, nullable = false)]
    tp_ord: Option<Direction>,
}

/// `Asc` or `Desc`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes, and is never made")]
enum Direction {
    Asc,
    Desc,
}

/// The other parameters of the listing of keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "PascalCase")]
#[expect(dead_code, reason = "describes, and is never made")]
pub struct OfKeys {
    /// The column to sort by; without it `id`. `null` comes before everything, ties go by id.
    #[param(inline, nullable = false)]
    cp_ord: Option<KeyColumn>,
    /// Active or revoked keys only; without it both.
    #[param(nullable = false)]
    is_active: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes, and is never made")]
enum KeyColumn {
    Id,
    Name,
    IsActive,
    CreatedAt,
    RevokedAt,
}

/// The other parameters of the listing of events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "PascalCase")]
#[expect(dead_code, reason = "describes, and is never made")]
pub struct OfEvents {
    /// The column to sort by; without it `id`. Ids are in the order of arrival: both words mean the same.
    #[param(inline, nullable = false)]
    cp_ord: Option<EventColumn>,
    /// Only events of this source.
    #[param(nullable = false, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    source: Option<String>,
    /// Only events that came in with this key.
    #[param(nullable = false)]
    key_id: Option<Uuid>,
    /// Only events from this moment on.
    #[param(nullable = false, format = DateTime)]
    from: Option<String>,
    /// Only events before this moment.
    #[param(nullable = false, format = DateTime)]
    to: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes, and is never made")]
enum EventColumn {
    Id,
    AcceptedAt,
}
