//! The API reference: renders the OpenAPI document as a page without a script.

use leptos::prelude::*;
use serde_json::Value;

use super::operation::{Operation, prose};
use super::schema::fields;
use crate::app::kit::{Frame, Framed, Section};
use crate::app::shell::Document;

/// An operation of the document.
#[derive(Clone)]
struct Call {
    path: String,
    method: String,
    operation: &'static Value,
}

impl Call {
    fn text(&self, name: &str) -> &'static str {
        self.operation.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.operation.get("tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(|own| own == tag))
    }
}

/// Renders `/docs/api`, in the frame of the signed-in person if there is one.
pub fn api_docs(document: &'static Value, frame: Option<Frame>) -> Document {
    Document::new("API reference", move || page(document, frame))
}

fn page(document: &'static Value, frame: Option<Frame>) -> AnyView {
    let tags: Vec<&Value> = document.get("tags").and_then(Value::as_array).into_iter().flatten().collect();
    let calls = calls(document);
    let contents: Vec<_> = tags.iter().map(|tag| contents(tag, &calls)).collect();
    let sections: Vec<_> = tags.iter().map(|tag| section(document, tag, &calls)).collect();
    let lead = document.pointer("/info/description").and_then(Value::as_str).unwrap_or_default();
    view! {
        <Framed frame section=Section::Docs>
            <div class="reference">
                <header class="page-head">
                    <div>
                        <h1>"API reference"</h1>
                        <div class="lead">{prose(lead)}</div>
                    </div>
                    <a class="button" href="/openapi.json">"OpenAPI document"</a>
                </header>
                <nav class="contents" aria-label="Calls">{contents}</nav>
                {credentials(document)}
                {sections}
                {errors(document)}
            </div>
        </Framed>
    }
    .into_any()
}

fn calls(document: &'static Value) -> Vec<Call> {
    let paths = document.get("paths").and_then(Value::as_object);
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(|(method, operation)| Call { path: path.clone(), method: method.clone(), operation })
    };
    paths.into_iter().flatten().flat_map(of_path).collect()
}

fn name_of(tag: &'static Value) -> &'static str {
    tag.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn contents(tag: &'static Value, calls: &[Call]) -> AnyView {
    let name = name_of(tag);
    let entry = |call: &Call| {
        view! { <li><a href=format!("#{}", call.text("operationId"))>{call.text("summary")}</a></li> }
    };
    let entries: Vec<_> = calls.iter().filter(|call| call.has_tag(name)).map(entry).collect();
    view! { <div><h2>{name}</h2><ul>{entries}</ul></div> }.into_any()
}

fn section(document: &'static Value, tag: &'static Value, calls: &[Call]) -> AnyView {
    let name = name_of(tag);
    let description = tag.get("description").and_then(Value::as_str).unwrap_or_default();
    let operations: Vec<_> = calls
        .iter()
        .filter(|call| call.has_tag(name))
        .cloned()
        .map(|Call { path, method, operation }| view! { <Operation document path method operation/> })
        .collect();
    view! { <section><h2>{name}</h2>{prose(description)}{operations}</section> }.into_any()
}

fn credentials(document: &'static Value) -> AnyView {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object);
    let scheme = |(name, scheme): (&'static String, &'static Value)| {
        let text = |field: &str| scheme.get(field).and_then(Value::as_str).unwrap_or_default();
        let form = match text("type") {
            "apiKey" => format!("{} {}", text("in"), text("name")),
            _ => "header Authorization: Bearer …".to_owned(),
        };
        view! {
            <div id=name.as_str()>
                <dt><code>{name.as_str()}</code> " " <span class="kind">{form}</span></dt>
                <dd>{prose(text("description"))}</dd>
            </div>
        }
    };
    let schemes: Vec<_> = schemes.into_iter().flatten().map(scheme).collect();
    view! { <section><h2>"Credentials"</h2><dl class="fields">{schemes}</dl></section> }.into_any()
}

fn errors(document: &'static Value) -> AnyView {
    let schema = document.pointer("/components/schemas/Problem").unwrap_or(&Value::Null);
    let rows: Vec<_> = fields(document, schema)
        .into_iter()
        .map(|field| {
            view! {
                <div>
                    <dt><code>{field.path}</code> " " <span class="kind">{field.kind}</span></dt>
                    <dd>{prose(&field.description)}</dd>
                </div>
            }
        })
        .collect();
    view! {
        <section id="errors">
            <h2>"Errors"</h2>
            {prose("An error is `application/problem+json` (RFC 9457). HookSentry's 400 is a JSON string in its place.")}
            <dl class="fields">{rows}</dl>
        </section>
    }
    .into_any()
}
