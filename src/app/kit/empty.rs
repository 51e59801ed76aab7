//! The contents of an empty list.

use leptos::prelude::*;

use super::{Sentence, isolate};
use crate::app::islands::icons::{PLUS, icon};
use crate::app::links::keys::KeysLink;
use crate::domain::KeyState;
use crate::model::{Mode, NameError};

/// A list without entries: its purpose, the first steps, an action (the children), and a command to paste.
#[component]
pub fn Beginning(
    title: String,
    lead: &'static str,
    steps: AnyView,
    sample: AnyView,
    code: AnyView,
    children: Children,
) -> AnyView {
    view! {
        <section class="empty" aria-labelledby="empty-title">
            <div class="teach">
                <h2 id="empty-title"><Sentence text=title/></h2>
                <p>{lead}</p>
                <ol class="steps">{steps}</ol>
                {children()}
            </div>
            <div class="sample">
                <p>{sample}</p>
                <div class="code-block">
                    <pre><code>{code}</code></pre>
                </div>
            </div>
        </section>
    }
    .into_any()
}

/// A list without matches; `href` is the address without filters.
#[component]
pub fn NothingFound(
    #[prop(into)] title: String,
    #[prop(into)] hint: String,
    href: String,
    clear: &'static str,
) -> AnyView {
    view! {
        <section class="empty narrow" aria-labelledby="empty-title">
            <h2 id="empty-title"><Sentence text=title/></h2>
            <p><Sentence text=hint/></p>
            <a class="button" href=href>{clear}</a>
        </section>
    }
    .into_any()
}

/// An environment without keys: their purpose, and the first steps. `origin` is the address of this server.
#[component]
pub fn NoKeys(environment: String, mode: Mode, origin: String, may_create: bool) -> AnyView {
    let mode = mode.as_str();
    let steps = view! {
        <li><span><strong>"Create a key"</strong> " and name it after the service that will use it."</span></li>
        <li>
            <span>
                <strong>"Copy it once."</strong>
                " Latchkey keeps only a fingerprint and cannot show it again."
            </span>
        </li>
        <li>
            <span>
                <strong>"Watch it work."</strong>
                " Requests and last use appear here; revoking stops it at once."
            </span>
        </li>
    };
    let code = view! {
        {format!("curl {origin}/v1/whoami \\\n  -H 'X-API-Key: ")}
        <span class="secret">{format!("hs_{mode}_…")}</span>
        "'\n\n"
        <span class="out">
            {format!(
                "{{\n  \"name\": \"Billing worker\",\n  \"environment\": \"{mode}\",\n  \"scopes\": \"events:write\"\n}}",
            )}
        </span>
    };
    view! {
        <Beginning
            title=format!("No keys in {} yet", isolate(&environment))
            lead="A key identifies each caller of your API outside a browser: \
                  a worker, a gateway, a script, a partner."
            steps=steps.into_any()
            sample="The first call with a new key. It answers with the key’s name, environment and scopes.".into_any()
            code=code.into_any()
        >
            {may_create.then(|| view! {
                <button class="button primary needs-js" type="button" aria-haspopup="dialog" data-create-key>
                    {icon(PLUS)}
                    "Create your first key"
                </button>
            })}
        </Beginning>
    }
    .into_any()
}

/// The notice that no key matches the filters.
#[component]
pub fn NoMatch(environment: String, here: KeysLink) -> AnyView {
    let state = here.state.map(KeyState::as_str);
    let title = match (state, &here.name) {
        (Some(state), Some(name)) => format!("No {state} key named “{}”", isolate(name)),
        (None, Some(name)) => format!("No key named “{}”", isolate(name)),
        (Some(state), None) => format!("No {state} keys"),
        (None, None) => "No older keys".to_owned(),
    };
    let environment = isolate(&environment);
    let hint = if here.name.is_some() {
        format!("Names, IDs and key prefixes are searched, in {environment} only.")
    } else if state.is_some() {
        format!("This is about {environment} only.")
    } else {
        format!("This is the end of the list of {environment}.")
    };
    view! { <NothingFound title hint href=here.cleared().href() clear="Clear filters"/> }.into_any()
}

/// The notice that the search text is invalid, because no name can contain it.
#[component]
pub fn Unsearchable(error: NameError, here: KeysLink) -> AnyView {
    let hint = format!("The text to search for {error}. Search for a part of a name, an ID, or the start of a key.");
    view! { <NothingFound title="Nothing was searched" hint href=here.with_name(None).href() clear="Clear search"/> }
        .into_any()
}
