//! The way from an axum route to a Leptos server function.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use leptos::prelude::provide_context;

use crate::model::ApiError;
use crate::web::{Services, json};

const API_KEYS: &str = "/v1/auth/api-keys";

/// Calls the server function of the request's method and path.
pub async fn call(State(services): State<Services>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match json::read(body, json::BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    // Leptos is not shown this header.
    if let Err(error) = json::refuse_encoding(&parts.headers)
        && !body.is_empty()
    {
        return error.into_response();
    }
    let request = asked(&parts, body.into());
    let parts = Arc::new(parts);
    let provide = move || {
        provide_context(services.clone());
        provide_context(Arc::clone(&parts));
    };
    let mut response = leptos_axum::handle_server_fns_with_context(provide, request).await.into_response();
    // Leptos' own mark on errors is nothing of the contract.
    response.headers_mut().remove("serverfnerror");
    response
}

/// What Leptos is to know of a request. It copies all that it is given; and with `Accept` or `Referer` it takes a call
/// for a form's and redirects, but forms have routes of their own.
fn asked(parts: &Parts, body: Body) -> Request {
    let mut asked = Request::new(body);
    // A HEAD is a GET whose body axum leaves out; server functions are found by exact method.
    *asked.method_mut() = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    *asked.uri_mut() = parts.uri.clone();
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        asked.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    asked
}

/// `DELETE /v1/auth/api-keys/{id}`: a server function's path takes no parameters, so the id goes on
/// in the query.
pub async fn call_with_id(
    state: State<Services>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Response {
    let query = form_urlencoded::Serializer::new(query.unwrap_or_default()).append_pair("id", &id).finish();
    match format!("{API_KEYS}?{query}").parse::<Uri>() {
        Ok(uri) => {
            *request.uri_mut() = uri;
            call(state, request).await
        }
        Err(_) => ApiError::invalid("The query cannot be read.").into_response(),
    }
}
