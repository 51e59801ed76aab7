//! The origin of the request that a task answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::limit::{Kind, LogLimit, Repeated};
use crate::domain::RequestOrigin;

tokio::task_local! {
    static ORIGIN: Origin;
}

/// The origin of the request that a task answers.
#[derive(Debug, Clone)]
pub struct Origin(Arc<Request>);

#[derive(Debug)]
struct Request {
    origin: RequestOrigin,
    has_credential: AtomicBool,
    limit: Arc<LogLimit>,
}

impl Origin {
    /// The origin of a request that has not proven yet whose it is.
    pub fn new(origin: RequestOrigin, limit: Arc<LogLimit>) -> Self {
        Self(Arc::new(Request { origin, has_credential: AtomicBool::new(false), limit }))
    }

    /// The origin of the request that this task answers; `None` in a command, in a test, and in a task of its own.
    pub fn current() -> Option<Self> {
        ORIGIN.try_with(Clone::clone).ok()
    }

    /// Answers a request, as a part of which [`current`](Self::current) is this origin.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        ORIGIN.scope(self, work).await
    }

    /// The client's address.
    pub fn client(&self) -> Option<IpAddr> {
        self.0.origin.address
    }

    /// Whether the request has a line of its own: one with a valid credential always, others while their network and
    /// all networks together have few.
    pub fn has_own_line(&self, kind: Kind, status: &str, route: &str) -> bool {
        self.0.has_credential.load(Ordering::Relaxed)
            || self.admit(kind, Repeated { event: "request", code: status, subject: route })
    }

    /// The id of the request.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.0.origin.request_id.as_deref()
    }

    pub(super) fn admit(&self, kind: Kind, repeated: Repeated<'_>) -> bool {
        self.0.limit.admit(kind, self.client(), repeated, self.request_id().unwrap_or_default())
    }
}

/// The origin of the request that this task answers, as audit entries keep it.
pub fn request_origin() -> RequestOrigin {
    ORIGIN.try_with(|origin| origin.0.origin.clone()).unwrap_or_default()
}

/// Notes that the request of this task has a valid credential. Not for the hot paths, which log no request that went
/// well.
pub fn authenticated() {
    let _ = ORIGIN.try_with(|origin| origin.0.has_credential.store(true, Ordering::Relaxed));
}
