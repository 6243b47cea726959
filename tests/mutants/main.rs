//! Faults that a reactor like this one is prone to, and the proof that the ordinary campaign finds each of them.
//!
//! `mutants.diff` has the faults. A plain `cargo test` only checks that each fits its file. With `FRAMELOOP_TEST_MUTANTS=1` the
//! sources are copied to `target/mutants` and built once with all faults, each behind a switch that exists only in the
//! copy. Then the campaign runs once for each fault, and has to fail.

#![allow(clippy::unwrap_used)]

mod copy;
mod table;

use std::fs;
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::table::{Mutant, TABLE, page_with, read_table, root};

const PAGE: &str = "docs/study/mutants.md";

/// Far more than a campaign takes, in which no fault is found.
const TIMEOUT_SECS: u32 = 600;
/// Far more memory than a campaign needs, in KiB.
const MEMORY_KIB: u32 = 4 << 20;

#[test]
fn each_mutant_fits_its_file_exactly_once() {
    let mutants = read_table();
    assert!(mutants.len() > 40, "only {} mutants were found", mutants.len());
    let errors = copy::mutate(&mutants).err().unwrap_or_default();
    assert!(errors.is_empty(), "update the rows in {TABLE}:\n{}", errors.join("\n"));
}

#[test]
fn mutants_page_has_the_rows_of_the_table() {
    if std::env::var_os("FRAMELOOP_TEST_MUTANTS").is_some() {
        // The page may be written at this moment.
        return;
    }
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let expected = page_with(&page, &read_table());
    assert!(page == expected, "{PAGE} differs from {TABLE}: FRAMELOOP_TEST_MUTANTS=page cargo test --test mutants");
}

/// `FRAMELOOP_TEST_MUTANTS` says which: `1` is all, otherwise names with commas. `update` is all, and writes the seeds into
/// the table and the page; `page` writes the page alone.
#[test]
fn campaign_finds_each_mutant() {
    let Ok(wanted) = std::env::var("FRAMELOOP_TEST_MUTANTS") else {
        println!("skipped: FRAMELOOP_TEST_MUTANTS=1 runs it");
        return;
    };
    let mut mutants = read_table();
    if wanted != "page" {
        let is_all = wanted == "1" || wanted == "update";
        let is_wanted = |mutant: &Mutant| is_all || wanted.split(',').any(|name| name == mutant.name);
        let chosen: Vec<Mutant> = mutants.iter().filter(|mutant| is_wanted(mutant)).cloned().collect();
        assert!(!chosen.is_empty(), "{TABLE} has none of {wanted:?}");
        let found = run_all(&mutants, &chosen, is_all);
        let wrong: Vec<String> =
            found.iter().filter(|found| found.seed != found.mutant.seed).map(Found::correction).collect();
        if wanted != "update" {
            let command = "FRAMELOOP_TEST_MUTANTS=update cargo test --test mutants";
            assert!(wrong.is_empty(), "{TABLE} has other seeds; {command} corrects it:\n{}", wrong.join("\n"));
            return;
        }
        for (mutant, found) in mutants.iter_mut().zip(&found) {
            mutant.seed = found.seed;
        }
        table::write_seeds(&mutants);
    }
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    fs::write(root().join(PAGE), page_with(&page, &mutants)).unwrap();
}

/// A mutant with the seed that finds it.
struct Found {
    mutant: Mutant,
    seed: u64,
}

impl Found {
    fn correction(&self) -> String {
        format!("{} is found by seed {}, not {}", self.mutant.name, self.seed, self.mutant.seed)
    }
}

/// Builds the copy with all mutants, and runs the campaign for each of those that are chosen.
///
/// First it runs without any, if asked to: the copy must be sound then.
fn run_all(mutants: &[Mutant], chosen: &[Mutant], runs_sound: bool) -> Vec<Found> {
    let began = Instant::now();
    let binary = copy::build(mutants);
    println!("built in {:.0} s", began.elapsed().as_secs_f64());
    let next = AtomicUsize::new(0);
    let (found, errors) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            match find(&binary, mutant) {
                Ok((seed, report)) => {
                    println!("{}: seed {seed}, {:.1} s: {report}", mutant.name, began.elapsed().as_secs_f64());
                    found.lock().unwrap().push(Found { mutant: mutant.clone(), seed });
                }
                Err(error) => errors.lock().unwrap().push(format!("{}: {error}", mutant.name)),
            }
        }
    };
    thread::scope(|scope| {
        if runs_sound {
            let output = campaign(&binary, "none", None);
            let tail: String = output.chars().rev().take(4_000).collect::<Vec<_>>().into_iter().rev().collect();
            assert!(output.contains("test result: ok. 1 passed"), "without a mutant the campaign fails:\n{tail}");
        }
        (0..thread::available_parallelism().map_or(1, NonZero::get)).for_each(|_| drop(scope.spawn(work)));
    });
    let errors = errors.into_inner().unwrap();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|found| chosen.iter().position(|mutant| mutant.name == found.mutant.name));
    println!("{} mutants were found in {:.0} s", found.len(), began.elapsed().as_secs_f64());
    found
}

/// Runs the campaign until it finds the mutant, then replays the seed, which must break in the same way. Returns the seed
/// and the report.
fn find(binary: &str, mutant: &Mutant) -> Result<(u64, String), String> {
    let output = campaign(binary, &mutant.name, None);
    let report = report_in(&output).ok_or_else(|| format!("not found:\n{output}"))?;
    let seed = report.split(' ').nth(1).and_then(|seed| seed.parse().ok()).ok_or("a report without a seed")?;
    let output = campaign(binary, &mutant.name, Some(seed));
    let replayed = report_in(&output).ok_or_else(|| format!("seed {seed} breaks only once:\n{output}"))?;
    // The step and what happened last; a replay shows more of what happened before.
    let (_, last) = report.split_once("the last that happened:\n").ok_or("a report without a trace")?;
    let is_same = replayed.lines().next() == report.lines().next() && replayed.ends_with(last);
    is_same.then(|| (seed, report.to_owned())).ok_or_else(|| format!("{report}\nis replayed as\n{replayed}"))
}

/// Runs the campaign of the copy, whole or one seed, with one mutant switched on. Returns its output.
fn campaign(binary: &str, mutant: &str, seed: Option<u64>) -> String {
    let limited = format!("ulimit -v {MEMORY_KIB}; exec timeout {TIMEOUT_SECS} \"$0\" a_campaign_of_chance");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, binary]).env("FRAMELOOP_MUTANT", mutant).env_remove("RUST_BACKTRACE");
    command.env_remove("FRAMELOOP_SIM_SEEDS").env_remove("FRAMELOOP_SIM_STEPS").env_remove("FRAMELOOP_SIM_SEED");
    command.envs(seed.map(|seed| ("FRAMELOOP_SIM_SEED", seed.to_string())));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    format!("{}{}", String::from_utf8_lossy(&text), output.status)
}

/// What the campaign says of the seed that breaks.
fn report_in(output: &str) -> Option<&str> {
    let begin = output[..output.find(" is broken at step ")?].rfind("seed ")?;
    let end = output[begin..].find("\nreplay: ")?;
    Some(output[begin..begin + end].trim_end())
}
