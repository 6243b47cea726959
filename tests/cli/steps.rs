//! `frameloop load --stages` and `--search`: a line per step, the steps in the results, and what the exit code says.

use serde_json::Value;

use crate::support::process::{Outcome, frameloop, outcome};

/// Steps on a server of its own. A machine that runs tests may be late.
const STEPS: [&str; 8] = ["load", "--warmup", "0", "-c", "2", "--allow-late", "--json", "--grace=5s"];

fn steps(args: &[&str]) -> (Outcome, Value) {
    let done = outcome(&mut frameloop(&[&STEPS, args].concat()));
    let value = serde_json::from_str(&done.stdout).unwrap_or_default();
    (done, value)
}

fn numbers(value: &Value, name: &str) -> Vec<f64> {
    value["steps"].as_array().unwrap().iter().map(|step| step[name].as_f64().unwrap()).collect()
}

#[test]
fn stages_of_rates_are_steps_of_one_result() {
    let (done, value) = steps(&["--stages", "500:200ms,2k:100ms,100/s:300ms"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(numbers(&value, "load"), [500.0, 2_000.0, 100.0]);
    let frames: f64 = numbers(&value, "frames").iter().sum();
    assert_eq!((value["frames"].as_f64(), value["search"].is_null()), (Some(frames), true));
    assert_eq!((value["runs"].as_array().map(Vec::len), &value["runs"][0]["frames"]), (Some(1), &value["frames"]));
    assert_eq!(value["latency"]["response"]["count"], 100 + 200 + 30);
    assert!((value["measured_s"].as_f64().unwrap() - 0.6).abs() < 1e-6, "{value}");
    assert_eq!((&value["connections"]["asked"], &value["configuration"]["rate"]), (&2.into(), &"3 steps".into()));
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert!(
        lines.len() == 3 && lines[1].starts_with("step 2: 2,000/s: ") && lines[1].ends_with(", 0 errors"),
        "{lines:?}"
    );
}

#[test]
fn stages_of_connections_open_and_close_connections() {
    let (done, value) = steps(&["--stages", "3:100ms,9:100ms,5:100ms", "--stage-of", "connections", "--threads", "2"]);
    assert_eq!((done.code, numbers(&value, "load")), (Some(0), vec![3.0, 9.0, 5.0]), "{}", done.stderr);
    assert_eq!(value["errors"]["total"], 0);
    let connections: Vec<u64> = value["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interval| interval["connections"].as_u64().unwrap())
        .collect();
    assert_eq!(connections, [3, 9, 5]);
}

#[test]
fn step_that_fails_decides_the_exit_code() {
    let stages = ["--stages", "100:100ms,200:100ms"];
    let (done, value) = steps(&[&stages[..], &["--expect", "p99<60m", "--expect", "rate<150"]].concat());
    assert_eq!((done.code, &value["steps"][1]["failed"]["first"]), (Some(99), &"other".into()), "{}", done.stderr);
    assert!(value["steps"][0]["failed"].is_null());
    assert!(done.stderr.contains("; failed: an expectation (rate<150: observed 2"), "{}", done.stderr);
    assert_eq!(steps(&[&stages[..], &["--expect", "rate>1"]].concat()).0.code, Some(0));
}

#[test]
fn search_finds_the_highest_load_that_holds() {
    // Of the rate, the limit is known. On a busy machine frames may come late, and more may hold.
    let args = ["--search", "-r", "200", "-d", "100ms", "--expect", "rate<1100"];
    let (done, value) = steps(&args);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let search = &value["search"];
    let (load, failed) = (search["load"].as_f64().unwrap(), search["failed_load"].as_f64().unwrap());
    assert!((900.0..=1_600.0).contains(&load) && failed > load && failed - load <= load * 0.06, "{search}");
    assert_eq!((&search["of"], &search["failed"]["first"]), (&"rate".into(), &"other".into()));
    let loads = numbers(&value, "load");
    assert_eq!(loads[..3], [200.0, 400.0, 800.0]);
    assert_eq!(loads.last(), Some(&load), "it is confirmed at the end");
    assert!(value["expectations"][0]["holds"].as_bool().unwrap());
}

#[test]
fn search_without_a_load_that_holds_exits_with_99() {
    let args = ["--search", "--stage-of", "connections", "-d", "50ms", "--expect", "rate<1", "--expect", "errors==0"];
    let (done, value) = steps(&args);
    assert_eq!((done.code, &value["search"]["load"]), (Some(99), &Value::Null), "{}", done.stderr);
    // Down from two connections to one, each twice.
    assert_eq!(numbers(&value, "load"), [2.0, 2.0, 1.0, 1.0]);
}

#[test]
fn page_of_steps_plots_latency_by_load() {
    let page = std::env::temp_dir().join(format!("frameloop-steps-{}.html", std::process::id()));
    let path = page.to_str().unwrap();
    let (done, _) = steps(&["--stages", "100:50ms,200:50ms", "--report", path]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    for words in ["Percentiles of response latency by rate", "<h2>Steps</h2>", r#""is_rate":true,"load":[100.0,200.0]"#]
    {
        assert!(text.contains(words), "no {words}");
    }
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let none = ["--warmup", "0"];
    for (args, words) in [
        (&["--stages", "10k"][..], "\"10k\" has no duration: expected steps such as 10k:5s,20k:5s"),
        (&["--stages", "10k:5s,"], "\"\" has no duration"),
        (&["--stages", "fast:5s"], "in \"fast:5s\": expected a rate"),
        (&["--stages", "10k:0"], "in \"10k:0\": a step takes more than 0 s"),
        (&["--stages", "10k:5s", "-r", "1k"], "leave out --rate"),
        (&["--stages", "1.5:5s", "--stage-of", "connections"], "a step of 1.5 connections"),
        (&["--stages", "1:5s", "--stage-of", "connections", "--threads", "2"], "threads is 2"),
        (&["--stages", "10k:5s", "-d", "5s"], "cannot be used with"),
        (&["--stages", "10k:5s", "--search", "--expect", "p99<1s"], "cannot be used with"),
        (&["--stages", "10k:5s", "--churn"], "churn has no schedule"),
        (&["--stage-of", "rate"], "--stage-of needs steps"),
        (&["--search", "-r", "1k"], "--expect"),
        (&["--search", "--expect", "p99<1s"], "--search begins at --rate, and there is none"),
        (&["--search", "-r", "0.5", "--expect", "p99<1s"], "must be at least 1/s"),
        (&["--search", "-r", "1k", "--expect", "p99<1s", "--segment", "1/2"], "cannot be used with"),
    ] {
        let done = outcome(&mut frameloop(&[&["load"], &none[..], args].concat()));
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{args:?}: no {words:?} in {}", done.stderr);
    }
}
