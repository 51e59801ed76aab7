//! Statements for a few rows on SQLite, each row with parameters of its own: SQLite takes those sooner than it reads rows
//! from JSON, field by field. There is one for each number of rows, and all of them stay prepared.

use std::sync::Arc;

/// So many rows are few; for more there is JSON, in one statement for any number.
const FEW: usize = 32;

/// The statements, by the number of rows.
pub(super) struct Few(Vec<Arc<str>>);

impl Few {
    /// Of what comes before the rows, a row, and what comes after them.
    pub(super) fn new(before: &str, row: &str, after: &str) -> Self {
        Self((1..=FEW).map(|rows| [before, &vec![row; rows].join(","), after].concat().into()).collect())
    }

    /// The one for so many rows, if they are few.
    pub(super) fn of(&self, rows: usize) -> Option<Arc<str>> {
        self.0.get(rows.checked_sub(1)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_for_each_number_of_rows_that_is_few() {
        let statements = Few::new("a ", "(?)", ";b");
        assert_eq!(statements.of(0), None);
        assert_eq!(statements.of(1).as_deref(), Some("a (?);b"));
        assert_eq!(statements.of(3).as_deref(), Some("a (?),(?),(?);b"));
        assert!(statements.of(FEW).is_some());
        assert_eq!(statements.of(FEW + 1), None);
    }
}
