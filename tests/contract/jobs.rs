//! Durable jobs on both engines: claims, leases, attempts and turns. Each runner acts as a separate node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use latchkey::jobs::{Failure, Job, Jobs, Kind, LEASE_MS, MAX_PAYLOAD_BYTES, PayloadTooLarge, Runner};
use latchkey::runtime::entropy::Entropy;
use latchkey::runtime::tasks::Tasks;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::app::{NOW, TestApp, on_both_engines};

/// Jobs of this kind end, unless a test plans the periodic one.
const KIND: Kind = Kind::DeleteEndedSessions;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const ALL: &str = "SELECT count(*) FROM jobs";
const DONE: &str = "SELECT count(*) FROM jobs WHERE outcome = 'done'";
const DEAD: &str = "SELECT count(*) FROM jobs WHERE outcome = 'dead'";
const HELD: &str = "SELECT count(*) FROM jobs WHERE claim IS NOT NULL";
const ATTEMPTS: &str = "SELECT max(attempts) FROM jobs";
const DUE: &str = "SELECT max(due_at) FROM jobs";
const FAILED: &str = "SELECT count(*) FROM jobs WHERE last_error IS NOT NULL AND claim IS NULL";

/// Returns the jobs of one node, with its own random seed.
fn node(app: &TestApp, seed: u64) -> Jobs {
    Jobs::new(app.db.clone(), app.clock.clone(), Entropy::seeded(seed))
}

fn start<F, Running>(node: &Jobs, kinds: &[Kind], capacity: usize, handler: F) -> Tasks
where
    F: Fn(Job) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let runner = Runner::new(node.clone(), kinds, capacity, handler);
    let mut tasks = Tasks::default();
    tasks.spawn(|stop| runner.run(stop));
    tasks
}

async fn add(node: &Jobs, number: usize) {
    let job = node.prepare(KIND, &json!(number), NOW).expect("a small payload");
    node.enqueue(&job).await.expect("the database answers");
}

/// Waits until a statement returns the expected number.
async fn until(app: &TestApp, statement: &'static str, expected: i64) {
    let reached = async {
        while app.number(statement).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_mins(1), reached).await;
    assert!(reached.is_ok(), "{statement}: {} and not {expected}", app.number(statement).await);
}

/// Waits until no job runs or is due.
async fn until_all_wait(app: &TestApp) {
    let waiting = async {
        while app.number(HELD).await > 0
            || app.number("SELECT min(due_at) FROM jobs WHERE ended_at IS NULL").await <= app.clock.now().0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("all of them had their turn");
}

/// Reports the jobs that have begun, and holds each until the gate opens for it.
#[derive(Clone)]
struct Gate {
    begun: mpsc::UnboundedSender<Job>,
    permits: Arc<Semaphore>,
}

impl Gate {
    fn new() -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (begun, heard) = mpsc::unbounded_channel();
        (Self { begun, permits: Arc::new(Semaphore::new(0)) }, heard)
    }

    fn open(&self) {
        self.permits.add_permits(1);
    }

    /// Returns a handler that ends with `outcome`.
    fn handler(
        &self,
        outcome: Result<(), &'static str>,
    ) -> impl Fn(Job) -> futures::future::BoxFuture<'static, Result<(), Failure>> + use<> {
        let gate = self.clone();
        move |job| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.begun.send(job)?;
                gate.permits.acquire().await?.forget();
                Ok(outcome?)
            })
        }
    }
}

