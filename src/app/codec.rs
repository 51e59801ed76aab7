//! Codecs that read the requests of hookstream's server functions strictly.
//!
//! `server_fn`'s own JSON input does not name the wrong field, accepts unknown fields and ignores the content type.
//! These codecs use [`web::json`](crate::web::json) instead. A server function that uses them takes one argument, the
//! whole body or the whole query.

use http::Method;
use server_fn::ContentType;
use server_fn::codec::Encoding;

/// A JSON body, read strictly.
pub struct StrictJson;

/// A query string, read strictly.
pub struct StrictQuery;

/// A query string of a `DELETE`, read strictly.
pub struct StrictDelete;

impl ContentType for StrictJson {
    const CONTENT_TYPE: &'static str = "application/json";
}

impl Encoding for StrictJson {
    const METHOD: Method = Method::POST;
}

impl ContentType for StrictQuery {
    const CONTENT_TYPE: &'static str = "application/x-www-form-urlencoded";
}

impl Encoding for StrictQuery {
    const METHOD: Method = Method::GET;
}

impl ContentType for StrictDelete {
    const CONTENT_TYPE: &'static str = "application/x-www-form-urlencoded";
}

impl Encoding for StrictDelete {
    const METHOD: Method = Method::DELETE;
}

/// Implements a codec for a type that the `server` macro generates from a function with one argument. A blanket
/// implementation is not possible, because the traits are `server_fn`'s (orphan rule).
macro_rules! strict {
    ($codec:ty, $input:ty, $write:path, $send:ident($($by:tt)?), $read:ident) => {
        impl<Request: server_fn::request::ClientReq<ApiError>>
            server_fn::codec::IntoReq<$codec, Request, ApiError> for $input
        {
            fn into_req(self, path: &str, accepts: &str) -> Result<Request, ApiError> {
                let text = $write(&*self).map_err(|_| ApiError::internal())?;
                let content_type = <$codec as server_fn::ContentType>::CONTENT_TYPE;
                let method = <$codec as server_fn::codec::Encoding>::METHOD;
                Request::$send(path, content_type, accepts, $($by)? text, method)
            }
        }

        impl<Request> server_fn::codec::FromReq<$codec, Request, ApiError> for $input
        where
            Request: server_fn::request::Req<ApiError> + Send + 'static,
        {
            async fn from_req(request: Request) -> Result<Self, ApiError> {
                let argument: <$input as std::ops::Deref>::Target =
                    crate::app::codec::on_server::$read(request).await?;
                Ok(argument.into())
            }
        }
    };
}

pub(super) use strict;

/// Reads requests on the server. The browser must implement the trait too, and has stubs in the module below.
#[cfg(feature = "ssr")]
pub(super) mod on_server {
    use leptos::prelude::use_context;
    use leptos_axum::ResponseOptions;
    use serde::de::DeserializeOwned;
    use server_fn::request::Req;

    use crate::model::ApiError;
    use crate::web::{json, problem};

    pub(in crate::app) async fn body<T: DeserializeOwned>(request: impl Req<ApiError>) -> Result<T, ApiError> {
        let content_type = request.to_content_type().map(std::borrow::Cow::into_owned);
        let body = request.try_into_bytes().await?;
        json::from_body(content_type.as_deref(), &body).inspect_err(mark)
    }

    #[expect(clippy::unused_async, reason = "as `body` is")]
    pub(in crate::app) async fn query<T: DeserializeOwned>(request: impl Req<ApiError>) -> Result<T, ApiError> {
        json::from_query(request.as_query()).inspect_err(mark)
    }

    /// Sets the status and the headers of an error on the response.
    pub(in crate::app) fn mark(error: &ApiError) {
        if let Some(response) = use_context::<ResponseOptions>() {
            response.set_status(problem::status(error));
            for (name, value) in problem::headers(error) {
                if let Some(name) = name {
                    response.insert_header(name, value);
                }
            }
        }
    }
}

#[cfg(not(feature = "ssr"))]
#[expect(clippy::unused_async, reason = "the same shape as on the server")]
pub(super) mod on_server {
    use crate::model::ApiError;

    pub(in crate::app) async fn body<T>(_: impl Sized) -> Result<T, ApiError> {
        Err(ApiError::internal())
    }

    pub(in crate::app) async fn query<T>(_: impl Sized) -> Result<T, ApiError> {
        Err(ApiError::internal())
    }
}
