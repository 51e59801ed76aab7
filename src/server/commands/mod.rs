//! The commands other than `serve`.

mod user;

pub use user::user;

use std::io::Write;

use super::config::{Database, MigrateData};
use super::{Failure, setting_error};
use crate::cluster::Node;
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditContext, AuditFields, AuditTarget, RequestOrigin};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, MigrateDataError, Progress, open_both};

/// `latchkey migrate`: brings the schema up to date.
///
/// # Errors
/// When the database cannot be opened or migrated.
pub async fn migrate(database: &Database) -> Result<String, Failure> {
    let db = Db::open(&database.database_url).await.map_err(|error| setting_error("database-url", error))?;
    db.migrate().await?;
    db.close().await;
    Ok("The database is up to date.".to_owned())
}

/// `latchkey migrate-data`: copies all rows, and prints its progress, table by table.
///
/// # Errors
/// When one of the databases is unusable or in use by a server, the target is not empty, or the copy differs.
pub async fn migrate_data(databases: &MigrateData) -> Result<String, Failure> {
    let (from, to) = open_both(&databases.from, &databases.to).await.map_err(with_setting)?;
    from.prepare_to_migrate(&to).await.map_err(with_setting)?;
    // Joins as the target's only node, so that no server starts on it during the copy.
    let name = "latchkey migrate-data".to_owned();
    let joined = Node::join(&to, Clock::System, &Entropy::System, name, None).await;
    let node = joined.map_err(|error| setting_error("to", error))?;
    let context = AuditContext::new(
        &Entropy::System,
        Clock::System.now(),
        AuditActor::cli("latchkey migrate-data"),
        RequestOrigin::default(),
    );
    let entry = |rows: u64| {
        let entry = context.entry(AuditChain::Server, AuditAction::DataMigrated, AuditTarget::server());
        entry.after(AuditFields::default().with("rows", rows))
    };
    let copied = from.migrate_data(&to, entry, print_progress).await;
    node.leave().await?;
    let rows = copied.map_err(with_setting)?;
    from.close().await;
    to.close().await;
    Ok(format!(
        "{rows} rows were copied, and every one is the same. Serve the new database with --database-url from now on; \
         the file keeps its data."
    ))
}

fn with_setting(error: MigrateDataError) -> Failure {
    match error.setting() {
        Some(setting) => setting_error(setting, error),
        None => error.into(),
    }
}

fn print_progress(progress: Progress<'_>) {
    let line = match progress {
        Progress::Copying(table, done, all) => format!("copying {table}: {done} of {all}"),
        Progress::Comparing(table, done, all) => format!("comparing {table}: {done} of {all}"),
        Progress::Same(table, rows) => format!("{table}: {rows} rows"),
    };
    // A failed write is ignored: the reader has closed the pipe.
    let _ = writeln!(std::io::stdout(), "{line}");
}
