//! A check of a key that is in memory allocates nothing (DESIGN, "The hot path").

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use latchkey::accounts::{Accounts, Caller, EmailAddress, Password, Passwords, Registration};
use latchkey::clock::Clock;
use latchkey::entropy::Entropy;
use latchkey::keys::{Ask, Code, Draft, KeyStringForm, Keys, Limits, Policy, Purpose};
use latchkey::model::{KeyName, Quota, RateLimit, Scopes};
use latchkey::store::Db;

/// Counts what is asked for.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test]
async fn a_check_of_a_known_key_allocates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("latchkey.db").display());
    let db = Db::open(&url).await.expect("the database opens");
    db.migrate().await.expect("the schema is made");
    let (clock, entropy) = (Clock::System, Entropy::System);
    let passwords = Passwords::cheap(entropy.clone());
    let accounts = Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, Registration::Open, None);
    let email = EmailAddress::parse("ada@example.com").expect("an address");
    let password = Password::new("correct horse battery".to_owned()).expect("a password");
    let user = accounts.register(&email, password, None, None).await.expect("an account");
    let caller = Caller::Person(accounts.person(user).await.expect("an answer").expect("somebody"));
    let keys = Keys::new(db, clock, entropy, Policy::default());
    let draft = Draft {
        name: KeyName::parse("key").expect("a name"),
        place: caller.place(None).expect("a place"),
        scopes: Some(Scopes::Named(vec!["events:*".to_owned(), "keys:verify".to_owned()])),
        default_scopes: Scopes::All,
        limits: Limits {
            ip_allowlist: Some(vec!["192.0.2.0/24".parse().expect("a network")]),
            rate_limit: Some(RateLimit { limit: 1_000_000, window_seconds: 3600 }),
            quota: Some(Quota { limit: 1_000_000 }),
            ..Limits::default()
        },
        metadata: None,
        form: KeyStringForm::Hookstream,
    };
    let string = keys.issue(&caller, draft).await.expect("a key").plain.reveal();
    let ask = Ask { scopes: "events:write keys:verify", address: Some([192, 0, 2, 1].into()), ..Ask::default() };
    let code = async || keys.check(&string, &ask, Purpose::Use, |verdict| verdict.code).await;
    // The first one reads the database, and the first of an address notes it.
    for _ in 0..3 {
        assert_eq!(code().await, Ok(Code::Valid));
    }
    let before = ASKED.load(Ordering::Relaxed);
    for _ in 0..10_000 {
        assert_eq!(code().now_or_never(), Some(Ok(Code::Valid)));
    }
    // Others of this process may ask as well (the database's threads); not ten thousand times.
    let asked = ASKED.load(Ordering::Relaxed) - before;
    assert!(asked < 100, "{asked} allocations in 10,000 checks");
}
