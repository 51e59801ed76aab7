//! The HTTP calls to the server: verify, report usage, follow revocations.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::builder::BuildError;
use crate::check::Check;
use crate::connector::{Connector, connector};
use crate::error::Error;
use crate::outcome::{self, Outcome};
use crate::usage::Use;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
const CACHEABLE: HeaderName = HeaderName::from_static("latchkey-cacheable");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";
/// Largest accepted response, in bytes. An outcome has a few hundred bytes, and at most 4 KiB of metadata.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Time after which an idle connection is closed. Latchkey closes it after 60 s, which must not hit the next check.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Transport {
    http: Client<Connector, Full<Bytes>>,
    own_key: HeaderValue,
    pub(crate) timeout: Duration,
    verify: Uri,
    usage: Uri,
    revocations: Uri,
}

impl Transport {
    pub(crate) fn new(url: &str, own_key: &str, timeout: Duration) -> Result<Self, BuildError> {
        let base: Uri = url.parse().map_err(|_| BuildError::Url)?;
        let is_https = match base.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BuildError::Url),
        };
        // Credentials before an `@` would be logged with the address.
        if base.query().is_some() || base.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(BuildError::Url);
        }
        if own_key.is_empty() || !own_key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BuildError::Key);
        }
        // The bytes are wiped when the last request has dropped them.
        let own_key = Bytes::from_owner(Zeroizing::new(own_key.as_bytes().to_vec()));
        let mut own_key = HeaderValue::from_maybe_shared(own_key).map_err(|_| BuildError::Key)?;
        own_key.set_sensitive(true);
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        Ok(Self {
            http: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build(connector(http, is_https)?),
            own_key,
            timeout,
            verify: join(&base, "/v1/keys/verify")?,
            usage: join(&base, "/v1/keys/usage")?,
            revocations: join(&base, "/v1/revocations")?,
        })
    }

    /// Returns host and port, for debug output.
    pub(crate) fn server(&self) -> &str {
        self.verify.authority().map_or("", |authority| authority.as_str())
    }

    /// Checks a key; returns the outcome, and whether it may be cached.
    pub(crate) async fn verify(&self, check: &Check<'_>) -> Result<(Outcome, bool), Error> {
        let response = self.post(&self.verify, check).await?;
        let is_cacheable = response.headers().get(CACHEABLE).is_some_and(|value| value == "true");
        let outcome = outcome::read(response.body()).ok_or(Error::Unreadable)?;
        Ok((outcome, is_cacheable))
    }

    /// Reports the number of accepted requests by key.
    pub(crate) async fn report(&self, uses: &[(Arc<str>, Use)]) -> Result<(), Error> {
        let reported = self.post(&self.usage, &Report::new(uses, true)).await;
        if let Err(Error::Status(StatusCode::BAD_REQUEST)) = reported {
            // The server refuses times that are over a day old, or in the future because the clocks differ.
            return self.post(&self.usage, &Report::new(uses, false)).await.map(drop);
        }
        reported.map(drop)
    }

    /// Opens the revocation stream, after the event `last`.
    pub(crate) async fn follow(&self, last: Option<&str>) -> Result<Incoming, Error> {
        let mut request = self.request(&self.revocations, Bytes::new());
        *request.method_mut() = Method::GET;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        if let Some(last) = last {
            let last = HeaderValue::from_str(last).map_err(|_| Error::Unreadable)?;
            request.headers_mut().insert(LAST_EVENT_ID, last);
        }
        let response = self.within(async { self.http.request(request).await.map_err(Error::unreachable) }).await?;
        if response.status() != StatusCode::OK {
            return Err(Error::of_status(response.status()));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with(EVENT_STREAM)) {
            return Err(Error::Unreadable);
        }
        Ok(response.into_body())
    }

    async fn post(&self, to: &Uri, body: &impl Serialize) -> Result<Response<Bytes>, Error> {
        // Large enough that the buffer does not grow, which would leave unwiped copies of the key.
        let mut written = Zeroizing::new(Vec::with_capacity(1024));
        serde_json::to_writer(&mut *written, body).map_err(Error::unreachable)?;
        let mut request = self.request(to, Bytes::from_owner(written));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.within(async {
            let (head, body) = self.http.request(request).await.map_err(Error::unreachable)?.into_parts();
            if head.status != StatusCode::OK {
                return Err(Error::of_status(head.status));
            }
            let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(Error::Unreachable)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
        .await
    }

    fn request(&self, to: &Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.clone();
        request.headers_mut().insert(KEY, self.own_key.clone());
        request
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or(Err(Error::Timeout(self.timeout)))
    }
}

/// Returns the address of a call; the base address may have a path.
fn join(base: &Uri, path: &str) -> Result<Uri, BuildError> {
    let mut parts = base.clone().into_parts();
    let path = format!("{}{path}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| BuildError::Url)?);
    Uri::from_parts(parts).map_err(|_| BuildError::Url)
}

#[derive(Serialize)]
struct Report<'a> {
    uses: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    key_id: &'a str,
    count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
}

impl<'a> Report<'a> {
    fn new(uses: &'a [(Arc<str>, Use)], with_times: bool) -> Self {
        let uses = uses.iter().map(|(key_id, used)| Entry {
            key_id,
            count: used.count,
            last_used_at: with_times.then(|| seconds(used.last)).flatten(),
        });
        Self { uses: uses.collect() }
    }
}

fn seconds(at: SystemTime) -> Option<String> {
    OffsetDateTime::from(at).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::usage::MAX_REPORT_KEYS;

    #[test]
    fn the_path_of_the_base_address_is_kept() {
        for (base, whole) in [
            ("http://a:1", "http://a:1/v1/x"),
            ("http://a:1/", "http://a:1/v1/x"),
            ("https://a/keys/", "https://a/keys/v1/x"),
        ] {
            let base = base.parse().expect("an address");
            assert_eq!(join(&base, "/v1/x").expect("an address").to_string(), whole);
        }
    }

    #[test]
    fn a_report_is_serialised_as_the_server_expects() {
        let last = UNIX_EPOCH + Duration::from_millis(1999);
        let uses = [(Arc::from("ak_1"), Use { count: 17, last })];
        let written = |with_times| serde_json::to_string(&Report::new(&uses, with_times)).expect("JSON");
        assert_eq!(written(true), r#"{"uses":[{"key_id":"ak_1","count":17,"last_used_at":"1970-01-01T00:00:01Z"}]}"#);
        assert_eq!(written(false), r#"{"uses":[{"key_id":"ak_1","count":17}]}"#);
    }

    #[test]
    fn the_largest_report_fits_in_a_request_body() {
        let last = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let uses = vec![(Arc::from("ak_8f3a1b2c4d5e6f7a"), Use { count: u32::MAX, last }); MAX_REPORT_KEYS];
        let written = serde_json::to_vec(&Report::new(&uses, true)).expect("JSON");
        assert!(written.len() < 64 * 1024, "{}", written.len());
    }
}
