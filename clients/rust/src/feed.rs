//! Follows what ends and changes, and says until when what is remembered may be believed.
//!
//! What a heartbeat shows is that everything before it was told, so heartbeats alone are what is believed:
//! after a reconnection the first change that was missed is no sign that there is no second one. The moment
//! that a heartbeat stands for is the earlier of two:
//!
//! - before its bytes were waited for, because nobody knows how long they lay about here;
//! - as many seconds after the request as heartbeats came before it: the server sends one at the beginning
//!   and then one a second, so it cannot have been sent earlier. However long something on the way holds
//!   bytes back and lets them go later, they do not pass for new ones.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::client::Shared;
use crate::error::Error;
use crate::events::{Endless, Event, Parser};
use crate::memory::{KeyHash, Memory, TRUST};
use crate::moment::Moment;

/// From one heartbeat to the next.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A heartbeat that stands for a moment so long ago will soon be of no use; a new connection begins anew.
const LATE: Duration = Duration::from_millis(1500);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    NotFollowed(#[from] Error),
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the server closed the stream")]
    Closed,
    #[error("nothing was heard for 3 s")]
    Silent,
    #[error("what is heard is too old")]
    Late,
    #[error(transparent)]
    Endless(#[from] Endless),
    #[error("an event that cannot be read")]
    Unreadable,
}

/// The data of a change.
#[derive(Deserialize)]
struct Changed {
    hash: String,
}

/// Follows the feed for as long as there is a client.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let Some(memory) = &shared.memory else {
        return;
    };
    let (mut last, mut wait) = (None, SHORTEST_WAIT);
    let mut is_told = false;
    loop {
        let mut listener = Listener::new(memory, &mut last);
        let Err(error) = listener.listen(&shared).await;
        let heard = listener.heartbeats > 0;
        memory.broken();
        if heard {
            (wait, is_told) = (SHORTEST_WAIT, false);
        }
        // Once, and not at every try.
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the feed of changes ended; every key is asked for"
            );
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// One connection.
struct Listener<'a> {
    memory: &'a Memory,
    /// The id of the last event that was heard, by which the next connection goes on.
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
            // Nobody can say what was missed.
            self.memory.forget();
        }
        let mut body = shared.transport.follow(self.last.as_deref()).await?;
        loop {
            let before = Moment::now();
            let frame = timeout(TRUST, body.frame()).await.map_err(|_| End::Silent)?.ok_or(End::Closed)?;
            if let Ok(bytes) = frame.map_err(End::Broken)?.into_data() {
                self.hear(&bytes, before, Moment::now())?;
            }
        }
    }

    /// Takes in bytes that were waited for since `before`.
    fn hear(&mut self, bytes: &[u8], before: Moment, now: Moment) -> Result<(), End> {
        let mut complete = None;
        for event in self.parser.feed(bytes)? {
            if event.name == "heartbeat" {
                let sent = self.requested.after(HEARTBEAT * self.heartbeats);
                self.heartbeats = self.heartbeats.saturating_add(1);
                complete = Some(sent);
            } else if let Err(end) = self.apply(&event) {
                // It would come again.
                *self.last = None;
                return Err(end);
            }
            *self.last = event.id;
        }
        // After all that came with it.
        if let Some(sent) = complete {
            if !sent.is_within(LATE, now) {
                return Err(End::Late);
            }
            self.memory.complete(sent.min(before));
        }
        Ok(())
    }

    fn apply(&self, event: &Event) -> Result<(), End> {
        match event.name.as_str() {
            "changed" => {
                let changed = serde_json::from_str(&event.data).ok();
                let Some(hash) = changed.and_then(|Changed { hash }| KeyHash::parse(&hash)) else {
                    // Some key has changed, and nobody knows which.
                    self.memory.forget();
                    return Err(End::Unreadable);
                };
                self.memory.changed(&hash);
            }
            "reset" => self.memory.forget(),
            // A later server may say more.
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

    fn remember(memory: &Memory, now: Moment) {
        memory.answered(memory.ask(hash(), now).expect("it may be remembered"), &valid(), true);
    }

    fn knows(memory: &Memory, now: Moment) -> bool {
        memory.with(&hash(), now, |_| Some(())).is_some()
    }

    #[test]
    fn changes_alone_do_not_show_that_all_was_told() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.hear(changed("other").as_bytes(), start, start).expect("heard");
        assert!(memory.ask(hash(), start).is_none());
        listener.hear(HEARTBEAT_TEXT, start, start).expect("heard");
        assert!(memory.ask(hash(), start).is_some());
        assert_eq!(last.as_deref(), Some("ff-1"));
    }

    #[test]
    fn a_heartbeat_stands_for_the_moment_before_it_was_waited_for() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.hear(HEARTBEAT_TEXT, start, start).expect("heard");
        remember(&memory, start);
        listener.hear(HEARTBEAT_TEXT, start, start.after(HEARTBEAT)).expect("heard");
        assert!(knows(&memory, start.after(TRUST / 100 * 99)));
        assert!(!knows(&memory, start.after(TRUST)));
    }

    #[test]
    fn heartbeats_that_were_held_back_are_no_new_ones() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.hear(HEARTBEAT_TEXT, start, start).expect("heard");
        remember(&memory, start);
        // The second one was sent after a second, and comes after ten, when nothing else was waited for.
        let late = start.after(HEARTBEAT * 10);
        assert!(matches!(listener.hear(HEARTBEAT_TEXT, late, late), Err(End::Late)));
        assert!(!knows(&memory, late));
    }

    #[test]
    fn what_comes_with_a_heartbeat_is_taken_in_before_it_counts() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.hear(HEARTBEAT_TEXT, start, start).expect("heard");
        remember(&memory, start);
        let both = [HEARTBEAT_TEXT, changed("hs_live_1").as_bytes()].concat();
        listener.hear(&both, start, start).expect("heard");
        assert!(!knows(&memory, start));
        assert_eq!(last.as_deref(), Some("ff-2"));
    }

    #[test]
    fn a_reset_and_a_change_that_cannot_be_read_make_it_forget_everything() {
        for text in
            ["event: reset\ndata: {}\n\n", "event: changed\ndata: {}\n\n", "event: changed\ndata: {\"hash\":\"z\"}\n\n"]
        {
            let (memory, mut last) = (Memory::new(10), None);
            let mut listener = Listener::new(&memory, &mut last);
            let start = listener.requested;
            listener.hear(HEARTBEAT_TEXT, start, start).expect("heard");
            remember(&memory, start);
            let heard = listener.hear(text.as_bytes(), start, start);
            assert_eq!(heard.is_ok(), text.starts_with("event: reset"));
            assert!(!knows(&memory, start), "{text}");
            assert_eq!(last.is_some(), text.starts_with("event: reset"), "{text}");
        }
    }

    #[test]
    fn an_event_that_nobody_knows_yet_is_passed_over() {
        let (memory, mut last) = (Memory::new(10), None);
        let mut listener = Listener::new(&memory, &mut last);
        let start = listener.requested;
        listener.hear(b"id: ff-9\nevent: news\ndata: ?\n\n", start, start).expect("heard");
        assert_eq!(last.as_deref(), Some("ff-9"));
    }
}
