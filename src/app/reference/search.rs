//! The search of the API reference. `reference.js` repeats it in the browser as the user types.

use super::call::{Call, text};

/// A search text. An operation matches if it contains every word.
#[derive(Debug, Default)]
pub struct Search {
    /// The text, as the user typed it.
    pub text: String,
    words: Vec<String>,
}

impl Search {
    /// Creates a search. An empty text matches every operation.
    pub fn new(text: &str) -> Self {
        let words = text.split_whitespace().map(str::to_lowercase).collect();
        Self { text: text.trim().to_owned(), words }
    }

    /// Reads the parameter `q` of a query.
    pub fn read(query: Option<&str>) -> Self {
        let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        parameters.find(|(name, _)| name == "q").map(|(_, value)| Self::new(&value)).unwrap_or_default()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether an operation matches: by summary, method, path, id, group or description.
    pub fn finds(&self, call: &Call) -> bool {
        let mut searched = [call.summary(), call.method, call.path, call.id()].join("\n");
        call.tags().for_each(|tag| searched.extend(["\n", tag]));
        searched.push('\n');
        // The page shows the backquotes as markup.
        searched.push_str(&text(call.operation, "description").replace('`', ""));
        let searched = searched.to_lowercase();
        self.words.iter().all(|word| searched.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::{Value, json};

    use super::*;

    static OPERATION: LazyLock<Value> = LazyLock::new(|| {
        json!({
            "operationId": "verifyKey", "summary": "Verify a key", "tags": ["Gateways"],
            "description": "Needs `keys:verify` scope.\n\nEvery outcome is a 200.",
        })
    });

    #[test]
    fn an_operation_matches_if_it_contains_every_word() {
        let call = Call { path: "/v1/keys/verify", method: "post", operation: &OPERATION };
        for found in ["", "  ", "VERIFY", "post /v1/keys", "verifykey", "gateway", "keys:verify scope", "200 key"] {
            assert!(Search::new(found).finds(&call), "{found}");
        }
        for missed in ["verify revoke", "get /v1", "`keys", "gateways-"] {
            assert!(!Search::new(missed).finds(&call), "{missed}");
        }
    }

    #[test]
    fn the_text_is_read_from_the_query() {
        assert_eq!(Search::read(Some("x=1&q=+Sign%20in+")).text, "Sign in");
        assert!(Search::read(Some("q=+")).is_empty());
        assert!(Search::read(None).is_empty());
    }
}
