//! Follows the revocation stream (`GET /v1/revocations`), and extends the trust in the cache at each heartbeat.
//!
//! A heartbeat proves that all earlier changes have arrived. A change proves nothing: after a reconnect, further missed
//! changes may follow the first one. The cache is trusted from the earlier of two times:
//!
//! - the time at which the client began to wait for the bytes, because they may have been buffered on this machine;
//! - the time of the request plus one second for each earlier heartbeat. The server sends the first heartbeat at once,
//!   and then one a second, so it cannot have sent this one earlier. So heartbeats that were held back on the way do
//!   not count as new ones.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::client::Shared;
use crate::error::Error;
use crate::events::{Event, EventTooLong, Parser};
use crate::memory::{KeyHash, Memory, TRUST_DURATION};
use crate::moment::Moment;

/// Time between two heartbeats of the server.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Largest age of a heartbeat. An older one would soon lose its effect, so the client reconnects.
const MAX_HEARTBEAT_AGE: Duration = Duration::from_millis(1500);
/// First delay before a reconnect, doubled after each failure.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest delay before a reconnect.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Request(#[from] Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the server closed the stream")]
    Closed,
    #[error("no data from the server for 3 s")]
    Silent,
    #[error("the heartbeat is too old")]
    Late,
    #[error(transparent)]
    EventTooLong(#[from] EventTooLong),
    #[error("an event cannot be parsed")]
    Unreadable,
}

/// The data of a `changed` event.
#[derive(Deserialize)]
struct Changed {
    hash: String,
}

/// Follows the stream until the task is aborted.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let Some(memory) = &shared.memory else {
        return;
    };
    let (mut last, mut wait) = (None, MIN_RETRY_DELAY);
    let mut is_logged = false;
    loop {
        let mut listener = Listener::new(memory, &mut last);
        let Err(error) = listener.listen(&shared).await;
        let had_heartbeat = listener.heartbeats > 0;
        memory.distrust();
        if had_heartbeat {
            (wait, is_logged) = (MIN_RETRY_DELAY, false);
        }
        // Logged once per outage, not at every attempt.
        if !std::mem::replace(&mut is_logged, true) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the revocation stream ended; the cache is not used until it is resumed"
            );
        }
        sleep(wait).await;
        wait = (wait * 2).min(MAX_RETRY_DELAY);
    }
}

/// The state of one connection.
struct Listener<'a> {
    memory: &'a Memory,
    /// The id of the last event, from which the next connection resumes.
    last: &'a mut Option<String>,
    requested: Moment,
    heartbeats: u32,
    parser: Parser,
}

impl<'a> Listener<'a> {
    fn new(memory: &'a Memory, last: &'a mut Option<String>) -> Self {
        Self { memory, last, requested: Moment::now(), heartbeats: 0, parser: Parser::default() }
    }

    async fn listen(&mut self, shared: &Shared) -> Result<Infallible, End> {
        if self.last.is_none() {
            // Without an id to resume from, any key may have changed.
            self.memory.clear();
        }
        let mut body = shared.transport.follow(self.last.as_deref()).await?;
        loop {
            let before = Moment::now();
            let frame = timeout(TRUST_DURATION, body.frame()).await.map_err(|_| End::Silent)?.ok_or(End::Closed)?;
            if let Ok(bytes) = frame.map_err(End::Broken)?.into_data() {
                self.handle(&bytes, before, Moment::now())?;
            }
        }
    }

    /// Handles bytes; the client began to wait for them at `before`.
    fn handle(&mut self, bytes: &[u8], before: Moment, now: Moment) -> Result<(), End> {
        let mut heartbeat = None;
        for event in self.parser.feed(bytes)? {
            if event.name == "heartbeat" {
                let sent = self.requested.after(HEARTBEAT_INTERVAL * self.heartbeats);
                self.heartbeats = self.heartbeats.saturating_add(1);
                heartbeat = Some(sent);
            } else if let Err(end) = self.apply(&event) {
                // Resuming would send the same event again.
                *self.last = None;
                return Err(end);
            }
            *self.last = event.id;
        }
        // After all events that arrived with the heartbeat.
        if let Some(sent) = heartbeat {
            if !sent.is_within(MAX_HEARTBEAT_AGE, now) {
                return Err(End::Late);
            }
            self.memory.trust_from(sent.min(before));
        }
        Ok(())
    }

