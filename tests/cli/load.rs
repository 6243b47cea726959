//! `frameloop load`: flags in, a summary, JSON, a log and a page out; and what its exit codes say.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::serve;
use crate::support::process::{Outcome, Process, frameloop, outcome, set_nonblocking};

/// A short run against a server of its own.
const SHORT: [&str; 5] = ["load", "-n", "500", "--warmup", "0"];

fn load(args: &[&str]) -> Outcome {
    outcome(&mut frameloop(&[&SHORT, args].concat()))
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    let done = load(&[args, &["--json"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?}: {}", done.stdout);
    assert_eq!(done.stdout.lines().count(), 1);
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn without_an_address_it_shows_the_whole_thing_at_work() {
    let done = load(&[]);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
    for words in ["50 of 50 up", "frames       500, ", "errors       none", "service", "the server's own figures"] {
        assert!(done.stdout.contains(words), "no {words:?} in\n{}", done.stdout);
    }
}

#[test]
fn every_shape_of_load_answers_every_frame() {
    let shapes: [&[&str]; 9] = [
        &["-c", "3"],
        &["--connections", "3", "--depth", "10", "--size", "0..1KiB"],
        &["--rate", "10k/s"],
        &["-r", "10k", "--threads", "2"],
        &["--churn", "-c", "5"],
        &["--threads", "3", "--spin", "10us"],
        &["--idle", "5", "--drip", "1", "--deaf", "2"],
        &["--source", "127.0.0.0/8", "-c", "10"],
        &["--connect-rate", "1k", "--connect-timeout", "5s", "-s", "100000"],
    ];
    for args in shapes {
        let result = json(args);
        assert_eq!(result["frames"], 500, "{args:?}: {result}");
        assert_eq!(result["latency"]["service"]["count"], 500, "{args:?}");
        let is_open = args.iter().any(|arg| arg.starts_with("-r") || arg.starts_with("--rate"));
        assert_eq!(!result["latency"]["response"].is_null(), is_open, "{args:?}");
    }
}

#[test]
fn a_duration_is_what_is_measured() {
    let done = outcome(&mut frameloop(&["load", "-d", "300ms", "--warmup", "100ms", "-r", "1k", "--json"]));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(result["measured_s"], 0.3);
    assert_eq!(result["latency"]["response"]["count"], 300);
}

#[test]
fn paused_load_begins_with_a_line_or_the_end_of_stdin() {
    let start = || {
        let mut command = frameloop(&[&SHORT[..], &["--paused", "--json"]].concat());
        let mut load = Process::start(command.stdin(Stdio::piped()));
        load.stderr_line_with("waiting");
        assert!(load.is_running());
        load
    };
    let frames = |load: Process| {
        let done = load.outcome();
        assert_eq!(done.code, Some(0), "{done:?}");
        serde_json::from_str::<Value>(&done.stdout).unwrap()["frames"].as_u64()
    };
    let mut load = start();
    load.stdin().write_all(b"\n").unwrap();
    assert_eq!(frames(load), Some(500));
    let mut load = start();
    load.close_stdin();
    assert_eq!(frames(load), Some(500));
    let load = start();
    load.signal("INT");
    assert_eq!(frames(load), Some(0));
}

#[test]
fn paused_load_keeps_nothing_of_the_line_and_waits_at_a_nonblocking_stdin() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    set_nonblocking(&reader, true);
    let mut command = frameloop(&[&SHORT[..], &["--paused", "--json"]].concat());
    let load = Process::start(command.stdin(reader));
    drop(command);
    load.stderr_line_with("waiting");
    let resident = || load.proc_status().vmrss.unwrap();
    let before = resident();
    // No text, and no line end.
    (0..64).for_each(|_| writer.write_all(&[0xff; 1 << 20]).unwrap());
    assert!(resident() < before + (16 << 10), "{before} KiB, and then {} KiB", resident());
    assert!(!load.has_shown("frames"));
    writer.write_all(b"\n").unwrap();
    let done = load.outcome();
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &result["frames"]), (Some(0), &Value::from(500)), "{done:?}");
}

