//! A rate limit in Redis: several nodes spend it, it can be edited, and its entry expires as early as possible.

use std::time::{Duration, Instant};

use latchkey::cluster::limits::Decision;
use latchkey::model::KeyId;

use super::{HOUR, KEY, TIME_LIMIT, namespace, node, rate, raw, shared_url};
use crate::turn;

#[tokio::test]
async fn the_burst_equals_the_limit_and_all_nodes_share_it() {
    let _turn = turn::shared();
    let namespace = namespace();
    let nodes = [node(&namespace).await, node(&namespace).await];
    let rate = rate(5, HOUR);
    for (spent, remaining) in (0..5).rev().enumerate() {
        let decision = nodes[spent % 2].spend(KEY, rate, 1).await.unwrap();
        assert_eq!((decision.remaining, decision.retry_after), (remaining, None));
    }
    for node in &nodes {
        let decision = node.spend(KEY, rate, 1).await.unwrap();
        assert_eq!(decision.remaining, 0);
        assert!((3590..=3600).contains(&decision.reset), "{decision:?}");
        assert!((710..=720).contains(&decision.retry_after.unwrap()), "{decision:?}");
    }
    // Another key and another installation on the same Redis have limits of their own.
    assert_eq!(nodes[0].spend(KeyId(8), rate, 1).await.unwrap().remaining, 4);
    assert_eq!(node("another").await.spend(KEY, rate, 0).await.unwrap().remaining, 5);
}

#[tokio::test]
async fn a_spent_limit_is_refilled_over_time() {
    let _turn = turn::shared();
    let limits = node(&namespace()).await;
    let rate = rate(4, 1);
    let begun = Instant::now();
    // The burst is available at once; then one unit is refilled every quarter of a second.
    for _ in 0..8 {
        while limits.spend(KEY, rate, 1).await.unwrap().retry_after.is_some() {
            assert!(begun.elapsed() < TIME_LIMIT);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "four units beyond the burst take a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_never_get_more_than_the_limit() {
    let _turn = turn::shared();
    let namespace = namespace();
    let nodes = [node(&namespace).await, node(&namespace).await];
    let tasks: Vec<_> = (0..100)
        .map(|task| {
            let node = nodes[task % 2].clone();
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..10 {
                    allowed += u32::from(node.spend(KEY, rate(321, 86_400), 1).await.unwrap().retry_after.is_none());
                }
                allowed
            })
        })
        .collect();
    let allowed: u32 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(allowed, 321);
}

#[tokio::test]
async fn a_refused_request_spends_nothing_and_a_cost_of_zero_only_reads() {
    let _turn = turn::shared();
    let limits = node(&namespace()).await;
    let rate = rate(3, HOUR);
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap(), Decision { remaining: 3, reset: 0, retry_after: None });
    assert!(limits.spend(KEY, rate, 4).await.unwrap().retry_after.is_some());
    assert_eq!(limits.spend(KEY, rate, 2).await.unwrap().remaining, 1);
    assert!(limits.spend(KEY, rate, 2).await.unwrap().retry_after.is_some());
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap().remaining, 1);
    assert_eq!(limits.spend(KEY, rate, 1).await.unwrap().remaining, 0);
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap().retry_after, None, "a cost of zero is always allowed");
}

#[tokio::test]
async fn an_edited_limit_keeps_what_was_spent() {
    let _turn = turn::shared();
    let limits = node(&namespace()).await;
    assert_eq!(limits.spend(KEY, rate(3, HOUR), 3).await.unwrap().remaining, 0);
    assert_eq!(limits.spend(KEY, rate(6, 86_400), 1).await.unwrap().remaining, 2);
    let decision = limits.spend(KEY, rate(1, 1000), 1).await.unwrap();
    assert!((3990..=4000).contains(&decision.retry_after.unwrap()), "{decision:?}");
    assert!(
        limits.spend(KEY, rate(1, 1000), 0).await.unwrap().retry_after.is_some(),
        "the spent amount exceeds the new limit"
    );
}

#[tokio::test]
async fn the_largest_limits_are_counted_exactly() {
    let _turn = turn::shared();
    let limits = node(&namespace()).await;
    let rate = rate(1_000_000_000, 86_400);
    assert_eq!(limits.spend(KEY, rate, 999_999_999).await.unwrap().retry_after, None);
    let decision = limits.spend(KEY, rate, 0).await.unwrap();
    // The limit is refilled by more than ten thousand a second.
    assert!((1..2_000_000).contains(&decision.remaining), "{decision:?}");
    assert!((86_300..=86_400).contains(&decision.reset), "{decision:?}");
    assert!(limits.spend(KEY, rate, u32::MAX).await.unwrap().retry_after.is_some());
}

#[tokio::test]
async fn redis_keeps_a_bucket_only_until_it_is_full_again() {
    let _turn = turn::shared();
    let namespace = namespace();
    let limits = node(&namespace).await;
    let mut raw = raw(&shared_url()).await;
    let bucket = format!("latchkey:{namespace}:rate:fffffffffffffff9");
    limits.spend(KEY, rate(10, HOUR), 0).await.unwrap();
    let mut left = async || redis::cmd("PTTL").arg(&bucket).query_async::<i64>(&mut raw).await.unwrap();
    assert_eq!(left().await, -2, "a cost of zero writes nothing");
    limits.spend(KEY, rate(10, HOUR), 1).await.unwrap();
    assert!(
        (350_000..=360_000).contains(&left().await),
        "a tenth of the limit is refilled after a tenth of the window"
    );
}

#[tokio::test]
async fn a_foreign_value_in_redis_is_replaced_by_a_bucket() {
    let _turn = turn::shared();
    let namespace = namespace();
    let limits = node(&namespace).await;
    let mut raw = raw(&shared_url()).await;
    let bucket = format!("latchkey:{namespace}:rate:fffffffffffffff9");
    for command in [["SET", "what"], ["LPUSH", "what"], ["SET", "12 x"]] {
        redis::cmd("DEL").arg(&bucket).exec_async(&mut raw).await.unwrap();
        redis::cmd(command[0]).arg(&bucket).arg(command[1]).exec_async(&mut raw).await.unwrap();
        assert_eq!(limits.spend(KEY, rate(10, HOUR), 1).await.unwrap().remaining, 9);
        assert_eq!(limits.spend(KEY, rate(10, HOUR), 1).await.unwrap().remaining, 8);
    }
}
