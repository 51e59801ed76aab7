//! Minutes of load under random faults, chosen by a seed: `make soak`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::faults::Fault;
use crate::greedy::Round;
use crate::history::{Moment, Revocation};
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, Setup};
use crate::outcome::Outcome;
use crate::proxy::Network;
use crate::restore::restore;

/// A soak of 10 minutes or more must have this number of revocations, because fewer prove little.
const MIN_REVOCATIONS: usize = 10_000;

/// All faults in random order, like a deck of cards: each is dealt once before any is repeated.
#[derive(Default)]
struct Deck {
    faults: Vec<Fault>,
}

impl Deck {
    fn deal(&mut self, random: &mut ChaCha8Rng) -> Fault {
        if self.faults.is_empty() {
            self.faults = one_of_each(random);
            self.faults.shuffle(random);
        }
        self.faults.pop().expect("the deck has faults")
    }

    /// Deals the next fault if it is compatible with `first`.
    fn deal_second(&mut self, first: Fault, random: &mut ChaCha8Rng) -> Option<Fault> {
        let fault = self.deal(random);
        if are_compatible(first, fault) {
            return Some(fault);
        }
        self.faults.push(fault);
        None
    }
}

/// One fault of each kind, on a random node and with a random strength.
fn one_of_each(random: &mut ChaCha8Rng) -> Vec<Fault> {
    let delay = Network::Slow(Duration::from_millis(random.random_range(5..200)));
    let minutes = random.random_range(-120..=120);
    let mut node = || random.random_range(0..3);
    vec![
        Fault::Killed(node()),
        Fault::Stopped(node()),
        Fault::Frozen(node()),
        Fault::PostgresCrashed,
        Fault::ConnectionsCut,
        Fault::Postgres(node(), delay),
        Fault::Postgres(node(), Network::Blocked),
        Fault::Postgres(node(), Network::RepliesBlocked),
        Fault::Postgres(node(), Network::NotificationsBlocked),
        Fault::Postgres(node(), Network::RenewalsBlocked),
        Fault::Postgres(node(), Network::Cut),
        Fault::Postgres(node(), Network::DeadConnections),
        Fault::Clock(node(), minutes),
        Fault::RedisStopped,
        Fault::RedisPaused,
        Fault::RedisFlushed,
        Fault::Redis(delay),
        Fault::Redis(Network::Blocked),
        Fault::LogStalled(node()),
        Fault::LogClosed(node()),
        Fault::DiskFull,
        Fault::Restored,
        Fault::Greedy,
    ]
}

/// Returns whether two faults can be active at once and be ended in any order.
fn are_compatible(one: Fault, other: Fault) -> bool {
    let is_redis =
        |fault| matches!(fault, Fault::RedisStopped | Fault::RedisPaused | Fault::RedisFlushed | Fault::Redis(_));
    let is_postgres = |fault| matches!(fault, Fault::PostgresCrashed | Fault::ConnectionsCut);
    let process = |fault| match fault {
        Fault::Killed(node)
        | Fault::Stopped(node)
        | Fault::Frozen(node)
        | Fault::LogStalled(node)
        | Fault::LogClosed(node) => Some(node),
        _ => None,
    };
    let network = |fault| match fault {
        Fault::Postgres(node, _) => Some(node),
        _ => None,
    };
    // A node starts only if it reaches PostgreSQL, and cutting connections needs a running PostgreSQL.
    let starts = |fault| matches!(fault, Fault::Killed(_) | Fault::Stopped(_) | Fault::LogClosed(_));
    // `Restored` ends the load and needs all nodes; during `Greedy`, no fault may excuse a refusal.
    let is_alone = |fault| matches!(fault, Fault::Restored | Fault::Greedy);
    let needs = |fault, other| starts(fault) && (is_postgres(other) || network(other).is_some());
    !(is_alone(one)
        || is_alone(other)
        || is_redis(one) && is_redis(other)
        || is_postgres(one) && is_postgres(other)
        || process(one).is_some() && process(other).is_some()
        || network(one).is_some() && network(other).is_some()
        || needs(one, other)
        || needs(other, one))
}

struct Injected {
    fault: Fault,
    from: Moment,
    to: Moment,
}

