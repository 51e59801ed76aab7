//! Scopes, with the rules of the server.

/// Longest name of a scope, in bytes.
const MAX_NAME_LENGTH: usize = 100;
/// Largest number of names in a list.
const MAX_NAMES: usize = 50;

/// Whether `held` certainly covers all required scopes. `false` for a list that the server would refuse.
pub(crate) fn hold_all(held: Option<&str>, asked: &str) -> bool {
    let (mut count, mut all) = (0, false);
    let are_held = words(asked).all(|asked| {
        count += 1;
        all |= asked == "*";
        (asked == "*" || is_name(asked)) && hold(held, asked)
    });
    asked.is_empty() || are_held && (1..=MAX_NAMES).contains(&count) && (count == 1 || !all)
}

/// Splits a list at ASCII spaces, the only separator.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// Whether `held` covers one scope; `None` is full access.
pub(crate) fn hold(held: Option<&str>, asked: &str) -> bool {
    held.is_none_or(|held| words(held).any(|held| covers(held, asked)))
}

fn covers(held: &str, asked: &str) -> bool {
    held == "*"
        || held == asked
        || held.strip_suffix('*').is_some_and(|resource| resource.ends_with(':') && asked.starts_with(resource))
}

/// `resource:action` or `resource:*`
fn is_name(word: &str) -> bool {
    let part = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) && !text.is_empty()
    };
    word.len() <= MAX_NAME_LENGTH
        && word.split_once(':').is_some_and(|(resource, action)| part(resource) && (action == "*" || part(action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_a_star_are_full_access() {
        for held in [None, Some("*")] {
            assert!(hold_all(held, "") && hold_all(held, "a:b c:*") && hold_all(held, "*"), "{held:?}");
        }
    }

    #[test]
    fn a_star_covers_all_actions_of_its_resource() {
        let held = Some("events:* keys:verify");
        assert!(hold_all(held, "events:write  keys:verify") && hold_all(held, "events:*"));
        for asked in ["eventsx:write", "keys:read", "keys:*", "events:write keys:read", "*"] {
            assert!(!hold_all(held, asked), "{asked}");
        }
        assert!(!hold_all(Some(""), "a:b"));
    }

    #[test]
    fn invalid_scopes_are_left_to_the_server() {
        for asked in [
            "events",
            "events:",
            ":write",
            "a:b:c",
            "a:b*",
            "é:b",
            &format!("a:{}", "b".repeat(99)),
            " ",
            "* a:b",
            "a:b\tc:d",
            "a:b\u{c}c:d",
            &"a:b ".repeat(51),
        ] {
            assert!(!hold_all(None, asked), "{asked}");
        }
    }
}
