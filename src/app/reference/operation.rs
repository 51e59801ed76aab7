//! The view of one operation of the API.

use leptos::prelude::*;
use serde_json::{Map, Value};

use super::call::{Call, list, text};
use super::curl;
use super::schema::{examples, fields, kind, resolve};
use crate::app::kit::{CopyButton, with_code};

/// Renders paragraphs with `code` in backquotes.
pub fn prose(text: &str) -> AnyView {
    let paragraph = |text: &str| view! { <p>{with_code(text)}</p> };
    text.split("\n\n").filter(|text| !text.is_empty()).map(paragraph).collect_view().into_any()
}

/// One operation: request and responses. `reference.js` searches the elements with `data-searched`, see
/// [`Search::finds`](super::search::Search::finds).
#[component]
pub fn Operation<'a>(document: &'static Value, call: Call, origin: &'a str, is_hidden: bool) -> AnyView {
    let Call { path, method, operation } = call;
    let credentials: Vec<&str> =
        list(operation, "security").filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str).collect();
    let open = credentials.is_empty()
        || list(operation, "security").any(|one| one.as_object().is_some_and(serde_json::Map::is_empty));
    let credentials: Vec<_> = credentials
        .iter()
        .map(|name| view! { <li><a class="chip" href=format!("#{name}")>{(*name).to_owned()}</a></li> })
        .collect();
    let body = operation.get("requestBody").and_then(|body| body.pointer("/content/application~1json"));
    view! {
        <article class="operation" id=call.id() hidden=is_hidden>
            <h3 data-searched>{call.summary()}</h3>
            <div class="call" data-copyable>
                <p data-searched><b>{method.to_uppercase()}</b> " " <code>{path}</code></p>
                <CopyButton what="Path"/>
            </div>
            <div class="about" data-searched>{prose(text(operation, "description"))}</div>
            <div class="credentials">
                <h4>"Credential"</h4>
                <ul>{open.then(|| view! { <li><span class="chip">"none"</span></li> })} {credentials}</ul>
            </div>
            {parameters(document, operation)}
            {body.map(|body| view! {
                <h4>"Body"</h4>
                {body_fields(document, body)}
                {shown(document, body)}
            })}
            <h4>"Request"</h4>
            {sample("Command", "curl".to_owned(), curl::command(document, call, origin))}
            <h4>"Responses"</h4>
            <dl class="responses">{responses(document, operation)}</dl>
        </article>
    }
    .into_any()
}

/// A text to copy; `what` names it for the copy button.
fn sample(what: &'static str, caption: String, text: String) -> AnyView {
    view! {
        <figure data-copyable>
            <figcaption><span>{caption}</span> <CopyButton what/></figcaption>
            <pre tabindex="0"><code>{text}</code></pre>
        </figure>
    }
    .into_any()
}

fn parameters(document: &Value, operation: &Value) -> AnyView {
    let parameters: Vec<_> = list(operation, "parameters")
        .map(|parameter| {
            let schema = parameter.get("schema").unwrap_or(&Value::Null);
            let default =
                resolve(document, schema).get("default").map(|default| format!("; without it {}", plain(default)));
            let kind =
                format!("{}, in the {}{}", kind(document, schema), text(parameter, "in"), default.unwrap_or_default());
            row(
                text(parameter, "name"),
                &kind,
                parameter.get("required") == Some(&Value::Bool(true)),
                text(parameter, "description"),
            )
        })
        .collect();
    if parameters.is_empty() {
        return ().into_any();
    }
    view! { <h4>"Parameters"</h4> <dl class="fields">{parameters}</dl> }.into_any()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn row(name: &str, kind: &str, required: bool, description: &str) -> AnyView {
    view! {
        <div>
            <dt>
                <code>{name.to_owned()}</code>
                " "
                <span class="kind">{kind.to_owned()}</span>
                {required.then(|| view! { " " <span class="required">"required"</span> })}
            </dt>
            <dd>{prose(description)}</dd>
        </div>
    }
    .into_any()
}

fn body_fields(document: &Value, content: &Value) -> AnyView {
    let schema = content.get("schema").unwrap_or(&Value::Null);
    let rows: Vec<_> = fields(document, schema)
        .iter()
        .map(|field| row(&field.path, &field.kind, field.required, &field.description))
        .collect();
    if rows.is_empty() {
        let kind = kind(document, schema);
        return view! { <p class="kind">{kind}</p> }.into_any();
    }
    view! { <dl class="fields">{rows}</dl> }.into_any()
}

fn shown(document: &Value, content: &Value) -> AnyView {
    let example = |(summary, value): (String, Value)| {
        sample("Example", if summary.is_empty() { "Example".to_owned() } else { summary }, format!("{value:#}"))
    };
    examples(document, content).into_iter().map(example).collect_view().into_any()
}

fn responses(document: &Value, operation: &Value) -> AnyView {
    let responses = operation.get("responses").and_then(Value::as_object);
    let one = |(status, response): (&String, &Value)| {
        let response = resolve(document, response);
        let headers: Vec<_> = response
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, header)| row(name, "header", false, text(header, "description")))
            .collect();
        // All errors have the same body, which has a section of its own.
        let body = response.pointer("/content/application~1json").filter(|_| status.starts_with('2'));
        view! {
            <div>
                <dt class=if status.starts_with('2') { "good" } else { "bad" }>{status.clone()}</dt>
                <dd>
                    {prose(text(response, "description"))}
                    {(!headers.is_empty()).then(|| view! { <dl class="fields">{headers}</dl> })}
                    {body.map(|body| view! {
                        <details>
                            <summary>"Fields"</summary>
                            {body_fields(document, body)}
                        </details>
                        {shown(document, body)}
                    })}
                </dd>
            </div>
        }
        .into_any()
    };
    responses.into_iter().flatten().map(one).collect_view().into_any()
}
