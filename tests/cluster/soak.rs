//! Minutes of load under whatever can break, drawn by a seed: `make soak`.

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

/// Fewer of them prove nothing, but for a soak that is only tried out.
const REVOCATIONS: usize = 10_000;

/// Anything that can break, dealt like cards: each once, in an order that the seed gives, before any comes again.
#[derive(Default)]
struct Deck {
    faults: Vec<Fault>,
}

impl Deck {
    fn deal(&mut self, random: &mut ChaCha8Rng) -> Fault {
        if self.faults.is_empty() {
            self.faults = everything(random);
            self.faults.shuffle(random);
        }
        self.faults.pop().expect("there are some")
    }

    /// The next, if it goes with `first`.
    fn deal_beside(&mut self, first: Fault, random: &mut ChaCha8Rng) -> Option<Fault> {
        let fault = self.deal(random);
        if go_together(first, fault) {
            return Some(fault);
        }
        self.faults.push(fault);
        None
    }
}

/// One of each kind, on a node and of a strength that are drawn.
fn everything(random: &mut ChaCha8Rng) -> Vec<Fault> {
    let slow = Network::Slow(Duration::from_millis(random.random_range(5..200)));
    let wrong = random.random_range(-120..=120);
    let mut node = || random.random_range(0..3);
    vec![
        Fault::Killed(node()),
        Fault::Stopped(node()),
        Fault::Frozen(node()),
        Fault::PostgresCrashed,
        Fault::ConnectionsCut,
        Fault::Postgres(node(), slow),
        Fault::Postgres(node(), Network::Silent),
        Fault::Postgres(node(), Network::Mute),
        Fault::Postgres(node(), Network::Deaf),
        Fault::Postgres(node(), Network::Leaseless),
        Fault::Postgres(node(), Network::Cut),
        Fault::Postgres(node(), Network::Amnesic),
        Fault::Clock(node(), wrong),
        Fault::RedisStopped,
        Fault::RedisPaused,
        Fault::RedisFlushed,
        Fault::Redis(slow),
        Fault::Redis(Network::Silent),
        Fault::LogStalled(node()),
        Fault::LogClosed(node()),
        Fault::DiskFull,
        Fault::Restored,
        Fault::Greedy,
    ]
}

/// Whether two of them can be told apart and undone in any order.
fn go_together(one: Fault, other: Fault) -> bool {
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
    let way = |fault| match fault {
        Fault::Postgres(node, _) => Some(node),
        _ => None,
    };
    // A node is started only where PostgreSQL can be reached, and `cut` needs a server that answers.
    let starts = |fault| matches!(fault, Fault::Killed(_) | Fault::Stopped(_) | Fault::LogClosed(_));
    // One ends the load and needs all nodes; while the other lasts, nothing excuses a refusal.
    let is_alone = |fault| matches!(fault, Fault::Restored | Fault::Greedy);
    let needs = |fault, other| starts(fault) && (is_postgres(other) || way(other).is_some());
    !(is_alone(one)
        || is_alone(other)
        || is_redis(one) && is_redis(other)
        || is_postgres(one) && is_postgres(other)
        || process(one).is_some() && process(other).is_some()
        || way(one).is_some() && way(other).is_some()
        || needs(one, other)
        || needs(other, one))
}

struct Injected {
    fault: Fault,
    from: Moment,
    to: Moment,
}

