//! What the islands ask of the browser.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlDocument, HtmlElement, MouseEvent};

/// What to do about a click.
pub type OnClick = Box<dyn Fn(HtmlElement)>;

/// Listens to plain clicks (left button, no modifier) on anything on the page that matches, and
/// keeps the browser from following links among it. Call it in an effect.
pub fn on_click(selector: &'static str, handle: OnClick) {
    window_event_listener(leptos::ev::click, move |event: MouseEvent| {
        let modified = event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key();
        let clicked = event
            .target()
            .and_then(|target| target.dyn_into::<Element>().ok())
            .and_then(|target| target.closest(selector).ok().flatten())
            .and_then(|found| found.dyn_into::<HtmlElement>().ok());
        if let Some(clicked) = clicked
            && event.button() == 0
            && !modified
        {
            event.prevent_default();
            handle(clicked);
        }
    });
}

/// Tells the script of the page that something has happened.
pub fn announce(event: &str) {
    if let Ok(event) = web_sys::Event::new(event) {
        drop(window().dispatch_event(&event));
    }
}

/// The time by the clock of the browser, in milliseconds.
pub fn now() -> f64 {
    js_sys::Date::now()
}

/// A text as the value of a parameter.
pub fn encode(text: &str) -> String {
    String::from(js_sys::encode_uri_component(text))
}

/// Puts a text into the clipboard. Where the page may not (it was not loaded over HTTPS), the text
/// is selected where it stands and copied the old way.
pub async fn copy(text: &str, stands_in: Option<HtmlElement>) -> bool {
    if window().is_secure_context() {
        let written = JsFuture::from(window().navigator().clipboard().write_text(text)).await;
        if written.is_ok() {
            return true;
        }
    }
    stands_in.is_some_and(|element| select(&element).is_some() && copy_selection())
}

fn select(element: &HtmlElement) -> Option<()> {
    let selection = window().get_selection().ok()??;
    selection.select_all_children(element).ok()
}

fn copy_selection() -> bool {
    document().dyn_into::<HtmlDocument>().is_ok_and(|document| document.exec_command("copy") == Ok(true))
}

/// Loads the page anew, under another address of this server, which takes the place of the current
/// one in the history.
pub fn replace_page(address: &str) {
    let window = window();
    let renamed = window
        .history()
        .and_then(|history| history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(address)));
    // Without a history there is still the reload, which shows the list as it is now.
    drop(renamed);
    drop(window.location().reload());
}
