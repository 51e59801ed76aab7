//! The tables to copy, read from the two schemas: no table is listed by hand, so that none is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, SqliteConnection};

use super::MigrateDataError;
use super::value::Kind;

/// Tables that are not copied. Each describes its own database: its running servers, and the changes that they have not
/// applied. During the copy no server runs, and a subscriber of the old change log clears its cache when it finds a new
/// one. A write probe holds the last write to this database.
const EXCLUDED_TABLES: [&str; 4] = ["changes", "changes_last", "nodes", "write_probes"];

/// A table that both engines have, with the same columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The names of the columns of the primary key, in its order.
    key: Vec<String>,
    /// The identity column of PostgreSQL, if there is one.
    pub(super) identity: Option<String>,
}

#[derive(Debug)]
pub(super) struct Column {
    name: String,
    pub(super) kind: Kind,
}

/// A column in PostgreSQL: table, column, type, whether it is an identity, and its position in the primary key.
type Described = (String, String, String, bool, Option<i32>);

impl Table {
    /// Returns the list of columns for a statement.
    pub(super) fn columns(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns a statement that selects all rows in the order of their key. `collation` makes PostgreSQL sort texts by
    /// bytes, as SQLite does.
    pub(super) fn in_order(&self, collation: &str) -> String {
        let is_text = |name: &str| self.columns.iter().any(|column| column.name == name && column.kind == Kind::Text);
        let by = |name: &String| if is_text(name) { format!("{} {collation}", quoted(name)) } else { quoted(name) };
        let key = self.key.iter().map(by).collect::<Vec<_>>().join(", ");
        format!("SELECT {} FROM {} ORDER BY {key}", self.columns(), quoted(&self.name))
    }
}

/// Returns a name as a quoted identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns all tables of the source except [`EXCLUDED_TABLES`], with referenced tables first.
///
/// # Errors
/// When the columns of a table differ.
pub(super) async fn tables(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
) -> Result<Vec<Table>, MigrateDataError> {
    let theirs: Vec<(String, String)> = sqlx::query_as(include_str!("columns.sqlite.sql")).fetch_all(source).await?;
    let ours: Vec<Described> = sqlx::query_as(include_str!("columns.postgres.sql")).fetch_all(&mut *target).await?;
    let references: Vec<(String, String)> =
        sqlx::query_as(include_str!("references.postgres.sql")).fetch_all(target).await?;

    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in theirs.into_iter().filter(|(table, _)| !EXCLUDED_TABLES.contains(&table.as_str())) {
        wanted.entry(table).or_default().insert(column);
    }
    let mut tables = Vec::new();
    for (name, wanted) in wanted {
        tables.push(table(name, wanted, &ours)?);
    }
    in_order_of_reference(tables, &references)
}

fn table(name: String, mut wanted: BTreeSet<String>, ours: &[Described]) -> Result<Table, MigrateDataError> {
    let mut table = Table { name, columns: Vec::new(), key: Vec::new(), identity: None };
    let mut key = BTreeMap::new();
    for (_, column, type_name, is_identity, place) in ours.iter().filter(|(of, ..)| *of == table.name) {
        let what = || format!("{}.{column}", table.name);
        if !wanted.remove(column) {
            return Err(MigrateDataError::Schema(format!("SQLite has no {}", what())));
        }
        let kind = Kind::of(type_name)
            .ok_or_else(|| MigrateDataError::Schema(format!("{} is of the type {type_name}", what())))?;
        table.columns.push(Column { name: column.clone(), kind });
        if let Some(place) = place {
            key.insert(*place, column.clone());
        }
        if *is_identity {
            table.identity = Some(column.clone());
        }
    }
    if let Some(column) = wanted.first() {
        return Err(MigrateDataError::Schema(format!("PostgreSQL has no {}.{column}", table.name)));
    }
    if key.is_empty() {
        return Err(MigrateDataError::Schema(format!("{} has no primary key", table.name)));
    }
    table.key = key.into_values().collect();
    Ok(table)
}

/// Sorts tables so that referenced tables come before the tables that refer to them.
fn in_order_of_reference(
    mut remaining: Vec<Table>,
    references: &[(String, String)],
) -> Result<Vec<Table>, MigrateDataError> {
    let mut ordered = Vec::with_capacity(remaining.len());
    while !remaining.is_empty() {
        let waits_for = |name: &str| {
            references.iter().any(|(from, to)| from == name && remaining.iter().any(|table| table.name == *to))
        };
        let Some(next) = remaining.iter().position(|table| !waits_for(&table.name)) else {
            return Err(MigrateDataError::Schema(format!("{} refers to itself by way of others", remaining[0].name)));
        };
        ordered.push(remaining.remove(next));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(column: &str, type_name: &str, place: Option<i32>) -> Described {
        ("a".to_owned(), column.to_owned(), type_name.to_owned(), false, place)
    }

    fn planned(theirs: &[&str], ours: &[Described]) -> Result<Table, String> {
        let wanted = theirs.iter().map(ToString::to_string).collect();
        table("a".to_owned(), wanted, ours).map_err(|error| error.to_string())
    }

    #[test]
    fn a_column_that_only_one_engine_has_is_refused() {
        let ours = [described("id", "int8", Some(1)), described("name", "text", None)];
        assert!(planned(&["id"], &ours).unwrap_err().contains("SQLite has no a.name"));
        assert!(planned(&["id", "name", "age"], &ours).unwrap_err().contains("PostgreSQL has no a.age"));
        assert!(planned(&["name", "id"], &ours).is_ok());
    }

    #[test]
    fn an_unknown_type_and_a_table_without_a_primary_key_are_refused() {
        assert!(planned(&["id"], &[described("id", "numeric", Some(1))]).unwrap_err().contains("numeric"));
        assert!(planned(&["id"], &[described("id", "int8", None)]).unwrap_err().contains("primary key"));
    }

    #[test]
    fn rows_are_read_in_the_order_of_bytes() {
        let ours = [described("text", "text", Some(2)), described("of", "int8", Some(1)), described("x", "text", None)];
        let table = planned(&["text", "of", "x"], &ours).unwrap();
        let expected = r#"SELECT "text", "of", "x" FROM "a" ORDER BY "of", "text" COLLATE "C""#;
        assert_eq!(table.in_order(r#"COLLATE "C""#), expected);
    }

    #[test]
    fn referenced_tables_come_first() {
        let named = |name: &str| Table { name: name.to_owned(), columns: vec![], key: vec![], identity: None };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let references = [pair("a", "c"), pair("b", "a"), pair("c", "elsewhere")];
        let ordered = in_order_of_reference(vec![named("a"), named("b"), named("c")], &references).unwrap();
        assert_eq!(ordered.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
        let circle = [pair("a", "b"), pair("b", "a")];
        assert!(in_order_of_reference(vec![named("a"), named("b")], &circle).is_err());
    }
}
