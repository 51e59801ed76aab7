//! New events at the top of the list, while one looks.
//!
//! The server sends rows as it renders them itself; here they are only put into the page. All that
//! happens comes to one function, and texts are set where they stand: signals would cost more
//! WASM than the island itself.

use std::cell::RefCell;
use std::rc::Rc;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::js_sys::{Date, Function};
use web_sys::{Element, Event, EventSource, MessageEvent};

use super::toast::dismiss_at_click;
use crate::model::ago;

/// The list grows to so many rows, and as many wait while it is paused.
const MOST_ROWS: usize = 200;
/// How often times are told anew, and a lost connection is tried again, in milliseconds.
const TICK: i32 = 5000;

/// Brings `#live` to life, which the server renders with the list: `data-address` is where its stream
/// is, `data-newest` the first event of the list, `data-oldest` the last one of a full list. (As arguments and a view of the island, the same
/// would be a third more WASM.)
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
    /// The newest event that is known; a new connection asks for what came after it.
    newest: String,
    /// What is older than this is on a later page.
    oldest: String,
    source: Option<EventSource>,
    /// Calls [`hear`](Self::hear).
    listener: Option<Function>,
    is_open: bool,
    is_paused: bool,
    /// There were more events than could be counted.
    has_gaps: bool,
    /// Rows that came while it is paused, with their ids.
    held: Vec<(String, String)>,
    /// Events that came while it is paused and are not held as rows.
    unheld: usize,
    /// Events that came since the page was loaded, with and without a row.
    shown: usize,
}

fn by_id(id: &str) -> Option<Element> {
    document().get_element_by_id(id)
}

/// Says something, if it is not said already.
fn say(id: &str, words: &str) {
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
        let hearing = Rc::clone(&tail);
        let hear = move |event: Option<Event>| hearing.borrow_mut().hear(event);
        let listener: Function = Closure::<dyn Fn(Option<Event>)>::new(hear).into_js_value().unchecked_into();
        drop(document().add_event_listener_with_callback("visibilitychange", &listener));
        drop(window().set_interval_with_callback_and_timeout_and_arguments_0(&listener, TICK));
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
        let address = format!("{}&after={}&oldest={}", self.address, self.newest, self.oldest);
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

    /// Whatever happens: on the stream, on the page, or (`None`) nothing for a while.
    fn hear(&mut self, event: Option<Event>) {
        let kind = event.as_ref().map(Event::type_).unwrap_or_default();
        match kind.as_str() {
            "open" => self.is_open = true,
            // Also the end that the server sets. The browser's own tries end at the first refusal.
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
                // A browser has six connections to a server: a page that nobody sees keeps none.
                if document().hidden() {
                    self.disconnect();
                } else if self.source.is_none() {
                    self.connect();
                }
                if kind.is_empty() {
                    self.announce();
                    tell_times();
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
        // Ids are in the order of arrival; one that was stored a little late is older than the newest.
        if id > self.newest {
            self.newest.clone_from(&id);
        }
        let row = message.data().as_string().unwrap_or_default();
        if self.is_paused {
            if self.held.len() == MOST_ROWS {
                self.oldest = self.held.remove(0).0;
                self.unheld += 1;
            }
            self.held.push((id, row));
        } else {
            self.insert(&id, &row);
        }
    }

    /// Events came that are sent as a number and not as rows: `17`, or `1800+` when there were more.
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

    /// Puts a row in its place: before the first one that is older.
    fn insert(&mut self, id: &str, row: &str) {
        let Some(rows) = by_id("event-rows") else {
            // The page without events becomes the one with a list.
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
        while rows.child_element_count() as usize > MOST_ROWS {
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
        say("live-words", &self.words());
        say("live-pause", if self.is_paused { "Resume" } else { "Pause" });
        self.live.set_class_name(match (self.is_paused, self.is_open) {
            (true, _) => "tail paused",
            (false, true) => "tail open",
            (false, false) => "tail",
        });
    }

    /// To who does not see it, at every tick at most.
    fn announce(&self) {
        say("live-said", &self.words());
    }
}

/// Keeps `3 minutes ago` true.
fn tell_times() {
    let Ok(times) = document().query_selector_all("#event-rows time") else {
        return;
    };
    for place in 0..times.length() {
        if let Some(time) = times.get(place).and_then(|node| node.dyn_into::<Element>().ok())
            && let Some(at) = time.get_attribute("datetime")
        {
            #[expect(clippy::cast_possible_truncation, reason = "what is no time becomes 0")]
            let words = ago(((Date::now() - Date::parse(&at)) / 1000.0) as i64);
            if time.text_content().as_deref() != Some(&words) {
                time.set_text_content(Some(&words));
            }
        }
    }
}
