//! The API reference: renders the OpenAPI document as a page. `page.js` adds the copy buttons, and
//! `reference.js` the search as the user types; everything else works without a script.

use leptos::prelude::*;
use serde_json::Value;

use super::call::{Group, groups, text};
use super::contents::Contents;
use super::operation::{Operation, prose};
use super::schema::fields;
use super::search::Search;
use crate::app::kit::{CopyStatus, Frame, Framed, NothingFound, Section, isolate};
use crate::app::links::REFERENCE;
use crate::app::shell::Document;

const SCRIPT: &str = include_str!("reference.js");

/// Renders `/docs/api`, in the frame of the signed-in person if there is one. `origin` is the address of this server,
/// for the commands. `query` has the search.
pub fn api_docs(document: &'static Value, frame: Option<Frame>, query: Option<&str>, origin: String) -> Document {
    let search = Search::read(query);
    Document::new("API reference", move || page(document, frame, &search, &origin)).with_script(SCRIPT)
}

fn page(document: &'static Value, frame: Option<Frame>, search: &Search, origin: &str) -> AnyView {
    let groups = groups(document);
    let sections: Vec<_> = groups.iter().map(|group| section(document, group, search, origin)).collect();
    let is_found = groups.iter().flat_map(|group| &group.calls).any(|call| search.finds(call));
    let lead = document.pointer("/info/description").and_then(Value::as_str).unwrap_or_default();
    let contents = view! { <Contents groups=&groups search/> };
    let nothing = format!("No operation matches “{}”", isolate(&search.text));
    let is_filtered = !search.is_empty();
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
                {contents}
                <div class="column">
                    <div data-nothing hidden=is_found>
                        <NothingFound
                            title=nothing
                            hint="Names, methods, paths, IDs, groups and descriptions of operations are searched."
                            href=REFERENCE.to_owned()
                            clear="Clear search"
                        />
                    </div>
                    {credentials(document, is_filtered)}
                    {sections}
                    {errors(document, is_filtered)}
                </div>
                <CopyStatus/>
            </div>
        </Framed>
    }
    .into_any()
}

fn section(document: &'static Value, group: &Group, search: &Search, origin: &str) -> AnyView {
    let is_hidden = !search.is_empty() && !group.calls.iter().any(|call| search.finds(call));
    let operations: Vec<_> = group
        .calls
        .iter()
        .map(|call| view! { <Operation document call=*call origin is_hidden=!search.finds(call)/> })
        .collect();
    view! {
        <section id=group.id() hidden=is_hidden>
            <h2>{group.name}</h2>
            {prose(group.description)}
            {operations}
        </section>
    }
    .into_any()
}

fn credentials(document: &'static Value, is_hidden: bool) -> AnyView {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object);
    let scheme = |(name, scheme): (&'static String, &'static Value)| {
        let form = match text(scheme, "type") {
            "apiKey" => format!("{} {}", text(scheme, "in"), text(scheme, "name")),
            _ => "header Authorization: Bearer …".to_owned(),
        };
        view! {
            <div id=name.as_str()>
                <dt><code>{name.as_str()}</code> " " <span class="kind">{form}</span></dt>
                <dd>{prose(text(scheme, "description"))}</dd>
            </div>
        }
    };
    let schemes: Vec<_> = schemes.into_iter().flatten().map(scheme).collect();
    view! {
        <section id="credentials" hidden=is_hidden>
            <h2>"Credentials"</h2>
            <dl class="fields">{schemes}</dl>
        </section>
    }
    .into_any()
}

fn errors(document: &'static Value, is_hidden: bool) -> AnyView {
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
        <section id="errors" hidden=is_hidden>
            <h2>"Errors"</h2>
            {prose("An error is `application/problem+json` (RFC 9457). HookSentry's 400 is a JSON string in its place.")}
            <dl class="fields">{rows}</dl>
        </section>
    }
    .into_any()
}
