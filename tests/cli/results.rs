//! What `load` prints, what its log gives again, and where results go.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::at_once;
use crate::serve;
use crate::support::process::{Outcome, Process, frameloop, outcome, outcome_with_input};

/// A folder of a test's own, which goes with the test.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }
}

fn run(args: &[&str]) -> Outcome {
    outcome(&mut frameloop(args))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn report(log: &str) -> Value {
    let done = run(&["report", log, "--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{log}");
    json(&done.stdout)
}

/// All of what `load` printed is what `report` prints of its log, except where each says what it has read.
#[track_caller]
fn assert_same(loaded: &str, log: &str, what: &str) {
    let (mut loaded, mut reported) = (json(loaded), report(log));
    for value in [&mut loaded, &mut reported] {
        let members = value.as_object_mut().unwrap();
        for name in ["title", "expectations"] {
            members.remove(name);
        }
    }
    for (name, value) in loaded.as_object().unwrap() {
        assert_eq!(*value, reported[name], "{what}: {name}");
    }
    assert_eq!(loaded, reported, "{what}");
}

#[test]
fn report_of_a_log_equals_what_the_run_printed() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let shapes: [&[&str]; 15] = [
        &["-d", "1300ms", "--warmup", "200ms"],
        &["-d", "400ms", "--warmup", "0", "--threads", "3"],
        &["-d", "1s", "--warmup", "300ms", "-r", "2k"],
        &["-d", "1200ms", "--warmup", "1s", "-r", "1k", "--threads", "2"],
        &["-n", "3000", "--warmup", "100ms"],
        &["-n", "700", "--warmup", "200ms", "-r", "2k"],
        &["-n", "100", "--warmup", "0", "--threads", "2", "-r", "5k"],
        &["-d", "300ms", "--warmup", "100ms", "--churn", "-c", "5"],
        &["-n", "300", "--warmup", "0", "--churn", "-c", "5", "--threads", "2"],
        &["-d", "300ms", "--warmup", "0", "--depth", "8", "-s", "0..10KiB"],
        &["-d", "300ms", "--warmup", "0", "--idle", "3", "--drip", "1", "--deaf", "1"],
        &["-n", "1", "--warmup", "0", "-c", "1"],
        &["-d", "300ms", "--warmup", "0", "--hold"],
        &["-d", "1200ms", "--warmup", "100ms", "--hold", "--every", "100ms", "--threads", "2"],
        &["-d", "100ms", "--warmup", "0", "-c", "120", "--connect-rate", "2k"],
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let log = scratch.path(&format!("{number}.hlog"));
        let done = run(&[&["load", &addr, "--json", "--hlog", &log, "--expect", "errors>=0"], shape].concat());
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{shape:?}");
        assert_same(&done.stdout, &log, &format!("{shape:?}"));
        let value = json(&done.stdout);
        let service = value["latency"]["service"]["count"].as_u64().unwrap_or_default();
        let counted = value["frames"].as_u64().unwrap() + value["frames_after_end"].as_u64().unwrap();
        assert_eq!(service, counted, "{shape:?}: {value}");
        if shape.contains(&"-r") && shape.contains(&"-d") {
            let (rate, seconds) = if shape.contains(&"2k") { (2_000, 1.0) } else { (1_000, 1.2) };
            assert_eq!(service, (f64::from(rate) * seconds).round() as u64, "{shape:?}: no frame of the warm-up");
        }
    }
    assert_eq!(scratch.names().len(), shapes.len(), "{:?}", scratch.names());
}

#[test]
fn repeated_runs_are_one_result_with_a_line_each() {
    let (_server, addr) = serve(&[]);
    let done = run(&["load", &addr, "-c", "2", "-n", "200", "--warmup", "0", "--repeat", "3", "--json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (number, line) in (1..).zip(&lines) {
        assert!(line.starts_with(&format!("run {number} of 3: ")) && line.ends_with(", 0 errors"), "{line}");
    }
    let value = json(&done.stdout);
    assert_eq!((&value["frames"], &value["latency"]["service"]["count"]), (&600.into(), &600.into()), "{value}");
    assert_eq!((&value["connections"]["up"], &value["configuration"]["runs"]), (&6.into(), &"3".into()), "{value}");
    let intervals = value["intervals"].as_array().unwrap();
    assert_eq!(intervals.iter().map(|interval| interval["frames"].as_u64().unwrap()).sum::<u64>(), 600);
    assert!(intervals.len() >= 3, "{value}");
    let runs = value["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3, "{value}");
    for (figures, line) in runs.iter().zip(&lines) {
        assert_eq!((&figures["frames"], &figures["errors"]), (&200.into(), &0.into()), "{figures}");
        assert_eq!(figures["latency"]["service"]["count"], 200, "{figures}");
        // The line on stderr is of the same run: `run 1 of 3: 87,249/s, ...`.
        let shown: f64 = line.split([' ', '/']).nth(4).unwrap().replace(',', "").parse().unwrap();
        let rate = figures["frames_per_s"].as_f64().unwrap();
        assert!((rate / shown - 1.0).abs() < 0.01, "{rate} and {line}");
    }
    assert!(runs.windows(2).all(|two| two[0]["begun"].as_str() < two[1]["begun"].as_str()), "{value}");
}

#[test]
fn report_of_a_log_of_runs_or_steps_equals_the_load() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let shapes: [&[&str]; 6] = [
        &["-d", "300ms", "--warmup", "0", "--repeat", "3"],
        &["-d", "1200ms", "--warmup", "100ms", "-r", "1k", "--repeat", "2", "--threads", "2"],
        &["-n", "300", "--warmup", "0", "--churn", "--repeat", "2"],
        &["--stages", "500:200ms,1k:300ms", "--warmup", "50ms"],
        &["--stages", "3:100ms,9:100ms,5:100ms", "--warmup", "0", "--stage-of", "connections", "--expect", "rate>1"],
        &["--search", "-r", "200", "-d", "100ms", "--warmup", "0", "--expect", "rate<450", "--expect", "errors==0"],
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let log = scratch.path(&format!("{number}.hlog"));
        let done = run(&[&["load", &addr, "-c", "4", "--allow-late", "--json", "--hlog", &log], shape].concat());
        assert_eq!(done.code, Some(0), "{shape:?}: {}", done.stderr);
        assert_same(&done.stdout, &log, &format!("{shape:?}"));
        let value = json(&done.stdout);
        let parts = [&value["runs"], &value["steps"]].map(|parts| parts.as_array().unwrap().len());
        assert!(parts.iter().any(|count| *count > 1), "{shape:?}: {parts:?}");
    }
}

#[test]
fn log_of_runs_on_stdout_is_followed_to_the_same_result() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let done = run(&["load", &addr, "-c", "2", "-d", "300ms", "--warmup", "0", "--repeat", "3", "--hlog", "-"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let log = scratch.path("copy");
    fs::write(&log, &done.stdout).unwrap();
    let reported = report(&log);
    assert_eq!(reported["runs"].as_array().map(Vec::len), Some(3), "{reported}");
    let followed = outcome_with_input(&mut frameloop(&["report", "--follow", "-", "--json"]), done.stdout.as_bytes());
    assert_eq!(followed.code, Some(0), "{}", followed.stderr);
    let mut followed = json(&followed.stdout);
    followed["title"] = reported["title"].clone();
    assert_eq!(followed, reported);
}

#[test]
fn repeated_runs_that_are_killed_leave_those_that_ended() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let log = scratch.path("run.hlog");
    let args = ["load", &addr, "-c", "2", "-d", "200ms", "--warmup", "0", "--repeat", "100", "--hlog", &log];
    let process = Process::start(&mut frameloop(&args));
    process.stderr_line_with("run 2 of 100: ");
    // The log is written by another thread, and is ahead of the next line.
    process.stderr_line_with("run 3 of 100: ");
    process.signal("KILL");
    let _ = process.outcome();
    let partial = report(&scratch.path("run.hlog.partial"));
    let runs = partial["runs"].as_array().unwrap();
    assert!(runs.len() >= 2 && partial["is_partial"] == true, "{partial}");
    let shown = partial["configuration"]["runs"].as_str().unwrap();
    assert_eq!(shown, format!("{} of 100", runs.len()));
}

#[test]
fn signal_ends_repeated_runs_with_those_made_so_far() {
    let (_server, addr) = serve(&[]);
    let scratch = Scratch::new();
    let log = scratch.path("run.hlog");
    let args = ["load", &addr, "-c2", "-d", "200ms", "--warmup", "0", "--repeat", "100", "--json", "--hlog", &log];
    let process = Process::start(&mut frameloop(&args));
    process.stderr_line_with("run 1 of 100: ");
    process.signal("INT");
    let done = process.outcome();
    assert_eq!(done.code, Some(0), "{done:?}");
    let value = json(&done.stdout);
    let runs = value["configuration"]["runs"].as_str().unwrap().strip_suffix(" of 100").unwrap();
    assert!((1..100).contains(&runs.parse::<u32>().unwrap()), "{runs}");
    assert_eq!(value["was_interrupted"], true, "{value}");
    assert!(value["frames"].as_u64().unwrap() > 0, "{value}");
    assert_same(&done.stdout, &log, "an interrupted load");
}

#[test]
fn report_equals_a_run_whose_server_stalls() {
    let scratch = Scratch::new();
    // Answers a while, and then keeps silent.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut frame = [0; 68];
                for _ in 0..50 {
                    client.read_exact(&mut frame).unwrap();
                    client.write_all(&frame).unwrap();
                }
                while client.read(&mut frame).is_ok_and(|len| len > 0) {}
            });
        }
    });
    at_once([&["--depth", "2"][..], &["-r", "2k"]], |rate| {
        let log = scratch.path(rate[0]);
        let args = ["load", &addr, "-c", "4", "-d", "1s", "--warmup", "0", "--grace", "4s", "--json", "--hlog", &log];
        let done = run(&[&args, rate, &["--expect", "max<3s", "--expect", "unanswered==0"]].concat());
        assert_eq!(done.code, Some(99), "a stall holds no expectation: {}", done.stderr);
        assert_same(&done.stdout, &log, rate[0]);
        let value = json(&done.stdout);
        let wait = value["errors"]["unanswered_wait_max_ns"].as_u64().unwrap();
        assert!(wait >= 4_000_000_000, "the whole time that answers are awaited, {wait}");
        let max = ["response", "service"].iter().find_map(|name| value["latency"][name]["max_ns"].as_u64()).unwrap();
        assert!(max >= wait, "{value}");
        assert!(value["expectations"].as_array().unwrap().iter().all(|verdict| verdict["holds"] == false), "{value}");
        // The table says it as well.
        let table = run(&["report", &log]).stdout;
        assert!(table.contains("an unanswered frame has waited for up to"), "{table}");
    });
}

