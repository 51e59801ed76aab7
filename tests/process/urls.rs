//! Database and Redis URLs.

use std::net::{Ipv6Addr, SocketAddr};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::program::{latchkey, refusal, serve, text};

#[tokio::test]
async fn a_path_after_sqlite_is_taken_literally() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["50%20off.db", "100%.db", "why?.db", "a?mode=ro", "#1.db", "%2e"] {
        let url = format!("sqlite:{name}");
        let made =
            latchkey(folder.path()).args(["migrate", "--database-url", &url]).output().expect("the program runs");
        assert_eq!(made.status.code(), Some(0), "{name}: {}", text(&made.stderr));
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let url = format!("sqlite://{}/a%20b.db?mode=rwc", folder.path().display());
    let mut command = latchkey(folder.path());
    let server = serve(folder.path(), command.args(["--listen", "127.0.0.1:0", "--database-url", &url]));
    assert!(folder.path().join("a b.db").is_file(), "the URL form is decoded");
    server.stop();
    for url in ["sqlite::memory:", "sqlite:", "sqlite://a.db?mode=ro", "sqlite://none.db?mode=rw"] {
        let (code, said) = refusal(latchkey(folder.path()).args(["--database-url", url]));
        assert_eq!(code, Some(1), "{url}: {said}");
        assert!(said.contains("--database-url: "), "{said}");
    }
}

/// Forwards connections from an IPv6 address to a server of this machine; returns the IPv6 address.
async fn forward_from_ipv6(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.expect("the machine has ::1");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}

/// Splits a URL into the part before its address, the address, and the path.
fn split(url: &str) -> (String, SocketAddr, String) {
    let (before, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, address) = authority.rsplit_once('@').map_or(("", authority), |(user, address)| (user, address));
    let at = if user.is_empty() { "" } else { "@" };
    (format!("{before}://{user}{at}"), address.parse().expect("an address"), format!("/{path}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_and_redis_can_be_reached_by_ipv6() {
    let folder = tempfile::tempdir().expect("a folder");
    let postgres = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets it");
    let redis = std::env::var("LATCHKEY_TEST_REDIS_URL").expect("`make test` sets it");
    let mut admin = PgConnection::connect(&postgres).await.expect("PostgreSQL answers");
    let schema = format!("ipv6_{}", std::process::id());
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut admin).await.expect("a schema");
    let (before, address, after) = split(&postgres);
    let address = forward_from_ipv6(address).await;
    let separator = if after.contains('?') { '&' } else { '?' };
    let postgres = format!("{before}{address}{after}{separator}options[search_path]={schema}");
    assert!(postgres.contains("[::1]:"), "{postgres}");
    let (before, address, after) = split(&redis);
    let redis = format!("{before}{}{after}", forward_from_ipv6(address).await);
    let served = tokio::task::spawn_blocking(move || {
        let mut command = latchkey(folder.path());
        let server = serve(
            folder.path(),
            command.args(["--listen", "[::1]:0", "--database-url", &postgres, "--redis-url", &redis]),
        );
        server.stop();
        crate::program::log(folder.path())
    })
    .await;
    let drop = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    sqlx::query(drop).execute(&mut admin).await.expect("the schema is dropped");
    let log = served.expect("the server runs");
    assert!(log.contains("Redis answers") && !log.contains("does not answer"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_database_in_another_encoding_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets it");
    let mut admin = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    let name = format!("latin1_{}", std::process::id());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    sqlx::query(AssertSqlSafe(create)).execute(&mut admin).await.expect("a database");
    let (before, address, _) = split(&url);
    let latin = format!("{before}{address}/{name}");
    let refused: Vec<_> = [&[][..], &["migrate"]]
        .map(|command| refusal(latchkey(folder.path()).args(command).args(["--database-url", &latin])))
        .into();
    sqlx::query(AssertSqlSafe(format!("DROP DATABASE {name}")))
        .execute(&mut admin)
        .await
        .expect("the database is dropped");
    for (code, said) in refused {
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("LATIN1") && said.contains("ENCODING 'UTF8'"), "{said}");
    }
}
