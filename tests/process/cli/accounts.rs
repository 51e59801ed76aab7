//! Accounts that the operator adds by command, and the first account of a server.

use std::io::{BufRead, Write};
use std::process::{Output, Stdio};

use super::{Answer, PASSWORD, Server, database, latchkey, text};

fn user(command: &str, email: &str, database: &str, password: &str) -> Output {
    let mut child = latchkey()
        .args(["user", command, email, "--database-url", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("its standard input");
    // The process may have ended before it read its input.
    let _ = writeln!(input, "{password}");
    drop(input);
    child.wait_with_output().expect("the process ends")
}

/// Asserts that a command logged exactly one line, with the operator as actor. Returns the ID of the account.
fn assert_logged(output: &Output, event: &str) -> String {
    let log = text(&output.stderr);
    let line: serde_json::Value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
    let fields = [&line["target"], &line["event"], &line["outcome"], &line["actor"], &line["client"]];
    assert_eq!(fields, ["latchkey::security", event, "succeeded", "operator", "none"]);
    assert!(!log.contains("ada@") && !log.contains(PASSWORD), "{log}");
    line["target_id"].as_str().expect("an id").to_owned()
}

#[test]
fn accounts_can_be_added_and_reset_while_a_server_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let server = Server::start(&url, folder.path(), &["--registration", "closed"]);
    assert_eq!(server.register("ada@example.com").status, 403);
    let added = user("add", "Ada@Example.com", &url, PASSWORD);
    assert_eq!(
        (added.status.code(), text(&added.stdout)),
        (Some(0), "ada@example.com has an account now.\n".to_owned())
    );
    let user_id = assert_logged(&added, "account.added");
    let session = server.log_in("ada@example.com", PASSWORD);
    assert_eq!(session.status, 200, "works without a restart");
    let me = || server.call("GET", "/v1/auth/me", &format!("cookie: {}\r\n", session.cookie()), "").status;
    assert_eq!(me(), 200);

    let reset = user("reset-password", "ada@example.com", &url, "another password");
    assert_eq!(reset.status.code(), Some(0), "{}", text(&reset.stderr));
    assert_eq!(assert_logged(&reset, "account.password_reset"), user_id);
    assert_eq!(me(), 401, "its sessions have ended");
    assert_eq!(server.log_in("ada@example.com", PASSWORD).status, 401);
    assert_eq!(server.log_in("ada@example.com", "another password").status, 200);

    for (command, email, password, words) in [
        ("add", "ada@example.com", PASSWORD, "has an account already"),
        ("add", "nonsense", PASSWORD, "must be an e-mail address"),
        ("add", "bob@example.com", "short", "at least 10 characters"),
        ("add", "bob@example.com", "", "at least 10 characters"),
        ("reset-password", "bob@example.com", PASSWORD, "has no account"),
        ("reset-password", "ada@example.com", "short", "at least 10 characters"),
    ] {
        let output = user(command, email, &url, password);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command} {email}: {said}");
        assert!(said.contains(words), "{said}");
        assert!(password.is_empty() || !said.contains(password), "the password is not repeated");
    }
    assert_eq!(server.log_in("ada@example.com", "another password").status, 200, "failed commands change nothing");
}

fn admin(database: &str, arguments: &[&str]) -> Output {
    latchkey().arg("user").args(arguments).args(["--database-url", database]).output().expect("it runs")
}

#[test]
fn accounts_are_listed_disabled_and_made_operators_beside_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let server = Server::start(&url, folder.path(), &["--registration", "open"]);
    for email in ["ada@example.com", "bob@example.com"] {
        assert_eq!(server.register(email).status, 201);
    }
    let session = server.log_in("bob@example.com", PASSWORD);
    let get = |path: &str| server.call("GET", path, &format!("cookie: {}\r\n", session.cookie()), "").status;
    let accounts = || {
        let listed = admin(&url, &["list", "--json"]);
        let lines: Vec<serde_json::Value> =
            text(&listed.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        lines.iter().map(|line| (line["email"].clone(), line["operator"].clone())).collect::<Vec<_>>()
    };
    let pair = |email: &str, operator: bool| (email.into(), operator.into());
    assert_eq!(accounts(), [pair("ada@example.com", true), pair("bob@example.com", false)]);
    assert_eq!((get("/v1/auth/me"), get("/v1/cluster")), (200, 403));

    let made = admin(&url, &["operator", "Bob@example.com", "on"]);
    assert_eq!(text(&made.stdout), "bob@example.com operates this server now.\n");
    let bob = assert_logged(&made, "account.operator_changed");
    assert_eq!(get("/v1/cluster"), 200, "at once");
    assert_eq!(accounts(), [pair("ada@example.com", true), pair("bob@example.com", true)]);
    let again = admin(&url, &["operator", "bob@example.com", "on"]);
    assert!(text(&again.stdout).contains("already"), "{}", text(&again.stdout));
    admin(&url, &["operator", "bob@example.com", "off"]);
    assert_eq!(get("/v1/cluster"), 403);

    let disabled = admin(&url, &["disable", "bob@example.com"]);
    assert_eq!(disabled.status.code(), Some(0), "{}", text(&disabled.stderr));
    assert_eq!(assert_logged(&disabled, "account.disabled"), bob);
    assert_eq!(get("/v1/auth/me"), 401, "its sessions have ended");
    assert_eq!(server.log_in("bob@example.com", PASSWORD).status, 401);
    assert!(
        text(&admin(&url, &["list"]).stdout).lines().any(|line| line.contains("bob@") && line.contains("disabled"))
    );
    admin(&url, &["enable", "bob@example.com"]);
    assert_eq!(server.log_in("bob@example.com", PASSWORD).status, 200);

    for arguments in [["disable", "eve@example.com"], ["enable", "nonsense"]] {
        assert_eq!(admin(&url, &arguments).status.code(), Some(1), "{arguments:?}");
    }
    assert_eq!(admin(&url, &["operator", "ada@example.com", "perhaps"]).status.code(), Some(2));
}

