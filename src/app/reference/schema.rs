//! Flattens a schema of the OpenAPI document into a list of fields.

use serde_json::{Map, Value};

/// A field of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The path from the top of the body: `organisations[].id`.
    pub path: String,
    /// The type and range, in words.
    pub kind: String,
    /// Whether the field is required.
    pub required: bool,
    /// The description.
    pub description: String,
}

/// Resolves a `$ref`; returns other values unchanged.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
        .unwrap_or(value)
}

/// Returns the fields of a schema, with those of nested objects and arrays.
pub fn fields(document: &Value, schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    collect(document, schema, "", &mut found);
    found
}

fn collect(document: &Value, schema: &Value, within: &str, found: &mut Vec<Field>) {
    let schema = core(document, schema);
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        collect(document, part, within, found);
    }
    if let Some(items) = schema.get("items") {
        let within = format!("{within}[]");
        collect(document, items, &within, found);
    }
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if within.is_empty() { name.clone() } else { format!("{within}.{name}") };
        found.push(Field {
            kind: kind(document, property),
            required: required.contains(&name.as_str()),
            description: description(document, property),
            path: path.clone(),
        });
        collect(document, property, &path, found);
    }
}

/// Resolves references and nullable types to the inner schema.
fn core<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = resolve(document, schema);
    let choices = schema.get("oneOf").and_then(Value::as_array);
    match choices.and_then(|choices| choices.iter().find(|choice| choice.get("type") != Some(&Value::from("null")))) {
        Some(choice) => resolve(document, choice),
        None => schema,
    }
}

fn description(document: &Value, schema: &Value) -> String {
    let own = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
    own(schema).or_else(|| own(core(document, schema))).unwrap_or_default()
}

/// Describes the type of a value: `string (date-time) or null`, `integer, 1 to 100`.
pub fn kind(document: &Value, schema: &Value) -> String {
    let inner = core(document, schema);
    let nullable = |schema: &Value| {
        let types = schema.get("type").and_then(Value::as_array);
        types.is_some_and(|types| types.contains(&Value::from("null"))) || schema.get("oneOf").is_some()
    };
    let mut words = match inner.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any").to_owned()
        }
        _ if inner.get("allOf").is_some() => "object".to_owned(),
        _ => "any JSON".to_owned(),
    };
    if let Some(items) = inner.get("items") {
        words = format!("array of {}", kind(document, items));
    }
    let text = |name: &str| inner.get(name).and_then(Value::as_str);
    // Clients need not know the width of an integer.
    if let Some(format) = text("format").filter(|format| !format.starts_with("int")) {
        words = format!("{words} ({format})");
    }
    if let Some(choices) = inner.get("enum").and_then(Value::as_array) {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        words = format!("{words}: {}", choices.join(", "));
    }
    let bounds = bounds(inner, "minimum", "maximum", "")
        .or_else(|| bounds(inner, "minLength", "maxLength", " characters"))
        .or_else(|| bounds(inner, "minItems", "maxItems", " items"));
    if let Some(bounds) = bounds {
        words = format!("{words}, {bounds}");
    }
    if nullable(schema) { format!("{words} or null") } else { words }
}

fn bounds(schema: &Value, least: &str, most: &str, what: &str) -> Option<String> {
    match (schema.get(least), schema.get(most)) {
        (Some(least), Some(most)) if least == most => Some(format!("{least}{what}")),
        (Some(least), Some(most)) => Some(format!("{least} to {most}{what}")),
        (None, Some(most)) => Some(format!("at most {most}{what}")),
        // A minimum of 0 is omitted.
        (Some(least), None) => (least != &Value::from(0)).then(|| format!("at least {least}{what}")),
        (None, None) => None,
    }
}

/// Returns the examples of a body, each with its summary. Without any, builds one of the examples of its fields.
pub fn examples(document: &Value, content: &Value) -> Vec<(String, Value)> {
    let several = content.get("examples").and_then(Value::as_object);
    let named = several.into_iter().flat_map(Map::values).map(|example| {
        let summary = example.get("summary").and_then(Value::as_str).unwrap_or_default();
        (summary.to_owned(), example.get("value").cloned().unwrap_or_default())
    });
    let one = content.get("example").map(|value| (String::new(), value.clone()));
    let mut found: Vec<_> = named.chain(one).collect();
    if found.is_empty() {
        found.extend(
            content.get("schema").and_then(|schema| of_fields(document, schema)).map(|one| (String::new(), one)),
        );
    }
    found
}

/// Builds an object of the fields that have an example.
fn of_fields(document: &Value, schema: &Value) -> Option<Value> {
    let properties = core(document, schema).get("properties")?.as_object()?;
    let example = |property: &Value| property.pointer("/examples/0").or_else(|| property.get("example")).cloned();
    let found: Map<_, _> =
        properties.iter().filter_map(|(name, property)| Some((name.clone(), example(property)?))).collect();
    (!found.is_empty()).then_some(Value::Object(found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_read_as_fields_with_their_paths() {
        let document = json!({ "components": { "schemas": {
            "Limit": { "type": "object", "required": ["most"], "properties": { "most": { "type": "integer", "minimum": 1, "maximum": 9 } } },
            "Key": { "type": "object", "required": ["id"], "properties": {
                "id": { "type": "string", "description": "The id." },
                "ended": { "type": ["string", "null"], "format": "date-time" },
                "limit": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Limit" }] },
            } },
        } } });
        let list = json!({ "type": "object", "properties": { "keys": { "type": "array", "items": { "$ref": "#/components/schemas/Key" } } } });
        let read: Vec<_> = fields(&document, &list)
            .into_iter()
            .map(|field| format!("{} {} {}", field.path, field.kind, field.required))
            .collect();
        assert_eq!(
            read,
            [
                "keys array of object false",
                "keys[].id string true",
                "keys[].ended string (date-time) or null false",
                "keys[].limit object or null false",
                "keys[].limit.most integer, 1 to 9 true",
            ]
        );
    }

    #[test]
    fn a_body_without_an_example_gets_one_from_its_fields() {
        let document = json!({ "components": { "schemas": { "LogIn": { "properties": {
            "email": { "type": "string", "examples": ["ada@example.com"] },
            "tenant": { "type": "string" },
        } } } } });
        let mut content = json!({ "schema": { "$ref": "#/components/schemas/LogIn" } });
        assert_eq!(examples(&document, &content), [(String::new(), json!({ "email": "ada@example.com" }))]);
        content["example"] = json!({ "email": "eve@example.com" });
        assert_eq!(examples(&document, &content), [(String::new(), json!({ "email": "eve@example.com" }))]);
        assert_eq!(examples(&document, &json!({ "schema": { "type": "string" } })), []);
    }
}
