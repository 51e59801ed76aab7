//! What every contract needs of HTTP: credentials, authorisation, bodies, JSON, errors, and the services that handlers
//! use.

pub mod auth;
pub mod body;
pub mod client_address;
pub mod credential;
mod event_stream;
pub mod fast_path;
pub mod fields;
pub mod json;
pub mod local;
pub mod observe;
pub mod openapi;
pub mod problem;

pub use crate::runtime::time;
pub use event_stream::event_stream;
pub use fast_path::Answering;

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
    /// Counts what keys spend of their rate limits and quotas.
    pub limits: Arc<Limits>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The events.
    pub events: Arc<Events>,
    /// Places for searches and lists.
    pub lists: Arc<Lists>,
    /// How this server is reached.
    pub site: Arc<Site>,
    /// The memory for bodies that are arriving.
    pub bodies: Arc<BodyMemory>,
    /// The bounds on log lines that strangers cause.
    pub log_limit: Arc<LogLimit>,
    /// The time.
    pub clock: Clock,
    /// For the ids of requests.
    pub entropy: Entropy,
    /// Cancelled when the server is about to stop: `/readyz` answers 503, and streams end.
    pub stopping: CancellationToken,
}

/// How this server is reached.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Where people open it, without a slash at the end: `https://keys.example.com`. `None` when
    /// the operator has not said, and whatever address leads here is right.
    pub public_url: Option<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

impl Site {
    /// Whether people come by HTTPS, so that cookies are `Secure` and have `__Host-` names.
    pub fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// `Strict-Transport-Security`, where people come by HTTPS: browsers then do for a year.
    pub fn strict_transport(&self) -> Option<HeaderValue> {
        self.is_secure().then_some(HeaderValue::from_static("max-age=31536000"))
    }

    /// The host of a request, when the forms of this server are refused under it: a name that the operator has not
    /// named and that is not this machine's. Somebody else could let it point here (DNS rebinding).
    pub fn unknown_host<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok())?;
        (self.public_url.is_none() && !is_local_name_or_address(host)).then_some(host)
    }

    /// The name of our own session cookie.
    pub fn session_cookie(&self) -> &'static str {
        if self.is_secure() { "__Host-session" } else { "session" }
    }
}

fn is_local_name_or_address(authority: &str) -> bool {
    let host = crate::web::local::host_of(authority);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}
