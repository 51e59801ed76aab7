//! Batches in which a bad row does not fail the others.

use std::ops::Range;
use std::sync::Arc;

use super::db::StoreError;

/// Rows that are stored or read in one statement. When a row makes the statement fail, the statement is run again for
/// each half of the rows, and so on, so that only the bad row gets the error.
///
/// A failed statement must change nothing.
pub(crate) struct Batch<R> {
    /// Ranges of rows without an outcome; the first rows are last.
    ranges: Vec<Range<usize>>,
    outcomes: Vec<Result<R, Arc<StoreError>>>,
}

impl<R> Batch<R> {
    /// Creates a batch of a number of rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self { ranges: std::iter::once(0..rows).collect(), outcomes: Vec::with_capacity(rows) }
    }

    /// Returns the rows to run the statement for; `None` when all outcomes are known.
    pub(crate) fn next_rows(&mut self) -> Option<Range<usize>> {
        self.ranges.pop()
    }

    /// Records the outcome of the statement for the rows of [`next_rows`](Self::next_rows).
    pub(crate) fn settle(&mut self, rows: Range<usize>, outcome: Result<Vec<R>, StoreError>) {
        match outcome {
            Ok(done) => self.outcomes.extend(done.into_iter().map(Ok)),
            Err(error) if rows.len() > 1 && error.is_row_fault() => {
                let middle = rows.start + rows.len() / 2;
                self.ranges.extend([middle..rows.end, rows.start..middle]);
            }
            Err(error) => {
                let error = Arc::new(error);
                self.outcomes.extend(rows.map(|_| Err(Arc::clone(&error))));
            }
        }
    }

    /// Returns the outcomes, in the order of the rows.
    pub(crate) fn outcomes(self) -> Vec<Result<R, Arc<StoreError>>> {
        self.outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the outcomes of eight rows, of which the third and the last are bad, and the number of runs of the
    /// statement.
    fn outcomes(error: impl Fn() -> sqlx::Error) -> (Vec<Result<usize, String>>, usize) {
        let (mut batch, mut runs) = (Batch::new(8), 0);
        while let Some(rows) = batch.next_rows() {
            runs += 1;
            let is_bad = rows.contains(&2) || rows.contains(&7);
            batch.settle(rows.clone(), if is_bad { Err(error().into()) } else { Ok(rows.collect()) });
        }
        (batch.outcomes().into_iter().map(|outcome| outcome.map_err(|error| error.to_string())).collect(), runs)
    }

    #[test]
    fn only_the_bad_rows_fail() {
        let (outcomes, _) = outcomes(|| sqlx::Error::RowNotFound);
        let good: Vec<usize> = outcomes.iter().flatten().copied().collect();
        assert_eq!(good, [0, 1, 3, 4, 5, 6]);
        assert!(outcomes[2].is_err() && outcomes[7].is_err());
    }

    #[test]
    fn an_unavailable_database_gets_one_statement() {
        let (outcomes, runs) = outcomes(|| sqlx::Error::PoolTimedOut);
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!((outcomes.len(), runs), (8, 1));
    }
}
