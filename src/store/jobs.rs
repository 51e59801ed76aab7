//! Jobs: claims with leases, and their outcomes.

use super::db::{Db, StoreError, reading, sql, writing};
use crate::model::Timestamp;

/// The largest number of ended jobs that one transaction deletes, so that other writers get their turn.
const DELETE_BATCH: i64 = 500;

/// A new job.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub(crate) id: i64,
    pub(crate) kind: &'static str,
    /// JSON.
    pub(crate) payload: String,
    pub(crate) created_at: Timestamp,
    pub(crate) due_at: Timestamp,
}

/// A job that a worker has claimed.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ClaimedJob {
    pub(crate) id: i64,
    /// Milliseconds from one run to the next; `None` for a job that is not periodic.
    pub(crate) interval_ms: Option<i64>,
    pub(crate) payload: String,
    /// The number of claims since the last success, with this one.
    pub(crate) attempts: i64,
}

/// The outcome of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The job is done.
    Done,
    /// The periodic job is done, and is due again.
    NextTurn(Timestamp),
    /// The attempt failed; the job is due again.
    Retry {
        /// The next due time.
        at: Timestamp,
        /// The error.
        error: String,
    },
    /// The last attempt failed.
    Dead {
        /// The error.
        error: String,
    },
}

/// Stores a job within a transaction, so that it exists exactly when the other changes of the transaction do.
macro_rules! add_job {
    ($tx:ident, $job:expr) => {{
        let job: &$crate::store::NewJob = $job;
        sqlx::query(sql!("job_insert"))
            .bind(job.id)
            .bind(job.kind)
            .bind(&job.payload)
            .bind(job.created_at.0)
            .bind(job.due_at.0)
            .execute(&mut *$tx)
            .await?;
    }};
}

pub(super) use add_job;

impl Db {
    /// Stores a job in a transaction of its own.
    pub(crate) async fn insert_job(&self, job: &NewJob) -> Result<(), StoreError> {
        writing!(self, tx => {
            add_job!(tx, job);
        });
        Ok(())
    }

    /// Inserts the row of each periodic job, with its interval in milliseconds; a new one is due now.
    pub(crate) async fn plan_jobs(
        &self,
        jobs: impl Iterator<Item = (i64, &'static str, i64)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            for (id, kind, interval_ms) in jobs {
                sqlx::query(sql!("job_plan")).bind(id).bind(kind).bind(interval_ms).bind(now.0).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }

    /// Returns when the next job of each of these kinds is due, the earliest first. A claimed job is due when its lease
    /// ends.
    pub(crate) async fn due_jobs(&self, kinds: &[&str]) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let kinds = serde_json::json!(kinds).to_string();
        let found: Vec<(String, Option<i64>)> = reading!(self, connection => {
            sqlx::query_as(sql!(self, "jobs_due")).bind(kinds).fetch_all(connection).await?
        });
        let mut due: Vec<_> = found.into_iter().filter_map(|(kind, at)| Some((kind, Timestamp(at?)))).collect();
        due.sort_by_key(|(_, at)| *at);
        Ok(due)
    }

    /// Claims up to `limit` jobs of a kind that are due at `now`, for a lease that ends at `until`.
    pub(crate) async fn claim_jobs(
        &self,
        kind: &str,
        claim: i64,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClaimedJob>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(writing!(self, tx => {
            sqlx::query_as(sql!(self, "jobs_claim"))
                .bind(kind)
                .bind(now.0)
                .bind(claim)
                .bind(until.0)
                .bind(limit)
                .fetch_all(&mut *tx)
                .await?
        }))
    }

    /// Extends a lease; returns false when another claim has replaced this one.
    pub(crate) async fn extend_job(&self, id: i64, claim: i64, until: Timestamp) -> Result<bool, StoreError> {
        let extended = writing!(self, tx => {
            sqlx::query(sql!("job_extend")).bind(id).bind(claim).bind(until.0).execute(&mut *tx).await?.rows_affected()
        });
        Ok(extended > 0)
    }

