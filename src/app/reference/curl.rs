//! The curl command of an operation, ready to paste into a shell.

use serde_json::{Map, Value};

use super::call::{Call, list, text};
use super::schema::{examples, resolve};

/// A body of up to this many characters is on one line.
const LINE_LENGTH: usize = 72;

/// Returns the command for the server at `origin`. Required parameters have their example values, or their name in
/// capitals. The credential is a shell variable, such as `$API_KEY`.
pub fn command(document: &'static Value, call: Call, origin: &str) -> String {
    let mut lines = vec![format!("curl {}{}", flags(document, call), quote(&format!("{origin}{}", target(call))))];
    if let Some(name) = credential(document, call) {
        let variable = name.to_uppercase();
        lines.push(match document.pointer(&format!("/components/securitySchemes/{name}")) {
            Some(scheme) if text(scheme, "type") == "apiKey" => format!("-H \"{}: ${variable}\"", text(scheme, "name")),
            _ => format!("-H \"Authorization: Bearer ${variable}\""),
        });
    }
    if let Some(content) = call.operation.pointer("/requestBody/content/application~1json") {
        let shortest = examples(document, content).into_iter().min_by_key(|(_, value)| value.to_string().len());
        let body = shortest.map(|(_, value)| value).unwrap_or_default();
        let line = body.to_string();
        let body = if line.len() <= LINE_LENGTH { line } else { format!("{body:#}") };
        lines.push("-H 'Content-Type: application/json'".to_owned());
        lines.push(format!("-d {}", quote(&body)));
    }
    lines.join(" \\\n  ")
}

fn flags(document: &Value, call: Call) -> String {
    let method = match call.method {
        "get" => String::new(),
        other => format!("-X {} ", other.to_uppercase()),
    };
    let success = call.operation.pointer("/responses/200").map(|response| resolve(document, response));
    let is_stream = success.is_some_and(|response| response.pointer("/content/text~1event-stream").is_some());
    // Without -N, curl shows the events of a stream late.
    format!("{}{method}", if is_stream { "-N " } else { "" })
}

/// Returns the path and the query with their required parameters.
fn target(call: Call) -> String {
    let mut path = call.path.to_owned();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for parameter in list(call.operation, "parameters") {
        let name = text(parameter, "name");
        let example = parameter.get("example").and_then(Value::as_str);
        let value = example.map_or_else(|| name.to_uppercase(), str::to_owned);
        match text(parameter, "in") {
            "path" => path = path.replace(&format!("{{{name}}}"), &value),
            "query" if parameter.get("required") == Some(&Value::Bool(true)) => {
                query.append_pair(name, &value);
            }
            _ => {}
        }
    }
    let query = query.finish();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// Returns the name of the first credential of the operation that is sent in a header, if it accepts one.
fn credential(document: &Value, call: Call) -> Option<&'static str> {
    let names = list(call.operation, "security").filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str);
    let is_cookie = |name: &&str| {
        let scheme = document.pointer(&format!("/components/securitySchemes/{name}"));
        scheme.is_some_and(|scheme| text(scheme, "in") == "cookie")
    };
    names.into_iter().find(|name| !is_cookie(name))
}

/// Quotes a text for a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        json!({
            "paths": {
                "/keys/{id}": { "patch": {
                    "parameters": [
                        { "name": "id", "in": "path", "required": true, "example": "ak_1" },
                        { "name": "proof", "in": "query", "required": true },
                        { "name": "all", "in": "query" },
                    ],
                    "security": [{}, { "session": [] }, { "token": [] }],
                    "requestBody": { "content": { "application/json": {
                        "examples": { "a": { "value": { "name": "it's", "more": 1 } }, "b": { "value": { "name": "it's" } } },
                    } } },
                } },
                "/stream": { "get": {
                    "security": [{ "key": [] }],
                    "responses": { "200": { "content": { "text/event-stream": {} } } },
                } },
            },
            "components": { "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": "session" },
                "token": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            } },
        })
    });

    fn of(path: &'static str, method: &'static str) -> String {
        let operation = &DOCUMENT["paths"][path][method];
        command(&DOCUMENT, Call { path, method, operation }, "https://keys.example.com")
    }

    #[test]
    fn a_command_has_the_required_parts_quoted_for_a_shell() {
        assert_eq!(
            of("/keys/{id}", "patch"),
            "curl -X PATCH 'https://keys.example.com/keys/ak_1?proof=PROOF' \\\n  \
             -H \"Authorization: Bearer $TOKEN\" \\\n  -H 'Content-Type: application/json' \\\n  \
             -d '{\"name\":\"it'\\''s\"}'"
        );
        assert_eq!(of("/stream", "get"), "curl -N 'https://keys.example.com/stream' \\\n  -H \"X-API-Key: $KEY\"");
    }
}
