//! HTTP code that all contracts share: credentials, authorisation, bodies, JSON, errors, and the services of the
//! handlers.

pub mod auth;
pub mod body;
pub mod client_address;
pub mod credential;
mod event_stream;
pub mod fast_path;
pub mod fields;
pub mod json;
pub mod local;
pub mod me;
pub mod observe;
pub mod openapi;
pub mod problem;

pub use crate::runtime::time;
pub use event_stream::event_stream;
pub use fast_path::ResponseFuture;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::security_log::limit::LogLimit;
use crate::web::body::BodyMemory;
use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::events::Events;
use crate::keys::{ChangeLog, Checks, Keys, Limits, Usage};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::runtime::lists::Lists;
use crate::teams::Teams;

/// The services that every handler gets.
#[derive(Clone, Debug)]
pub struct Services {
    /// Issues, lists, edits and revokes keys.
    pub keys: Arc<Keys>,
    /// Follows the change log of keys.
    pub changes: Arc<ChangeLog>,
    /// Checks keys.
    pub checks: Arc<Checks>,
    /// Counts the use of keys.
    pub usage: Arc<Usage>,
    /// Charges requests to the rate limits and quotas of keys.
    pub limits: Arc<Limits>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The organisations and their people.
    pub teams: Arc<Teams>,
    /// The events.
    pub events: Arc<Events>,
    /// Admits searches and lists, within their concurrency limits.
    pub lists: Arc<Lists>,
    /// The public URL and the trusted proxies.
    pub site: Arc<Site>,
    /// The memory for request bodies.
    pub bodies: Arc<BodyMemory>,
    /// Limits the log lines that unauthenticated clients cause.
    pub log_limit: Arc<LogLimit>,
    /// The clock.
    pub clock: Clock,
    /// The source of request ids.
    pub entropy: Entropy,
    /// Cancelled when the server is about to stop: `/readyz` answers 503, and streams end.
    pub stopping: CancellationToken,
}

/// The public URL of this server, and the proxies in front of it.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// The URL that people open, without a slash at the end: `https://keys.example.com`. `None` if the operator has not
    /// set it; then the server accepts any address that leads to it.
    pub public_url: Option<String>,
    /// The address that the server listens on, once it does: the base of links if no `public_url` is set.
    pub address: Option<SocketAddr>,
    /// The networks of the trusted proxies: their `X-Forwarded-For` is used.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

impl Site {
    /// Whether the public URL is HTTPS, so that cookies are `Secure` and have `__Host-` names.
    pub fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// Returns the URL of a path of this server for links that leave it. Never depends on the `Host` of a request.
    pub fn link(&self, path: &str) -> String {
        match (&self.public_url, self.address) {
            (Some(url), _) => format!("{url}{path}"),
            (None, Some(address)) => format!("http://{address}{path}"),
            (None, None) => format!("http://localhost{path}"),
        }
    }

    /// Returns the value of `Strict-Transport-Security` if the public URL is HTTPS: browsers then use HTTPS for a year.
    pub fn strict_transport(&self) -> Option<HeaderValue> {
        self.is_secure().then_some(HeaderValue::from_static("max-age=31536000"))
    }

    /// Returns the request's host if this server refuses forms under it: there is no public URL, and the host is not
    /// `localhost` or an address. An attacker's DNS name could resolve to this server (DNS rebinding).
    pub fn unknown_host<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok())?;
        (self.public_url.is_none() && !is_local_name_or_address(host)).then_some(host)
    }

    /// Returns the name of our own session cookie.
    pub fn session_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-session" } else { "session" }
    }
}

fn is_local_name_or_address(authority: &str) -> bool {
    let host = crate::web::local::host_of(authority);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}
