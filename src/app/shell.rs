//! The HTML document around every page: status, head, and content security policy.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use leptos::config::LeptosOptions;
use leptos::nonce::use_nonce;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;

use crate::model::ApiError;

/// The response to a request for a page.
pub enum Answer {
    /// A page.
    Page(Document),
    /// A redirect (303) to this path.
    SeeOther(String),
    /// Any other response, such as a download.
    Other(Response),
}

impl From<Document> for Answer {
    fn from(document: Document) -> Self {
        Self::Page(document)
    }
}

/// A page with its data, ready to be rendered.
pub struct Document {
    status: StatusCode,
    title: String,
    has_islands: bool,
    script: Option<&'static str>,
    retry_after: Option<u64>,
    headers: HeaderMap,
    body: Box<dyn FnOnce() -> AnyView + Send>,
}

impl Document {
    /// Creates a page; `body` builds its view when the page is rendered.
    pub fn new<V: IntoView + 'static>(title: impl Into<String>, body: impl FnOnce() -> V + Send + 'static) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            has_islands: false,
            script: None,
            retry_after: None,
            headers: HeaderMap::new(),
            body: Box::new(move || body().into_any()),
        }
    }

    /// Sets the status; 200 by default.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Sets the status and `Retry-After` of an error, if there is one.
    #[must_use]
    pub fn with_error(self, error: Option<&ApiError>) -> Self {
        match error {
            Some(error) => Self { status: crate::web::problem::status(error), retry_after: error.retry_after, ..self },
            None => self,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Marks a page with islands. Other pages do not load WASM.
    #[must_use]
    pub fn with_islands(self) -> Self {
        Self { has_islands: true, ..self }
    }

    /// Adds a script of the page's own, after that of every page.
    #[must_use]
    pub fn with_script(self, script: &'static str) -> Self {
        Self { script: Some(script), ..self }
    }

    /// Renders the complete response to a request.
    pub async fn render(mut self, options: LeptosOptions, parts: Parts) -> Response {
        let (status, retry_after, headers) = (self.status, self.retry_after, std::mem::take(&mut self.headers));
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
        response.headers_mut().extend(headers);
        response
    }
}

/// The inline script of every page, independent of WASM.
const SCRIPT: &str = include_str!("page.js");

/// Sets the content security policy: a page loads from this server only. The inline scripts (`page.js`, that of the
/// page, and the start of the islands) have the nonce.
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
                {document.script.map(|script| view! { <script nonce=use_nonce() inner_html=script></script> })}
                {document.has_islands.then(|| view! { <HydrationScripts options islands=true/> })}
            </head>
            <body>{(document.body)()}</body>
        </html>
    }
}