/// The sum of the outcomes of all loads.
#[derive(Default)]
struct Sum {
    broken: Vec<String>,
    unexpected: Vec<String>,
    counts: BTreeMap<String, usize>,
    revocations: Vec<Revocation>,
    overtaken: usize,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        let history = &outcome.shared.history;
        self.broken.extend(outcome.verdict.violations.iter().map(ToString::to_string));
        self.unexpected.extend(history.unexpected());
        for (what, count) in history.counts() {
            *self.counts.entry(what).or_default() += count;
        }
        self.revocations.extend(outcome.revocations.iter().cloned());
        self.overtaken += outcome.verdict.overtaken;
    }

    fn revoked(&self) -> usize {
        self.counts.get("set Revoked 200").copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; run `make soak`"]
async fn soak() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let minutes = number("LATCHKEY_SOAK_MINUTES").unwrap_or(10);
    let seed = number("LATCHKEY_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("LATCHKEY_SOAK_SEED={seed}, {minutes} minutes");

    let mut random = random(seed, 0);
    let setup =
        Setup { proxied: true, clocks: true, piped: true, sqlite_server: true, greedy: true, ..Setup::default() };
    let mut cluster = Cluster::start(setup).await;
    let watch = cluster.watch();
    let clients = Clients { owners: 12, services: 12 };
    let mut load = Load::start(cluster.addresses(), &cluster.account, clients, seed).await;
    let (mut deck, mut injected, mut sum) = (Deck::default(), Vec::new(), Sum::default());
    let mut rounds: Vec<Round> = Vec::new();
    let time = Duration::from_mins(minutes);
    let began = Instant::now();
    // The soak runs longer, up to twice the time, until it has enough revocations.
    while began.elapsed() < time
        || (sum.revoked() + load.shared.history.counted("set Revoked 200") < MIN_REVOCATIONS
            && began.elapsed() < time * 2)
    {
        let fault = deck.deal(&mut random);
        if fault == Fault::Restored {
            println!("{:7.1} s: {fault:?}", began.elapsed().as_secs_f64());
            let from = began.elapsed();
            let restored = restore(&mut cluster, load, &mut random).await;
            injected.push(Injected { fault, from, to: began.elapsed() });
            sum.add(&restored.before);
            sum.broken.extend(restored.broken);
            // The restored database needs a new history.
            let started = u64::try_from(injected.len()).unwrap_or_default();
            load = Load::start(cluster.addresses(), &cluster.account, clients, seed.wrapping_add(started << 32)).await;
        } else if fault == Fault::Greedy {
            println!("{:7.1} s: {fault:?}", began.elapsed().as_secs_f64());
            // Wait until earlier faults have no effect, and measure the other tenants without a fault.
            load.run_for(8.0).await;
            let (from, quiet) = (began.elapsed(), load.now().saturating_sub(Duration::from_secs(4)));
            let started = load.now();
            fault.begin(&mut cluster).await;
            load.run_for(random.random_range(4.0..12.0)).await;
            let ended = load.now();
            fault.end(&mut cluster).await;
            injected.push(Injected { fault, from, to: began.elapsed() });
            let round = Round::of(&load, (quiet, started), (started, ended));
            sum.broken.extend(round.refused.iter().map(|what| format!("refused during a greedy tenant: {what}")));
            rounds.push(round);
        } else {
            // Three times in ten, a second fault begins before the first ends.
            let second = if random.random_bool(0.3) { deck.deal_second(fault, &mut random) } else { None };
            inject(&mut cluster, &load, &mut random, [Some(fault), second], &mut injected, began).await;
        }
        load.run_for(random.random_range(0.5..4.0)).await;
    }
    sum.add(&load.stop().await);
    let took = began.elapsed();
    sum.broken.extend(watch.stop());
    let refused = cluster.sqlite_server().refused_events();
    sum.unexpected.extend(cluster.take_sqlite_server().finish());
    sum.counts.extend(cluster.greedy().answers());
    let report = report(seed, took, &sum, &injected, &rounds);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("report.md"), &report).expect("the file can be written");
    println!("{report}");
    let logs = cluster.logs();
    fs::write(folder.join("nodes.log"), &logs).expect("the file can be written");
    assert!(
        sum.broken.is_empty() && sum.unexpected.is_empty(),
        "broken promises or unexpected answers: target/soak/report.md"
    );
    let revoked = sum.revoked();
    assert!(revoked >= MIN_REVOCATIONS || minutes < 10, "only {revoked} revocations, which prove too little");
    let was_dealt = |fault: Fault| injected.iter().any(|one| one.fault.is_same_kind(fault));
    let missing: Vec<Fault> = one_of_each(&mut random).into_iter().filter(|fault| !was_dealt(*fault)).collect();
    assert!(missing.is_empty() || minutes < 10, "faults that were never injected: {missing:?}");
    assert!(refused > 0 || !was_dealt(Fault::DiskFull), "the disk of the SQLite server was never full");
    assert!(!logs.contains("panicked"), "a node panicked: target/soak/nodes.log");
}

