//! Limits on the use of a key over time.

use serde::{Deserialize, Serialize};

/// At most `limit` requests in `window_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RateLimit {
    /// The number of requests.
    #[cfg_attr(feature = "ssr", schema(minimum = 1, maximum = 1_000_000_000, examples(100)))]
    pub limit: u32,
    /// The length of the window, in seconds.
    #[cfg_attr(feature = "ssr", schema(minimum = 1, maximum = 86_400, examples(60)))]
    pub window_seconds: u32,
}

/// At most `limit` requests in a calendar month, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Quota {
    /// The number of requests.
    #[cfg_attr(feature = "ssr", schema(minimum = 1, maximum = 9_223_372_036_854_775_807_i64, examples(10_000)))]
    pub limit: u64,
}
