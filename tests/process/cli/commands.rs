//! Commands, their output and their exit codes.

use super::{database, run, text};

#[test]
fn every_command_has_a_help_text() {
    for (command, words) in [
        (
            &[][..],
            &[
                "serve",
                "migrate",
                "user",
                "--listen",
                "--database-url",
                "--registration",
                "--public-url",
                "--trusted-proxies",
                "--keys-may-manage-keys",
                "--max-keys-per-organisation",
                "127.0.0.1:3000",
                "LATCHKEY_LISTEN",
            ][..],
        ),
        (&["serve"], &["--listen", "--registration", "first", "open", "closed", "100000"]),
        (&["migrate"], &["--database-url", "sqlite:latchkey.db", "LATCHKEY_DATABASE_URL"]),
        (&["migrate-data"], &["--from", "--to", "sqlite:FILE", "postgres://USER@HOST/DATABASE", "LATCHKEY_TO"]),
        (&["user"], &["add", "reset-password", "list", "operator", "disable", "enable"]),
        (&["user", "list"], &["--json", "--database-url"]),
        (&["user", "operator"], &["EMAIL", "<STATE>", "on", "off"]),
        (&["user", "disable"], &["EMAIL", "--database-url"]),
        (&["user", "add"], &["EMAIL", "--database-url"]),
        (&["user", "reset-password"], &["EMAIL", "--database-url"]),
    ] {
        let output = run(&[command, &["--help"]].concat());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{command:?}");
        for word in words {
            assert!(text(&output.stdout).contains(word), "{command:?} --help does not mention {word}");
        }
    }
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout), format!("latchkey {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn invalid_arguments_are_exit_code_2() {
    for arguments in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["serve", "--no-such-flag"],
        &["serve", "--registration", "everybody"],
        &["serve", "--max-keys-per-organisation", "0"],
        &["serve", "--trusted-proxies", "10.0.0.0/33"],
        &["serve", "--public-url", "keys.example.com"],
        &["user"],
        &["user", "add"],
        &["user", "add", "a@example.com", "another"],
        &["migrate", "--listen", "127.0.0.1:0"],
        &["migrate-data"],
        &["migrate-data", "--from", "sqlite:latchkey.db"],
    ] {
        let output = run(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{arguments:?}");
        assert!(text(&output.stderr).contains("--help"), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_failure_is_exit_code_1_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = database(folder.path());
    let elsewhere = format!("sqlite:{}/no/such/folder/latchkey.db", folder.path().display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let _held = std::net::TcpListener::bind(&taken);
    for (arguments, words) in [
        (&["--database-url", "mysql://localhost/x"][..], "sqlite:FILE or postgres://"),
        (&["--database-url", "latchkey.db"], "sqlite:FILE or postgres://"),
        (&["--database-url", &elsewhere], "cannot be opened"),
        (&["migrate", "--database-url", &elsewhere], "cannot be opened"),
        (&["--database-url", "postgres://nobody@127.0.0.1:1/none"], "cannot be opened"),
        (&["--database-url", &own, "--listen", "nonsense"], "cannot listen on nonsense"),
        (&["--database-url", &own, "--listen", "192.0.2.1:1"], "cannot listen on 192.0.2.1:1"),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("latchkey: ") && said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("Error {"), "{said}");
    }
}

#[test]
fn the_migrate_command_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let output = run(&["migrate", "--database-url", &database(folder.path())]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "The database is up to date.\n".to_owned()));
    }
}
