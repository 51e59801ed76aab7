//! The dialog that creates a key, up to the reveal of its string.

mod fields;

use leptos::ev::SubmitEvent;
use leptos::html::Dialog;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::{Deserialize, Serialize};

use super::browser;
use super::dialog::{Buttons, close, open};
use super::expiry::{self, ON_A_DATE};
use super::field::{Field, check_name, check_scopes};
use super::icons::{ALERT, icon};
use super::reveal::{Reveal, Secret};
use crate::app::server_fns::create_api_key;
use crate::model::ApiError;
use crate::model::wire::CreateApiKey;
use fields::{Choice, Expires, ScopesField, TextInput};

/// An environment in which a key can be created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnvironmentChoice {
    /// Its id.
    pub id: String,
    /// Its name and kind: `Production (live)`.
    pub label: String,
    /// The address of its keys page.
    pub href: String,
}

/// The state of the form.
#[derive(Clone, Copy)]
struct Form {
    name: Field,
    environment: RwSignal<String>,
    expiry: RwSignal<String>,
    date: Field,
    restricted: RwSignal<bool>,
    scopes: Field,
    /// The hint below the date: the end of the day, with the time zone.
    zone: RwSignal<String>,
    /// The error that belongs to no single field.
    failed: RwSignal<String>,
    /// A link beside the error: label and address. The link opens another tab, so that the typed text is kept.
    way_out: RwSignal<Option<(&'static str, String)>>,
    busy: RwSignal<bool>,
    /// The server time at which the first request without an answer was sent.
    lost_since: RwSignal<Option<i64>>,
}

impl Form {
    fn new(environment: String) -> Self {
        Self {
            name: Field::new(check_name),
            environment: RwSignal::new(environment),
            expiry: RwSignal::default(),
            date: Field::new(expiry::check_date),
            restricted: RwSignal::new(false),
            scopes: Field::new(check_scopes),
            zone: RwSignal::default(),
            failed: RwSignal::default(),
            way_out: RwSignal::default(),
            busy: RwSignal::new(false),
            lost_since: RwSignal::new(None),
        }
    }

    fn clear(self) {
        for field in [self.name, self.date, self.scopes] {
            field.clear();
        }
        self.expiry.set(String::new());
        self.restricted.set(false);
        self.lost_since.set(None);
        self.say(String::new(), None);
    }