/// What came of all loads, one after the other.
#[derive(Default)]
struct Sum {
    broken: Vec<String>,
    wrong: Vec<String>,
    counts: BTreeMap<String, usize>,
    revocations: Vec<Revocation>,
    overtaken: usize,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        let history = &outcome.shared.history;
        self.broken.extend(outcome.judgement.violations.iter().map(ToString::to_string));
        self.wrong.extend(history.wrongs());
        for (what, count) in history.counts() {
            *self.counts.entry(what).or_default() += count;
        }
        self.revocations.extend(outcome.revocations.iter().cloned());
        self.overtaken += outcome.judgement.overtaken;
    }

    fn revoked(&self) -> usize {
        self.counts.get("set Revoked 200").copied().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn soak() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let minutes = number("LATCHKEY_SOAK_MINUTES").unwrap_or(10);
    let seed = number("LATCHKEY_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("LATCHKEY_SOAK_SEED={seed}, {minutes} minutes");

    let mut random = random(seed, 0);
    let setup = Setup { proxied: true, clocks: true, piped: true, beside: true, greedy: true, ..Setup::default() };
    let mut cluster = Cluster::start(setup).await;
    let watch = cluster.watch();
    let clients = Clients { owners: 12, services: 12 };
    let mut load = Load::start(cluster.addresses(), &cluster.account, clients, seed).await;
    let (mut deck, mut injected, mut sum) = (Deck::default(), Vec::new(), Sum::default());
    let mut rounds: Vec<Round> = Vec::new();
    let time = Duration::from_mins(minutes);
    let began = Instant::now();
    // It ends in time, but for what is missing to the number of revocations; and that not for ever.
    while began.elapsed() < time
        || (sum.revoked() + load.shared.history.counted("set Revoked 200") < REVOCATIONS && began.elapsed() < time * 2)
    {
        let fault = deck.deal(&mut random);
        if fault == Fault::Restored {
            println!("{:7.1} s: {fault:?}", began.elapsed().as_secs_f64());
            let from = began.elapsed();
            let restored = restore(&mut cluster, load, &mut random).await;
            injected.push(Injected { fault, from, to: began.elapsed() });
            sum.add(&restored.before);
            sum.broken.extend(restored.broken);
            // What was remembered is of another history.
            let started = u64::try_from(injected.len()).unwrap_or_default();
            load = Load::start(cluster.addresses(), &cluster.account, clients, seed.wrapping_add(started << 32)).await;
        } else if fault == Fault::Greedy {
            println!("{:7.1} s: {fault:?}", began.elapsed().as_secs_f64());
            // What was broken before has no more effect, and the others are measured by themselves.
            load.go_on(8.0).await;
            let (from, quiet) = (began.elapsed(), load.now().saturating_sub(Duration::from_secs(4)));
            let started = load.now();
            fault.begin(&mut cluster).await;
            load.go_on(random.random_range(4.0..12.0)).await;
            let ended = load.now();
            fault.end(&mut cluster).await;
            injected.push(Injected { fault, from, to: began.elapsed() });
            let round = Round::of(&load, (quiet, started), (started, ended));
            sum.broken.extend(round.refused.iter().map(|what| format!("beside a greedy tenant: {what}")));
            rounds.push(round);
        } else {
            // One on top of the other, every third time.
            let second = if random.random_bool(0.3) { deck.deal_beside(fault, &mut random) } else { None };
            strike(&mut cluster, &load, &mut random, [Some(fault), second], &mut injected, began).await;
        }
        load.go_on(random.random_range(0.5..4.0)).await;
    }
    sum.add(&load.stop().await);
    let took = began.elapsed();
    sum.broken.extend(watch.stop());
    let refused = cluster.beside().refused_events();
    sum.wrong.extend(cluster.take_beside().finish());
    sum.counts.extend(cluster.greedy().answers());
    let report = report(seed, took, &sum, &injected, &rounds);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("report.md"), &report).expect("it can be written");
    println!("{report}");
    let logs = cluster.logs();
    fs::write(folder.join("nodes.log"), &logs).expect("it can be written");
    assert!(sum.broken.is_empty() && sum.wrong.is_empty(), "broken promises");
    let revoked = sum.revoked();
    assert!(revoked >= REVOCATIONS || minutes < 10, "{revoked} revocations are too few to say anything");
    let was_dealt = |fault: Fault| injected.iter().any(|one| one.fault.is_like(fault));
    let missing: Vec<Fault> = everything(&mut random).into_iter().filter(|fault| !was_dealt(*fault)).collect();
    assert!(missing.is_empty() || minutes < 10, "it was too short to break everything: {missing:?}");
    assert!(refused > 0 || !was_dealt(Fault::DiskFull), "the disk of the server beside was never full");
    assert!(!logs.contains("panicked"), "a node panicked: target/soak/nodes.log");
}

/// Breaks something, or two things on top of each other, and mends it.
async fn strike(
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
        let longest = fault.longest().as_secs_f64();
        let lasting = random.random_range(0.2..longest);
        match fault {
            Fault::Frozen(node) | Fault::Postgres(node, _) => {
                waiting.push(load.press(node, Duration::from_secs_f64(lasting), random).await);
            }
            _ => load.go_on(lasting).await,
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
    let mut longest: Vec<f64> = sum.revocations.iter().map(|one| one.took().as_secs_f64() * 1000.0).collect();
    longest.sort_by(f64::total_cmp);
    let percentile =
        |percent: usize| longest.get((longest.len() * percent / 100).min(longest.len().saturating_sub(1))).copied();
    let mut text = format!(
        "# Soak\n\nThree nodes, one PostgreSQL, one Redis, one server on SQLite; {:.0} s, seed {seed}.\n\n\
         - broken promises: **{}**\n- answers that nothing excuses: **{}**\n\
         - revocations answered with success: {}\n\
         - of those that say how they were proved, {} in all: median {:.1} ms, 99 % within {:.0} ms, longest {:.0} ms; \
         {} waited for a lease to run out\n\
         - checks that one node let in after another had refused, while the revocation was under way: {}\n\n",
        took.as_secs_f64(),
        sum.broken.len(),
        sum.wrong.len(),
        sum.revoked(),
        longest.len(),
        percentile(50).unwrap_or_default(),
        percentile(99).unwrap_or_default(),
        percentile(100).unwrap_or_default(),
        sum.revocations.iter().filter(|one| !one.waited_out.is_empty()).count(),
        sum.overtaken,
    );
    for broken in sum.broken.iter().take(100) {
        let _ = writeln!(text, "- BROKEN: {broken}");
    }
    for wrong in sum.wrong.iter().take(100) {
        let _ = writeln!(text, "- WRONG: {}", wrong.replace('\n', " "));
    }
    text.push_str("\n| median of others, ms | check, quiet | check, beside a greedy tenant | change, quiet | change, beside it | |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for (number, round) in rounds.iter().enumerate() {
        let ([check, change], [greedy_check, greedy_change]) = (round.quiet, round.greedy);
        let finding = if round.is_finding() { "FINDING: more than five times" } else { "" };
        let _ = writeln!(
            text,
            "| round {} | {check:.2} | {greedy_check:.2} | {change:.2} | {greedy_change:.2} | {finding} |",
            number + 1
        );
    }
    text.push_str("\n| request and outcome | how often |\n|---|---|\n");
    for (what, count) in &sum.counts {
        let _ = writeln!(text, "| {what} | {count} |");
    }
    text.push_str("\n| from, s | to, s | what was broken |\n|---|---|---|\n");
    for Injected { fault, from, to } in injected {
        let _ = writeln!(text, "| {:.1} | {:.1} | {fault:?} |", from.as_secs_f64(), to.as_secs_f64());
    }
    text
}
