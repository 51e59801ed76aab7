//! Parses database URLs.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::db::DatabaseUrlError;

/// A parsed URL of a SQLite file.
#[derive(Debug)]
pub(super) struct SqliteUrl {
    pub(super) path: PathBuf,
    pub(super) options: SqliteConnectOptions,
    /// The URL has `mode=rw`: the file must exist.
    pub(super) must_exist: bool,
}

/// Parses `sqlite:FILE` with a literal FILE, or `sqlite://FILE?OPTIONS`, which is percent-decoded (`%20` is a blank)
/// and takes the options of SQLite's own URIs.
///
/// # Errors
/// When the URL names no file that a server can write to.
pub(super) fn sqlite(url: &str) -> Result<SqliteUrl, DatabaseUrlError> {
    let (options, must_exist) = if let Some(rest) = url.strip_prefix("sqlite://") {
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let modes: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "mode").collect();
        let has = |mode: &str| modes.iter().any(|(_, value)| value == mode);
        if has("memory") || has("ro") {
            return Err(DatabaseUrlError::NoFile("`mode` must be `rw` or `rwc`"));
        }
        (SqliteConnectOptions::from_str(url).map_err(DatabaseUrlError::Malformed)?, has("rw"))
    } else {
        let path = url.strip_prefix("sqlite:").unwrap_or(url);
        (SqliteConnectOptions::new().filename(path), false)
    };
    let path = options.get_filename().to_path_buf();
    if path.as_os_str().is_empty() {
        return Err(DatabaseUrlError::NoFile("no file is named"));
    }
    if path == Path::new(":memory:") || url.starts_with("sqlite://:memory:") {
        return Err(DatabaseUrlError::NoFile("a database in memory is lost when the program ends"));
    }
    Ok(SqliteUrl { path, options, must_exist })
}

/// Parses `postgres://USER@HOST/DATABASE`.
///
/// # Errors
/// When the URL is malformed.
pub(super) fn postgres(url: &str) -> Result<PgConnectOptions, DatabaseUrlError> {
    let options = PgConnectOptions::from_str(url).map_err(DatabaseUrlError::Malformed)?;
    // The driver keeps the brackets of an IPv6 address, which no resolver understands.
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    Ok(match address {
        Some(address) => options.host(&address),
        None => options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> PathBuf {
        sqlite(url).unwrap_or_else(|error| panic!("{url}: {error}")).path
    }

    #[test]
    fn a_path_after_the_scheme_is_taken_literally() {
        for literal in ["a.db", "/data/100%.db", "50%20off.db", "why?.db", "#1.db", "a?mode=ro", "é b.db", "../x.db"] {
            assert_eq!(path(&format!("sqlite:{literal}")), Path::new(literal));
        }
    }

    #[test]
    fn the_url_form_is_decoded_and_takes_options() {
        assert_eq!(path("sqlite:///data/a%20b.db?mode=rwc"), Path::new("/data/a b.db"));
        assert_eq!(path("sqlite://a.db"), Path::new("a.db"));
        assert!(sqlite("sqlite://a.db?mode=rw").unwrap().must_exist);
        assert!(!sqlite("sqlite://a.db").unwrap().must_exist);
        assert!(matches!(sqlite("sqlite://a.db?mode=sideways"), Err(DatabaseUrlError::Malformed(_))));
    }

    #[test]
    fn a_url_without_a_file_to_write_to_is_refused() {
        for url in [
            "sqlite:",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://",
            "sqlite://a?mode=ro",
            "sqlite://?mode=memory",
        ] {
            assert!(matches!(sqlite(url), Err(DatabaseUrlError::NoFile(_))), "{url}");
        }
    }

    #[test]
    fn an_ipv6_address_is_used_without_its_brackets() {
        for (url, host, port) in [
            ("postgres://u:p@[::1]:5433/db", "::1", 5433),
            ("postgres://u:p@[2001:db8::7]/db", "2001:db8::7", 5432),
            ("postgresql://u@[fe80::1]:1/db?application_name=x", "fe80::1", 1),
            ("postgres:///db?host=[::1]", "::1", 5432),
            ("postgres://u@127.0.0.1/db", "127.0.0.1", 5432),
            ("postgres://u@db.example.com/db", "db.example.com", 5432),
        ] {
            let options = postgres(url).unwrap();
            assert_eq!((options.get_host(), options.get_port()), (host, port), "{url}");
        }
    }
}
