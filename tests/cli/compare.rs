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