    fn apply(&self, event: &Event) -> Result<(), End> {
        match event.name.as_str() {
            "changed" => {
                let changed = serde_json::from_str(&event.data).ok();
                let Some(hash) = changed.and_then(|Changed { hash }| KeyHash::parse(&hash)) else {
                    // An unknown key has changed.
                    self.memory.clear();
                    return Err(End::Unreadable);
                };
                self.memory.invalidate(&hash);
            }
            "reset" => self.memory.clear(),
            // Events of later servers are ignored.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::valid;

    const HEARTBEAT_TEXT: &[u8] = b"id: ff-1\nevent: heartbeat\ndata: {}\n\n";

    fn hash() -> KeyHash {
        KeyHash::of("hs_live_1")
    }

    fn changed(key: &str) -> String {
        use sha2::{Digest, Sha256};
        let hash = hex::encode(Sha256::digest(key));
        format!("id: ff-2\nevent: changed\ndata: {{\"key_id\":\"ak_1\",\"hash\":\"{hash}\",\"revoked\":true}}\n\n")
    }

    fn cache(memory: &Memory, now: Moment) {
        memory.finish(memory.begin(hash(), now).expect("a ticket"), &valid(), true);
    }

    fn is_cached(memory: &Memory, now: Moment) -> bool {
        memory.with(&hash(), now, |_| Some(())).is_some()
    }

    #[test]
    fn changes_without_a_heartbeat_do_not_establish_trust() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.handle(changed("other").as_bytes(), start, start).expect("handled");
        assert!(memory.begin(hash(), start).is_none());
        listener.handle(HEARTBEAT_TEXT, start, start).expect("handled");
        assert!(memory.begin(hash(), start).is_some());
        assert_eq!(last.as_deref(), Some("ff-1"));
    }

    #[test]
    fn a_heartbeat_counts_from_the_time_before_the_wait() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.handle(HEARTBEAT_TEXT, start, start).expect("handled");
        cache(&memory, start);
        listener.handle(HEARTBEAT_TEXT, start, start.after(HEARTBEAT_INTERVAL)).expect("handled");
        assert!(is_cached(&memory, start.after(TRUST_DURATION / 100 * 99)));
        assert!(!is_cached(&memory, start.after(TRUST_DURATION)));
    }

    #[test]
    fn delayed_heartbeats_do_not_extend_trust() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.handle(HEARTBEAT_TEXT, start, start).expect("handled");
        cache(&memory, start);
        // The second heartbeat was sent after 1 s and arrives after 10 s.
        let late = start.after(HEARTBEAT_INTERVAL * 10);
        assert!(matches!(listener.handle(HEARTBEAT_TEXT, late, late), Err(End::Late)));
        assert!(!is_cached(&memory, late));
    }

    #[test]
    fn changes_that_arrive_with_a_heartbeat_apply_before_it() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.handle(HEARTBEAT_TEXT, start, start).expect("handled");
        cache(&memory, start);
        let both = [HEARTBEAT_TEXT, changed("hs_live_1").as_bytes()].concat();
        listener.handle(&both, start, start).expect("handled");
        assert!(!is_cached(&memory, start));
        assert_eq!(last.as_deref(), Some("ff-2"));
    }

    #[test]
    fn a_reset_or_an_unreadable_change_clears_the_cache() {
        for text in
            ["event: reset\ndata: {}\n\n", "event: changed\ndata: {}\n\n", "event: changed\ndata: {\"hash\":\"z\"}\n\n"]
        {
            let (memory, mut last) = (Memory::new(10), None);
            let mut listener = Listener::new(&memory, &mut last);
            let start = listener.requested;
            listener.handle(HEARTBEAT_TEXT, start, start).expect("handled");
            cache(&memory, start);
            let handled = listener.handle(text.as_bytes(), start, start);
            assert_eq!(handled.is_ok(), text.starts_with("event: reset"));
            assert!(!is_cached(&memory, start), "{text}");
            assert_eq!(last.is_some(), text.starts_with("event: reset"), "{text}");
        }
    }

    #[test]
    fn an_unknown_event_is_ignored() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.handle(b"id: ff-9\nevent: news\ndata: ?\n\n", start, start).expect("handled");
        assert_eq!(last.as_deref(), Some("ff-9"));
    }
}
