//! Benchmarks the core of a check, without HTTP: `cargo bench --features ssr --bench core`.
//!
//! Each row adds a step to the row before. The order of the million keys is irregular, so that records are seldom in
//! the processor's caches. The presented string is in them, as it is on a server that has just received it.

#[path = "load/million.rs"]
mod million;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use latchkey::accounts::{Accounts, EmailAddress, Password, Passwords, Registration};
use latchkey::domain::{Ask, Code, PresentedKey};
use latchkey::keys::{self, Checks, Policy, Purpose};
use latchkey::model::ScopeList;
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::store::Db;

/// Number of keys in the rows with busy keys; their records stay in the processor's caches.
const BUSY_KEYS: usize = 1_000;

/// Opens a database with a million cached keys; `set` is the `SET` clause for all of them.
async fn checks(strings: &[String], set: &str, folder: &tempfile::TempDir) -> Arc<Checks> {
    let url = format!("sqlite:{}", folder.path().join("latchkey.db").display());
    let db = Db::open(&url).await.expect("the database opens");
    db.migrate().await.expect("the schema is made");
    let (clock, entropy) = (Clock::System, Entropy::System);
    let accounts = Accounts::new(
        db.clone(),
        clock.clone(),
        entropy.clone(),
        Passwords::new(entropy.clone()),
        Registration::Open,
        None,
    );
    let email = EmailAddress::parse("bench@example.com").expect("an address");
    let password = Password::new("correct horse battery".to_owned()).expect("a password");
    accounts.add(&email, password).await.expect("an account");
    million::load(&url, strings).await;
    if !set.is_empty() {
        let pool = sqlx::SqlitePool::connect(&url).await.expect("the file opens");
        sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE keys SET {set}"))).execute(&pool).await.expect("set");
    }
    let opened = keys::open(db, clock, entropy, Policy { cache_bytes: 1 << 30, ..Policy::default() }, None)
        .await
        .expect("it opens");
    let checks = opened.checks;
    for some in strings.chunks(5_000) {
        let ask = Ask::default();
        let codes = some.iter().map(|key| checks.verify(key, &ask, Purpose::Identify, |verdict| verdict.code));
        let codes = futures::future::join_all(codes).await;
        assert!(codes.into_iter().all(|code| code == Ok(Code::Valid)));
    }
    checks
}

fn core(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let strings = Arc::new(million::strings());
    let another_of = |most: usize| {
        let (strings, mut next) = (Arc::clone(&strings), 0);
        move || {
            next = (next + 617_033) % most;
            strings[next].clone()
        }
    };
    criterion.bench_function("form, SHA-256", |bench| {
        let parse = |key: String| (PresentedKey::parse(black_box(&key)).map(|key| key.hash), key);
        bench.iter_batched(another_of(million::KEYS), parse, BatchSize::SmallInput);
    });
    let ask =
        Ask { scopes: ScopeList::constant("events:write"), address: Some([192, 0, 2, 1].into()), ..Ask::default() };
    for (name, set) in [
        ("", ""),
        (", a rate limit", "rate_limit = 1000000, rate_window_seconds = 1"),
        (
            ", scopes, a rate limit and a quota",
            "scopes = 'events:write keys:verify', rate_limit = 1000000, rate_window_seconds = 1, quota_limit = 1000000000",
        ),
    ] {
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
        let folder = tempfile::tempdir_in(target).expect("a folder");
        let checks = runtime.block_on(checks(&strings, set, &folder));
        for (purpose, what) in [(Purpose::Identify, "found and judged"), (Purpose::Use, "found, judged, counted")] {
            if purpose == Purpose::Identify && !set.is_empty() {
                continue;
            }
            for (most, of) in [(BUSY_KEYS, "1,000 busy keys of a million"), (million::KEYS, "any of a million keys")] {
                criterion.bench_function(&format!("{what}{name}, {of}"), |bench| {
                    let check = |key: String| {
                        // Pinned on the stack, as in the server; `now_or_never` would move the future.
                        {
                            let checked = pin!(checks.verify(black_box(&key), &ask, purpose, |verdict| verdict.code));
                            let checked = checked.poll(&mut Context::from_waker(Waker::noop()));
                            assert_eq!(checked, Poll::Ready(Ok(Code::Valid)));
                        }
                        key
                    };
                    bench.iter_batched(another_of(most), check, BatchSize::SmallInput);
                });
            }
        }
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
