//! Checks the import table (docs/ARCHITECTURE.md, "Layout"). The test reads the paths in `src/`, in `use` lines and in
//! the code, without tests and comments.

mod paths;

use std::collections::BTreeSet;

use paths::{files, files_in, mentions, paths, tokens, tree};

/// The folders by layer, the lowest first. A folder uses folders of lower layers only, and no other folder of its layer.
const FLOORS: [&[&str]; 16] = [
    &["model"],
    &["runtime"],
    &["domain"],
    &["security_log"],
    &["store"],
    &["cluster"],
    &["jobs", "audit", "customers", "webhooks"],
    &["accounts"],
    &["keys"],
    &["events"],
    &["teams"],
    &["web"],
    &["api"],
    &["app"],
    &["server"],
    &["cli"],
];

/// Names that a folder must not mention, besides folders of higher layers: a crate, or a module of this crate with
/// `crate::` before it.
const NEVER: [(&str, &[&str]); 16] = [
    ("model", &["axum", "leptos", "leptos_axum", "sqlx", "redis", "tokio"]),
    ("runtime", &["axum", "leptos", "leptos_axum", "sqlx", "redis", "http", "hyper"]),
    (
        "domain",
        &[
            "axum",
            "leptos",
            "leptos_axum",
            "sqlx",
            "redis",
            "tokio",
            "tokio_util",
            "http",
            "hyper",
            "crate::model::wire",
            "crate::runtime::batch",
            "crate::runtime::tasks",
        ],
    ),
    ("security_log", NOT_IN_RULES),
    ("store", &["axum", "leptos", "leptos_axum", "redis", "http"]),
    ("cluster", &["axum", "leptos", "leptos_axum", "sqlx"]),
    ("audit", NOT_IN_RULES),
    ("jobs", NOT_IN_RULES),
    ("accounts", NOT_IN_RULES),
    ("keys", NOT_IN_RULES),
    ("events", NOT_IN_RULES),
    ("teams", NOT_IN_RULES),
    ("web", &["leptos", "leptos_axum", "sqlx", "redis"]),
    ("api", &["leptos", "leptos_axum", "sqlx", "redis"]),
    ("app", &["sqlx", "redis", "crate::store", "crate::api::hooksentry", "crate::api::native"]),
    ("server", &["sqlx", "redis", "crate::model::wire"]),
];

/// Forbidden in folders with business rules, which know neither storage nor transport.
const NOT_IN_RULES: &[&str] =
    &["axum", "leptos", "leptos_axum", "sqlx", "redis", "http", "hyper", "crate::model::wire"];

/// Exceptions from the table: the file, the mention and the reason. A stale exception fails the test too.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Files that contain only tests.
const TEST_FILES: [&str; 2] = ["keys/check/interleavings.rs", "keys/usage/interleavings.rs"];

/// The contracts. No contract mentions another.
const CONTRACTS: [&str; 3] = ["hookstream", "hooksentry", "native"];

/// The files that distinguish server and browser with `cfg(feature)`: the map of modules, the three seams where a
/// function of the server has a side in the browser, and the three where only the server describes the wire's types
/// (for its OpenAPI document).
const GATES: [&str; 7] = [
    "lib.rs",
    "app/codec.rs",
    "app/server_fns.rs",
    "model/nfc.rs",
    "model/wire.rs",
    "model/error.rs",
    "model/limits.rs",
];

#[test]
fn paths_are_found_in_every_position() {
    let source = "use crate::{model::{self, Key}, store::Db as D};\n// use redis::X;\nfn f() { let a = sqlx::query(\"axum::x\"); }\n\
         use super::super::api::native;\nstruct S { a: b, c: tokio::T<'static> }\n#[cfg(test)]\nmod tests { use leptos::x; }";
    let names = ["crate::model", "crate::store", "sqlx", "crate::api::native", "tokio", "redis", "axum", "leptos"];
    let found = mentions("keys/deep/file.rs", source, &names);
    let expected = ["crate::model", "crate::store", "sqlx", "tokio"].map(str::to_owned);
    assert!(expected.iter().all(|name| found.contains(name)), "{found:?}");
    assert_eq!(mentions("keys/file.rs", source, &names).len(), 5, "`super::super` is the root here");
    let visible = "pub(super) fn f() {}\npub(in crate::keys) fn g() {}\nuse super::X;";
    let found = paths("keys/check/file.rs", visible);
    assert_eq!(found.iter().filter(|path| path.len() > 1).collect::<Vec<_>>(), [&["crate", "keys", "check", "X"]]);
}

#[test]
fn every_folder_follows_the_import_table() {
    let files = files();
    let mut bent = BTreeSet::new();
    for (file, source) in &files {
        let folder = file.split_once('/').map_or("", |(folder, _)| folder);
        if ["lib.rs", "main.rs", "program.rs"].contains(&file.as_str()) {
            continue;
        }
        let floor = FLOORS.iter().position(|floor| floor.contains(&folder));
        let floor = floor.unwrap_or_else(|| panic!("the folder of {file} is not in the table"));
        let not_lower = FLOORS[floor..].iter().flat_map(|floor| floor.iter()).filter(|name| **name != folder);
        let not_lower: Vec<String> = not_lower.map(|name| format!("crate::{name}")).collect();
        let never = NEVER.iter().filter(|(name, _)| *name == folder).flat_map(|(_, never)| never.iter().copied());
        let never: Vec<&str> = never.chain(not_lower.iter().map(String::as_str)).collect();
        bent.extend(mentions(file, source, &never).into_iter().map(|mention| (file.clone(), mention)));
    }
    let excepted: BTreeSet<(String, String)> =
        EXCEPTIONS.iter().map(|(file, mention, _)| ((*file).to_owned(), (*mention).to_owned())).collect();
    let new: Vec<_> = bent.difference(&excepted).collect();
    assert!(new.is_empty(), "the import table of docs/ARCHITECTURE.md forbids: {new:#?}");
    let stale: Vec<_> = excepted.difference(&bent).collect();
    assert!(stale.is_empty(), "no longer needed: {stale:#?}");
}

