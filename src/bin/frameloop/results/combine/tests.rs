use std::time::Duration;

use super::*;
use crate::results::fixture;
use crate::results::hlog::log::StepMark;
use crate::results::hlog::mark::Mark;
use crate::results::hlog::read::{parse, parse_all};
use crate::results::json;
use crate::results::steps::Dimension;

fn mark(name: &str, is_in_each_line: bool) -> Mark {
    Mark { name: name.into(), is_in_each_line }
}

/// A run of so many seconds, which begins so many minutes after the others.
fn run(seconds: u64, minutes: u64) -> Results {
    let mut run = fixture::seconds(seconds);
    run.begun += Duration::from_secs(60 * minutes);
    run
}

/// Runs one after another, and their log.
fn repeated(lengths: &[u64], mark: &Mark) -> (Results, Vec<u8>) {
    let runs: Vec<Results> = lengths.iter().zip(0..).map(|(seconds, minutes)| run(*seconds, minutes)).collect();
    let asked = Some(lengths.len() as u32);
    let part =
        |(run, number): (&Results, u32)| (run.clone(), PartMark { kind: PartKind::Run, number, asked, step: None });
    let parts: Vec<_> = runs.iter().zip(1..).map(part).collect();
    let all = sequence(runs, "run").unwrap().with_runs(lengths.len(), lengths.len() as u32);
    let text = fixture::log_of_parts(&parts, &all, mark);
    (all, text)
}

/// Steps, and their log.
fn stepped(loads: &[f64], mark: &Mark) -> (Results, Vec<u8>) {
    let results: Vec<Results> = loads.iter().zip(0..).map(|(_, minutes)| run(2, minutes)).collect();
    let mut begin_s = 0.0;
    let mut steps = Vec::new();
    let mut parts = Vec::new();
    for ((load, results), number) in loads.iter().zip(&results).zip(1..) {
        let step = StepMark { of: Dimension::Rate, load: *load };
        parts.push((results.clone(), PartMark { kind: PartKind::Step, number, asked: None, step: Some(step) }));
        steps.push(StepFigures::of(Dimension::Rate, *load, begin_s, results, None));
        begin_s += results.measured.as_secs_f64();
    }
    let all = Results { runs: Vec::new(), steps, ..sequence(results, "step").unwrap() };
    let text = fixture::log_of_parts(&parts, &all, mark);
    (all, text)
}

fn log(name: &str, text: &[u8]) -> Log {
    parse(name, text, None).unwrap()
}

/// The JSON without the title, in which each says what it has read.
fn shown(results: &Results) -> String {
    json::text(&Results { title: String::new(), ..results.clone() }).unwrap()
}

#[test]
fn log_of_several_runs_gives_what_the_load_printed() {
    for is_in_each_line in [false, true] {
        let (all, text) = repeated(&[2, 3, 2], &mark("1/2", is_in_each_line));
        let again = combined(&[log("a", &text)]);
        assert_eq!((again.runs.len(), shown(&again)), (3, shown(&all)), "{is_in_each_line}");
        let (all, text) = stepped(&[500.0, 1_000.0], &mark("1/2", is_in_each_line));
        let again = combined(&[log("a", &text)]);
        assert_eq!((again.steps.len(), shown(&again)), (2, shown(&all)), "{is_in_each_line}");
    }
}

#[test]
fn runs_of_several_generators_are_paired_by_their_number() {
    let (a, b) = (repeated(&[2, 3, 2], &mark("1/2", true)), repeated(&[2, 3, 2], &mark("2/2", true)));
    let separate = combined(&[log("a", &a.1), log("b", &b.1)]);
    let frames: Vec<u64> = separate.runs.iter().map(|run| run.frames).collect();
    assert_eq!(frames, [4_000, 6_000, 4_000]);
    let rates: Vec<f64> = separate.runs.iter().map(|run| run.frames_per_s).collect();
    assert_eq!(rates, [2_000.0; 3]);
    assert_eq!((separate.frames, separate.measured), (14_000, Duration::from_secs(7)));
    assert!(
        !separate.facts.taints.iter().any(|taint| taint.contains("the logs are not")),
        "{:?}",
        separate.facts.taints
    );
    // The same from one stream in which their lines are mixed.
    let lines = |text: &[u8]| text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mixed: Vec<u8> = lines(&a.1).into_iter().zip(lines(&b.1)).flat_map(|(a, b)| [a, b].concat()).collect();
    let mixed = combined(&parse_all("both", mixed.as_slice(), None).unwrap());
    assert_eq!((&mixed.runs, mixed.frames), (&separate.runs, 14_000));
}

