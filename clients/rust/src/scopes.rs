//! Scopes, by the server's rules.

/// The most characters of a name.
const LONGEST: usize = 100;
/// The most names of a list.
const MOST: usize = 50;

/// Whether all that is asked is surely held. A list that the server would refuse is not.
pub(crate) fn hold_all(held: Option<&str>, asked: &str) -> bool {
    let (mut count, mut all) = (0, false);
    let are_held = words(asked).all(|asked| {
        count += 1;
        all |= asked == "*";
        (asked == "*" || is_name(asked)) && hold(held, asked)
    });
    asked.is_empty() || are_held && (1..=MOST).contains(&count) && (count == 1 || !all)
}

/// The ASCII space is the only separator.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// Whether one scope is held; no list holds everything.
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
    word.len() <= LONGEST
        && word.split_once(':').is_some_and(|(resource, action)| part(resource) && (action == "*" || part(action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_a_star_hold_everything() {
        for held in [None, Some("*")] {
            assert!(hold_all(held, "") && hold_all(held, "a:b c:*") && hold_all(held, "*"), "{held:?}");
        }
    }

    #[test]
    fn a_resource_with_a_star_holds_its_actions_and_no_other_resource() {
        let held = Some("events:* keys:verify");
        assert!(hold_all(held, "events:write  keys:verify") && hold_all(held, "events:*"));
        for asked in ["eventsx:write", "keys:read", "keys:*", "events:write keys:read", "*"] {
            assert!(!hold_all(held, asked), "{asked}");
        }
        assert!(!hold_all(Some(""), "a:b"));
    }

    #[test]
    fn what_is_no_scope_is_for_the_server_to_refuse() {
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
