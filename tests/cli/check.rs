//! The grader, on the project's own server and on a few that are wrong; the zoo has the others.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;

use crate::serve;
use crate::support::process::{Outcome, Process, frameloop, outcome};

/// Grades a server. The end of a run is the grader's own promise, so nothing bounds it here.
pub(crate) fn check(args: &[&str]) -> Outcome {
    let output = frameloop(&[&["check"], args].concat()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// For grades that measure time and the processor: one test at a time makes them.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static GRADING: Mutex<()> = Mutex::new(());
    GRADING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one JSON object of a run, which is what the schema says.
pub(crate) fn graded(done: &Outcome) -> Value {
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    let schema = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/check.schema.json"));
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let wrong: Vec<String> = schema.iter_errors(&result).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{result:#}");
    result
}

/// The names of the cases that ended so.
pub(crate) fn with_outcome<'a>(result: &'a Value, outcome: &str) -> Vec<&'a str> {
    let cases = result["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["outcome"] == outcome).map(|case| case["name"].as_str().unwrap()).collect()
}

/// A server on a thread, which ends with the test; each client is handed to `serve`.
pub(crate) fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(client));
        }
    });
    addr
}

/// Answers each frame with its length in the order of a little-endian machine.
fn swapped() -> String {
    server(|mut client| {
        let mut header = [0; 4];
        while client.read_exact(&mut header).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes(header) as usize];
            header.reverse();
            if client.read_exact(&mut payload).is_err() || client.write_all(&[&header, &payload[..]].concat()).is_err()
            {
                return;
            }
        }
    })
}