#[test]
fn report_equals_a_run_ended_by_each_signal() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let cases = [("INT", "0", "measuring"), ("HUP", "0", "measuring"), ("TERM", "1h", "warming up")];
    at_once(cases, |(signal, warmup, stage)| {
        let log = scratch.path(&format!("{signal}.hlog"));
        let args = ["load", &addr, "-d", "1h", "--warmup", warmup, "-r", "500", "--json", "--hlog", &log];
        let process = Process::start(&mut frameloop(&args));
        process.stderr_line_with(stage);
        process.signal(signal);
        let done = process.outcome();
        assert_eq!(done.code, Some(0), "{signal}: {}", done.stderr);
        let result = json(&done.stdout);
        assert_eq!((&result["was_interrupted"], &result["errors"]["unanswered"]), (&true.into(), &0.into()));
        assert_same(&done.stdout, &log, signal);
    });
}

#[test]
fn run_that_is_killed_leaves_what_it_has_measured() {
    let scratch = Scratch::new();
    let (_server, addr) = serve(&[]);
    let log = scratch.path("run.hlog");
    fs::write(&log, "an earlier log").unwrap();
    let process = Process::start(&mut frameloop(&["load", &addr, "-d", "1h", "--warmup", "0", "--hlog", &log]));
    // The first line comes after five seconds, of which some are complete.
    process.stderr_line_with("measuring");
    process.signal("KILL");
    let _ = process.outcome();
    assert_eq!(fs::read_to_string(&log).unwrap(), "an earlier log");
    assert_eq!(scratch.names(), ["run.hlog", "run.hlog.partial"]);
    let partial = report(&scratch.path("run.hlog.partial"));
    assert!(partial["measured_s"].as_f64().unwrap() >= 2.0 && partial["frames"].as_u64().unwrap() > 0, "{partial}");
    assert_eq!((&partial["is_partial"], &partial["errors"]["total"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(partial["configuration"]["connections"], "50");
    let table = run(&["report", &scratch.path("run.hlog.partial")]).stdout;
    assert!(table.contains("The log ends before its run did"), "{table}");
}

#[test]
fn two_outputs_to_one_file_are_a_usage_error() {
    let scratch = Scratch::new();
    let path = scratch.path("a");
    std::os::unix::fs::symlink("a", scratch.0.path().join("link")).unwrap();
    let dotted = scratch.path("./a");
    for exists in [false, true] {
        for other in [&path, &dotted, &scratch.path("link")] {
            let refused = run(&["load", "-n", "1", "--warmup", "0", "--hlog", &path, "--report", other]);
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{other}");
            assert!(refused.stderr.contains("are written to the same file"), "{}", refused.stderr);
        }
        assert_eq!(Path::new(&path).exists(), exists);
        fs::write(&path, "x").unwrap();
    }
    for flag in ["--hlog", "--report"] {
        for stdout in ["-", "/dev/stdout"] {
            let refused = run(&["load", "-n", "1", "--json", flag, stdout]);
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{flag} {stdout}");
            assert!(refused.stderr.contains(&format!("--json and {flag} are both written to stdout")), "{refused:?}");
        }
    }
}

#[test]
fn log_to_stdout_is_the_log_and_the_summary_goes_to_stderr() {
    let scratch = Scratch::new();
    let done = run(&["load", "-n", "500", "--warmup", "0", "--hlog", "-"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("frames       500, "), "{}", done.stderr);
    let log = scratch.path("copy.hlog");
    fs::write(&log, &done.stdout).unwrap();
    assert_eq!(report(&log)["frames"], 500);
}

#[test]
fn file_that_cannot_be_written_costs_no_result() {
    for flag in ["--hlog", "--report"] {
        let failed = run(&["load", "-n", "500", "--warmup", "0", flag, "/dev/full"]);
        assert_eq!(failed.code, Some(1));
        assert!(failed.stdout.contains("frames       500, "), "{flag}: {}", failed.stdout);
        assert_eq!(failed.stderr, "error: cannot write /dev/full: No space left on device (os error 28)\n", "{flag}");
    }
    let scratch = Scratch::new();
    let (log, page) = (scratch.path("none/a"), scratch.path("page.html"));
    let refused = run(&["load", "-n", "500", "--warmup", "0", "--hlog", &log, "--report", &page]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert_eq!(scratch.names(), Vec::<String>::new());
}

#[test]
fn sources_that_cannot_be_used_are_refused_with_the_cause() {
    let socket = std::env::temp_dir().join("frameloop-results.sock").display().to_string();
    for (args, code, words) in [
        (&["127.0.0.1:7", "--source", "192.0.2.1"][..], 1, "source 192.0.2.1 is not an address of this machine"),
        (&["[::1]:7", "--source", "127.0.0.1"], 2, "source 127.0.0.1 is IPv4 and the target [::1]:7 is IPv6"),
        (&["127.0.0.1:7", "--source", "::1"], 2, "source ::1 is IPv6 and the target 127.0.0.1:7 is IPv4"),
        (
            &[&format!("unix:{socket}"), "--source", "127.0.0.1"],
            2,
            "a source address is for TCP, and the target is unix:",
        ),
    ] {
        let refused = run(&[&["load", "-n", "1"], args].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(code), ""), "{args:?}");
        assert!(refused.stderr.contains(words), "{args:?}: {}", refused.stderr);
    }
}

#[test]
fn frames_above_the_servers_limit_are_named_as_the_cause() {
    let (_server, addr) = serve(&["--max-payload", "1KiB"]);
    for (size, words) in [("20KiB", "at a frame of 20480 bytes or more"), ("0..4KiB", "and answered none above")] {
        let failed = run(&["load", &addr, "-c", "20", "-n", "5000", "--warmup", "0", "-s", size]);
        assert_eq!(failed.code, Some(1), "{size}");
        let text = failed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words) && text.contains("--max-payload"), "{size}: {}", failed.stdout);
        assert!(text.contains("the server ended all connections"), "{size}: {}", failed.stdout);
    }
}

#[test]
fn up_excludes_connections_that_the_server_refused() {
    let (_server, addr) = serve(&["--max-connections", "4"]);
    let done = run(&["load", &addr, "-c", "10", "-n", "500", "--warmup", "0", "--json"]);
    let value = json(&done.stdout);
    let connections = &value["connections"];
    assert_eq!((&connections["up"], &connections["turned_away"]), (&Value::from(4), &Value::from(6)), "{value}");
}