on_both_engines! {
    async fn two_nodes_run_each_job_once(app) {
        let nodes = [node(&app, 1), node(&app, 2)];
        for number in 0..60 {
            add(&nodes[0], number).await;
        }
        let (ran, mut heard) = mpsc::unbounded_channel();
        let running: Vec<Tasks> = nodes
            .iter()
            .map(|node| {
                let ran = ran.clone();
                start(node, &[KIND], 4, move |job| {
                    let ran = ran.clone();
                    async move { Ok(ran.send((job.payload, job.attempt))?) }
                })
            })
            .collect();
        until(&app, DONE, 60).await;
        for tasks in running {
            tasks.stop().await.expect("no panic");
        }
        drop(ran);
        let mut jobs = Vec::new();
        while let Some(job) = heard.recv().await {
            jobs.push(job);
        }
        jobs.sort();
        let mut expected: Vec<_> = (0..60).map(|number| (number.to_string(), 1)).collect();
        expected.sort();
        assert_eq!(jobs, expected);
        assert_eq!(app.number("SELECT count(*) FROM jobs WHERE payload <> 'null'").await, 0, "a finished job has no payload");
    }

    async fn a_runner_runs_no_more_jobs_than_its_capacity(app) {
        let node = node(&app, 1);
        for number in 0..5 {
            add(&node, number).await;
        }
        let (gate, mut begun) = Gate::new();
        let tasks = start(&node, &[KIND], 2, gate.handler(Ok(())));
        for n in 1..=5 {
            begun.recv().await.expect("a job");
            if n >= 2 {
                assert_eq!(app.number(HELD).await, 2.min(5 - (n - 2)), "job {n}");
                gate.open();
                until(&app, DONE, n - 1).await;
            }
        }
        gate.open();
        until(&app, DONE, 5).await;
        tasks.stop().await.expect("no panic");
    }

    /// When a node dies during a job, another node runs it after the lease ends. Here, the first node is only slow.
    async fn the_job_of_a_lost_lease_is_taken_over_and_the_first_worker_has_no_effect(app) {
        let nodes = [node(&app, 1), node(&app, 2)];
        add(&nodes[0], 0).await;
        let [(first, mut first_begun), (second, mut second_begun)] = [Gate::new(), Gate::new()];
        let first_tasks = start(&nodes[0], &[KIND], 1, first.handler(Ok(())));
        assert_eq!(first_begun.recv().await.expect("a job").attempt, 1);
        app.clock.advance(LEASE_MS - 1);
        let second_tasks = start(&nodes[1], &[KIND], 2, second.handler(Err("the second worker")));
        add(&nodes[1], 1).await;
        assert_eq!(second_begun.recv().await.expect("a job").payload, "1", "the other worker still has its lease");
        app.clock.advance(1);
        nodes[1].wake();
        let taken_over = second_begun.recv().await.expect("a job");
        assert_eq!((taken_over.payload.as_str(), taken_over.attempt), ("0", 2));
        // The claim of the first worker has ended.
        first.open();
        first_tasks.stop().await.expect("no panic");
        assert_eq!((app.number(DONE).await, app.number(HELD).await), (0, 2), "the second worker still holds it");
        second.permits.add_permits(2);
        second_tasks.stop().await.expect("no panic");
        assert_eq!((app.number(DONE).await, app.number(FAILED).await, app.number(ATTEMPTS).await), (0, 2, 2));
    }

    async fn a_failure_of_the_first_worker_does_not_undo_the_success_of_the_second(app) {
        let nodes = [node(&app, 1), node(&app, 2)];
        add(&nodes[0], 0).await;
        let [(first, mut first_begun), (second, mut second_begun)] = [Gate::new(), Gate::new()];
        let first_tasks = start(&nodes[0], &[KIND], 1, first.handler(Err("too late")));
        first_begun.recv().await.expect("a job");
        app.clock.advance(LEASE_MS);
        let second_tasks = start(&nodes[1], &[KIND], 1, second.handler(Ok(())));
        second_begun.recv().await.expect("a job");
        second.open();
        until(&app, DONE, 1).await;
        first.open();
        for tasks in [first_tasks, second_tasks] {
            tasks.stop().await.expect("no panic");
        }
        assert_eq!((app.number(DONE).await, app.number(FAILED).await), (1, 0));
    }

    async fn a_failing_job_is_tried_ten_times_with_backoff_and_is_then_dead(app) {
        let node = node(&app, 1);
        add(&node, 7).await;
        let (gate, mut begun) = Gate::new();
        let tasks = start(&node, &[KIND], 1, gate.handler(Err("no\0 route")));
        let mut whole = 10_000;
        for attempt in 1..=10 {
            let job = begun.recv().await.expect("a job");
            assert_eq!((job.attempt, job.payload.as_str()), (attempt, "7"));
            gate.open();
            until(&app, HELD, 0).await;
            if attempt < 10 {
                let delay = app.number(DUE).await - app.clock.now().0;
                assert!((whole / 2..=whole).contains(&delay), "after attempt {attempt}: {delay} ms");
                whole = (whole * 2).min(HOUR);
                app.clock.advance(delay);
                node.wake();
            }
        }
        tasks.stop().await.expect("no panic");
        assert_eq!((app.number(DEAD).await, app.number(ATTEMPTS).await), (1, 10));
        assert_eq!(app.number("SELECT count(*) FROM jobs WHERE last_error = 'no route' AND payload = '7'").await, 1);
    }

    async fn ended_jobs_are_kept_for_a_day_and_dead_ones_for_thirty(app) {
        let node = node(&app, 1);
        for number in 0..2 {
            add(&node, number).await;
        }
        let ended = NOW.0;
        app.execute(&format!("UPDATE jobs SET ended_at = {ended}, outcome = CASE payload WHEN '0' THEN 'done' ELSE 'dead' END")).await;
        add(&node, 2).await;
        for (at, left, deleted) in [(DAY - 1, 3, 0), (DAY, 2, 1), (30 * DAY - 1, 2, 0), (30 * DAY, 1, 1), (400 * DAY, 1, 0)] {
            app.clock.advance(ended + at - app.clock.now().0);
            assert_eq!(node.delete_ended().await.expect("the database answers"), deleted, "after {at} ms");
            assert_eq!(app.number(ALL).await, left, "after {at} ms");
        }
    }

    /// The jobs end in an error, a panic, and a panic before the first await.
    async fn a_panicking_or_failing_job_does_not_affect_other_jobs(app) {
        let node = node(&app, 1);
        for number in 0..4 {
            add(&node, number).await;
        }
        let tasks = start(&node, &[KIND], 4, |job| {
            assert_ne!(job.payload, "0", "at once");
            async move {
                match job.payload.as_str() {
                    "1" => panic!("a failing job interrupts the others: {}", job.id),
                    "2" => Err(Failure::from("an error")),
                    _ => Ok(()),
                }
            }
        });
        until(&app, DONE, 1).await;
        until(&app, FAILED, 3).await;
        let panics = app.number("SELECT count(*) FROM jobs WHERE last_error LIKE 'panic: %at once%' OR last_error LIKE 'panic: a failing job interrupts the others: %'").await;
        assert_eq!(panics, 2);
        add(&node, 5).await;
        until(&app, DONE, 2).await;
        tasks.stop().await.expect("the runner goes on");
    }

    async fn two_nodes_run_a_periodic_job_once_per_interval(app) {
        let nodes = [node(&app, 1), node(&app, 2)];
        let (ran, mut heard) = mpsc::unbounded_channel();
        let mut turns = BTreeMap::new();
        for (step, (after, minutely, hourly)) in
            [(0, 1, 1), (MINUTE - 1, 1, 1), (1, 2, 1), (MINUTE, 3, 1), (58 * MINUTE, 4, 2)].into_iter().enumerate()
        {
            app.clock.advance(after);
            let mut running = Vec::new();
            for (number, node) in nodes.iter().enumerate() {
                // Each start of a server plans the jobs again, without effect.
                node.plan(&Kind::CLEAN_UP).await.expect("the database answers");
                let ran = ran.clone();
                running.push(start(node, &Kind::CLEAN_UP, 2, move |job| {
                    let ran = ran.clone();
                    async move { Ok(ran.send(job)?) }
                }));
                // An extra job for this runner, as proof that it has polled.
                add(node, 0).await;
                until(&app, DONE, i64::try_from(2 * step + number + 1).unwrap()).await;
            }
            until_all_wait(&app).await;
            for tasks in running {
                tasks.stop().await.expect("no panic");
            }
            while let Ok(job) = heard.try_recv() {
                *turns.entry((job.kind.name(), job.payload)).or_insert(0) += 1;
            }
            for kind in Kind::CLEAN_UP {
                let expected = if kind.interval_ms() == Some(MINUTE) { minutely } else { hourly };
                assert_eq!(turns.get(&(kind.name(), "null".to_owned())), Some(&expected), "{kind:?} in step {step}");
            }
        }
        assert_eq!(app.number("SELECT count(*) FROM jobs WHERE interval_ms IS NOT NULL").await, 10);
    }

    /// Clean-up jobs must continue: they are never dead, and wait no longer than their interval.
    async fn a_failing_periodic_job_runs_again_within_its_interval(app) {
        let node = node(&app, 1);
        node.plan(&[KIND]).await.expect("the database answers");
        let (gate, mut begun) = Gate::new();
        let tasks = start(&node, &[KIND], 1, gate.handler(Err("a full disk")));
        for attempt in 1..=12 {
            assert_eq!(begun.recv().await.expect("a turn").attempt, attempt);
            gate.open();
            until(&app, HELD, 0).await;
            let delay = app.number(DUE).await - app.clock.now().0;
            assert!((1..=MINUTE).contains(&delay), "after attempt {attempt}: {delay} ms");
            app.clock.advance(delay);
            node.wake();
        }
        tasks.stop().await.expect("no panic");
        let (gate, mut begun) = Gate::new();
        let tasks = start(&node, &[KIND], 1, gate.handler(Ok(())));
        app.clock.advance(MINUTE);
        assert_eq!(begun.recv().await.expect("a turn").attempt, 13);
        gate.open();
        until(&app, "SELECT count(*) FROM jobs WHERE attempts = 0 AND last_error IS NULL", 1).await;
        tasks.stop().await.expect("no panic");
    }

    /// Otherwise a node with a clock years ahead would stop the clean-up for years.
    async fn jobs_postponed_by_a_wrong_clock_run_again(app) {
        let node = node(&app, 1);
        node.plan(&[KIND]).await.expect("the database answers");
        add(&node, 0).await;
        let later = node.prepare(KIND, &json!("later"), NOW.plus(400 * DAY)).expect("a small payload");
        node.enqueue(&later).await.expect("the database answers");
        let wrong = NOW.0 + 3650 * DAY;
        app.execute(&format!("UPDATE jobs SET due_at = {wrong}, attempts = 1 WHERE payload IN ('null', '0')")).await;
        let tasks = start(&node, &[KIND], 1, |_| async { Ok(()) });
        until(&app, DONE, 1).await;
        until(&app, "SELECT count(*) FROM jobs WHERE interval_ms IS NOT NULL AND attempts = 0", 1).await;
        tasks.stop().await.expect("no panic");
        assert_eq!(app.number(DUE).await, NOW.0 + 400 * DAY, "a job that is meant for later stays");
    }

    async fn a_stop_waits_for_the_job_that_runs_and_begins_no_other(app) {
        let node = node(&app, 1);
        for number in 0..2 {
            add(&node, number).await;
        }
        let (gate, mut begun) = Gate::new();
        let tasks = start(&node, &[KIND], 1, gate.handler(Ok(())));
        begun.recv().await.expect("a job");
        let stopping = tokio::spawn(tasks.stop());
        tokio::task::yield_now().await;
        assert!(!stopping.is_finished());
        gate.open();
        gate.open();
        stopping.await.expect("no panic").expect("no panic");
        assert_eq!((app.number(DONE).await, app.number(HELD).await, app.number(ALL).await), (1, 0, 2));
    }

    async fn a_kind_that_this_version_does_not_know_is_left_alone(app) {
        let node = node(&app, 1);
        add(&node, 0).await;
        app.execute("UPDATE jobs SET kind = 'of_a_newer_version'").await;
        add(&node, 1).await;
        let tasks = start(&node, &Kind::CLEAN_UP, 2, |_| async { Ok(()) });
        until(&app, DONE, 1).await;
        tasks.stop().await.expect("no panic");
        assert_eq!(app.number("SELECT count(*) FROM jobs WHERE attempts = 0 AND ended_at IS NULL").await, 1);
    }

    async fn a_payload_is_limited_in_size(app) {
        let node = node(&app, 1);
        // The quotes count too.
        let of = |bytes: usize| node.prepare(KIND, &json!("x".repeat(bytes - 2)), NOW).map(drop);
        assert_eq!(of(MAX_PAYLOAD_BYTES), Ok(()));
        assert_eq!(of(MAX_PAYLOAD_BYTES + 1), Err(PayloadTooLarge));
    }
}
