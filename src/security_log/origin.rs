//! The origin of the request that a task answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::limit::{Kind, LogLimit, Repeated};
use crate::domain::RequestOrigin;

tokio::task_local! {
    static ORIGIN: Origin;
}

/// The origin of the request that a task answers: its address and id, and whether it has a valid credential.
#[derive(Debug, Clone)]
pub struct Origin(Arc<Request>);

#[derive(Debug)]
struct Request {
    origin: RequestOrigin,
    has_credential: AtomicBool,
    limit: Arc<LogLimit>,
}

impl Origin {
    /// Creates the origin of a request that is not authenticated yet.
    pub fn new(origin: RequestOrigin, limit: Arc<LogLimit>) -> Self {
        Self(Arc::new(Request { origin, has_credential: AtomicBool::new(false), limit }))
    }

    /// Returns the origin of the request that this task answers; `None` in a command, in a test, and in a background
    /// task.
    pub fn current() -> Option<Self> {
        ORIGIN.try_with(Clone::clone).ok()
    }

    /// Runs the work of a request; within it, [`current`](Self::current) returns this origin.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        ORIGIN.scope(self, work).await
    }

    /// The client's address.
    pub fn client(&self) -> Option<IpAddr> {
        self.0.origin.address
    }

    /// Returns whether the request gets a log line of its own. A request with a valid credential always does, others
    /// while the budgets of their network and of all networks last.
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

/// Returns the origin of the request that this task answers, in the form of audit entries.
pub fn request_origin() -> RequestOrigin {
    ORIGIN.try_with(|origin| origin.0.origin.clone()).unwrap_or_default()
}

/// Records that the request of this task has a valid credential. The fast paths do not call this, because they log no
/// successful request.
pub fn authenticated() {
    let _ = ORIGIN.try_with(|origin| origin.0.has_credential.store(true, Ordering::Relaxed));
}