/// Injects one fault, or two overlapping ones, and ends them.
async fn inject(
    cluster: &mut Cluster,
    load: &Load,
    random: &mut ChaCha8Rng,
    faults: [Option<Fault>; 2],
    injected: &mut Vec<Injected>,
    began: Instant,
) {
    let (mut started, mut waiting) = (Vec::new(), Vec::new());
    for fault in faults.into_iter().flatten() {
        println!("{:7.1} s: {fault:?}", began.elapsed().as_secs_f64());
        fault.begin(cluster).await;
        started.push((fault, began.elapsed()));
        let max_seconds = fault.max_duration().as_secs_f64();
        let seconds = random.random_range(0.2..max_seconds);
        match fault {
            Fault::Frozen(node) | Fault::Postgres(node, _) => {
                waiting.push(load.check_recent_keys(node, Duration::from_secs_f64(seconds), random).await);
            }
            _ => load.run_for(seconds).await,
        }
    }
    for (fault, from) in started {
        let to = began.elapsed();
        fault.end(cluster).await;
        injected.push(Injected { fault, from, to });
    }
    for waiting in waiting {
        waiting.join_all().await;
    }
}

fn report(seed: u64, took: Moment, sum: &Sum, injected: &[Injected], rounds: &[Round]) -> String {
    let mut times: Vec<f64> = sum.revocations.iter().map(|one| one.took().as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let percentile =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    let mut text = format!(
        "# Soak\n\nThree nodes, one PostgreSQL, one Redis, one server on SQLite; {:.0} s, seed {seed}.\n\n\
         - broken promises: **{}**\n- unexpected answers: **{}**\n\
         - successful revocations: {}\n\
         - {} of these report their acknowledgements: median {:.1} ms, 99 % within {:.0} ms, longest {:.0} ms; \
         {} waited for a lease to end\n\
         - checks that one node accepted after another had refused, before the revocation was answered: {}\n\n",
        took.as_secs_f64(),
        sum.broken.len(),
        sum.unexpected.len(),
        sum.revoked(),
        times.len(),
        percentile(50).unwrap_or_default(),
        percentile(99).unwrap_or_default(),
        percentile(100).unwrap_or_default(),
        sum.revocations.iter().filter(|one| !one.waited_out.is_empty()).count(),
        sum.overtaken,
    );
    for broken in sum.broken.iter().take(100) {
        let _ = writeln!(text, "- BROKEN: {broken}");
    }
    for unexpected in sum.unexpected.iter().take(100) {
        let _ = writeln!(text, "- UNEXPECTED: {}", unexpected.replace('\n', " "));
    }
    text.push_str("\n| median of other tenants, ms | check, quiet | check, with a greedy tenant | change, quiet | change, with a greedy tenant | |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for (number, round) in rounds.iter().enumerate() {
        let ([check, change], [greedy_check, greedy_change]) = (round.quiet, round.greedy);
        let finding = if round.is_finding() { "FINDING: more than five times slower" } else { "" };
        let _ = writeln!(
            text,
            "| round {} | {check:.2} | {greedy_check:.2} | {change:.2} | {greedy_change:.2} | {finding} |",
            number + 1
        );
    }
    text.push_str("\n| request and outcome | count |\n|---|---|\n");
    for (what, count) in &sum.counts {
        let _ = writeln!(text, "| {what} | {count} |");
    }
    text.push_str("\n| from, s | to, s | fault |\n|---|---|---|\n");
    for Injected { fault, from, to } in injected {
        let _ = writeln!(text, "| {:.1} | {:.1} | {fault:?} |", from.as_secs_f64(), to.as_secs_f64());
    }
    text
}
