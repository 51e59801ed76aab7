//! `make bench`: measures checks, ingest and lists, compared with the ceiling of the same machine in the same run.
//! Absolute figures depend on the machine, ratios on Latchkey.
//!
//! Servers run as separate processes. One load generator measures them in turns: every round has every candidate once,
//! and the result is the median of the rounds.

#[path = "../../tests/served/mod.rs"]
mod served;

mod ceiling;
mod cluster;
mod ingest;
mod issue;
mod list;
mod machine;
mod million;
mod peer;
mod turns;
mod verify;

use std::process::ExitCode;

/// The results: lines to print and to write to docs/BENCHMARKS.md, and whether a target was missed.
#[derive(Default)]
struct Report {
    text: String,
    over: bool,
}

impl Report {
    fn line(&mut self, line: &str) {
        println!("{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Prints whether a target is met, and returns the verdict for the table.
    fn target(&mut self, what: &str, met: bool) -> &'static str {
        self.over |= !met;
        let verdict = if met { "ok" } else { "OVER" };
        println!("{what}: {verdict}");
        verdict
    }
}

/// Sorts the values, and returns the median.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Converts a count to a float.
fn figure(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::NAN, f64::from)
}

/// Flushes the disk, so that the writes of one part do not slow down the next one.
fn settle() {
    let _ = std::process::Command::new("sync").status();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.first().is_some_and(|argument| argument == "nothing") {
        runtime.block_on(ingest::serve_nothing());
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|argument| argument == "nothing-to-verify") {
        runtime.block_on(ceiling::serve_nothing());
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    if arguments.first().is_some_and(|argument| argument == "turns") {
        let Some(baseline) = std::env::var_os("LATCHKEY_BASELINE") else {
            eprintln!(
                "LATCHKEY_BASELINE must name another build of the program, to be measured in turns with this one"
            );
            return ExitCode::from(2);
        };
        runtime.block_on(turns::run(&mut report, &baseline));
        return ExitCode::SUCCESS;
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    runtime.block_on(async {
        machine::describe(&mut report).await;
        if wanted("verify") {
            settle();
            verify::run(&mut report).await;
        }
        if wanted("issue") {
            settle();
            issue::run(&mut report).await;
        }
        if wanted("ingest") {
            settle();
            ingest::run(&mut report).await;
        }
        if wanted("list") {
            settle();
            list::run(&mut report).await;
        }
        if wanted("cluster") {
            settle();
            cluster::run(&mut report).await;
        }
    });
    // Only a whole run is written to docs/BENCHMARKS.md.
    if arguments.is_empty() {
        let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/BENCHMARKS.md");
        std::fs::write(&kept, format!("{}{}", include_str!("head.md"), report.text))
            .expect("docs/BENCHMARKS.md is written");
    }
    if report.over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
