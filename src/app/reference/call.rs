//! The operations of the OpenAPI document, with the accessors of its JSON.

use serde_json::Value;

/// An operation of the document.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// The method, in lower case.
    pub method: &'static str,
    /// The operation object.
    pub operation: &'static Value,
}

impl Call {
    /// Returns the operation id, which is also the fragment of the operation's address.
    pub fn id(self) -> &'static str {
        text(self.operation, "operationId")
    }

    /// Returns the name of the operation.
    pub fn summary(self) -> &'static str {
        text(self.operation, "summary")
    }

    /// Returns the names of the operation's groups.
    pub fn tags(self) -> impl Iterator<Item = &'static str> {
        list(self.operation, "tags").filter_map(Value::as_str)
    }
}

/// A group of operations.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name.
    pub name: &'static str,
    /// The description.
    pub description: &'static str,
    /// The operations, in the order of the document.
    pub calls: Vec<Call>,
}

impl Group {
    /// Returns the fragment of the group's address: `api-keys` for `API keys`. Operation ids have no hyphen, so no
    /// operation has the same.
    pub fn id(&self) -> String {
        format!("{}-operations", self.name.to_lowercase().replace(' ', "-"))
    }
}

/// Returns the groups of the document, in its order.
pub fn groups(document: &'static Value) -> Vec<Group> {
    let paths = document.get("paths").and_then(Value::as_object);
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| Call { path, method, operation })
    };
    let calls: Vec<Call> = paths.into_iter().flatten().flat_map(of_path).collect();
    let group = |tag: &'static Value| {
        let name = text(tag, "name");
        let calls = calls.iter().copied().filter(|call| call.tags().any(|tag| tag == name)).collect();
        Group { name, description: text(tag, "description"), calls }
    };
    list(document, "tags").map(group).collect()
}

/// Returns a text field of an object; empty without it.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the items of an array field of an object; none without it.
pub fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}
