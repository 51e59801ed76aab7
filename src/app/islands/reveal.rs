//! The dialog that shows a new key, once.
//!
//! The key string is in one signal and in text nodes, never in an attribute, address or storage. The signal is emptied
//! when the dialog closes and when the page is left, before the browser can keep a copy of the page.

use std::time::Duration;

use leptos::html::{Code, Dialog};
use leptos::prelude::*;
use leptos::task::spawn_local;

use super::browser;
use super::dialog::{close, open};
use super::icons::{CHECK, COPY, ONCE, icon};

/// A key that was just created.
#[derive(Clone)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// Its label.
    pub name: String,
    /// Its string.
    pub key: String,
    /// The environment that it is in.
    pub environment: String,
}

/// Time for which a copy button confirms that it copied.
const COPIED_DURATION: Duration = Duration::from_secs(2);
/// Characters of `hs_live_` and `hs_test_`.
const PREFIX_LENGTH: usize = 8;

/// Shows `secret` while it is set; calls `done` after the user has confirmed that the key is saved.
#[component]
pub fn Reveal(secret: RwSignal<Option<Secret>>, done: impl Fn(Secret) + Copy + Send + 'static) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    let saved = RwSignal::new(false);
    let status = RwSignal::new("");
    let shown = NodeRef::<Code>::new();

    Effect::new(move |guarded: Option<()>| {
        if guarded.is_none() {
            guard(secret, saved);
        }
        if secret.read().is_some() {
            saved.set(false);
            status.set("");
            open(dialog);
        }
    });
    let finish = move || {
        if saved.get_untracked()
            && let Some(finished) = secret.get_untracked()
        {
            secret.set(None);
            close(dialog);
            done(finished);
        }
    };
    let text = move |part: fn(&Secret) -> String| move || secret.read().as_ref().map(part);
    view! {
        <dialog
            class="dialog reveal"
            id="reveal-key"
            closedby=move || if saved.get() { "closerequest" } else { "none" }
            aria-labelledby="reveal-title"
            aria-describedby="reveal-once"
            node_ref=dialog
            on:cancel=move |event: web_sys::Event| {
                event.prevent_default();
                finish();
            }
            // Some browsers close a dialog in spite of `cancel`; reopen it while the key is not saved.
            on:close=move |_| {
                if secret.read_untracked().is_some() {
                    open(dialog);
                }
            }
        >
            <div class="bitting" aria-hidden="true"></div>
            <header class="dialog-head">
                <h2 id="reveal-title">"Save “" <bdi>{text(|secret| secret.name.clone())}</bdi> "” now"</h2>
                <p class="once" id="reveal-once">
                    {icon(ONCE)}
                    <span>
                        <strong>"This is the only time you will see this key."</strong>
                        " Latchkey keeps a fingerprint of it, not the key. If you lose it, revoke it and create another."
                    </span>
                </p>
            </header>
            <div class="dialog-body">
                <div class="reveal-key">
                    <code class="secret-key" id="secret-key" translate="no" node_ref=shown>
                        <span class="prefix">{text(|secret| secret.key.chars().take(PREFIX_LENGTH).collect())}</span>
                        {text(|secret| secret.key.chars().skip(PREFIX_LENGTH).collect())}
                    </code>
                    <CopyButton
                        class="button copy primary wide"
                        todo="Copy key"
                        done="Copied to clipboard"
                        announced="Key copied to the clipboard"
                        text=|secret| secret.key.clone()
                        shown
                        secret
                        status
                    />
                </div>
                <TryIt secret status/>
                // Success shows on the button, failure here.
                <p class=move || if status.get() == COPY_FAILED { "error" } else { "visually-hidden" } role="status">
                    {status}
                </p>
            </div>
            <footer class="dialog-foot">
                <label class="check">
                    <input
                        type="checkbox"
                        autocomplete="off"
                        prop:checked=saved
                        on:change=move |event| saved.set(event_target_checked(&event))
                    />
                    <span>"I have saved this key"</span>
                </label>
                <button class="button primary" type="button" disabled=move || !saved.get() on:click=move |_| finish()>
                    "Done"
                </button>
            </footer>
        </dialog>
    }
}

/// A command that tries the key, ready to paste.
#[component]
fn TryIt(secret: RwSignal<Option<Secret>>, status: RwSignal<&'static str>) -> impl IntoView {
    let shown = NodeRef::<Code>::new();
    view! {
        <div>
            <div class="code-head">
                <h3 id="try-title">"Try it"</h3>
                <CopyButton
                    class="button copy small"
                    todo="Copy"
                    done="Copied"
                    announced="Command copied to the clipboard"
                    text=|secret| format!("{}{}'", command_start(), secret.key)
                    shown
                    secret
                    status
                />
            </div>
            <div class="code-block">
                <pre aria-labelledby="try-title" tabindex="0">
                    <code node_ref=shown>
                        {move || secret.read().as_ref().map(|_| command_start())}
                        <span class="secret">{move || secret.read().as_ref().map(|secret| secret.key.clone())}</span>
                        "'"
                    </code>
                </pre>
            </div>
        </div>
    }
}

/// The message when the browser refuses to copy.
pub const COPY_FAILED: &str = "Copying is not allowed here: select the text and copy it by hand";

/// Returns the command that tries the key, up to the key.
fn command_start() -> String {
    format!("curl {}/v1/whoami -H 'X-API-Key: ", location().origin().unwrap_or_default())
}

/// Asks before the page is left with an unsaved key, and erases the key when the page is left.
fn guard(secret: RwSignal<Option<Secret>>, saved: RwSignal<bool>) {
    window_event_listener(leptos::ev::beforeunload, move |event| {
        if secret.read_untracked().is_some() && !saved.get_untracked() {
            event.prevent_default();
            event.set_return_value("The key will not be shown again.");
        }
    });
    window_event_listener(leptos::ev::pagehide, move |_| secret.set(None));
    window_event_listener(leptos::ev::pageshow, |event| {
        // Restored from the back-forward cache: the content may be stale.
        if event.persisted() {
            drop(location().reload());
        }
    });
}

/// A button that copies a text, and confirms for a moment.
#[component]
fn CopyButton(
    class: &'static str,
    todo: &'static str,
    done: &'static str,
    /// The status for screen readers after copying.
    announced: &'static str,
    secret: RwSignal<Option<Secret>>,
    /// Returns the text to copy.
    text: fn(&Secret) -> String,
    /// The element that shows the text.
    shown: NodeRef<Code>,
    status: RwSignal<&'static str>,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let text = secret.with_untracked(|secret| secret.as_ref().map(text));
        let shown = shown.get_untracked();
        spawn_local(async move {
            let ok = browser::copy(&text.unwrap_or_default(), shown).await;
            status.set(if ok { announced } else { COPY_FAILED });
            copied.set(ok);
            set_timeout(move || copied.set(false), COPIED_DURATION);
        });
    };
    view! {
        <button class=class type="button" data-state=move || copied.get().then_some("copied") on:click=copy>
            <span class="todo">{icon(COPY)} {todo}</span>
            <span class="done" aria-hidden="true">{icon(CHECK)} {done}</span>
        </button>
    }
}
