//! Describes the machine of the measurements.

use std::process::Command;

use crate::Report;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Writes one line: cores, memory, kernel, database versions, commit.
pub async fn describe(report: &mut Report) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes / 1024 / 1024);
    let kernel = read("/proc/sys/kernel/osrelease");
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model.to_owned()))
        .unwrap_or_default();
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.expect("SQLite opens");
    let sqlite: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&pool).await.expect("a version");
    let postgres = match std::env::var("LATCHKEY_BENCH_POSTGRES_URL") {
        Ok(url) => {
            let pool = sqlx::PgPool::connect(&url).await.expect("PostgreSQL answers");
            let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&pool).await.expect("a version");
            let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&pool).await.expect("a setting");
            format!("PostgreSQL {version} (fsync {fsync})")
        }
        Err(_) => "no PostgreSQL".to_owned(),
    };
    report.line(&format!(
        "Machine: {cores} cores ({model}), {memory} GiB, Linux {}, SQLite {sqlite}, {postgres}; commit {commit}.",
        kernel.trim()
    ));
    report.line("");
}
