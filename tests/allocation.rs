//! A check of a cached key allocates no memory (docs/ARCHITECTURE.md, "The walk of verify").

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use latchkey::accounts::{Accounts, EmailAddress, Password, Passwords, Registration};
use latchkey::domain::{Ask, Caller, Code, Limits};
use latchkey::keys::{self, Draft, KeyStringForm, Opened, Policy, Purpose};
use latchkey::model::{KeyName, Quota, RateLimit, ScopeList, Scopes};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::store::Db;

/// The system allocator, with counters for allocations and used bytes.
struct Counting;

/// Allocations and reallocations since the start.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Bytes in use, with the overhead of the system allocator: 8 bytes a block, rounded up to a multiple of 16, at least
/// 32.
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);

fn block_size(layout: Layout) -> usize {
    ((layout.size() + 8).next_multiple_of(16)).max(32)
}

#[expect(unsafe_code, reason = "an allocator is unsafe by nature; this one delegates to the system's")]
// SAFETY: every call is passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        USED_BYTES.fetch_add(block_size(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        USED_BYTES.fetch_sub(block_size(layout), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        let grown = Layout::from_size_align(size, layout.align()).map_or(0, block_size);
        USED_BYTES.fetch_add(grown, Ordering::Relaxed);
        USED_BYTES.fetch_sub(block_size(layout), Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opens a database with one account; returns the open keys and the caller that may create keys.
async fn scene(folder: &tempfile::TempDir) -> (Opened, Caller) {
    let url = format!("sqlite:{}", folder.path().join("latchkey.db").display());
    let db = Db::open(&url).await.expect("the database opens");
    db.migrate().await.expect("the schema is made");
    let (clock, entropy) = (Clock::System, Entropy::System);
    let passwords = Passwords::cheap(entropy.clone());
    let accounts = Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, Registration::Open, None);
    let email = EmailAddress::parse("ada@example.com").expect("an address");
    let password = Password::new("correct horse battery".to_owned()).expect("a password");
    let user = accounts.add(&email, password).await.expect("an account");
    let caller = Caller::Person(accounts.person(user).await.expect("an answer").expect("the account"));
    (keys::open(db, clock, entropy, Policy::default(), None).await.expect("the keys open"), caller)
}

fn draft(caller: &Caller) -> Draft {
    Draft {
        name: KeyName::parse("Billing worker").expect("a name"),
        place: caller.place(None).expect("a place"),
        scopes: None,
        default_scopes: Scopes::All,
        limits: Limits::default(),
        metadata: None,
        form: KeyStringForm::Hookstream,
    }
}

/// Runs both checks in one test, because the counters are global.
#[tokio::test]
async fn a_check_of_a_cached_key_allocates_nothing_and_a_key_takes_250_bytes() {
    a_check_of_a_cached_key_allocates_nothing().await;
    a_plain_key_takes_at_most_250_bytes().await;
}

async fn a_plain_key_takes_at_most_250_bytes() {
    const KEYS: usize = 30_000;
    let folder = tempfile::tempdir().expect("a folder");
    let (Opened { keys, checks, .. }, caller) = scene(&folder).await;
    let mut strings = Vec::new();
    for _ in 0..KEYS / 1_000 {
        let issuing = (0..1_000).map(|_| keys.issue(&caller, draft(&caller)));
        let issued = futures::future::join_all(issuing).await;
        strings.extend(issued.into_iter().map(|issued| issued.expect("a key").plain.reveal()));
    }
    let ask = Ask::default();
    let verify_all = async |strings: &[String]| {
        for batch in strings.chunks(1_000) {
            let checked = batch.iter().map(|key| checks.verify(key, &ask, Purpose::Identify, |verdict| verdict.code));
            let codes = futures::future::join_all(checked).await;
            assert!(codes.into_iter().all(|code| code == Ok(Code::Valid)));
        }
    };
    // The first thousand allocate buffers and prepared statements, so they are not measured.
    verify_all(&strings[..1_000]).await;
    let (before, estimated) = (USED_BYTES.load(Ordering::Relaxed), checks.cache().bytes());
    verify_all(&strings[1_000..]).await;
    let each = (USED_BYTES.load(Ordering::Relaxed) - before) / (KEYS - 1_000);
    let estimated = (checks.cache().bytes() - estimated) / (KEYS - 1_000);
    assert!(each <= 250, "{each} bytes a key");
    assert!(each <= estimated + 8, "{each} bytes a key, but the cache counts {estimated}");
    println!("{each} bytes a key, {estimated} as counted by the cache");
}

async fn a_check_of_a_cached_key_allocates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Opened { keys, checks, .. }, caller) = scene(&folder).await;
    let draft = Draft {
        scopes: Some(Scopes::Named(vec!["events:*".to_owned(), "keys:verify".to_owned()])),
        limits: Limits {
            ip_allowlist: Some(vec!["192.0.2.0/24".parse().expect("a network")]),
            rate_limit: Some(RateLimit { limit: 1_000_000, window_seconds: 3600 }),
            quota: Some(Quota { limit: 1_000_000 }),
            ..Limits::default()
        },
        ..draft(&caller)
    };
    let string = keys.issue(&caller, draft).await.expect("a key").plain.reveal();
    let ask = Ask {
        scopes: ScopeList::parse("events:write keys:verify").expect("scopes"),
        address: Some([192, 0, 2, 1].into()),
        ..Ask::default()
    };
    let code = async || checks.verify(&string, &ask, Purpose::Use, |verdict| verdict.code).await;
    // The first check reads the database, and the first check from an address records the address.
    for _ in 0..3 {
        assert_eq!(code().await, Ok(Code::Valid));
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..10_000 {
        assert_eq!(code().now_or_never(), Some(Ok(Code::Valid)));
    }
    // Other threads of this process (the database's) may allocate too, but not ten thousand times.
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(allocated < 100, "{allocated} allocations in 10,000 checks");
}
