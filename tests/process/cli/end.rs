//! Start and stop of a server: one server per database, and no loss on SIGTERM.

use std::io::Write;
use std::net::TcpStream;

use super::{PASSWORD, Server, counted, database, key_of, read, request, run, text, whoami};

#[test]
fn a_server_prints_its_address_and_is_healthy() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let port: u16 = server.address.rsplit_once(':').expect("a port").1.parse().expect("a number");
    assert_ne!(port, 0);
    for (path, body) in [("/healthz", r#"{"status":"ok"}"#), ("/readyz", r#"{"status":"ready"}"#)] {
        let answer = server.call("GET", path, "", "");
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    assert_eq!(
        server.register("ada@example.com").status,
        201,
        "the first account needs no token on the loopback address"
    );
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
    assert_eq!(server.call("GET", "/readyz", "", "").status, 200, "the first server continues");
    assert_eq!(server.end("TERM"), Some(0));
    let next = Server::start(&database(folder.path()), folder.path(), &[]);
    assert_eq!(next.call("GET", "/readyz", "", "").status, 200, "a stopped server releases the file");
}

/// SIGTERM loses neither unsaved counts nor a request that is being received.
fn sigterm_loses_nothing(url: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(url, folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let key = key_of(&server, &cookie);
    let mut late = server.connect();
    let whole =
        request("POST", "/v1/auth/login", "", &format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#));
    let (first, second) = whole.split_at(whole.len() - 20);
    late.write_all(first.as_bytes()).expect("the server reads");
    for _ in 0..25 {
        assert_eq!(whoami(&server, &key), 200);
    }
    server.signal("TERM");
    // New connections are refused, but the open connection is served to its end.
    let port = server.address.rsplit_once(':').expect("a port").1;
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_ok() {
        std::thread::yield_now();
    }
    late.write_all(second.as_bytes()).expect("the server still reads");
    assert_eq!(read(&mut late).status, 200);
    assert_eq!(server.end("CONT"), Some(0));

    let again = Server::start(url, folder.path(), &[]);
    assert_eq!(counted(&again, &cookie), 25, "counts and the session are kept");
    assert_eq!(whoami(&again, &key), 200);
    assert_eq!(counted(&again, &cookie), 26);
}

#[test]
fn sigterm_loses_nothing_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    sigterm_loses_nothing(&database(folder.path()));
}

/// Runs a test in a schema of its own of the tests' PostgreSQL.
async fn on_postgresql(name: &str, test: impl FnOnce(String) + Send + 'static) {
    let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets LATCHKEY_TEST_POSTGRES_URL");
    let admin = sqlx::PgPool::connect(&url).await.expect("the tests' PostgreSQL answers");
    let schema = format!("cli_{}_{name}", std::process::id());
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&admin).await.expect("a schema is made");
    let separator = if url.contains('?') { '&' } else { '?' };
    let own = format!("{url}{separator}options[search_path]={schema}");
    let result = tokio::task::spawn_blocking(move || test(own)).await;
    let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop).execute(&admin).await.expect("the schema is dropped");
    result.expect("the test passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_loses_nothing_on_postgresql() {
    on_postgresql("end", |url| sigterm_loses_nothing(&url)).await;
}

/// A killed server is not waited for on its own machine, because its process has visibly ended.
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
