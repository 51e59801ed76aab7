//! The query parameters in the OpenAPI document. [`Query`](super::query::Query) reads them. Names and words are
//! case-insensitive, which a schema cannot express.

use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The parameters of every listing.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "PascalCase")]
#[expect(dead_code, reason = "only describes parameters")]
pub struct Paging {
    /// The page size.
    #[param(minimum = 1, maximum = 100, default = 10, nullable = false)]
    qt: Option<u32>,
    /// The number of the page.
    #[param(minimum = 1, maximum = 2_147_483_647, default = 1, nullable = false)]
    pg: Option<u32>,
    /// The sort order. The default is `Desc`.
    #[param(inline, nullable = false)]
    tp_ord: Option<Direction>,
}

/// `Asc` or `Desc`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes parameters")]
enum Direction {
    Asc,
    Desc,
}

/// The other parameters of the listing of keys.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "PascalCase")]
#[expect(dead_code, reason = "only describes parameters")]
pub struct OfKeys {
    /// The column to sort by. The default is `id`. `null` sorts before all values; ties are sorted by id.
    #[param(inline, nullable = false)]
    cp_ord: Option<KeyColumn>,
    /// Only active (`true`) or only revoked (`false`) keys. The default is both.
    #[param(nullable = false)]
    is_active: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only describes parameters")]
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
#[expect(dead_code, reason = "only describes parameters")]
pub struct OfEvents {
    /// The column to sort by. The default is `id`. Ids are in the order of arrival, so both columns sort alike.
    #[param(inline, nullable = false)]
    cp_ord: Option<EventColumn>,
    /// Only events of this source.
    #[param(nullable = false, pattern = "^[A-Za-z0-9_-]{1,64}$")]
    source: Option<String>,
    /// Only events that were sent with this key.
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
#[expect(dead_code, reason = "only describes parameters")]
enum EventColumn {
    Id,
    AcceptedAt,
}
