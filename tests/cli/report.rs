//! `frameloop report`: logs in, a summary, JSON or a page out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Outcome, frameloop, outcome};

const A: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/machine-a.hlog");
const B: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/machine-b.hlog");

fn report(args: &[&str]) -> Outcome {
    outcome(&mut frameloop(&[&["report"], args].concat()))
}

#[track_caller]
fn succeeded(args: &[&str]) -> String {
    let done = report(args);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?}");
    done.stdout
}

fn json(args: &[&str]) -> Value {
    let line = succeeded(&[args, &["--json"]].concat());
    assert_eq!(line.lines().count(), 1);
    serde_json::from_str(&line).unwrap()
}

/// Asserts that the run fails with one line that has `needles` in it.
#[track_caller]
fn assert_fails(args: &[&str], needles: &[&str]) {
    let failed = report(args);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{failed:?}");
    assert!(failed.stderr.starts_with("error: ") && failed.stderr.lines().count() == 1, "{}", failed.stderr);
    for needle in needles {
        assert!(failed.stderr.contains(needle), "no {needle:?} in {}", failed.stderr);
    }
}

/// A folder of a test's own, which goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("frameloop-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_summary_has_the_figures_of_the_log_and_no_colour_in_a_pipe() {
    let summary = succeeded(&[A]);
    for text in ["machine-a.hlog, 2026-", "connections  25 of 25 up", "frames       900, 300/s", "errors       none"] {
        assert!(summary.contains(text), "no {text:?} in {summary}");
    }
    for latency in ["connect", "service", "response"] {
        assert!(summary.contains(&format!("\n  {latency}")), "{summary}");
    }
    assert!(!summary.contains('\x1b'));
}

#[test]
fn logs_of_two_machines_are_one_result_whose_sums_are_exact() {
    let (a, b, both) = (json(&[A]), json(&[B]), json(&[A, B]));
    let sum =
        |pointer: &str| a.pointer(pointer).unwrap().as_u64().unwrap() + b.pointer(pointer).unwrap().as_u64().unwrap();
    for pointer in ["/frames", "/bytes", "/latency/service/count", "/latency/connect/count", "/connections/up"] {
        assert_eq!(both.pointer(pointer).unwrap().as_u64(), Some(sum(pointer)), "{pointer}");
    }
    let max = |value: &Value| value["latency"]["response"]["max_ns"].as_u64().unwrap();
    assert_eq!(max(&both), max(&a).max(max(&b)));
    let frames = both["intervals"].as_array().unwrap().iter().map(|interval| interval["frames"].as_u64().unwrap());
    assert_eq!(frames.collect::<Vec<_>>(), [500, 500, 500]);
}

#[test]
fn the_json_is_what_the_schema_says_and_can_be_asked_for_in_the_environment() {
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for args in [[A].as_slice(), &[A, B], &[A, "--baseline", B]] {
        let value = json(args);
        assert!(schema.is_valid(&value), "{args:?}: {:?}", schema.iter_errors(&value).next());
    }
    let done = outcome(frameloop(&["report", A]).env("FRAMELOOP_JSON", "1"));
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap(), json(&[A]));
}

#[test]
fn a_baseline_stands_beside_the_results_in_each_form() {
    let scratch = Scratch::new("baseline");
    let page = scratch.path("page.html");
    let summary = succeeded(&[A, "--baseline", B, "--html", &page]);
    assert!(summary.contains("beside the baseline, ") && summary.contains("x1.50"), "{summary}");
    assert!(summary.lines().any(|line| line.starts_with("  response p99.9 ")), "{summary}");
    let ratio = json(&[A, "--baseline", B])["baseline"]["ratio"]["frames_per_s"].as_f64().unwrap();
    assert!((ratio - 1.5).abs() < 0.01, "{ratio}");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Beside the baseline") && page.contains("x1.50"));
}

#[test]
fn what_cannot_be_read_or_written_is_told_in_one_line_with_its_name() {
    let scratch = Scratch::new("unreadable");
    let folder = scratch.0.display().to_string();
    let missing = scratch.path("missing.hlog");
    assert_fails(&[&missing], &["cannot read", "missing.hlog", "No such file"]);
    assert_fails(&[&folder], &["cannot read", &folder, "directory"]);
    assert_fails(&[A, "--baseline", &missing], &["cannot read", "missing.hlog"]);
    let html = report(&[A, "--html", &folder]);
    assert_eq!(html.code, Some(1));
    assert!(html.stderr.starts_with("error: cannot write ") && html.stderr.contains(&folder), "{html:?}");
}

#[test]
fn what_is_no_log_of_ours_is_told_with_its_line() {
    let scratch = Scratch::new("damaged");
    let log = fs::read(A).unwrap();
    let lines = log.iter().filter(|byte| **byte == b'\n').count();
    let cut = scratch.file("cut.hlog", &log[..log.len() - 30]);
    assert_fails(&[&cut], &["cut.hlog: line ", &format!("line {lines}:"), "ends within this line"]);
    let text = scratch.file("text.hlog", b"#a comment\nhello\n");
    assert_fails(&[A, &text], &["text.hlog: line 2: neither a comment nor an interval"]);
    let empty = scratch.file("empty.hlog", b"");
    assert_fails(&[&empty], &["empty.hlog: not a log of frameloop load", "no line at all"]);
    let foreign = String::from_utf8(log).unwrap().replace("Tag=service", "Tag=a").replace("Tag=response", "Tag=b");
    assert_fails(&[&scratch.file("foreign.hlog", foreign.as_bytes())], &["foreign.hlog: not a log", "none of them"]);
}

#[test]
fn without_a_log_it_is_a_usage_error() {
    let refused = report(&[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains("<FILE.hlog>..."), "{refused:?}");
}
