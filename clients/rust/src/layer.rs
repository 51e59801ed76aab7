//! The layer: lets a request through when its key is good, and answers it when not.

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

/// The body of an answer: ours, or the service's.
pub type ResponseBody<B> = Either<Full<Bytes>, B>;

type Address = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Lets a request through when its key is good, with an [`Identity`] in its extensions and without the header
/// that had the key; answers it when not.
///
/// | the outcome | the answer |
/// |---|---|
/// | `VALID` | the service's |
/// | `NOT_FOUND`, `REVOKED`, `DISABLED`, `EXPIRED`, or no key at all | 401, always the same, with `WWW-Authenticate` |
/// | `WRONG_ENVIRONMENT`, `FORBIDDEN`, `INSUFFICIENT_SCOPES` | 403; the last names the scopes |
/// | `RATE_LIMITED`, `QUOTA_EXCEEDED` | 429 with `Retry-After` |
/// | none: no answer in time, the application's own key refused | 503 with `Retry-After`, and a line in the log |
///
/// The key is `X-API-Key`, or else a Bearer token. The answers are `application/problem+json` with a `code`.
#[derive(Clone)]
pub struct LatchkeyLayer {
    client: Client,
    asked: Arc<Asked>,
}

/// What is asked about every key.
#[derive(Clone)]
struct Asked {
    scopes: String,
    environment: Option<Environment>,
    address: Arc<Address>,
}

impl LatchkeyLayer {
    /// Lets in whoever has a good key. Keys with an allowlist are refused until it is told where requests come
    /// from: see [`address`](Self::address).
    pub fn new(client: Client) -> Self {
        let asked = Asked { scopes: String::new(), environment: None, address: Arc::new(|_| None) };
        Self { client, asked: Arc::new(asked) }
    }

    /// Scopes that a key must all hold, separated by spaces.
    #[must_use]
    pub fn scopes(mut self, scopes: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.asked).scopes = scopes.into();
        self
    }

    /// The environment that a key must belong to.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        Arc::make_mut(&mut self.asked).environment = Some(environment);
        self
    }

    /// Where a request comes from, which keys with an allowlist need. Behind a proxy it has to be a function
    /// that knows which hop of `X-Forwarded-For` to believe.
    #[must_use]
    pub fn address(mut self, address: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.asked).address = Arc::new(address);
        self
    }

    /// Who it is, or what to answer.
    async fn admit(&self, parts: &mut Parts) -> Result<Identity, Response<Full<Bytes>>> {
        let key = credential::take(&mut parts.headers).ok_or_else(refusal::unauthenticated)?;
        let Asked { scopes, environment, address } = &*self.asked;
        let check = Check { scopes, environment: *environment, ip: address(parts), ..Check::new(&key) };
        let outcome = self.client.verify(&check).await.map_err(|error| {
            // Fail closed.
            tracing::warn!(error = &error as &dyn std::error::Error, "a key could not be checked");
            refusal::unavailable()
        })?;
        Identity::of(&outcome).ok_or_else(|| refusal::refused(&outcome))
    }
}

impl fmt::Debug for LatchkeyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchkeyLayer")
            .field("client", &self.client)
            .field("scopes", &self.asked.scopes)
            .field("environment", &self.asked.environment)
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
        // The one that is ready is the one that is called; its clone need not be.
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
