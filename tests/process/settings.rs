//! Environment variables: empty values, spellings of switches, and error messages that name the invalid value.

use crate::program::{latchkey, refusal, serve};

const VARIABLES: [&str; 18] = [
    "CACHE_BYTES",
    "DATABASE_URL",
    "DISK_RESERVE",
    "DRAIN_SECONDS",
    "FROM",
    "KEYS_MAY_MANAGE_KEYS",
    "LIMITS_WITHOUT_REDIS",
    "LISTEN",
    "LOG",
    "LOG_FORMAT",
    "MAX_CONNECTIONS",
    "MAX_KEYS_PER_ORGANISATION",
    "NODE_NAME",
    "PUBLIC_URL",
    "REDIS_URL",
    "REGISTRATION",
    "TO",
    "TRUSTED_PROXIES",
];

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    command.envs(VARIABLES.map(|name| (format!("LATCHKEY_{name}"), "")));
    // The default port, 3000, may be in use on this machine.
    let server = serve(folder.path(), command.args(["--listen", "127.0.0.1:0"]));
    assert!(folder.path().join("latchkey.db").exists(), "the default database file");
    server.stop();
    assert!(crate::program::log(folder.path()).contains("listening"), "the log has the lines of the default filter");

    let mut command = latchkey(folder.path());
    let (code, said) = refusal(command.env("LATCHKEY_FROM", "").env("LATCHKEY_TO", "").arg("migrate-data"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--from <URL>") && said.contains("--to <URL>"), "{said}");
}

/// Starts the program with these settings and an invalid address, so that it always fails: with code 1 when the
/// settings are valid. Returns its exit code and its standard error.
fn refused(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    command.args(arguments).envs(variables.iter().copied());
    if !variables.iter().any(|(name, _)| *name == "LATCHKEY_LISTEN") {
        command.env("LATCHKEY_LISTEN", "nonsense");
    }
    refusal(&mut command)
}

#[test]
fn a_switch_accepts_the_usual_spellings() {
    for right in ["true", "false", "1", "0", "yes", "no", "on", "off", "TRUE", "Yes"] {
        let (code, said) = refused(&[("LATCHKEY_KEYS_MAY_MANAGE_KEYS", right)], &[]);
        assert_eq!(code, Some(1), "{right}: {said}");
        assert!(said.contains("cannot listen on nonsense"), "{said}");
        let (code, said) = refused(&[], &[&format!("--keys-may-manage-keys={right}")]);
        assert_eq!(code, Some(1), "{right}: {said}");
    }
    let (code, said) = refused(&[("LATCHKEY_KEYS_MAY_MANAGE_KEYS", "perhaps")], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("'perhaps' for 'LATCHKEY_KEYS_MAY_MANAGE_KEYS'"), "{said}");
}

#[test]
fn blanks_after_commas_are_accepted() {
    let (code, said) = refused(&[("LATCHKEY_TRUSTED_PROXIES", "127.0.0.1/32, 10.0.0.0/8")], &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn an_error_names_the_invalid_variable_or_flag() {
    for (setting, wrong) in [
        ("REGISTRATION", "everybody"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("DRAIN_SECONDS", "soon"),
        ("PUBLIC_URL", "keys.example.com"),
        ("LOG", "inof"),
        ("LOG", "latchkey=inof"),
        ("LOG_FORMAT", "xml"),
        ("CACHE_BYTES", "much"),
        ("MAX_CONNECTIONS", "0"),
    ] {
        let variable = format!("LATCHKEY_{setting}");
        let flag = format!("--{}", setting.to_lowercase().replace('_', "-"));
        let (code, said) = refused(&[(&variable, wrong)], &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wrong) && said.contains(&variable) && !said.contains(&flag), "{said}");
        // The flag takes precedence, so the error names the flag.
        let (code, said) = refused(&[(&variable, "")], &[&flag, wrong]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(wrong) && said.contains(&flag) && !said.contains(&variable), "{said}");
    }
    // Errors that are found only when the setting is used.
    for (setting, wrong, more) in [
        ("LISTEN", "nonsense", &[][..]),
        ("DATABASE_URL", "mysql://localhost/x", &[]),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none", &[]),
        ("REDIS_URL", "redis://127.0.0.1:1", &["--listen", "127.0.0.1:0"]),
    ] {
        let variable = format!("LATCHKEY_{setting}");
        let flag = format!("--{}", setting.to_lowercase().replace('_', "-"));
        let (code, said) = refused(&[(&variable, wrong)], more);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&variable) && !said.contains(&flag), "{said}");
        let (code, said) = refused(&[], &[more, &[&flag, wrong]].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&flag) && !said.contains(&variable), "{said}");
    }
}