#[test]
fn different_numbers_of_runs_are_one_line_and_the_common_runs() {
    let (a, b) = (repeated(&[2, 3, 2], &mark("1/2", false)), repeated(&[2, 3], &mark("2/2", false)));
    let results = combined(&[log("a", &a.1), log("b", &b.1)]);
    assert_eq!((results.runs.len(), results.frames), (2, 12_000));
    let taints: Vec<&String> =
        results.facts.taints.iter().filter(|taint| taint.contains("are not of the same")).collect();
    let expected = "the logs are not of the same runs: a has 3 runs, b has 2 runs; those of the same number are paired, and only those \
                    that all logs have count as runs of the load";
    assert_eq!(taints, [expected]);
    let one = combined(&[log("a", &a.1), log("b", &fixture::log_of(&run(2, 0)))]);
    assert!(
        one.facts.taints.iter().any(|taint| taint.contains("a has 3 runs, b has 1 run;")),
        "{:?}",
        one.facts.taints
    );
}

#[test]
fn runs_at_different_times_are_named() {
    let (a, text) = repeated(&[2, 2], &mark("1/2", false));
    let mut late = [run(2, 0), run(2, 5)];
    late[0].begun += Duration::from_millis(300);
    let part = |number| PartMark { kind: PartKind::Run, number, asked: Some(2), step: None };
    let parts = [(late[0].clone(), part(1)), (late[1].clone(), part(2))];
    let results = combined(&[log("a", &text), log("b", &fixture::log_of_parts(&parts, &a, &mark("2/2", false)))]);
    let named = "these runs were not at the same time in all logs: 2; ";
    assert!(results.facts.taints.iter().any(|taint| taint.starts_with(named)), "{:?}", results.facts.taints);
}

#[test]
fn load_of_a_step_is_shared_by_segments_and_summed_for_others() {
    let loads = |names: [&str; 2], of: [&[f64]; 2]| {
        let logs = names.iter().zip(of).map(|(name, loads)| log(name, &stepped(loads, &mark(name, false)).1));
        let results = combined(&logs.collect::<Vec<_>>());
        assert!(results.runs.is_empty() && results.each_run().len() == 1);
        results.steps.iter().map(|step| (step.load, step.frames)).collect::<Vec<_>>()
    };
    let shared = [500.0, 1_000.0].as_slice();
    assert_eq!(loads(["1/2", "2/2"], [shared, shared]), [(500.0, 4_000), (1_000.0, 4_000)]);
    assert_eq!(loads(["a:1", "b:2"], [shared, shared]), [(1_000.0, 4_000), (2_000.0, 4_000)]);
    assert_eq!(loads(["1/2", "2/2"], [shared, &[500.0]]), [(500.0, 4_000)]);
}

#[test]
fn log_that_ends_within_its_runs_has_those_until_then() {
    let (all, text) = repeated(&[2, 2, 2], &mark("1/2", false));
    let whole = String::from_utf8(text).unwrap();
    let until = |end: usize| combined(&[log("a", &whole.as_bytes()[..end])]);
    let begins: Vec<usize> = whole.match_indices("#[frameloop part: ").map(|(at, _)| at).collect();
    let intervals: Vec<usize> = whole.match_indices("#[frameloop interval: ").map(|(at, _)| at).collect();
    assert_eq!((begins.len(), intervals.len()), (3, 6));
    // Before the third run, after its mark, and after its first interval.
    let mark_end = begins[2] + whole[begins[2]..].find('\n').unwrap() + 1;
    for (end, runs, frames) in [(begins[2], 2, 4_000), (mark_end, 2, 4_000), (intervals[5], 3, 5_000)] {
        let results = until(end);
        assert_eq!((results.runs.len(), results.frames, results.facts.is_partial), (runs, frames, true), "{end}");
        assert_eq!(results.runs[..2], all.runs[..2]);
        let of_runs: Vec<_> = results.facts.configuration.rows().filter(|(name, _)| *name == "runs").collect();
        assert_eq!(of_runs, [("runs", format!("{runs} of 3").as_str())]);
    }
    // Without its end, the log has all runs and no facts of all.
    let total = until(whole.find("#[frameloop total: ").unwrap());
    assert_eq!((total.runs, total.facts.is_partial), (all.runs, true));
}