    fn say(self, failed: String, way_out: Option<(&'static str, String)>) {
        self.failed.set(failed);
        self.way_out.set(way_out);
    }

    fn tell_zone(self) {
        self.zone.set(self.date.text.with_untracked(|date| expiry::meaning(date)));
    }

    fn is_dated(self) -> bool {
        self.expiry.with(|choice| choice == ON_A_DATE)
    }

    /// Builds the request; `None` if a field is invalid. Invalid fields then show their errors.
    fn request(self, org_id: String) -> Option<CreateApiKey> {
        // Checks every field, so that all mistakes show at once.
        let right = [
            self.name.is_right(),
            !self.is_dated() || self.date.is_right(),
            !self.restricted.get_untracked() || self.scopes.is_right(),
        ];
        if right.contains(&false) {
            return None;
        }
        let scopes = if self.restricted.get_untracked() { self.scopes.text.get_untracked() } else { "*".to_owned() };
        Some(CreateApiKey {
            name: Some(self.name.text.get_untracked()),
            org_id: Some(org_id),
            env_id: Some(self.environment.get_untracked()),
            scopes: Some(Some(scopes)),
            expires_at: expiry::expires_at(&self.expiry.get_untracked(), &self.date.text.get_untracked()),
            ..CreateApiKey::default()
        })
    }

    /// Shows an error of the server, at the fields that it names or else above them. If the answer was lost, links to
    /// `lost`, the page that looks for a key created after `since`.
    fn show(self, error: ApiError, since: i64, lost: String) {
        let is_said = error.code == "unavailable";
        let mut rest = error.errors.is_empty().then_some(error.detail);
        for wrong in error.errors {
            let message = format!("It {}.", wrong.message);
            match wrong.field.as_str() {
                "name" => self.name.refuse(message),
                "expires_at" if self.is_dated() => self.date.refuse(message),
                "scopes" => self.scopes.refuse(message),
                field => rest = Some(format!("{field} {}.", wrong.message)),
            }
        }
        let mut way_out = None;
        if error.status == http::StatusCode::UNAUTHORIZED.as_u16() {
            rest = Some(
                "Your session is over, and no key was created. Sign in, then create it here: your text stays."
                    .to_owned(),
            );
            way_out = Some(("Sign in (new tab)", "/sign-in".to_owned()));
        } else if error.status >= http::StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
            if !is_said {
                rest = Some(
                    "The answer did not arrive. The key may have been created, but its string was not shown. Look for \
                     the key before you try again."
                        .to_owned(),
                );
            }
            self.lost_since.set(Some(since));
            way_out = Some(("Look for the key (new tab)", lost));
        }
        self.say(rest.unwrap_or_default(), way_out);
    }
}

/// Returns the present server time in milliseconds, as the creation time of a key has it: slightly early and never late,
/// because the page was rendered at `now` and loaded, by the browser's clock, at `loaded_at`.
fn server_time(now: i64, loaded_at: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds, which are whole")]
    let elapsed = (browser::now() - loaded_at) as i64;
    now + elapsed
}

/// The dialog that creates a key. A click on an element with `data-create-key` opens it.
///
/// `now` is the server's time when it rendered the page, in milliseconds.
#[island]
pub fn CreateKey(org_id: String, environments: Vec<EnvironmentChoice>, current: String, now: i64) -> impl IntoView {
    let form = Form::new(current);
    let loaded_at = StoredValue::new(0.0);
    let secret = RwSignal::new(None::<Secret>);
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        loaded_at.set_value(browser::now());
        // Escape closes the dialog and keeps the typed text; Cancel discards it.
        browser::on_click("[data-create-key]", Box::new(move |_| open(dialog)));
        browser::on_click("#create-key [data-close]", Box::new(move |_| form.clear()));
        // `page.js` repeats a click that was made before WASM had loaded.
        browser::announce("latchkey:ready");
    });

    let organisation = StoredValue::new(org_id);
    let keys = StoredValue::new(environments.clone());
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        if form.busy.get_untracked() {
            return;
        }
        let Some(request) = form.request(organisation.get_value()) else {
            focus_first_mistake(dialog);
            return;
        };
        form.say(String::new(), None);
        form.busy.set(true);
        let since = form.lost_since.get_untracked().unwrap_or_else(|| server_time(now, loaded_at.get_value()));
        let keys_page = keys.with_value(|keys| list_of(keys, request.env_id.as_deref().unwrap_or_default()));
        let name = browser::encode(request.name.as_deref().unwrap_or_default());
        let lost = format!("{keys_page}?lost={name}&since={since}");
        spawn_local(async move {
            let made = create(request).await;
            form.busy.set(false);
            match made {
                Ok(made) => {
                    close(dialog);
                    form.clear();
                    secret.set(Some(made));
                }
                Err(error) => {
                    form.show(error, since, lost);
                    focus_first_mistake(dialog);
                }
            }
        });
    };
    // The list shows the new key at the top, highlighted by the fragment of the address.
    let done = move |made: Secret| {
        browser::replace_page(&format!("{}#{}", keys.with_value(|keys| list_of(keys, &made.environment)), made.id));
    };
    view! {
        <dialog
            class="dialog"
            id="create-key"
            aria-labelledby="create-title"
            node_ref=dialog
            on:cancel=move |event: web_sys::Event| {
                if form.busy.get_untracked() {
                    event.prevent_default();
                }
            }
        >
            <form class="create-form" novalidate autocomplete="off" data-guard="" on:submit=submit>
                <header class="dialog-head">
                    <h2 id="create-title">"Create a key"</h2>
                    <p>"You will see the key once, on the next screen."</p>
                </header>
                <div class="dialog-body">
                    <p class="notice danger" role="alert" hidden=move || form.failed.with(String::is_empty)>
                        {icon(ALERT)}
                        <span>
                            {form.failed} " "
                            {move || form.way_out.get().map(|(words, href)| view! { <a href=href target="_blank">{words}</a> })}
                        </span>
                    </p>
                    <div class="field">
                        <label for="key-name">"Name"</label>
                        <TextInput
                            id="key-name"
                            class="input"
                            described_by="key-name-hint key-name-error"
                            field=form.name
                        />
                        <p class="hint" id="key-name-hint">"Name it after the service that will use it, such as “Billing worker”."</p>
                        {form.name.error_text("key-name-error")}
                    </div>
                    <div class="row">
                        <div class="field">
                            <label for="key-env">"Environment"</label>
                            <Choice id="key-env" chosen=form.environment options=environments
                                .into_iter()
                                .map(|choice| (choice.id, choice.label))
                                .collect()
                            />
                        </div>
                        <Expires form/>
                    </div>
                    <ScopesField form/>
                </div>
                <Buttons class="button primary" todo="Create key" doing="Creating…" busy=form.busy/>
            </form>
        </dialog>
        <Reveal secret done/>
    }
}

/// Returns the address of the keys of an environment.
fn list_of(environments: &[EnvironmentChoice], id: &str) -> String {
    environments.iter().find(|choice| choice.id == id).map(|choice| choice.href.clone()).unwrap_or_default()
}

async fn create(request: CreateApiKey) -> Result<Secret, ApiError> {
    let environment = request.env_id.clone().unwrap_or_default();
    let created = create_api_key(request).await?;
    Ok(Secret { id: created.id, name: created.name, key: created.key, environment })
}

/// Moves the focus to the first invalid field, after the errors have been rendered.
fn focus_first_mistake(dialog: NodeRef<Dialog>) {
    request_animation_frame(move || {
        let found = dialog.get_untracked().and_then(|dialog| dialog.query_selector("[aria-invalid]").ok().flatten());
        if let Some(input) =
            found.and_then(|element| wasm_bindgen::JsCast::dyn_into::<web_sys::HtmlElement>(element).ok())
        {
            drop(input.focus());
        }
    });
}
