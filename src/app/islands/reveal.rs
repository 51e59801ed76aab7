//! The one time that a key is on the screen.
//!
//! Its string lives in one signal and in text nodes: in no attribute, address or storage. It is gone
//! when the dialog is closed, and when the page is left, before the browser could keep a copy of it.

use std::time::Duration;

use leptos::html::{Code, Dialog};
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::HtmlElement;

use super::browser;
use super::icons::{CHECK, COPY, ONCE, icon};

/// A key that was just made.
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

/// How long a copy button says that it copied.
const CONFIRMED_FOR: Duration = Duration::from_secs(2);
/// `hs_live_` and `hs_test_` are as long.
const PREFIX: usize = 8;

/// Shows `secret` whenever there is one; `done` is told when its reader has saved it.
#[component]
pub fn Reveal(secret: RwSignal<Option<Secret>>, done: impl Fn(Secret) + Copy + Send + 'static) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    let saved = RwSignal::new(false);
    let status = RwSignal::new("");
    let (shown_key, shown_command) = (NodeRef::<Code>::new(), NodeRef::<Code>::new());

    Effect::new(move |_| {
        if secret.read().is_some()
            && let Some(dialog) = dialog.get_untracked()
        {
            saved.set(false);
            status.set("");
            drop(dialog.show_modal());
        }
    });
    Effect::new(move |_| guard(secret, saved));

    let finish = move || {
        if saved.get_untracked()
            && let Some(finished) = secret.get_untracked()
        {
            secret.set(None);
            if let Some(dialog) = dialog.get_untracked() {
                dialog.close();
            }
            done(finished);
        }
    };
    // Whatever closes a dialog without being asked must not take an unsaved key with it.
    let stay = move |_| {
        if let Some(dialog) = dialog.get_untracked().filter(|_| secret.read_untracked().is_some()) {
            drop(dialog.show_modal());
        }
    };
    let text = move |part: fn(&Secret) -> String| move || secret.read().as_ref().map(part);
    view! {
        <dialog
            class="dialog reveal"
            id="reveal-key"
            closedby="none"
            aria-labelledby="reveal-title"
            aria-describedby="reveal-once"
            node_ref=dialog
            on:cancel=move |event: web_sys::Event| {
                event.prevent_default();
                finish();
            }
            on:close=stay
        >
            <div class="bitting" aria-hidden="true"></div>
            <header class="dialog-head">
                <h2 id="reveal-title">"Save “" {text(|secret| secret.name.clone())} "” now"</h2>
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
                    <code class="secret-key" id="secret-key" translate="no" node_ref=shown_key>
                        <span class="prefix">{text(|secret| secret.key.chars().take(PREFIX).collect())}</span>
                        {text(|secret| secret.key.chars().skip(PREFIX).collect())}
                    </code>
                    <CopyButton
                        class="button copy primary wide"
                        todo="Copy key"
                        done="Copied to clipboard"
                        text=move || (secret.get_untracked().map(|secret| secret.key), shown_key.get_untracked().map(Into::into))
                        confirm=move |copied| status.set(if copied { "Key copied to the clipboard" } else { BY_HAND })
                    />
                </div>
                <div>
                    <div class="code-head">
                        <h3 id="try-title">"Try it"</h3>
                        <CopyButton
                            class="button copy small"
                            todo="Copy"
                            done="Copied"
                            text=move || {
                                (secret.get_untracked().map(|secret| command(&secret.key)), shown_command.get_untracked().map(Into::into))
                            }
                            confirm=move |copied| status.set(if copied { "Command copied to the clipboard" } else { BY_HAND })
                        />
                    </div>
                    <div class="code-block">
                        <pre aria-labelledby="try-title" tabindex="0"><code node_ref=shown_command>{text(|_| command_start())}<span class="secret">{text(|secret| secret.key.clone())}</span>"'"</code></pre>
                    </div>
                </div>
                <p class="visually-hidden" role="status">{move || status.get()}</p>
            </div>
            <footer class="dialog-foot">
                <label class="check">
                    <input
                        type="checkbox"
                        autocomplete="off"
                        prop:checked=move || saved.get()
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

const BY_HAND: &str = "Copying is not allowed here: select the text and copy it by hand";

/// The line that tries the key, up to the key.
fn command_start() -> String {
    format!("curl {}/v1/whoami -H 'X-API-Key: ", location().origin().unwrap_or_default())
}

fn command(key: &str) -> String {
    format!("{}{key}'", command_start())
}

/// Asks before the page is left with a key that was not saved, and leaves nothing of it behind.
fn guard(secret: RwSignal<Option<Secret>>, saved: RwSignal<bool>) {
    window_event_listener(leptos::ev::beforeunload, move |event| {
        if secret.read_untracked().is_some() && !saved.get_untracked() {
            event.prevent_default();
            event.set_return_value("The key will not be shown again.");
        }
    });
    window_event_listener(leptos::ev::pagehide, move |_| secret.set(None));
    window_event_listener(leptos::ev::pageshow, |event| {
        // Back from the browser's memory: what it shows may no longer be so.
        if event.persisted() {
            drop(location().reload());
        }
    });
}

/// A button that copies, and says so for a while.
#[component]
fn CopyButton(
    class: &'static str,
    todo: &'static str,
    done: &'static str,
    /// What to copy, and where it stands.
    text: impl Fn() -> (Option<String>, Option<HtmlElement>) + Copy + Send + 'static,
    /// Told whether it was copied.
    confirm: impl Fn(bool) + Copy + Send + 'static,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let (text, element) = text();
        spawn_local(async move {
            let Some(text) = text else { return };
            let ok = browser::copy(&text, element).await;
            confirm(ok);
            copied.set(ok);
            set_timeout(move || copied.set(false), CONFIRMED_FOR);
        });
    };
    view! {
        <button class=class type="button" data-state=move || copied.get().then_some("copied") on:click=copy>
            <span class="todo">{icon(COPY)} {todo}</span>
            <span class="done" aria-hidden="true">{icon(CHECK)} {done}</span>
        </button>
    }
}
