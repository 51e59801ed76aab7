//! Browser functions of the islands.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Element, HtmlDocument, HtmlElement, MouseEvent};

/// A handler of clicks.
pub type OnClick = Box<dyn Fn(HtmlElement)>;

/// Handles plain clicks (left button, no modifier) on every matching element, and prevents their default action, such
/// as following a link. Call it in an effect.
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

/// Dispatches an event on the window, for `page.js`.
pub fn announce(event: &str) {
    if let Ok(event) = web_sys::Event::new(event) {
        drop(window().dispatch_event(&event));
    }
}

/// Returns the time of the browser's clock, in milliseconds.
pub fn now() -> f64 {
    js_sys::Date::now()
}

/// Encodes a text as the value of a query parameter.
pub fn encode(text: &str) -> String {
    String::from(js_sys::encode_uri_component(text))
}

/// Copies a text to the clipboard. On a page without HTTPS, which has no access to the clipboard, selects the text in
/// its element and uses `execCommand`.
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

/// Loads another address of this server, which replaces the current one in the history.
pub fn replace_page(address: &str) {
    let window = window();
    let renamed = window
        .history()
        .and_then(|history| history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(address)));
    // If the history cannot be changed, the reload still shows the current list.
    drop(renamed);
    drop(window.location().reload());
}
