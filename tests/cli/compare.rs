//! `frameloop report --baseline`: what it reads, and what it says about the spread of the runs.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::serve;
use crate::support::process::{Outcome, frameloop, outcome};

const A: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/machine-a.hlog");

fn run(args: &[&str]) -> Outcome {
    outcome(&mut frameloop(args))
}

#[track_caller]
fn succeeded(args: &[&str]) -> String {
    let done = run(args);
    assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
    done.stdout
}

/// A file of this content.
fn file(scratch: &TempDir, name: &str, content: &str) -> String {
    let path = scratch.path().join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn json_of_load_and_of_report_is_a_baseline() {
    let scratch = tempfile::tempdir().unwrap();
    let (_server, addr) = serve(&[]);
    let load = ["load", &addr, "-c", "2", "-d", "100ms", "--warmup", "0", "--repeat", "3", "--json"];
    let loaded = file(&scratch, "loaded", &succeeded(&load));
    let page = scratch.path().join("page.html").display().to_string();
    let text = succeeded(&["report", A, "--baseline", &loaded, "--html", &page]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("is not known: 1 run, and 3 runs in the baseline; it takes 2 of each"), "{text}");
    assert!(fs::read_to_string(page).unwrap().contains("1 run, and 3 runs in the baseline"));
    let reported = file(&scratch, "reported", &succeeded(&["report", A, "--json"]));
    let value: Value = serde_json::from_str(&succeeded(&["report", A, "--baseline", &reported, "--json"])).unwrap();
    assert_eq!(value["baseline"]["ratio"]["frames_per_s"], 1.0, "{value}");
    assert!(value["baseline"]["difference"].is_null(), "{value}");
}

#[test]
fn baseline_that_cannot_be_read_is_one_line_and_exit_1() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = succeeded(&["report", A, "--json"]);
    let cases = [
        ("", "it is empty"),
        ("{}", "JSON of another program"),
        (&whole[..whole.len() / 2], "the JSON is cut short"),
        (&whole.replacen("\"format\":3", "\"format\":99", 1), "format 99, and this program reads formats 1 to 3"),
        (&whole.replacen("\"frames\":900", "\"frames\":-900", 1), "integer `-900`"),
    ];
    for (content, expected) in cases {
        let path = file(&scratch, "baseline", content);
        let failed = run(&["report", A, "--baseline", &path]);
        assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{expected}");
        let is_line = failed.stderr.lines().count() == 1 && failed.stderr.starts_with(&format!("error: {path}: "));
        assert!(is_line && failed.stderr.contains(expected), "{expected}: {}", failed.stderr);
    }
}

#[test]
fn difference_of_repeated_runs_is_judged_in_each_form() {
    let scratch = tempfile::tempdir().unwrap();
    let (_server, addr) = serve(&[]);
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (log, page) = (path("run.hlog"), path("page.html"));
    let load = ["load", &addr, "-c", "2", "-n", "400", "--warmup", "0", "--repeat", "3", "--hlog", &log, "--json"];
    let mut loaded: Value = serde_json::from_str(&succeeded(&load)).unwrap();
    let same: Value = serde_json::from_str(&succeeded(&["report", &log, "--baseline", &log, "--json"])).unwrap();
    assert_eq!(same["baseline"]["difference"]["frames_per_s"]["exceeds_spread"], false, "{same}");

    // A baseline whose rate no machine varies to.
    for run in loaded["runs"].as_array_mut().unwrap() {
        run["frames_per_s"] = (1e9 * run["frames_per_s"].as_f64().unwrap()).into();
    }
    let baseline = file(&scratch, "fast", &loaded.to_string());
    let text = succeeded(&["report", &log, "--baseline", &baseline, "--html", &page]);
    let title = "ifferences, judged by the spread of the runs (level 1 %)";
    assert!(text.contains(&format!("\nd{title}\n")), "{text}");
    assert!(text.contains("\n  rate          100 % less, beyond the spread of the runs ("), "{text}");
    assert!(text.contains("\n  service p50   within the spread of the runs ("), "{text}");
    assert!(text.contains("\n  service p99.9 not judged: too few latencies in a run"), "{text}");
    let page = fs::read_to_string(&page).unwrap();
    assert!(
        page.contains(&format!("<h2>D{title}</h2>")) && page.contains("100 % less, beyond the spread of the runs (")
    );
    let value: Value = serde_json::from_str(&succeeded(&["report", &log, "--baseline", &baseline, "--json"])).unwrap();
    let difference = &value["baseline"]["difference"];
    assert_eq!((&difference["level"], &difference["frames_per_s"]["exceeds_spread"]), (&0.01.into(), &true.into()));
    assert_eq!(value["baseline"]["runs"].as_array().map(Vec::len), Some(3), "{value}");
    let service = &difference["latency"]["service"];
    assert_eq!((&service["p50"]["exceeds_spread"], service["p99_9"].is_null()), (&false.into(), true), "{difference}");
    assert!(service["p99"]["low"].as_f64() <= service["p99"]["ratio"].as_f64(), "{difference}");
}

#[test]
fn logs_of_two_generators_pair_their_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let (_server, addr) = serve(&[]);
    let logs: Vec<String> =
        ["1/2", "2/2"].map(|segment| scratch.path().join(segment.replace('/', "-")).display().to_string()).into();
    std::thread::scope(|scope| {
        for (log, segment) in logs.iter().zip(["1/2", "2/2"]) {
            let args = ["load", &addr, "-c", "4", "-n", "600", "--warmup", "0", "--segment", segment, "--hlog", log];
            // The second generator makes one run less.
            let repeat = if segment == "1/2" { "3" } else { "2" };
            scope.spawn(move || succeeded(&[&args[..], &["--repeat", repeat]].concat()));
        }
    });
    let value: Value = serde_json::from_str(&succeeded(&["report", &logs[0], &logs[1], "--json"])).unwrap();
    let frames: Vec<&Value> = value["runs"].as_array().unwrap().iter().map(|run| &run["frames"]).collect();
    assert_eq!((frames, &value["frames"]), (vec![&600.into(), &600.into()], &1_500.into()), "{value}");
    let is_named = |taint: &&Value| taint.as_str().unwrap().starts_with("the logs are not of the same runs: ");
    assert_eq!(value["taints"].as_array().unwrap().iter().filter(is_named).count(), 1, "{value}");
}

#[test]
fn log_with_a_run_that_has_lost_its_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("a.hlog").to_str().unwrap().to_owned();
    succeeded(&["load", "-c", "2", "-n", "50", "--warmup", "0", "--repeat", "2", "--hlog", &log]);
    let whole = fs::read_to_string(&log).unwrap();
    let ends: Vec<&str> = whole.lines().filter(|line| line.starts_with("#[frameloop: ")).collect();
    assert_eq!(ends.len(), 2, "{whole}");
    for (run, end) in (1..).zip(ends) {
        fs::write(&log, whole.replace(&format!("{end}\n"), "")).unwrap();
        let done = outcome(&mut frameloop(&["report", &log]));
        assert_eq!(done.code, Some(1), "{done:?}");
        let problem = format!("run {run} has no end: lines are missing or out of order");
        assert!(done.stderr.contains(&problem) && done.stderr.lines().count() == 1, "{}", done.stderr);
    }
}
