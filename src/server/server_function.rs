//! Routes requests to Leptos server functions.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use leptos::prelude::provide_context;
use utoipa_axum::router::OpenApiRouter;

use crate::api::hookstream::keys::{self, API_KEYS};
use crate::model::ApiError;
use crate::web::{Services, json};

/// Returns the routes of hookstream's key endpoints, at the paths of the contract.
pub fn routes() -> OpenApiRouter<Services> {
    let document = keys::document();
    let paths = document.paths.paths.clone();
    paths.into_iter().fold(OpenApiRouter::with_openapi(document), |router, (path, item)| {
        let methods =
            [(item.get, MethodFilter::GET), (item.post, MethodFilter::POST), (item.delete, MethodFilter::DELETE)];
        let described = methods.into_iter().filter(|(operation, _)| operation.is_some());
        router.route(&path, described.fold(MethodRouter::new(), |router, (_, method)| router.on(method, call)))
    })
}

/// Calls the server function of the request's method. Server functions have no path parameters, so the id is passed in
/// the query.
async fn call(State(services): State<Services>, id: Option<Path<String>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    // `…/current` is a route without a parameter.
    let last = parts.uri.path().strip_prefix(API_KEYS).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
    if let Some(id) = id.map(|Path(id)| id).or(last) {
        match with_id(&parts.uri, &id) {
            Some(uri) => parts.uri = uri,
            None => return ApiError::invalid("The query cannot be read.").into_response(),
        }
    }
    let body = match json::read(body, json::BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    // Checked here, because Leptos does not get this header.
    if let Err(error) = json::refuse_encoding(&parts.headers)
        && !body.is_empty()
    {
        return error.into_response();
    }
    let request = leptos_request(&parts, body.into());
    let parts = Arc::new(parts);
    let provide = move || {
        provide_context(services.clone());
        provide_context(Arc::clone(&parts));
    };
    let mut response = leptos_axum::handle_server_fns_with_context(provide, request).await.into_response();
    // Leptos' own header on errors is not part of the contract.
    response.headers_mut().remove("serverfnerror");
    response
}

/// Builds the request for Leptos, without most headers. Leptos copies all headers, and with `Accept` or `Referer` it
/// treats the call as a form submission and redirects; forms have other routes.
fn leptos_request(parts: &Parts, body: Body) -> Request {
    let mut request = Request::new(body);
    // Server functions are looked up by exact method, so a HEAD is passed on as GET. axum removes the body.
    *request.method_mut() = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    *request.uri_mut() = parts.uri.clone();
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        request.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    request
}

/// Returns the URI of the server function with this id in the query. `None` if the query becomes too long.
fn with_id(uri: &Uri, id: &str) -> Option<Uri> {
    let query = uri.query().unwrap_or_default().to_owned();
    let query = form_urlencoded::Serializer::new(query).append_pair("id", id).finish();
    format!("{API_KEYS}?{query}").parse().ok()
}
