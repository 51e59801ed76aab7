//! Checks of keys with a rate limit that all nodes share.

use latchkey::accounts::{Accounts, EmailAddress, Password, Passwords, Registration};
use latchkey::cluster::limits::SharedLimits;
use latchkey::domain::{Ask, Caller, Code, Limits};
use latchkey::keys::{self, Draft, KeyStringForm, Limited, Opened, Policy, Purpose, WithoutRedis};
use latchkey::model::{KeyId, KeyName, Quota, Scopes};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::store::Db;

use super::{HOUR, Server, namespace, node, rate};
use crate::turn;

/// One database with one key, for several nodes.
struct Nodes {
    _folder: tempfile::TempDir,
    db: Db,
    caller: Caller,
    id: KeyId,
    string: String,
}

impl Nodes {
    async fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&format!("sqlite:{}", folder.path().join("latchkey.db").display()))
            .await
            .expect("the database opens");
        db.migrate().await.expect("the schema is made");
        let entropy = Entropy::System;
        let passwords = Passwords::cheap(entropy.clone());
        let accounts = Accounts::new(db.clone(), Clock::System, entropy.clone(), passwords, Registration::Open, None);
        let email = EmailAddress::parse("ada@example.com").expect("an address");
        let password = Password::new("correct horse battery".to_owned()).expect("a password");
        let user = accounts.add(&email, password).await.expect("an account");
        let caller = Caller::Person(accounts.person(user).await.expect("an answer").expect("the account"));
        let draft = Draft {
            name: KeyName::parse("Billing worker").expect("a name"),
            place: caller.place(None).expect("a place"),
            scopes: None,
            default_scopes: Scopes::All,
            limits,
            metadata: None,
            form: KeyStringForm::Hookstream,
        };
        let first =
            keys::open(db.clone(), Clock::System, entropy, Policy::default(), None).await.expect("the keys open");
        let key = first.keys.issue(&caller, draft).await.expect("a key");
        Self { _folder: folder, db, caller, id: key.key.id, string: key.plain.reveal() }
    }

    async fn node(&self, limits: SharedLimits, without: WithoutRedis) -> Opened {
        let node = keys::open(self.db.clone(), Clock::System, Entropy::System, Policy::default(), None)
            .await
            .expect("the keys open");
        node.limits.share(limits, without);
        node
    }

    /// Checks the key; returns the code, the rest of the rate limit, and the exceeded limit.
    async fn check(&self, node: &Opened) -> (Code, Option<u64>, Option<Limited>) {
        let verified = node
            .checks
            .verify(&self.string, &Ask::default(), Purpose::Use, |verdict| {
                (verdict.code, verdict.limits.rate.map(|rate| rate.remaining), verdict.limited)
            })
            .await;
        verified.expect("an answer")
    }
}

#[tokio::test]
async fn nodes_share_the_rate_limit_of_a_key() {
    let _turn = turn::shared();
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let namespace = namespace();
    let one = nodes.node(node(&namespace).await, WithoutRedis::Closed).await;
    let other = nodes.node(node(&namespace).await, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&one).await, (Code::Valid, Some(2), None));
    assert_eq!(nodes.check(&other).await, (Code::Valid, Some(1), None));
    assert_eq!(nodes.check(&one).await, (Code::Valid, Some(0), None));
    let (code, remaining, limited) = nodes.check(&other).await;
    assert_eq!((code, remaining), (Code::RateLimited, Some(0)));
    assert!(matches!(limited, Some(Limited::Rate(1190..=1200))), "{limited:?}");
}

#[tokio::test]
async fn a_request_over_its_quota_spends_no_shared_limit() {
    let _turn = turn::shared();
    let limits = Limits { rate_limit: Some(rate(3, HOUR)), quota: Some(Quota { limit: 1 }), ..Limits::default() };
    let nodes = Nodes::new(limits).await;
    let node = nodes.node(node(&namespace()).await, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&node).await, (Code::Valid, Some(2), None));
    for _ in 0..3 {
        let (code, remaining, _) = nodes.check(&node).await;
        assert_eq!((code, remaining), (Code::QuotaExceeded, Some(2)));
    }
}

#[tokio::test]
async fn without_redis_a_node_counts_alone_or_refuses() {
    let _turn = turn::shared();
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let open = nodes.node(limits.clone(), WithoutRedis::Open).await;
    let closed = nodes.node(limits, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&open).await, (Code::Valid, Some(2), None));
    drop(server);
    for remaining in [1, 0] {
        assert_eq!(nodes.check(&open).await, (Code::Valid, Some(remaining), None), "the node knows the count of Redis");
    }
    assert_eq!(nodes.check(&open).await.0, Code::RateLimited);
    assert_eq!(nodes.check(&closed).await, (Code::RateLimited, Some(0), Some(Limited::Rate(1))));
}

#[tokio::test]
async fn a_key_that_is_revoked_during_the_redis_call_is_refused() {
    let _turn = turn::shared();
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let node = nodes.node(limits, WithoutRedis::Open).await;
    assert_eq!(nodes.check(&node).await.0, Code::Valid);
    server.signal("STOP");
    let has_ended = std::cell::Cell::new(false);
    let check = async {
        let code = nodes.check(&node).await.0;
        // If the revocation takes longer than Redis's timeout, the check may finish first.
        assert!(code == Code::Revoked || !has_ended.get(), "{code:?}");
    };
    let end = async {
        node.keys.revoke(&nodes.caller, nodes.id, true).await.expect("the key is revoked");
        has_ended.set(true);
    };
    tokio::join!(check, end);
    assert_eq!(nodes.check(&node).await.0, Code::Revoked);
}
