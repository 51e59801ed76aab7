//! The document around every page: its status, its head, and what its scripts may do.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use leptos::config::LeptosOptions;
use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;

use crate::model::ApiError;

/// What a request for a page is answered with.
pub enum Answer {
    /// The page.
    Page(Document),
    /// Another one, at this path.
    SeeOther(String),
    /// Something that is no page, such as a file to save.
    Other(Response),
}

impl From<Document> for Answer {
    fn from(document: Document) -> Self {
        Self::Page(document)
    }
}

/// A page that is loaded and can be rendered.
pub struct Document {
    status: StatusCode,
    title: String,
    has_islands: bool,
    retry_after: Option<u64>,
    body: Box<dyn FnOnce() -> AnyView + Send>,
}

impl Document {
    /// A page. Its view is put together when it is rendered.
    pub fn new<V: IntoView + 'static>(title: impl Into<String>, body: impl FnOnce() -> V + Send + 'static) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            has_islands: false,
            retry_after: None,
            body: Box::new(move || body().into_any()),
        }
    }

    /// With another status than 200.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// With the status of what went wrong, if anything did, and the time after which to try again.
    #[must_use]
    pub fn with_error(self, error: Option<&ApiError>) -> Self {
        match error {
            Some(error) => Self { status: crate::web::problem::status(error), retry_after: error.retry_after, ..self },
            None => self,
        }
    }

    /// With islands, which need WASM. Other pages do not load it.
    #[must_use]
    pub fn with_islands(self) -> Self {
        Self { has_islands: true, ..self }
    }

    /// Renders the page whole, in answer to a request.
    pub async fn render(self, options: LeptosOptions, parts: Parts) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = leptos_axum::handle_response_inner(
            || {},
            move || shell(self, options),
            Request::from_parts(parts, Body::empty()),
            |app, chunks, _| {
                Box::pin(async move {
                    let html = app.to_html_stream_in_order().collect::<String>().await;
                    Box::pin(futures::stream::once(std::future::ready(html)).chain(chunks())) as _
                })
            },
        )
        .await;
        *response.status_mut() = status;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The script that every page has, before and without WASM.
const SCRIPT: &str = include_str!("page.js");

/// The policy of a page: what it loads comes from here. The inline scripts, of which one starts the islands, carry the
/// nonce.
fn restrict(response: &ResponseOptions) {
    let nonce = use_nonce().map(|nonce| format!(" 'nonce-{nonce}'")).unwrap_or_default();
    let policy = format!(
        "default-src 'self'; script-src 'self'{nonce} 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.insert_header(CONTENT_SECURITY_POLICY, policy);
    }
}

fn shell(document: Document, options: LeptosOptions) -> impl IntoView {
    if let Some(response) = use_context::<ResponseOptions>() {
        restrict(&response);
    }
    let style = format!("/{}/{}.css", options.site_pkg_dir, options.output_name);
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <title>{format!("{} · Latchkey", document.title)}</title>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <link rel="stylesheet" href=style/>
                <script nonce=use_nonce() inner_html=SCRIPT></script>
                {document.has_islands.then(|| view! { <HydrationScripts options islands=true/> })}
            </head>
            <body>{(document.body)()}</body>
        </html>
    }
}
