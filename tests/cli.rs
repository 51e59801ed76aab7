//! The built program: its commands and exit codes, its start and its end, and what only shows over a
//! real connection.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASSWORD: &str = "correct horse battery";

fn latchkey() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    latchkey().args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server on a free port; killed when dropped.
struct Server {
    child: Child,
    address: String,
    said: BufReader<std::process::ChildStdout>,
    log: PathBuf,
}

/// One answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn cookie(&self) -> String {
        let line =
            self.head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).expect("a cookie");
        line["set-cookie: ".len()..].split(';').next().expect("its pair").to_owned()
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("latchkey.db").display())
}

impl Server {
    fn start(database: &str, folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join(format!("log-{}", std::fs::read_dir(folder).expect("a folder").count()));
        let mut child = latchkey()
            .args(["--listen", "127.0.0.1:0", "--database-url", database])
            .args(arguments)
            .env("LATCHKEY_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .rsplit_once("http://")
            .unwrap_or_else(|| panic!("{line}: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        Self { child, address: address.1.to_owned(), said, log }
    }

    fn connect(&self) -> TcpStream {
        let port = self.address.rsplit_once(':').expect("a port").1;
        TcpStream::connect(format!("127.0.0.1:{port}")).expect("it accepts")
    }

    /// One request on a connection of its own.
    fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request(method, path, headers, body).as_bytes()).expect("it reads");
        read(&mut stream)
    }

    fn register(&self, email: &str) -> Answer {
        let body = format!(r#"{{"email": "{email}", "password": "{PASSWORD}"}}"#);
        self.call("POST", "/v1/auth/register", "", &body)
    }

    fn log_in(&self, email: &str, password: &str) -> Answer {
        self.call("POST", "/v1/auth/login", "", &format!(r#"{{"email": "{email}", "password": "{password}"}}"#))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Ends it as a service manager does; the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{kind}content-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that refuses before it has read everything may reset the connection after its answer.
    let _ = stream.read_to_end(&mut bytes);
    let answer = text(&bytes);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn key_of(server: &Server, cookie: &str) -> String {
    let answer = server.call("POST", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), r#"{"name": "key"}"#);
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["key"].as_str().expect("a key").to_owned()
}

fn whoami(server: &Server, key: &str) -> u16 {
    server.call("GET", "/v1/whoami", &format!("x-api-key: {key}\r\n"), "").status
}

fn counted(server: &Server, cookie: &str) -> serde_json::Value {
    let answer = server.call("GET", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), "");
    answer.json()["api_keys"][0]["request_count"].clone()
}

fn user(command: &str, email: &str, database: &str, password: &str) -> Output {
    let mut child = latchkey()
        .args(["user", command, email, "--database-url", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("its input");
    // It may have ended before it read.
    let _ = writeln!(input, "{password}");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn every_command_explains_itself() {
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
        (&["user"], &["add", "reset-password"]),
        (&["user", "add"], &["EMAIL", "--database-url"]),
        (&["user", "reset-password"], &["EMAIL", "--database-url"]),
    ] {
        let output = run(&[command, &["--help"]].concat());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{command:?}");
        for word in words {
            assert!(text(&output.stdout).contains(word), "{command:?} --help does not speak of {word}");
        }
    }
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout), format!("latchkey {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_it_does_not_understand_is_exit_code_2() {
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
fn what_it_cannot_do_is_exit_code_1_and_a_sentence() {
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
fn migrating_is_a_command_of_its_own_and_may_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..2 {
        let output = run(&["migrate", "--database-url", &database(folder.path())]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "The database is up to date.\n".to_owned()));
    }
}

#[test]
fn it_says_where_it_listens_and_that_it_is_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let port: u16 = server.address.rsplit_once(':').expect("a port").1.parse().expect("a number");
    assert_ne!(port, 0);
    for (path, body) in [("/healthz", r#"{"status":"ok"}"#), ("/readyz", r#"{"status":"ready"}"#)] {
        let answer = server.call("GET", path, "", "");
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    assert_eq!(server.register("ada@example.com").status, 201, "at home the first account needs no token");
    assert_eq!(server.register("bob@example.com").status, 403);
    assert_eq!(server.end("INT"), Some(0));
}

#[test]
fn a_sqlite_file_has_one_server_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    std::os::unix::fs::symlink(folder.path().join("latchkey.db"), folder.path().join("link.db")).expect("a link");
    let link = format!("sqlite:{}", folder.path().join("link.db").display());
    for url in [database(folder.path()), link] {
        let second = run(&["--listen", "127.0.0.1:0", "--database-url", &url]);
        let said = text(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{url}: {said}");
        assert!(said.contains("is served by another process"), "{said}");
    }
    assert_eq!(server.call("GET", "/readyz", "", "").status, 200, "the first one goes on");
    assert_eq!(server.end("TERM"), Some(0));
    let next = Server::start(&database(folder.path()), folder.path(), &[]);
    assert_eq!(next.call("GET", "/readyz", "", "").status, 200, "and leaves the file free");
}

/// On a SIGTERM nothing is lost: neither counts that were not written down, nor a request under way.
fn the_end_loses_nothing(url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(url, folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let key = key_of(&server, &cookie);
    let mut late = server.connect();
    let whole =
        request("POST", "/v1/auth/login", "", &format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#));
    let (first, second) = whole.split_at(whole.len() - 20);
    late.write_all(first.as_bytes()).expect("it reads");
    for _ in 0..25 {
        assert_eq!(whoami(&server, &key), 200);
    }
    server.signal("TERM");
    // Connections are refused from now on, but the one that is there is served.
    let port = server.address.rsplit_once(':').expect("a port").1;
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_ok() {
        std::thread::yield_now();
    }
    late.write_all(second.as_bytes()).expect("it still reads");
    assert_eq!(read(&mut late).status, 200);
    assert_eq!(server.end("CONT"), Some(0));

    let again = Server::start(url, folder.path(), &[]);
    assert_eq!(counted(&again, &cookie), 25, "and the session is still good");
    assert_eq!(whoami(&again, &key), 200);
    assert_eq!(counted(&again, &cookie), 26);
}

#[test]
fn the_end_loses_nothing_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    the_end_loses_nothing(&database(folder.path()));
}

/// Tells a story on a schema of its own in the tests' PostgreSQL.
async fn on_postgresql(name: &str, story: impl FnOnce(String) + Send + 'static) {
    let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets LATCHKEY_TEST_POSTGRES_URL");
    let admin = sqlx::PgPool::connect(&url).await.expect("the tests' PostgreSQL answers");
    let schema = format!("cli_{}_{name}", std::process::id());
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&admin).await.expect("a schema is made");
    let separator = if url.contains('?') { '&' } else { '?' };
    let own = format!("{url}{separator}options[search_path]={schema}");
    let told = tokio::task::spawn_blocking(move || story(own)).await;
    let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop).execute(&admin).await.expect("it is dropped");
    told.expect("the story");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_loses_nothing_on_postgresql() {
    on_postgresql("end", |url| the_end_loses_nothing(&url)).await;
}

/// One that was killed is not waited for on its own machine, where it can be seen that it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_database_has_one_server_at_a_time() {
    on_postgresql("one", move |url| {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&url, folder.path(), &["--node-name", "first"]);
        let cookie = server.register("ada@example.com").cookie();
        let key = key_of(&server, &cookie);
        assert_eq!(whoami(&server, &key), 200);
        let listen = ["--listen", "127.0.0.1:0", "--database-url", &url];
        for more in [&[][..], &["--redis-url", "redis://127.0.0.1:1"]] {
            let second = run(&[&listen[..], more].concat());
            let said = text(&second.stderr);
            assert_eq!(second.status.code(), Some(1), "{said}");
            assert!(said.contains("is served by another process, the node first"), "{said}");
        }
        assert_eq!(server.end("KILL"), None);
        let server = Server::start(&url, folder.path(), &[]);
        assert_eq!(whoami(&server, &key), 200);
        assert_eq!(server.end("TERM"), Some(0));
    })
    .await;
}

/// The one line that a command logs: the operator did it. Returns the id of the account.
fn is_logged(output: &Output, event: &str) -> String {
    let log = text(&output.stderr);
    let line: serde_json::Value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
    let fields = [&line["target"], &line["event"], &line["outcome"], &line["actor"], &line["client"]];
    assert_eq!(fields, ["latchkey::security", event, "succeeded", "operator", "none"]);
    assert!(!log.contains("ada@") && !log.contains(PASSWORD), "{log}");
    line["target_id"].as_str().expect("an id").to_owned()
}

#[test]
fn accounts_are_added_and_reset_beside_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let server = Server::start(&url, folder.path(), &["--registration", "closed"]);
    assert_eq!(server.register("ada@example.com").status, 403);
    let added = user("add", "Ada@Example.com", &url, PASSWORD);
    assert_eq!(
        (added.status.code(), text(&added.stdout)),
        (Some(0), "ada@example.com has an account now.\n".to_owned())
    );
    let user_id = is_logged(&added, "account.added");
    let session = server.log_in("ada@example.com", PASSWORD);
    assert_eq!(session.status, 200, "at once, without a restart");
    let me = || server.call("GET", "/v1/auth/me", &format!("cookie: {}\r\n", session.cookie()), "").status;
    assert_eq!(me(), 200);

    let reset = user("reset-password", "ada@example.com", &url, "another password");
    assert_eq!(reset.status.code(), Some(0), "{}", text(&reset.stderr));
    assert_eq!(is_logged(&reset, "account.password_reset"), user_id);
    assert_eq!(me(), 401, "its sessions are over");
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
    assert_eq!(server.log_in("ada@example.com", "another password").status, 200, "nothing of that changed anything");
}

/// Argon2 takes its time: a sign-in reads the stored hash long before it begins a session.
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

/// The set-up token, which a server prints after its first line.
fn set_up_token(server: &mut Server) -> String {
    loop {
        // It was written at once with the first line, so nothing has to be waited for.
        assert!(!server.said.buffer().is_empty(), "no token was printed");
        let mut line = String::new();
        server.said.read_line(&mut line).expect("a line");
        if line.trim().len() == 32 {
            return line.trim().to_owned();
        }
    }
}

#[test]
fn a_proxy_that_the_server_was_not_told_of_needs_the_printed_token() {
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
fn where_other_machines_can_come_the_first_account_needs_the_printed_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = database(folder.path());
    let mut server = Server::start(&url, folder.path(), &["--public-url", "http://keys.example.com"]);
    let token = set_up_token(&mut server);
    // With a public URL it does not say its port, which only the log has.
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

#[test]
fn headers_are_bounded_and_strange_bytes_harm_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let large = format!("x-large: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(server.call("GET", "/healthz", &large, "").status, 431);
    let many = "x: y\r\n".repeat(200);
    assert_eq!(server.call("GET", "/healthz", &many, "").status, 431);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nzzzz",
        b"GET /healthz HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.call("GET", "/healthz", "", "").status, 200);
}

#[test]
fn a_slow_body_is_waited_for_and_holds_nobody_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let whole = request("POST", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), r#"{"name": "slow"}"#);
    let mut slow = server.connect();
    let mut silent = server.connect();
    let (first, rest) = whole.split_at(whole.len() - 6);
    slow.write_all(first.as_bytes()).expect("it reads");
    silent.write_all(b"POST /v1/auth/login HTTP/1.1\r\n").expect("it reads");
    assert_eq!(server.call("GET", "/readyz", "", "").status, 200);
    for byte in rest.bytes() {
        slow.write_all(&[byte]).expect("it reads");
        assert_eq!(server.call("GET", "/healthz", "", "").status, 200);
    }
    assert_eq!(read(&mut slow).status, 201);
    // One that breaks off makes no key.
    let mut broken = server.connect();
    broken.write_all(first.as_bytes()).expect("it reads");
    broken.shutdown(std::net::Shutdown::Both).expect("closed");
    let list = server.call("GET", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), "");
    assert_eq!(list.json()["api_keys"].as_array().map(Vec::len), Some(1));
}

/// The most talkative log, of every crate that has part in a real connection.
#[test]
fn no_secret_reaches_the_log_or_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&database(folder.path()), folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let key = key_of(&server, &cookie);
    assert_eq!(whoami(&server, &key), 200);
    assert_eq!(server.call("GET", &format!("/v1/whoami?key={key}"), "", "").status, 401);
    assert_eq!(server.call("GET", &format!("/v1/{key}"), &format!("authorization: Bearer {key}\r\n"), "").status, 404);
    assert_eq!(server.log_in("ada@example.com", &format!("{PASSWORD}!")).status, 401);
    assert_eq!(server.log_in("ada@example.com", PASSWORD).status, 200);
    server.signal("TERM");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    let mut said = String::new();
    server.said.read_to_string(&mut said).expect("text");
    let log = std::fs::read_to_string(&server.log).expect("the log");
    assert!(log.contains("TRACE") && log.contains("key.created"), "the log is there, and it is talkative");
    let token = cookie.trim_start_matches("session=");
    for (name, secret) in
        [("key", key.as_str()), ("key's digits", &key[8..]), ("session", token), ("password", PASSWORD)]
    {
        assert!(!log.contains(secret), "the {name} is in the log");
        assert!(!said.contains(secret), "the {name} is in the output");
    }
    for entry in std::fs::read_dir(folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        for secret in [key.as_str(), &key[8..], token, PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
        }
    }
}