#[test]
fn start_time_is_to_come() {
    for wrong in ["2020-01-01T00:00:00Z", "tomorrow", "12:00", ""] {
        let done = load(&["--start-at", wrong]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{wrong}");
        assert_eq!(done.stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "{}", done.stderr);
    }
    let at = SystemTime::now() + Duration::from_secs(1);
    let result = json(&["--start-at", &humantime::format_rfc3339_millis(at).to_string()]);
    let begun = humantime::parse_rfc3339(result["begun"].as_str().unwrap()).unwrap();
    assert!(begun + Duration::from_millis(5) >= at, "{result}");
}

#[test]
fn failed_expectation_exits_with_99() {
    let holds = load(&["--expect", "errors==0", "--expect", "p99<10s", "--expect", "rate>=1"]);
    assert_eq!((holds.code, holds.stderr.as_str()), (Some(0), ""));
    assert_eq!(holds.stdout.matches("holds").count(), 3, "{}", holds.stdout);

    let fails = load(&["--expect", "errors==0", "--expect", "p50<1ns"]);
    assert_eq!((fails.code, fails.stderr.as_str()), (Some(99), ""));
    assert!(fails.stdout.contains("FAILED  p50<1ns"), "{}", fails.stdout);
}

#[test]
fn errors_exit_with_1_unless_they_are_expected() {
    // Bound, and not listened on.
    let holder = socket2_holder();
    let addr = holder.1.as_str();
    let failed = load(&[addr]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(failed.stderr, "error: 50 errors: see the summary\n");
    assert!(failed.stdout.contains("0 of 50 up") && failed.stdout.contains("start the server"), "{}", failed.stdout);
    assert_eq!(load(&[addr, "--expect", "errors==50"]).code, Some(0));
    assert_eq!(load(&[addr, "--expect", "errors==0"]).code, Some(99));
}

/// A port without a listener, for as long as the first is held.
fn socket2_holder() -> (socket2::Socket, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    (socket, addr)
}

#[test]
fn held_connections_are_reported_with_what_became_of_them() {
    let (server, addr) = serve(&["-v"]);
    let hold = |more: &[&str]| {
        let args = ["load", &addr, "-c", "20", "-d", "1s", "--warmup", "0", "--hold"];
        let done = outcome(&mut frameloop(&[&args, more].concat()));
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{}", done.stdout);
        done.stdout
    };
    let silent = hold(&[]);
    assert!(silent.contains("held         20 of 20 for 1.00 s, none lost"), "{silent}");
    assert!(silent.contains("hold silent") && !silent.contains("frames") && !silent.contains("service"), "{silent}");
    let result: Value = serde_json::from_str(&hold(&["--every", "200ms", "--json"])).unwrap();
    assert_eq!(result["latency"]["response"]["count"], 100, "{result}");
    assert_eq!((&result["held"]["to_end"], &result["held"]["every_ns"]), (&20.into(), &200_000_000.into()));
    assert!(server.counters().contains("frames in 100 out 100"));
}

#[test]
fn dropped_connections_fail_the_run_and_name_the_reason() {
    let (_server, addr) = serve(&["--idle-timeout", "300ms"]);
    let done = outcome(&mut frameloop(&["load", &addr, "-c", "9", "--hold", "--warmup", "0"]));
    assert_eq!((done.code, done.stderr.as_str()), (Some(1), "error: 9 errors: see the summary\n"));
    for words in ["held         0 of 9 for ", "; 9 lost, after ", "9 connections ended: peer finished"] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
}

#[test]
fn several_targets_share_the_connections_by_weight() {
    let servers = [(); 2].map(|()| serve(&["-v"]));
    let weighted = format!("{}=3", servers[0].1);
    let result = json(&[&weighted, &servers[1].1, "-c", "8", "--threads", "2"]);
    let counts: Vec<_> = [0, 1].map(|at| result["targets"][at]["up"].as_u64()).into();
    assert_eq!(counts, [Some(6), Some(2)], "{result}");
    assert_eq!(result["title"], format!("{weighted}, {}=1", servers[1].1));
    let accepted = servers.each_ref().map(|(server, _)| server.counters());
    assert!(accepted[0].contains("accepted 6") && accepted[1].contains("accepted 2"), "{accepted:?}");
    let done = load(&[&servers[0].1, &servers[1].1]);
    assert!(done.stdout.contains("targets  ") && done.stdout.matches(" 25 ").count() >= 2, "{}", done.stdout);
}

#[test]
fn flags_that_exclude_hold_and_unusable_targets_are_usage_errors() {
    let (_server, addr) = serve(&[]);
    for (args, words) in [
        (vec!["--hold", "-r", "5"], "cannot be used with"),
        (vec!["--hold", "-n", "5"], "cannot be used with"),
        (vec!["--every", "5s"], "--hold"),
        (vec![addr.as_str(), addr.as_str()], "is given twice: give it once, with a weight"),
        (vec!["127.0.0.1:1=0"], "a weight is from 1 to 10000"),
        (vec!["[::1]:7", "127.0.0.1:7", "--source", "127.0.0.1"], "give --source addresses of the target's family"),
    ] {
        let done = outcome(&mut frameloop(&[&["load"], args.as_slice()].concat()));
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{args:?}: {}", done.stderr);
    }
}

#[test]
fn segments_are_shares_of_one_load() {
    let (server, addr) = serve(&["-v"]);
    let start_at = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(2)).to_string();
    let start = |nth: usize| {
        let segment = format!("{nth}/3");
        let load = ["load", &addr, "-c", "10", "-n", "100", "-r", "3k", "--warmup", "0", "--json"];
        Process::start(&mut frameloop(&[&load[..], &["--segment", &segment, "--start-at", &start_at]].concat()))
    };
    let running: Vec<Process> = (1..=3).map(start).collect();
    let results: Vec<Value> = running
        .into_iter()
        .map(|process| {
            let done = process.outcome();
            assert_eq!(done.code, Some(0), "{done:?}");
            serde_json::from_str(&done.stdout).unwrap()
        })
        .collect();
    let values = |name: &str| results.iter().map(|result| result[name].to_string()).collect::<Vec<_>>();
    assert_eq!(values("frames"), ["34", "33", "33"]);
    let counters = server.counters();
    assert!(counters.contains("accepted 10") && counters.contains("frames in 100 out 100"), "{counters}");
}

#[test]
fn segment_of_a_launcher_is_used_and_shares_of_nothing_are_refused() {
    let mut command = frameloop(&[&SHORT[..], &["-c", "9", "--segment", "auto", "--json"]].concat());
    let done = outcome(command.env("SLURM_PROCID", "1").env("SLURM_NTASKS", "3"));
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &result["frames"]), (Some(0), &Value::from(167)), "{done:?}");
    for (wrong, expected) in [
        ("auto", "auto needs OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS, or"),
        ("0/3", "expected I/N, such as 2/3, with I from 1 to N"),
        ("51/60", "segment 51/60 has none of the 50 connections: give fewer segments"),
    ] {
        let done = load(&["--segment", wrong]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{wrong}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
}

#[test]
fn several_generators_on_one_server_become_one_result() {
    let (_server, addr) = serve(&[]);
    let folder = std::env::temp_dir().join(format!("frameloop-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let logs = [path("one.hlog"), path("two.hlog")];
    let running: Vec<Process> = logs
        .iter()
        .map(|log| {
            let args = ["load", &addr, "-d", "1200ms", "--warmup", "0", "-r", "500", "--hlog", log];
            Process::start(&mut frameloop(&args))
        })
        .collect();
    for process in running {
        assert_eq!(process.outcome().code, Some(0));
    }
    let page = path("all.html");
    let merged = outcome(&mut frameloop(&["report", &logs[0], &logs[1], "--json", "--html", &page]));
    assert_eq!((merged.code, merged.stderr.as_str()), (Some(0), ""));
    let result: Value = serde_json::from_str(&merged.stdout).unwrap();
    assert_eq!(result["latency"]["response"]["count"], 1_200, "{result}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("<html"));
    let expect = |expression: &str| {
        let done = outcome(&mut frameloop(&["report", &logs[0], &logs[1], "--json", "--expect", expression]));
        let result: Value = serde_json::from_str(&done.stdout).unwrap();
        (done.code, done.stderr, result["expectations"][0]["holds"].as_bool())
    };
    assert_eq!(expect("rate>=900"), (Some(0), String::new(), Some(true)));
    assert_eq!(expect("rate>=1100"), (Some(99), String::new(), Some(false)));
    assert_eq!(expect("p50<1ns"), (Some(99), String::new(), Some(false)));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn unwritable_outputs_are_reported_before_the_run() {
    let file = PathBuf::from("/nonexistent/folder/file").display().to_string();
    for flag in ["--hlog", "--report"] {
        let failed = load(&[flag, &file]);
        assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{flag}");
        assert!(failed.stderr.starts_with("error: ") && failed.stderr.contains(&file), "{}", failed.stderr);
        assert_eq!(failed.stderr.lines().count(), 1);
    }
}

#[test]
fn more_connections_than_descriptors_are_reported_first() {
    let script = "ulimit -n 200; exec \"$0\" load -c 100";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_frameloop")]).env_clear();
    let failed = outcome(&mut command);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""));
    let expected = "error: 100 connections need 234 open files, and the limit is 200: raise it \
                    (LimitNOFILE=234 in a unit, --ulimit nofile=234 of a container, or ulimit -Hn 234 with \
                    CAP_SYS_RESOURCE), or load a server in a process of its own\n";
    assert_eq!(failed.stderr, expected);
}

#[test]
fn ctrl_c_ends_a_run_early_with_the_whole_summary() {
    let (_server, addr) = serve(&[]);
    let run = Process::start(&mut frameloop(&["load", &addr, "-d", "1h", "--warmup", "0"]));
    // Plain lines are written every few seconds: the first says that it is under way.
    run.stderr_line_with("measuring");
    run.signal("INT");
    let done = run.outcome();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("50 of 50 up") && done.stdout.contains("errors       none"), "{}", done.stdout);
    assert!(done.stdout.contains("interrupted") || done.stdout.contains("ended early"), "{}", done.stdout);
}

#[test]
fn frames_due_while_stopped_are_sent_and_charged() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let rest = ["-d", "1s", "--warmup", "0", "-r", "500", "--json"];
    let stopped = Process::start(frameloop(&["load", &addr, "-c", "1"]).args(rest));
    let (mut client, _) = listener.accept().unwrap();
    // Its first frame is there, so its second is running.
    client.peek(&mut [0]).unwrap();
    stopped.signal("STOP");
    // Another run is as long: at its end, that second is over.
    assert_eq!(outcome(frameloop(&["load"]).args(rest)).code, Some(0));
    stopped.signal("CONT");
    std::io::copy(&mut client.try_clone().unwrap(), &mut client).unwrap();
    let result: Value = serde_json::from_str(&stopped.outcome().stdout).unwrap();
    let response = &result["latency"]["response"];
    assert_eq!(response["count"], 500, "{result}");
    assert!(response["p90_ns"].as_u64().unwrap() >= 500_000_000, "{response}");
}

#[test]
fn wrong_reply_is_reported_with_first_wrong_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = listener.accept().unwrap();
        let mut frame = [0; 68];
        client.read_exact(&mut frame).unwrap();
        frame[4 + 10] ^= 0xff;
        client.write_all(&frame).unwrap();
        let _ = client.read(&mut frame);
    });
    let failed = load(&[&addr, "-c", "1"]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(failed.stderr, "error: 1 error: see the summary\n");
    assert!(failed.stdout.contains("connection 0, frame 0: byte 10 of the payload is 0x"), "{}", failed.stdout);
}
