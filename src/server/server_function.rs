//! The way from an axum route to a Leptos server function.

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{ACCEPT, REFERER};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use leptos::prelude::provide_context;

use crate::api::{Services, json};
use crate::model::ApiError;

const API_KEYS: &str = "/v1/auth/api-keys";

/// Calls the server function of the request's method and path.
pub async fn call(State(services): State<Services>, mut request: Request) -> Response {
    // A HEAD is a GET whose body axum leaves out; server functions are found by exact method.
    if request.method() == Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    // With these two Leptos takes the call for a form's and redirects; forms have routes of their own.
    request.headers_mut().remove(ACCEPT);
    request.headers_mut().remove(REFERER);
    let (parts, body) = request.into_parts();
    let body = match json::read(Request::new(body), json::BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let request = Request::from_parts(parts, body.into());
    let provide = move || provide_context(services.clone());
    let mut response = leptos_axum::handle_server_fns_with_context(provide, request).await.into_response();
    // Leptos' own mark on errors is nothing of the contract.
    response.headers_mut().remove("serverfnerror");
    response
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
