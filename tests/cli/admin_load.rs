//! The admin endpoint of `frameloop load`: what it shows of a run, and how it begins one.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::admin::{Http, Response, get};
use crate::support::holds_within;
use crate::support::process::{PATIENCE, Process, frameloop, outcome};

/// A load with an endpoint, and the endpoint's address. Its stdin is at its end from the start.
fn start(args: &[&str]) -> (Process, SocketAddr) {
    start_with(args, Stdio::null())
}

fn start_with(args: &[&str], stdin: Stdio) -> (Process, SocketAddr) {
    let args = [&["load", "--warmup", "0", "-c", "3", "--json", "--admin", "127.0.0.1:0"], args].concat();
    let load = Process::start(frameloop(&args).stdin(stdin));
    let line = load.stderr_line_with("admin on ");
    let addr = line.rsplit_once("admin on ").unwrap().1.trim().parse().unwrap();
    (load, addr)
}

fn ask(addr: SocketAddr, request: &str) -> Response {
    let mut http = Http::connect(addr);
    http.send(request.as_bytes());
    http.response()
}

fn patch(addr: SocketAddr, body: &str) -> Response {
    let len = body.len();
    ask(addr, &format!("PATCH /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n{body}"))
}

/// Waits until the load has connected, and returns its status then.
fn waiting(addr: SocketAddr) -> Value {
    let mut status = Value::Null;
    assert!(holds_within(PATIENCE, || {
        status = ask(addr, &get("/v1/status")).json();
        status["stage"] == "waiting"
    }));
    status
}

fn result_of(load: Process) -> Value {
    let done = load.outcome();
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn paused_load_without_stdin_is_begun_by_a_client() {
    for body in ["{\"paused\": false}", "{\"data\":{\"attributes\":{\"paused\":false}}}"] {
        let (mut load, addr) = start(&["--paused", "-n", "100"]);
        let status = waiting(addr);
        assert_eq!((&status["paused"], &status["running"]), (&true.into(), &false.into()));
        assert_eq!((&status["connected"], &status["connections"]), (&3.into(), &3.into()));
        for wrong in ["", "{}", "{\"paused\":0}", "[false]", "paused=false"] {
            assert_eq!(patch(addr, wrong).status, 400, "{wrong}");
        }
        assert_eq!(patch(addr, "{\"paused\": true}").status, 200);
        assert!(load.is_running() && waiting(addr)["paused"] == true);
        let begun = patch(addr, body);
        assert_eq!((begun.status, &begun.json()["paused"]), (200, &false.into()));
        assert_eq!(result_of(load)["frames"], 100);
    }
}

#[test]
fn paused_load_with_an_endpoint_is_begun_by_a_line_too() {
    let (mut load, addr) = start_with(&["--paused", "-n", "100"], Stdio::piped());
    waiting(addr);
    load.stdin().write_all(b"\n").unwrap();
    assert_eq!(result_of(load)["frames"], 100);
}

#[test]
fn run_is_shown_while_it_goes_on_and_cannot_be_paused() {
    let (load, addr) = start(&["-r", "200", "-d", "4s"]);
    let mut http = Http::connect(addr);
    http.send(get("/events").as_bytes());
    assert_eq!(http.head().status, 200);
    assert_eq!(http.event("info")["mode"], "load");
    let run = loop {
        let run = http.event("run");
        if run["frames"].as_u64() > Some(0) && run["due"].as_u64() > Some(0) {
            break run;
        }
    };
    assert_eq!((&run["stage"], &run["connected"], &run["errors"]), (&"measuring".into(), &3.into(), &0.into()));
    assert_eq!((&run["rate_target"], &run["latency"]["kind"]), (&200.0.into(), &"response".into()));
    let number = |name: &str| run[name].as_u64().unwrap_or_else(|| panic!("{name}: {run}"));
    assert!(number("due") >= number("sent") && number("sent") >= number("frames"), "{run}");
    assert_eq!(patch(addr, "{\"paused\": true}").status, 409);
    let metrics = ask(addr, &get("/metrics")).body;
    assert!(metrics.contains("\nframeloop_load_connections 3\n"), "{metrics}");
    let samples = ask(addr, &get("/v1/samples")).json();
    let last = samples["samples"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["connections"], &last["turn_max"]), (&3.into(), &Value::Null), "{last}");
    for path in ["/connections", "/connections/0.1"] {
        assert_eq!(ask(addr, &get(path)).status, 404, "{path}");
    }
    assert_eq!(result_of(load)["latency"]["response"]["count"], 800);
}

#[test]
fn steps_are_shown_with_their_figures() {
    let (load, addr) = start(&["--stages", "100:1s,200:3s", "--allow-late"]);
    let mut http = Http::connect(addr);
    http.send(get("/events").as_bytes());
    http.head();
    let run = loop {
        let run = http.event("run");
        if run["step"]["index"] == 2 {
            break run;
        }
    };
    assert_eq!(run["step"], json!({ "index": 2, "of": 2, "unit": "rate", "target": 200.0 }));
    assert_eq!(run["steps"][0]["target"], 100.0);
    // A reply that is late at the end of a step does not count in its rate, but in the run.
    assert!((50.0..=100.0).contains(&run["steps"][0]["rate"].as_f64().unwrap()), "{run}");
    assert!(run["steps"][0]["p99"].as_f64() > Some(0.0) && run["steps"][0]["held"].is_null(), "{run}");
    let result = result_of(load);
    assert_eq!(result["steps"].as_array().unwrap().len(), 2);
    assert_eq!(result["latency"]["response"]["count"], 100 + 3 * 200);
}

#[test]
fn load_refuses_a_public_endpoint_before_it_connects() {
    let done = outcome(&mut frameloop(&["load", "-n", "1", "--admin", "0.0.0.0:0"]));
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.starts_with("error: --admin is 0.0.0.0:0 and must be a loopback address"), "{}", done.stderr);
}