    /// Ends a claim; returns false, and changes nothing, when another claim has replaced this one.
    pub(crate) async fn settle_job(
        &self,
        id: i64,
        claim: i64,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = writing!(self, tx => {
            let statement = match settled {
                Settled::Done => sqlx::query(sql!("job_end")).bind(id).bind(claim).bind(now.0),
                Settled::NextTurn(at) => sqlx::query(sql!("job_next_turn")).bind(id).bind(claim).bind(at.0),
                Settled::Retry { at, error } => {
                    sqlx::query(sql!("job_retry")).bind(id).bind(claim).bind(at.0).bind(error.as_str())
                }
                Settled::Dead { error } => {
                    sqlx::query(sql!("job_bury")).bind(id).bind(claim).bind(now.0).bind(error.as_str())
                }
            };
            statement.execute(&mut *tx).await?.rows_affected()
        });
        Ok(changed > 0)
    }

    /// Makes jobs due now that only a wrong clock can have postponed so far. `longest_ms` is the longest delay of a
    /// retry, `lease_ms` the length of a lease.
    pub(crate) async fn pull_back_jobs(
        &self,
        now: Timestamp,
        longest_ms: i64,
        lease_ms: i64,
    ) -> Result<u64, StoreError> {
        Ok(writing!(self, tx => {
            sqlx::query(sql!("jobs_pull_back"))
                .bind(now.0)
                .bind(longest_ms)
                .bind(lease_ms)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        }))
    }

    /// Deletes jobs that were done before `done`, and jobs that became dead before `dead`; returns their number.
    pub(crate) async fn delete_ended_jobs(&self, done: Timestamp, dead: Timestamp) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for (outcome, before) in [("done", done), ("dead", dead)] {
            loop {
                let gone = writing!(self, tx => {
                    sqlx::query(sql!("jobs_delete_ended"))
                        .bind(outcome)
                        .bind(before.0)
                        .bind(DELETE_BATCH)
                        .execute(&mut *tx)
                        .await?
                        .rows_affected()
                });
                deleted += gone;
                if gone < DELETE_BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Db {
        /// Acts like a store function with a later statement that fails.
        async fn add_and_fail(&self, job: &NewJob) -> Result<(), StoreError> {
            writing!(self, tx => {
                add_job!(tx, job);
                sqlx::query("SELECT * FROM no_such_table").execute(&mut *tx).await?;
            });
            Ok(())
        }
    }

    async fn a_job_exists_only_if_its_transaction_commits(db: Db) {
        db.migrate().await.expect("it migrates");
        let job = |id| {
            let at = Timestamp(1_000);
            NewJob { id, kind: "test", payload: "null".to_owned(), created_at: at, due_at: at }
        };
        db.add_and_fail(&job(1)).await.expect_err("the transaction fails");
        assert_eq!(db.due_jobs(&["test"]).await.expect("an answer"), [], "a job of a transaction that failed");
        db.insert_job(&job(2)).await.expect("it is stored");
        let due = db.due_jobs(&["other", "test"]).await.expect("an answer");
        assert_eq!(due, [("test".to_owned(), Timestamp(1_000))]);
    }

    #[tokio::test]
    async fn a_failed_transaction_stores_no_job_on_sqlite() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&format!("sqlite:{}", folder.path().join("test.db").display())).await.expect("it opens");
        a_job_exists_only_if_its_transaction_commits(db).await;
    }

    #[tokio::test]
    async fn a_failed_transaction_stores_no_job_on_postgresql() {
        let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` starts PostgreSQL and sets it");
        let schema = format!("jobs_{}", std::process::id());
        let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.expect("the server answers");
        let statement = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.expect("a schema");
        let separator = if url.contains('?') { '&' } else { '?' };
        let db = Db::open(&format!("{url}{separator}options[search_path]={schema}")).await.expect("it opens");
        a_job_exists_only_if_its_transaction_commits(db.clone()).await;
        db.close().await;
        let statement = format!("DROP SCHEMA {schema} CASCADE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await.expect("it is dropped");
    }
}
