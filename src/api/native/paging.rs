//! Lists by pages: `limit` and `cursor`.

use serde::Deserialize;

use crate::model::{ApiError, FieldError};
use crate::teams::PageStart;
use crate::web::json;

/// Rows of a page at the most.
const LARGEST_PAGE: u32 = 100;
/// Rows of a page where the request does not say.
const DEFAULT_PAGE: u32 = 50;

#[derive(Deserialize)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Reads the query of a list: the start of the page, and its rows at the most.
pub(super) fn read(query: Option<&str>) -> Result<(PageStart, u32), ApiError> {
    let query: Query = json::from_query(query)?;
    let mut errors = Vec::new();
    let limit = match query.limit.as_deref().map(str::parse) {
        None => DEFAULT_PAGE,
        Some(Ok(limit @ 1..=LARGEST_PAGE)) => limit,
        Some(_) => {
            errors.push(FieldError::new("limit", "must be a number from 1 to 100"));
            DEFAULT_PAGE
        }
    };
    let start = match query.cursor.as_deref().map(str::parse).transpose() {
        Ok(start) => start.unwrap_or(PageStart::FIRST),
        Err(error) => {
            errors.push(FieldError::new("cursor", error));
            PageStart::FIRST
        }
    };
    if errors.is_empty() { Ok((start, limit)) } else { Err(ApiError::invalid_fields(errors)) }
}
