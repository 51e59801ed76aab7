//! The paths in the code of this crate, read without a compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Name(String),
    Colons,
    Mark(char),
}

/// Returns the tokens of code, without comments, string literals and the tests at its end.
pub fn tokens(source: &str) -> Vec<Token> {
    let source = source.split("#[cfg(test)]\nmod tests").next().expect("a first part");
    let text: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while at < text.len() {
        let rest = &text[at..];
        match rest {
            ['/', '/', ..] => at += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['r', '#', '"', ..] => {
                let end = rest.windows(2).skip(3).position(|pair| pair == ['"', '#']).expect("the text ends");
                at += end + 5;
            }
            ['"', ..] => {
                at += 1;
                while text[at] != '"' {
                    at += if text[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            }
            ['\'', '\\', _, '\'', ..] => at += 4,
            ['\'', _, '\'', ..] => at += 3,
            [':', ':', ..] => {
                tokens.push(Token::Colons);
                at += 2;
            }
            [c, ..] if is_name(*c) => {
                let name: String = rest.iter().take_while(|c| is_name(**c)).collect();
                at += name.chars().count();
                tokens.push(Token::Name(name));
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(Token::Mark(*c));
                }
                at += 1;
            }
            [] => unreachable!("the loop ends before"),
        }
    }
    tokens
}

/// Adds a path with its groups, `a::{b, c::d}`, to `found`, and returns the index after it.
pub fn tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Name(name)) => {
                path.push(name.clone());
                at += 1;
            }
            Some(Token::Mark('{')) if !path.is_empty() => {
                at += 1;
                while !matches!(tokens.get(at), Some(Token::Mark('}')) | None) {
                    let before = at;
                    at = tree(tokens, at, &path, found);
                    if tokens.get(at) == Some(&Token::Mark(',')) || at == before {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break,
        }
        if tokens.get(at) != Some(&Token::Colons) {
            break;
        }
        at += 1;
    }
    found.push(path);
    at
}

/// Returns the paths of a file. Paths of this crate begin at its root.
pub fn paths(file: &str, source: &str) -> Vec<Vec<String>> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = |back: usize| at.checked_sub(back).map(|index| &tokens[index]);
        // `pub(in crate::keys)` and `pub(super)` restrict the visibility, and use nothing.
        let follows = |first: Token, second: Token| before(2) == Some(&first) && before(1) == Some(&second);
        let is_visibility = follows(Token::Mark('('), Token::Name("in".to_owned()))
            || follows(Token::Name("pub".to_owned()), Token::Mark('('));
        let begins = matches!(tokens[at], Token::Name(_)) && before(1) != Some(&Token::Colons) && !is_visibility;
        at = if begins { tree(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    for path in &mut found {
        if path[0] == "super" {
            let up = path.iter().take_while(|name| *name == "super").count();
            let kept = module.len().saturating_sub(up);
            let absolute = std::iter::once("crate".to_owned()).chain(module[..kept].iter().cloned());
            *path = absolute.chain(path[up..].iter().cloned()).collect();
        } else if path[0] == "latchkey" {
            "crate".clone_into(&mut path[0]);
        }
    }
    found
}

/// Returns the Rust files of `src`, by their path in it.
pub fn files() -> Vec<(String, String)> {
    files_in("src")
}

/// Returns the Rust files of a folder of the repository, by their path in it.
pub fn files_in(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    let mut files: Vec<(String, String)> = found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("below the folder").to_str().expect("text").to_owned();
            (name, std::fs::read_to_string(path).expect("its text"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no Rust file was found in {folder}");
    files
}

/// Returns the names of a list that a file mentions.
pub fn mentions(file: &str, source: &str, list: &[&str]) -> BTreeSet<String> {
    let paths = paths(file, source);
    list.iter()
        .filter(|name| {
            let name: Vec<&str> = name.split("::").collect();
            // A single name is a field or a variable. A crate's name is always followed by another one.
            let least = name.len().max(2);
            paths.iter().any(|path| path.len() >= least && path.iter().zip(&name).all(|(a, b)| a == b))
        })
        .map(|name| (*name).to_owned())
        .collect()
}