#[cfg(target_os = "linux")]
#[test]
fn the_projects_own_server_holds_every_case_of_every_level() {
    let _alone = alone();
    let script =
        "ulimit -n 1500; exec \"$0\" serve -q --listen 127.0.0.1:0 --frame-timeout 500ms --write-timeout 500ms";
    let server = Process::start(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_frameloop")]).env_clear());
    let (addr, pid) = (server.listening_on(), server.id().to_string());
    let done = check(&[&addr, "--pid", &pid, "--frame-timeout", "500ms", "--write-timeout", "500ms", "--json"]);
    let result = graded(&done);
    assert_eq!((with_outcome(&result, "fails"), with_outcome(&result, "skipped")), (vec![], vec![]), "{result:#}");
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    assert!(result["passed"].as_u64().unwrap() >= 30);
}

#[test]
fn a_server_with_a_small_limit_is_graded_within_it() {
    let (_server, addr) = serve(&["-q", "--max-payload", "512"]);
    let cases = "one-frame,header-2-2,binary-payload,large-frame,slow-reader,never-reads-beside,length-over-limit";
    let result = graded(&check(&[&addr, "--max-payload", "512", "--case", cases, "--json"]));
    assert_eq!(with_outcome(&result, "holds").len(), 7, "{result:#}");
}

#[test]
fn what_looks_at_the_process_is_skipped_without_its_number() {
    let (_server, addr) = serve(&["-q"]);
    let done = check(&[&addr, "--case", "one-frame", "--case", "idle-cpu,stalled-frame", "--json"]);
    let result = graded(&done);
    assert_eq!(done.code, Some(0));
    assert_eq!(with_outcome(&result, "holds"), ["one-frame"]);
    assert_eq!(with_outcome(&result, "skipped"), ["idle-cpu", "stalled-frame"]);
    assert!(result["cases"][1]["reason"].as_str().unwrap().contains("--pid"));
    assert!(result["cases"][2]["reason"].as_str().unwrap().contains("--frame-timeout"));
}

#[test]
fn where_nothing_can_be_played_that_is_no_success() {
    let (_server, addr) = serve(&["-q"]);
    let done = check(&[&addr, "--case", "idle-cpu"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(done.stderr, "error: nothing was played: see the score card for the reasons\n");
    assert!(done.stdout.contains("give its number with --pid") && done.stdout.ends_with("\nNothing was played.\n"));
}

#[test]
fn mistake_is_reported_with_bytes_and_chapter() {
    let done = check(&[&swapped(), "--level", "basic"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(done.stderr, "error: 1 of 1 case failed: see the score card\n");
    for part in [
        "\n  FAILED  one-frame ",
        "\n  sent      262 bytes in one write: 00 00 01 02 ",
        "\n  came      at offset 0 of the answers 02 01 00 00 ",
        "\n  likely    the answer's length has its lowest byte first",
        "\n  read      docs/study/partial-io.md\n",
        "\nbasic               0       1       12\n",
        "\n1 of 1 case failed.\n",
    ] {
        assert!(done.stdout.contains(part), "{part:?} in\n{}", done.stdout);
    }
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{}", done.stdout);
}

#[test]
fn what_is_sent_follows_from_the_seed() {
    let addr = swapped();
    let failure = |seed: &str| {
        let result = graded(&check(&[&addr, "--case", "one-frame", "--seed", seed, "--json"]));
        result["cases"][0]["failure"].clone()
    };
    assert_eq!(failure("7"), failure("7"));
    assert_ne!(failure("7")["sent"], failure("8")["sent"]);
}

#[test]
fn hanging_server_gets_one_case_and_the_rest_is_skipped() {
    // The kernel completes the connection, and it is never accepted.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let done = check(&[&addr, "--timeout", "100ms", "--json"]);
    let result = graded(&done);
    assert_eq!(done.code, Some(1));
    assert_eq!(with_outcome(&result, "fails"), ["one-frame"]);
    assert_eq!(result["cases"][0]["failure"]["came"], "nothing for 100ms");
    let skipped = result["cases"].as_array().unwrap().iter().skip(1);
    assert!(skipped.into_iter().all(|case| case["reason"] == "nobody is served since one-frame"), "{result:#}");
}

#[test]
fn missing_listener_is_an_error_in_one_line() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let done = check(&[&addr]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert!(done.stderr.starts_with(&format!("error: cannot connect to {addr}: ")), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1);
}

#[test]
fn missing_process_is_reported_before_any_case() {
    let (_server, addr) = serve(&["-q"]);
    let done = check(&[&addr, "--pid", "4294967295"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert!(done.stderr.starts_with("error: the figures of process 4294967295 cannot be read"), "{}", done.stderr);
}

#[test]
fn what_cannot_be_played_is_a_usage_error() {
    for args in [
        &["--case", "two-frames"][..],
        &["--level", "perfect"],
        &["--level", "basic", "--case", "one-frame"],
        &["--pid", "me"],
        &["unix:/run/frameloop.sock"],
        &["--max-payload", "4GiB"],
        &["--max-payload", "511"],
        &["--timeout", "0"],
    ] {
        let done = check(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(done.stderr.starts_with("error: ") && done.stderr.contains(args[0]), "{}", done.stderr);
    }
}

#[test]
fn list_shows_each_case_without_a_server() {
    let list = |args: &[&str]| -> Value {
        let done = check(&[&["--list", "--json"], args].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        serde_json::from_str(&done.stdout).unwrap()
    };
    let count = |args: &[&str]| list(args)["cases"].as_array().unwrap().len();
    let all = list(&[]);
    let text = check(&["--list"]).stdout;
    for case in all["cases"].as_array().unwrap() {
        assert!(text.contains(&format!("\n  {}\n", case["name"].as_str().unwrap())), "{case}");
        assert!(["does", "why", "chapter"].iter().all(|name| case[name].as_str().is_some_and(|text| !text.is_empty())));
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(count(&["--level", "basic"]) < count(&["--level", "nonblocking"]));
    assert!(count(&["--level", "nonblocking"]) < count(&[]));
    assert_eq!(count(&["--case", "one-frame"]), 1);
    assert_eq!(outcome(&mut frameloop(&["check", "--list", "127.0.0.1:1"])).code, Some(0));
}
