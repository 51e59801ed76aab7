//! Inserts new events at the top of an open list.
//!
//! The server sends rendered rows, which the island only inserts. One function handles all events and sets texts in the
//! DOM directly, because signals would cost more WASM than the island itself.

use std::cell::RefCell;
use std::rc::Rc;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::js_sys::{Date, Function};
use web_sys::{Element, Event, EventSource, MessageEvent};

use super::toast::dismiss_at_click;
use crate::model::ago;

/// Largest number of rows in the list, and of held rows while it is paused; older ones are dropped.
const MAX_ROWS: usize = 200;
/// Milliseconds between updates of relative times, and between attempts to reconnect.
const TICK_MS: i32 = 5000;

/// Starts the live updates of `#live`, which the server renders with the list. `data-address` is the address of the
/// stream, to which a parameter can be appended, `data-newest` the first event of the list, `data-oldest` the last event
/// of a full list. (Arguments and a view of the island would cost a third more WASM.)
#[island]
pub fn LiveTail() -> impl IntoView {
    Effect::new(|_| {
        dismiss_at_click();
        if let Some(live) = by_id("live") {
            Tail::start(live);
        }
    });
}

struct Tail {
    live: Element,
    address: String,
    /// The newest known event; a new connection asks for later ones.
    newest: String,
    /// Older events are on a later page.
    oldest: String,
    source: Option<EventSource>,
    /// Calls [`handle`](Self::handle).
    listener: Option<Function>,
    is_open: bool,
    is_paused: bool,
    /// Whether there were more events than the server counts.
    has_gaps: bool,
    /// Rows that arrived during the pause, with their ids.
    held: Vec<(String, String)>,
    /// Number of events that arrived during the pause and are not held as rows.
    unheld: usize,
    /// Number of events since the page was loaded, with and without a row.
    shown: usize,
}

fn by_id(id: &str) -> Option<Element> {
    document().get_element_by_id(id)
}

/// Sets the text of an element, if it differs.
fn set_text(id: &str, words: &str) {
    if let Some(element) = by_id(id)
        && element.text_content().as_deref() != Some(words)
    {
        element.set_text_content(Some(words));
    }
}

impl Tail {
    fn start(live: Element) {
        let data = |name: &str| live.get_attribute(name).unwrap_or_default();
        let tail = Rc::new(RefCell::new(Self {
            address: data("data-address"),
            newest: data("data-newest"),
            oldest: data("data-oldest"),
            live,
            source: None,
            listener: None,
            is_open: false,
            is_paused: false,
            has_gaps: false,
            held: Vec::new(),
            unheld: 0,
            shown: 0,
        }));
        let shared = Rc::clone(&tail);
        let handle = move |event: Option<Event>| shared.borrow_mut().handle(event);
        let listener: Function = Closure::<dyn Fn(Option<Event>)>::new(handle).into_js_value().unchecked_into();
        drop(document().add_event_listener_with_callback("visibilitychange", &listener));
        drop(window().set_interval_with_callback_and_timeout_and_arguments_0(&listener, TICK_MS));
        if let Some(button) = by_id("live-pause") {
            drop(button.add_event_listener_with_callback("click", &listener));
        }
        let mut tail = tail.borrow_mut();
        drop(tail.live.remove_attribute("hidden"));
        tail.listener = Some(listener);
        tail.connect();
        tail.show();
    }

    fn connect(&mut self) {
        let address = format!("{}after={}&oldest={}", self.address, self.newest, self.oldest);
        let Ok(source) = EventSource::new(&address) else {
            return;
        };
        if let Some(listener) = &self.listener {
            for kind in ["open", "error", "row", "missed"] {
                drop(source.add_event_listener_with_callback(kind, listener));
            }
        }
        self.source = Some(source);
    }

    fn disconnect(&mut self) {
        self.is_open = false;
        if let Some(source) = self.source.take() {
            source.close();
        }
    }