/// Returns the module of a file: `keys/check/mod.rs` is `crate::keys::check`.
fn module(file: &str) -> Vec<String> {
    let names = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/');
    std::iter::once("crate").chain(names).map(str::to_owned).collect()
}

/// Returns the names that a module re-exports with `pub use child::Name`: the public path and the real path of each.
fn renamed(module: &[String], source: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let mut found = Vec::new();
    for statement in source.split("\npub").skip(1) {
        let Some(statement) =
            statement.trim_start_matches("(crate)").trim_start_matches("(super)").strip_prefix(" use ")
        else {
            continue;
        };
        let tokens = tokens(statement.split(';').next().expect("a first part"));
        let mut paths = Vec::new();
        tree(&tokens, 0, &[], &mut paths);
        for path in paths.into_iter().filter(|path| path.len() > 1 && path[0] != "crate" && path[0] != "super") {
            let known = module.iter().chain(path.last()).cloned().collect();
            found.push((known, module.iter().chain(&path).cloned().collect()));
        }
    }
    found
}

/// Returns the files that each file mentions, by index. A name that a module re-exports counts as its child's.
fn graph(files: &[(String, String)]) -> Vec<BTreeSet<usize>> {
    let modules: Vec<Vec<String>> = files.iter().map(|(file, _)| module(file)).collect();
    let renamed: Vec<_> =
        files.iter().zip(&modules).flat_map(|((_, source), module)| renamed(module, source)).collect();
    let file_of = |path: &[String]| {
        (2..=path.len()).rev().find_map(|length| modules.iter().position(|module| *module == path[..length]))
    };
    let resolve = |path: Vec<String>| match renamed.iter().find(|(known, _)| path.starts_with(known)) {
        Some((known, real)) => real.iter().chain(&path[known.len()..]).cloned().collect(),
        None => path,
    };
    let edges = |(number, (file, source)): (usize, &(String, String))| {
        let own = &modules[number];
        let is_child = |name: &String| modules.iter().any(|module| module.split_last() == Some((name, own)));
        let mentioned = paths(file, source).into_iter().filter_map(|path| {
            let path = match path.first() {
                Some(name) if name == "crate" => resolve(path),
                Some(name) if path.len() > 1 && is_child(name) => own.iter().cloned().chain(path).collect(),
                _ => return None,
            };
            // A re-export is not a use.
            let is_passed_on = renamed.iter().any(|(known, real)| known.starts_with(own) && *real == path);
            file_of(&path).filter(|found| *found != number && !is_passed_on)
        });
        mentioned.collect()
    };
    files.iter().enumerate().map(edges).collect()
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let all = ["src", "tests", "benches", "clients", "tools"].into_iter().flat_map(files_in);
    let long: Vec<_> = all.filter(|(_, source)| source.lines().count() > 400).map(|(file, _)| file).collect();
    assert_eq!(long, Vec::<String>::new(), "split these files by subject");
}

#[test]
fn no_cycle_of_imports_goes_through_two_folders() {
    let files = files();
    let files: Vec<_> = files.into_iter().filter(|(file, _)| !TEST_FILES.contains(&file.as_str())).collect();
    let graph = graph(&files);
    let reached = |from: usize| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(graph[file].iter().copied().filter(|to| reached.insert(*to)));
        }
        reached
    };
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(reached).collect();
    let folder = |file: usize| files[file].0.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut cycles = BTreeSet::new();
    for (from, to) in graph.iter().enumerate().flat_map(|(from, to)| to.iter().map(move |to| (from, *to))) {
        if folder(from) != folder(to) && reached[to].contains(&from) {
            cycles.insert((files[from].0.as_str(), files[to].0.as_str()));
        }
    }
    assert!(cycles.is_empty(), "part of a cycle: {cycles:#?}");
}

#[test]
fn no_contract_mentions_another() {
    for (file, source) in files() {
        let Some(own) = CONTRACTS
            .iter()
            .find(|name| file.strip_prefix("api/").is_some_and(|rest| rest.split(['/', '.']).next() == Some(**name)))
        else {
            continue;
        };
        let others: Vec<String> =
            CONTRACTS.iter().filter(|name| *name != own).map(|name| format!("crate::api::{name}")).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        assert_eq!(mentions(&file, &source, &others), BTreeSet::new(), "{file}");
    }
}

#[test]
fn only_the_program_and_tests_import_the_server() {
    for (file, source) in files() {
        if file != "program.rs" && !file.starts_with("server/") {
            assert!(mentions(&file, &source, &["crate::server"]).is_empty(), "{file}");
        }
    }
}

#[test]
fn few_files_distinguish_server_and_browser() {
    let is_gate = |source: &str| {
        source.contains("cfg(feature") || source.contains("cfg(not(feature") || source.contains("cfg_attr(feature")
    };
    let gates: Vec<String> = files().into_iter().filter(|(_, source)| is_gate(source)).map(|(file, _)| file).collect();
    let expected: BTreeSet<&str> = GATES.into_iter().collect();
    assert_eq!(gates.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
}

/// The check of lock orders, which every test does, does not see other locks.
#[test]
fn every_blocking_lock_has_its_order_checked() {
    let unchecked = ["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"];
    for (file, source) in files() {
        assert_eq!(mentions(&file, &source, &unchecked), BTreeSet::new(), "{file}: use tracing_mutex::stdsync");
    }
}
