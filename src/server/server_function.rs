//! The way from an axum route to a Leptos server function.

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

/// The key endpoints of hookstream, at the paths that the contract describes.
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

/// Calls the server function of the request's method. Its path takes no parameters: an id goes on in the query.
async fn call(State(services): State<Services>, id: Option<Path<String>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    // `…/current` is a path of its own.
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

/// The address of the server function that is to get this id. `None` if the query is too long for it.
fn with_id(uri: &Uri, id: &str) -> Option<Uri> {
    let query = uri.query().unwrap_or_default().to_owned();
    let query = form_urlencoded::Serializer::new(query).append_pair("id", id).finish();
    format!("{API_KEYS}?{query}").parse().ok()
}
