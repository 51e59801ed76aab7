//! What stands where there are no keys to list.

use leptos::prelude::*;

use crate::app::islands::icons::{PLUS, icon};
use crate::app::pages::KeysLink;
use crate::keys::KeyState;
use crate::model::Mode;

/// No key yet: what one is for, and how to begin. `origin` is where this server is reached.
#[component]
pub fn NoKeys(environment: String, mode: Mode, origin: String) -> AnyView {
    let mode = mode.as_str();
    view! {
        <section class="empty" aria-labelledby="empty-title">
            <div class="teach">
                <h2 id="empty-title">"No keys in " {environment} " yet"</h2>
                <p>
                    "Anything that calls your API from outside a browser proves who it is with a key: "
                    "a worker, a gateway, a script, a partner."
                </p>
                <ol class="steps">
                    <li><span><strong>"Create a key"</strong> " and name it after whatever will use it."</span></li>
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
                </ol>
                <button class="button primary needs-js" type="button" aria-haspopup="dialog" data-create-key>
                    {icon(PLUS)}
                    "Create your first key"
                </button>
            </div>
            <div class="sample">
                <p>"The first call with a new key. It answers with the key’s name, environment and scopes."</p>
                <div class="code-block">
                    <pre><code>
                        {format!("curl {origin}/v1/whoami \\\n  -H 'X-API-Key: ")}
                        <span class="secret">{format!("hs_{mode}_…")}</span>
                        "'\n\n"
                        <span class="out">
                            {format!(
                                "{{\n  \"name\": \"Billing worker\",\n  \"environment\": \"{mode}\",\n  \"scopes\": \"events:write\"\n}}",
                            )}
                        </span>
                    </code></pre>
                </div>
            </div>
        </section>
    }
    .into_any()
}

/// There are keys, but none of these.
#[component]
pub fn NoMatch(environment: String, here: KeysLink) -> AnyView {
    let state = here.state.map(KeyState::as_str);
    let title = match (state, &here.name) {
        (Some(state), Some(name)) => format!("No {state} key named “{name}”"),
        (None, Some(name)) => format!("No key named “{name}”"),
        (Some(state), None) => format!("No {state} keys"),
        (None, None) => "No older keys".to_owned(),
    };
    let hint = if here.name.is_some() {
        format!("Names are searched in {environment} only.")
    } else if state.is_some() {
        format!("This is about {environment} only.")
    } else {
        format!("This is the end of the list of {environment}.")
    };
    view! {
        <section class="empty narrow" aria-labelledby="empty-title">
            <h2 id="empty-title">{title}</h2>
            <p>{hint}</p>
            <a class="button" href=here.cleared().href()>"Clear filters"</a>
        </section>
    }
    .into_any()
}