/// A sign-in reads the stored hash long before it begins a session, because Argon2 is slow.
#[test]
fn sign_ins_in_flight_do_not_survive_a_password_reset() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let server = Server::start(&url, folder.path(), &["--trusted-proxies", "127.0.0.1"]);
    assert_eq!(user("add", "ada@example.com", &url, PASSWORD).status.code(), Some(0));
    let body = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#);
    let sign_in = |path: &str, n: usize| {
        let from = format!("x-forwarded-for: 203.0.{n}.9\r\n");
        let answer = server.call("POST", path, &from, &body);
        (answer.status == 200).then_some(answer)
    };
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let sign_ins: Vec<_> = (0..48)
            .map(|n| {
                let path = if n % 2 == 0 { "/v1/auth/login" } else { "/api/v1/auth/login" };
                scope.spawn(move || sign_in(path, n))
            })
            .collect();
        assert_eq!(user("reset-password", "ada@example.com", &url, "another password").status.code(), Some(0));
        sign_ins.into_iter().filter_map(|sign_in| sign_in.join().expect("no panic")).collect()
    });
    let survived = answers.iter().filter(|answer| {
        let (path, header) = match answer.json()["accessToken"].as_str() {
            Some(token) => ("/api/v1/apikeys", format!("authorization: Bearer {token}\r\n")),
            None => ("/v1/auth/me", format!("cookie: {}\r\n", answer.cookie())),
        };
        server.call("GET", path, &header, "").status != 401
    });
    assert_eq!(survived.count(), 0, "of {} that were answered", answers.len());
}

/// Reads the set-up token, which a server prints after its first line.
fn set_up_token(server: &mut Server) -> String {
    loop {
        // The token was printed together with the first line, so it is in the buffer already.
        assert!(!server.output.buffer().is_empty(), "no token was printed");
        let mut line = String::new();
        server.output.read_line(&mut line).expect("a line");
        if line.trim().len() == 32 {
            return line.trim().to_owned();
        }
    }
}

#[test]
fn behind_an_untrusted_proxy_the_first_account_needs_the_printed_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&database(folder.path()), folder.path(), &[]);
    let token = set_up_token(&mut server);
    let with = |token: &str| {
        let body = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}", "set_up_token": "{token}"}}"#);
        server.call("POST", "/v1/auth/register", "x-forwarded-for: 203.0.113.9\r\n", &body).status
    };
    assert_eq!((with("0123456789abcdef0123456789abcdef"), with(&token)), (403, 201));
}

#[test]
fn with_a_public_url_the_first_account_needs_the_printed_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let mut server = Server::start(&url, folder.path(), &["--public-url", "http://keys.example.com"]);
    let token = set_up_token(&mut server);
    // With a public URL the server does not print its port; only the log has the port.
    server.address = loop {
        let log = std::fs::read_to_string(&server.log).expect("the log");
        if let Some((_, rest)) = log.split_once(r#""address":"127.0.0.1:"#) {
            break format!("127.0.0.1:{}", rest.split('"').next().expect("a port"));
        }
    };
    assert_eq!(server.register("ada@example.com").status, 403);
    let with = |token: &str| {
        let body = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}", "set_up_token": "{token}"}}"#);
        server.call("POST", "/v1/auth/register", "", &body).status
    };
    assert_eq!(with("0123456789abcdef0123456789abcdef"), 403);
    assert_eq!(with(&token), 201);
    let log = std::fs::read_to_string(&server.log).expect("the log");
    assert!(!log.contains(&token));
}
