//! Direct access to the two databases, independent of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// Tables that are not copied, and why.
const NOT_COPIED: [(&str, &str); 5] = [
    ("_sqlx_migrations", "the migrations that were applied to a database"),
    ("nodes", "the servers that are running"),
    ("changes", "changes that these servers have not read yet"),
    ("changes_last", "the number of the last change"),
    ("write_probes", "the time of the last test write"),
];

/// A schema of its own in the tests' PostgreSQL.
pub struct Schema {
    name: String,
    pub url: String,
    admin: PgConnection,
}

impl Schema {
    pub async fn new(name: &str) -> Self {
        let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets LATCHKEY_TEST_POSTGRES_URL");
        let mut admin = PgConnection::connect(&url).await.expect("the tests' PostgreSQL answers");
        let name = format!("migrate_data_{}_{name}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE SCHEMA {name}"));
        sqlx::query(create).execute(&mut admin).await.expect("a schema is made");
        let separator = if url.contains('?') { '&' } else { '?' };
        Self { url: format!("{url}{separator}options[search_path]={name}"), name, admin }
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("the tests' PostgreSQL answers")
    }

    pub async fn remove(mut self) {
        let drop = AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", self.name));
        sqlx::query(drop).execute(&mut self.admin).await.expect("the schema is dropped");
    }
}

/// A command of the program without the `LATCHKEY_` variables of this process.
pub fn latchkey(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null()).args(arguments);
    command
}

/// Runs `migrate-data` from the folder's `latchkey.db`.
pub fn migrate_data(folder: &Path, to: &str) -> Output {
    latchkey(folder, &["migrate-data", "--from", "sqlite:latchkey.db", "--to", to]).output().expect("the program runs")
}

pub async fn sqlite(folder: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite:{}", folder.join("latchkey.db").display()))
        .await
        .expect("the database opens")
}

/// The rows of a table: its columns in the order of their names, and a JSON array for each row, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<String>,
}

/// All tables except `NOT_COPIED`; bytes are in hexadecimal.
pub type Dump = BTreeMap<String, Rows>;

/// Groups columns by table. Returns for each table its name, its columns, and the expressions of the `SELECT`.
fn by_table(
    columns: Vec<(String, String, String)>,
    as_text: impl Fn(&str, &str) -> String,
) -> Vec<(String, Rows, String)> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let copied = |table: &String| NOT_COPIED.iter().all(|(name, _)| name != table);
    for (table, column, type_name) in columns.into_iter().filter(|(table, ..)| copied(table)) {
        let selected = as_text(&format!("\"{column}\""), &type_name);
        tables.entry(table).or_default().insert(column, selected);
    }
    tables
        .into_iter()
        .map(|(table, columns)| {
            let selected = columns.values().cloned().collect::<Vec<_>>().join(", ");
            (table, Rows { columns: columns.into_keys().collect(), rows: vec![] }, selected)
        })
        .collect()
}

/// Normalises the JSON that the two databases write, and sorts the rows.
fn normalised(mut rows: Vec<String>) -> Vec<String> {
    for row in &mut rows {
        *row = serde_json::from_str::<serde_json::Value>(row).expect("JSON").to_string();
    }
    rows.sort();
    rows
}

pub async fn dump_sqlite(db: &mut SqliteConnection) -> Dump {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_xinfo(t.name) c \
         WHERE t.type = 'table' AND t.name NOT GLOB 'sqlite_*'",
    )
    .fetch_all(&mut *db)
    .await
    .expect("the columns of all tables");
    let as_text = |column: &str, type_name: &str| match type_name {
        "BLOB" => format!("lower(hex({column}))"),
        _ => column.to_owned(),
    };
    let mut dump = Dump::new();
    for (table, mut rows, selected) in by_table(columns, as_text) {
        let query = AssertSqlSafe(format!("SELECT json_array({selected}) FROM \"{table}\""));
        rows.rows = normalised(sqlx::query_scalar(query).fetch_all(&mut *db).await.expect("the rows of the table"));
        dump.insert(table, rows);
    }
    dump
}

pub async fn dump_postgresql(db: &mut PgConnection) -> Dump {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text, udt_name::text FROM information_schema.columns \
         JOIN information_schema.tables USING (table_schema, table_name) \
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&mut *db)
    .await
    .expect("the columns of all tables");
    let as_text = |column: &str, type_name: &str| match type_name {
        "bytea" => format!("encode({column}, 'hex')"),
        "uuid" => format!("replace({column}::text, '-', '')"),
        "bool" => format!("{column}::integer"),
        _ => column.to_owned(),
    };
    let mut dump = Dump::new();
    for (table, mut rows, selected) in by_table(columns, as_text) {
        let query = AssertSqlSafe(format!("SELECT json_build_array({selected})::text FROM \"{table}\""));
        rows.rows = normalised(sqlx::query_scalar(query).fetch_all(&mut *db).await.expect("the rows of the table"));
        dump.insert(table, rows);
    }
    dump
}

/// Asserts that every column has a value in some row, so that the test covers every column.
pub fn assert_nothing_is_missing(dump: &Dump) {
    for (table, Rows { columns, rows }) in dump {
        let mut empty: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
        for row in rows {
            let values: Vec<serde_json::Value> = serde_json::from_str(row).expect("an array");
            for (column, _) in columns.iter().zip(&values).filter(|(_, value)| !value.is_null()) {
                empty.remove(column.as_str());
            }
        }
        assert!(
            empty.is_empty(),
            "{table} has columns that this test does not fill: {empty:?}; fill them, so that their copy is tested"
        );
    }
}

/// Asserts that both dumps have the same tables, columns and rows.
#[track_caller]
pub fn assert_same(ours: &Dump, theirs: &Dump) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "one database lacks tables");
    for (table, rows) in theirs {
        assert_eq!(&ours[table], rows, "{table}");
    }
}
