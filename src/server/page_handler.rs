//! Turns a function of the dashboard into a handler: extracts its arguments from the request, and renders its answer.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodFilter, MethodRouter, on, post};

use super::assets;
use crate::app;
use crate::app::kit::{Form, Frame, Visit};
use crate::app::links::invited::OpenedInvitation;
use crate::app::links::key_in_address::address_without_key;
use crate::app::links::visited::Visited;
use crate::app::links::{HOME, SIGN_IN};
use crate::app::shell::Answer;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// A function that loads a page or handles a form. Its arguments are extractors, like those of a handler; `A` is the
/// tuple of their types. Rejections and errors become pages.
pub trait PageFunction<A>: Clone + Send + Sync + 'static {
    /// Extracts the arguments from the request, and calls the function.
    fn call(self, services: &Services, parts: &mut Parts) -> impl Future<Output = Result<Answer, ApiError>> + Send;
}

macro_rules! page_function {
    ($($argument:ident)+) => {
        impl<F, L, $($argument),+> PageFunction<($($argument,)+)> for F
        where
            F: FnOnce($($argument),+) -> L + Clone + Send + Sync + 'static,
            L: Future<Output = Result<Answer, ApiError>> + Send,
            $(
                $argument: FromRequestParts<Services> + Send,
                ApiError: From<<$argument as FromRequestParts<Services>>::Rejection>,
            )+
        {
            #[expect(non_snake_case, reason = "an argument is named as its type")]
            async fn call(self, services: &Services, parts: &mut Parts) -> Result<Answer, ApiError> {
                $(let $argument = $argument::from_request_parts(parts, services).await?;)+
                self($($argument),+).await
            }
        }
    };
}

page_function!(A);
page_function!(A B);
page_function!(A B C);
page_function!(A B C D);
page_function!(A B C D E);

/// Answers GET with a page.
pub fn page<A: 'static>(load: impl PageFunction<A>) -> MethodRouter<Services> {
    page_on(MethodFilter::GET, load)
}

/// Answers a method with a page. The body of the request is ignored.
pub fn page_on<A: 'static>(method: MethodFilter, load: impl PageFunction<A>) -> MethodRouter<Services> {
    on(method, async move |State(services): State<Services>, mut parts: Parts| {
        let outcome = load.call(&services, &mut parts).await;
        render(&services, parts, outcome).await
    })
}

/// Answers the POST of a [`Form`], which is an argument of the function. If the session is over or the database is
/// unavailable, the form's values are kept and can be sent again.
pub fn form<A: 'static>(handle: impl PageFunction<A>) -> MethodRouter<Services> {
    post(async move |State(services): State<Services>, request: Request| {
        let (form, mut parts) = match Form::read(request).await {
            Ok(read) => read,
            Err((error, parts)) => return render(&services, parts, Err(error)).await,
        };
        parts.extensions.insert(form.clone());
        let outcome = match handle.call(&services, &mut parts).await {
            Err(error) if error.status == StatusCode::UNAUTHORIZED.as_u16() => {
                app::account::sign_in::sign_in_again(&services, form.held(&parts)).await
            }
            Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => {
                // The error page can send the form again, so that no input is lost.
                if let Some(held) = form.held(&parts) {
                    parts.extensions.insert(held);
                }
                Err(error)
            }
            outcome => outcome,
        };
        render(&services, parts, outcome).await
    })
}

/// Redirects a request with a key string in its URL to a URL without the key.
pub async fn without_keys(State(services): State<Services>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match address_without_key(&services, &mut parts).await {
        Ok(None) => next.run(Request::from_parts(parts, body)).await,
        Ok(Some(address)) => render(&services, parts, Ok(Answer::SeeOther(address))).await,
        Err(error) => render(&services, parts, Err(error)).await,
    }
}

/// Returns the page for a URL that does not exist.
pub async fn not_found(services: Services, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let outcome = match address_without_key(&services, &mut parts).await {
        Ok(Some(address)) => Ok(Answer::SeeOther(address)),
        _ => Err(ApiError::not_found("There is nothing at this address.")),
    };
    render(&services, parts, outcome).await
}

/// Renders the outcome of a page or a form. A 401 redirects to the sign-in page.
async fn render(services: &Services, mut parts: Parts, outcome: Result<Answer, ApiError>) -> Response {
    let document = match outcome {
        Ok(Answer::Other(response)) => return response,
        Ok(Answer::SeeOther(path)) => return Redirect::to(&path).into_response(),
        Ok(Answer::Page(document)) => document,
        Err(error) if error.status == StatusCode::UNAUTHORIZED.as_u16() => {
            return Redirect::to(&sign_in_first(&parts)).into_response();
        }
        Err(error) => {
            // The page has no frame when the database fails.
            let signed_in = SignedIn::from_request_parts(&mut parts, services).await.ok();
            let frame = signed_in.map(|SignedIn(person)| Frame::of(person, &parts));
            let now = services.clock.now();
            if error.status == StatusCode::NOT_FOUND.as_u16() {
                app::kit::not_found(frame, &parts, now)
            } else {
                app::kit::failed(&error, frame, &parts, now)
            }
        }
    };
    let cookie = visit(services, &parts);
    let mut response = document.render(assets::leptos_options(), parts).await;
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Returns the cookie with the place of a page, if it changes.
fn visit(services: &Services, parts: &Parts) -> Option<HeaderValue> {
    let Visit(place) = parts.extensions.get()?;
    let visited: Visited = parts.extensions.get().cloned().unwrap_or_default();
    visited.after(*place, &services.site)
}

/// Reads the cookies of the dashboard. This layer runs before [`find`](crate::web::credential::find), which removes the
/// cookies of a request.
pub async fn read_cookies(State(services): State<Services>, mut request: Request, next: Next) -> Response {
    let visited = Visited::read(request.headers(), &services.site);
    let invitation = OpenedInvitation::read(request.headers(), &services.site);
    request.extensions_mut().insert(visited);
    request.extensions_mut().insert(invitation);
    next.run(request).await
}

/// Returns the path of the sign-in page, with the requested page in `next`.
fn sign_in_first(parts: &Parts) -> String {
    let requested = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str).filter(|path| *path != HOME);
    match requested {
        Some(path) if parts.method == Method::GET => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("next", path);
            format!("{SIGN_IN}?{}", query.finish())
        }
        _ => SIGN_IN.to_owned(),
    }
}