    /// Handles an event of the stream or the page, or (`None`) a tick of the timer.
    fn handle(&mut self, event: Option<Event>) {
        let kind = event.as_ref().map(Event::type_).unwrap_or_default();
        match kind.as_str() {
            "open" => self.is_open = true,
            // Also when the server ends the stream. Reconnects here, because the browser stops after an error status.
            "error" => self.disconnect(),
            "missed" | "row" => {
                if let Some(message) = event.and_then(|event| event.dyn_into::<MessageEvent>().ok()) {
                    if kind == "row" { self.take(&message) } else { self.miss(&message) }
                }
            }
            "click" => {
                self.is_paused = !self.is_paused;
                self.shown += std::mem::take(&mut self.unheld);
                for (id, row) in std::mem::take(&mut self.held) {
                    self.insert(&id, &row);
                }
            }
            _ => {
                // A browser opens six connections to a server at most, so a hidden page keeps none.
                if document().hidden() {
                    self.disconnect();
                } else if self.source.is_none() {
                    self.connect();
                }
                if kind.is_empty() {
                    self.announce();
                    update_times();
                }
            }
        }
        self.show();
    }

    fn take(&mut self, message: &MessageEvent) {
        let id = message.last_event_id();
        let known = by_id(&id).is_some() || self.held.iter().any(|(held, _)| *held == id);
        if known {
            return;
        }
        // Ids are in the order of arrival. An event that was stored late has a lower id than the newest.
        if id > self.newest {
            self.newest.clone_from(&id);
        }
        let row = message.data().as_string().unwrap_or_default();
        if self.is_paused {
            if self.held.len() == MAX_ROWS {
                self.oldest = self.held.remove(0).0;
                self.unheld += 1;
            }
            self.held.push((id, row));
        } else {
            self.insert(&id, &row);
        }
    }

    /// Counts events that were sent as a number instead of rows: `17`, or `1800+` for more than the server counts.
    fn miss(&mut self, message: &MessageEvent) {
        let text = message.data().as_string().unwrap_or_default();
        let count: usize = text.trim_end_matches('+').parse().unwrap_or_default();
        self.has_gaps |= text.ends_with('+');
        if self.is_paused {
            self.unheld += count;
        } else {
            self.shown += count;
        }
    }

    /// Inserts a row before the first older one.
    fn insert(&mut self, id: &str, row: &str) {
        let Some(rows) = by_id("event-rows") else {
            // The page without events has no table: load the page with one.
            drop(window().location().reload());
            return;
        };
        let mut place = rows.first_element_child();
        while let Some(present) = place.as_ref().filter(|present| present.id().as_str() > id) {
            place = present.next_element_sibling();
        }
        drop(match place {
            Some(older) => older.insert_adjacent_html("beforebegin", row),
            None => rows.insert_adjacent_html("beforeend", row),
        });
        self.shown += 1;
        while rows.child_element_count() as usize > MAX_ROWS {
            if let Some(oldest) = rows.last_element_child() {
                self.oldest = oldest.id();
                oldest.remove();
            }
        }
    }

    fn words(&self) -> String {
        let (state, count, unit) = if self.is_paused {
            ("Paused", self.held.len() + self.unheld, "waiting")
        } else if self.is_open {
            ("Live", self.shown, "new")
        } else if self.source.is_some() {
            ("Connecting…", self.shown, "new")
        } else {
            ("Disconnected, trying again…", self.shown, "new")
        };
        let mut words = state.to_owned();
        if count > 0 {
            words.extend([" · ", &count.to_string(), " ", unit]);
        }
        if self.has_gaps {
            words += " · more than could be counted";
        }
        words
    }

    fn show(&self) {
        set_text("live-words", &self.words());
        set_text("live-pause", if self.is_paused { "Resume" } else { "Pause" });
        self.live.set_class_name(match (self.is_paused, self.is_open) {
            (true, _) => "tail paused",
            (false, true) => "tail open",
            (false, false) => "tail",
        });
    }

    /// Announces the status to screen readers, once per tick at most.
    fn announce(&self) {
        set_text("live-said", &self.words());
    }
}

/// Updates the relative times (`3 minutes ago`).
fn update_times() {
    let Ok(times) = document().query_selector_all("#event-rows time") else {
        return;
    };
    for place in 0..times.length() {
        if let Some(time) = times.get(place).and_then(|node| node.dyn_into::<Element>().ok())
            && let Some(at) = time.get_attribute("datetime")
        {
            #[expect(clippy::cast_possible_truncation, reason = "an invalid time becomes 0")]
            let words = ago(((Date::now() - Date::parse(&at)) / 1000.0) as i64);
            if time.text_content().as_deref() != Some(&words) {
                time.set_text_content(Some(&words));
            }
        }
    }
}
