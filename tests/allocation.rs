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

/// Counts allocations and the bytes in use.
struct CountingAllocator;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Bytes in use, as the allocator lays out blocks: multiples of 16, at least 32, with a header of 8.
static BYTES_IN_USE: AtomicUsize = AtomicUsize::new(0);

fn block_size(layout: Layout) -> usize {
    ((layout.size() + 8).next_multiple_of(16)).max(32)
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one forwards every call")]
// SAFETY: every call is forwarded to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES_IN_USE.fetch_add(block_size(layout), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        BYTES_IN_USE.fetch_sub(block_size(layout), Ordering::Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        let grown = Layout::from_size_align(size, layout.align()).map_or(0, block_size);
        BYTES_IN_USE.fetch_add(grown, Ordering::Relaxed);
        BYTES_IN_USE.fetch_sub(block_size(layout), Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Opens a database with one account, and returns it with a caller that may create keys.
async fn open(folder: &tempfile::TempDir) -> (Opened, Caller) {
    let url = format!("sqlite:{}", folder.path().join("latchkey.db").display());
    let db = Db::open(&url).await.expect("the database opens");
    db.migrate().await.expect("the schema is made");
    let (clock, entropy) = (Clock::System, Entropy::System);
    let passwords = Passwords::cheap(entropy.clone());
    let accounts = Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, Registration::Open, None);
    let email = EmailAddress::parse("ada@example.com").expect("an address");
    let password = Password::new("correct horse battery".to_owned()).expect("a password");
    let user = accounts.add(&email, password).await.expect("an account");
    let caller = Caller::Person(accounts.person(user).await.expect("an answer").expect("somebody"));
    (keys::open(db, clock, entropy, Policy::default(), None).await.expect("it opens"), caller)
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

/// One test for both, because they share the counters.
#[tokio::test]
async fn a_check_of_a_known_key_allocates_nothing_and_a_key_takes_250_bytes() {
    a_check_of_a_known_key_allocates_nothing().await;
    a_plain_key_takes_at_most_250_bytes().await;
}

async fn a_plain_key_takes_at_most_250_bytes() {
    const KEYS: usize = 30_000;
    let folder = tempfile::tempdir().expect("a folder");
    let (Opened { keys, checks, .. }, caller) = open(&folder).await;
    let mut strings = Vec::new();
    for _ in 0..KEYS / 1_000 {
        let some = (0..1_000).map(|_| keys.issue(&caller, draft(&caller)));
        let some = futures::future::join_all(some).await;
        strings.extend(some.into_iter().map(|issued| issued.expect("a key").plain.reveal()));
    }
    let ask = Ask::default();
    let look = async |strings: &[String]| {
        for some in strings.chunks(1_000) {
            let some = some.iter().map(|key| checks.verify(key, &ask, Purpose::Identify, |verdict| verdict.code));
            let codes = futures::future::join_all(some).await;
            assert!(codes.into_iter().all(|code| code == Ok(Code::Valid)));
        }
    };
    // Buffers and statements have their final size after the first thousand.
    look(&strings[..1_000]).await;
    let (before, reckoned) = (BYTES_IN_USE.load(Ordering::Relaxed), checks.cache().bytes());
    look(&strings[1_000..]).await;
    let each = (BYTES_IN_USE.load(Ordering::Relaxed) - before) / (KEYS - 1_000);
    let reckoned = (checks.cache().bytes() - reckoned) / (KEYS - 1_000);
    assert!(each <= 250, "{each} bytes a key");
    assert!(each <= reckoned + 8, "{each} bytes a key, and {reckoned} by the cache's own account");
    println!("{each} bytes a key, {reckoned} by the cache's own account");
}

async fn a_check_of_a_known_key_allocates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Opened { keys, checks, .. }, caller) = open(&folder).await;
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
    // The first check reads the database and records the address.
    for _ in 0..3 {
        assert_eq!(code().await, Ok(Code::Valid));
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..10_000 {
        assert_eq!(code().now_or_never(), Some(Ok(Code::Valid)));
    }
    // Other threads of this process (the database's) may allocate too, but not ten thousand times.
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(allocations < 100, "{allocations} allocations in 10,000 checks");
}
