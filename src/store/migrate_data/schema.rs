//! What there is to copy, as the two schemas say it: nothing is listed by hand, so that nothing is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{PgConnection, SqliteConnection};

use super::MigrateDataError;
use super::value::Kind;

/// Tables that stay as the migrations made them: each says of its own database which servers run on it, and what
/// they have not heard yet. No server runs, and whoever follows the changes of the old one forgets what it
/// remembers when it finds a new one. A probe says when this database took a row last.
const NOT_COPIED: [&str; 4] = ["changes", "changes_last", "nodes", "write_probes"];

/// A table that both engines have, with the same columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The names of the primary key's columns, in its order.
    key: Vec<String>,
    /// The column that PostgreSQL numbers.
    pub(super) identity: Option<String>,
}

#[derive(Debug)]
pub(super) struct Column {
    name: String,
    pub(super) kind: Kind,
}

/// Of PostgreSQL: table, column, type, whether it is an identity, and its place in the primary key.
type Described = (String, String, String, bool, Option<i32>);

impl Table {
    /// The names of the columns, as a statement has them.
    pub(super) fn columns(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Selects all rows in the order of their key, which is the same for both engines: that of bytes. `collation`
    /// makes it so for texts.
    pub(super) fn in_order(&self, collation: &str) -> String {
        let is_text = |name: &str| self.columns.iter().any(|column| column.name == name && column.kind == Kind::Text);
        let by = |name: &String| if is_text(name) { format!("{} {collation}", quoted(name)) } else { quoted(name) };
        let key = self.key.iter().map(by).collect::<Vec<_>>().join(", ");
        format!("SELECT {} FROM {} ORDER BY {key}", self.columns(), quoted(&self.name))
    }
}

/// A name as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All tables of the source but [`NOT_COPIED`], those that others refer to first.
///
/// # Errors
/// When a table has not the same columns in both.
pub(super) async fn tables(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
) -> Result<Vec<Table>, MigrateDataError> {
    let theirs: Vec<(String, String)> = sqlx::query_as(include_str!("columns.sqlite.sql")).fetch_all(source).await?;
    let ours: Vec<Described> = sqlx::query_as(include_str!("columns.postgres.sql")).fetch_all(&mut *target).await?;
    let references: Vec<(String, String)> =
        sqlx::query_as(include_str!("references.postgres.sql")).fetch_all(target).await?;

    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in theirs.into_iter().filter(|(table, _)| !NOT_COPIED.contains(&table.as_str())) {
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

/// Those that are referred to before those that refer to them.
fn in_order_of_reference(
    mut rest: Vec<Table>,
    references: &[(String, String)],
) -> Result<Vec<Table>, MigrateDataError> {
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let waits_for =
            |name: &str| references.iter().any(|(from, to)| from == name && rest.iter().any(|table| table.name == *to));
        let Some(next) = rest.iter().position(|table| !waits_for(&table.name)) else {
            return Err(MigrateDataError::Schema(format!("{} refers to itself by way of others", rest[0].name)));
        };
        ordered.push(rest.remove(next));
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
    fn a_type_that_nobody_converts_and_a_table_without_an_order_are_refused() {
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
    fn what_is_referred_to_comes_first() {
        let named = |name: &str| Table { name: name.to_owned(), columns: vec![], key: vec![], identity: None };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let references = [pair("a", "c"), pair("b", "a"), pair("c", "elsewhere")];
        let ordered = in_order_of_reference(vec![named("a"), named("b"), named("c")], &references).unwrap();
        assert_eq!(ordered.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
        let circle = [pair("a", "b"), pair("b", "a")];
        assert!(in_order_of_reference(vec![named("a"), named("b")], &circle).is_err());
    }
}
