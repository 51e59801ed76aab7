//! The tower layer: passes requests with a valid key, and refuses others.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{Either, Full};
use tower_layer::Layer;
use tower_service::Service;

use crate::check::{Check, Environment};
use crate::client::Client;
use crate::credential;
use crate::identity::Identity;
use crate::refusal;

/// The body of a response: the layer's, or the service's.
pub type ResponseBody<B> = Either<Full<Bytes>, B>;

type Address = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Passes a request with a valid key to the service, with an [`Identity`] in its extensions and without the header of
/// the key. Refuses other requests.
///
/// | outcome | response |
/// |---|---|
/// | `VALID` | the service's |
/// | `NOT_FOUND`, `REVOKED`, `DISABLED`, `EXPIRED`, or no key at all | 401, always the same, with `WWW-Authenticate` |
/// | `WRONG_ENVIRONMENT`, `FORBIDDEN`, `INSUFFICIENT_SCOPES` | 403; the last names the scopes |
/// | `RATE_LIMITED`, `QUOTA_EXCEEDED` | 429 with `Retry-After` |
/// | none: no response in time, or the application's own key was refused | 503 with `Retry-After`, and a log line |
///
/// The key is `X-API-Key`, or else a Bearer token. Refusals are `application/problem+json` with a `code`.
#[derive(Clone)]
pub struct LatchkeyLayer {
    client: Client,
    requirements: Arc<Requirements>,
}

/// The requirements for every key.
#[derive(Clone)]
struct Requirements {
    scopes: String,
    environment: Option<Environment>,
    address: Arc<Address>,
}

impl LatchkeyLayer {
    /// Accepts every valid key. Keys with an allowlist are refused until [`address`](Self::address) is set.
    pub fn new(client: Client) -> Self {
        let requirements = Requirements { scopes: String::new(), environment: None, address: Arc::new(|_| None) };
        Self { client, requirements: Arc::new(requirements) }
    }

    /// Sets the required scopes, separated by spaces.
    #[must_use]
    pub fn scopes(mut self, scopes: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.requirements).scopes = scopes.into();
        self
    }

    /// Sets the required environment.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        Arc::make_mut(&mut self.requirements).environment = Some(environment);
        self
    }

    /// Sets the function that finds the caller's address, which keys with an allowlist need. Behind a proxy, the
    /// function must know which hop of `X-Forwarded-For` to trust.
    #[must_use]
    pub fn address(mut self, address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.requirements).address = Arc::new(address);
        self
    }

    /// Returns the identity of a request, or the refusal.
    async fn admit(&self, parts: &mut Parts) -> Result<Identity, Response<Full<Bytes>>> {
        let key = credential::take(&mut parts.headers).ok_or_else(refusal::unauthenticated)?;
        let Requirements { scopes, environment, address } = &*self.requirements;
        let check = Check { scopes, environment: *environment, ip: address(parts), ..Check::new(&key) };
        let outcome = self.client.verify(&check).await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot check a key with Latchkey; the request is refused (503)"
            );
            refusal::unavailable()
        })?;
        Identity::of(&outcome).ok_or_else(|| refusal::refused(&outcome))
    }
}

impl fmt::Debug for LatchkeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchkeyLayer")
            .field("client", &self.client)
            .field("scopes", &self.requirements.scopes)
            .field("environment", &self.requirements.environment)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for LatchkeyLayer {
    type Service = LatchkeyService<S>;

    fn layer(&self, inner: S) -> LatchkeyService<S> {
        LatchkeyService { layer: self.clone(), inner }
    }
}

/// A service behind a [`LatchkeyLayer`].
#[derive(Debug, Clone)]
pub struct LatchkeyService<S> {
    layer: LatchkeyLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for LatchkeyService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Calls the service that `poll_ready` was called on; a clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match layer.admit(&mut parts).await {
                Ok(identity) => {
                    parts.extensions.insert(identity);
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(Either::Right))
                }
                Err(refused) => Ok(refused.map(Either::Left)),
            }
        })
    }
}
