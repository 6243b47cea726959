//! A stdout or stderr that takes nothing, takes it late or has no reader; and signals to commands that serve nothing.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, pipe};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::at_once;
use crate::serve;
use crate::support::process::{PATIENCE, Process, frameloop, full_pipe, outcome, set_nonblocking};

/// Arguments whose result is on stdout, each with the exit code of a success.
const PRINTING: [&[&str]; 9] = [
    &["--help"],
    &["serve", "--help"],
    &["--version"],
    &["completions", "bash"],
    &["man"],
    &["man", "load"],
    &["check", "--list"],
    &["load", "-n", "10", "-c", "1", "--warmup", "0"],
    &["load", "-n", "10", "-c", "1", "--warmup", "0", "--json"],
];

#[track_caller]
fn assert_not_written(command: &mut Command, args: &[&str]) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    assert!(stderr.starts_with("error: cannot write to stdout: ") && stderr.lines().count() == 1, "{args:?}: {stderr}");
}

#[test]
fn full_or_closed_stdout_fails_every_printing_command() {
    for args in PRINTING {
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_not_written(frameloop(args).stdout(full), args);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_frameloop")]).args(args).env_clear();
        assert_not_written(&mut shell, args);
    }
}

#[test]
fn stdout_without_a_reader_or_discarded_is_silent_and_a_success() {
    for args in PRINTING {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        // As some programs open it for their children, and as Rust's runtime does for a stream that is closed.
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        for stdout in [Stdio::from(writer), Stdio::from(null)] {
            let output = frameloop(args).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
            assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{args:?}");
        }
    }
}

/// A server that answers nothing and hangs up.
fn bad_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    addr
}

#[test]
fn verdict_stands_whatever_becomes_of_stdout() {
    let addr = bad_server();
    let short = ["-n", "10", "-c", "1", "--warmup", "0"];
    let load: &[&str] = &[&["load"][..], &short, &["--expect", "p99<1ns"]].concat();
    let failing: [(&[&str], i32); 5] = [
        (&["check", &addr, "--case", "one-frame"], 1),
        (&["check", &addr, "--case", "one-frame", "--json"], 1),
        (load, 99),
        (&[load, &["--json"]].concat(), 99),
        (&["load", &addr, "-d", "100ms", "-c", "1", "--warmup", "0", "--connect-timeout", "1s"], 1),
    ];
    at_once(failing, |(args, code)| {
        let whole = outcome(&mut frameloop(args));
        assert_eq!(whole.code, Some(code), "{args:?}: {whole:?}");
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let unread = frameloop(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(unread.status.code(), Some(code), "{args:?}");
        assert!(!String::from_utf8_lossy(&unread.stderr).contains("stdout"), "{args:?}: {unread:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let full = frameloop(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(full.status.code(), Some(code), "{args:?}");
        assert!(String::from_utf8_lossy(&full.stderr).contains("error: cannot write to stdout"), "{args:?}: {full:?}");
    });
}

#[test]
fn nonblocking_stdout_gets_everything() {
    for args in [&["completions", "bash"][..], &["man", "load"], &["serve", "--help"]] {
        let expected = outcome(&mut frameloop(args)).stdout;
        let (mut reader, writer) = full_pipe();
        set_nonblocking(&writer, true);
        let mut command = frameloop(args);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        // The command has the only end for writing.
        drop(command);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()), "{args:?}");
        assert_eq!(text.trim_start_matches('\n'), expected.trim_start_matches('\n'), "{args:?}");
    }
}

#[test]
fn load_whose_log_is_not_read_measures_and_prints_its_result() {
    let (_reader, writer) = full_pipe();
    let args = ["load", "-vv", "-n", "5000", "--warmup", "0", "--json"];
    let load = Process::spawn(frameloop(&args).stdout(Stdio::piped()).stderr(writer)).unwrap().outcome();
    assert_eq!(load.code, Some(0), "{load:?}");
    let result: serde_json::Value = serde_json::from_str(&load.stdout).unwrap();
    assert_eq!(result["frames"], 5_000, "{load:?}");
}

#[test]
fn load_whose_result_is_not_read_is_ended_by_one_signal() {
    let (server, addr) = serve(&["-v"]);
    let (_reader, writer) = full_pipe();
    let args = ["load", &addr, "-n", "10", "-c", "1", "--warmup", "0"];
    let mut load = Process::spawn(frameloop(&args).stdout(writer).stderr(Stdio::null())).unwrap();
    // Its connection is closed, so the run is over.
    server.stderr_line_with("closed: ");
    let begun = Instant::now();
    while load.is_running() {
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        // One that comes before the result is written is for the run, which is over as well.
        load.signal("TERM");
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(load.status().signal(), Some(15));
}

#[test]
fn load_with_unread_stdout_loses_nothing_of_its_log() {
    let (mut reader, writer) = full_pipe();
    // Far longer than the test takes: a signal ends it.
    let args = ["load", "-c", "1", "-r", "100", "-d", "1h", "--warmup", "0", "--hlog", "-"];
    let mut command = frameloop(&args);
    let load = Process::start_onto(writer, &mut command);
    // The load has the only end for writing.
    drop(command);
    // The first line of progress: seconds of the log wait by now.
    load.stderr_line_with("measuring");
    load.signal("INT");
    // The summary is there before the log is read: the run is over.
    load.stderr_line_with("frames");
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert_eq!(load.outcome().code, Some(0));
    let seconds = log.lines().filter(|line| line.starts_with("Tag=response@")).count();
    assert!(seconds >= 4, "{log}");
}

/// A server that accepts and says nothing; the command is under way when its connection is there.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    (listener, addr)
}

/// The commands that end by signals, under way against a silent server.
fn waiting(addr: &str) -> [Vec<String>; 3] {
    let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
    [
        args(&["check", addr, "--timeout", "30s"]),
        args(&["connect", addr, "--timeout", "0"]),
        args(&["connect", addr, "--timeout", "0", "--file", "/dev/null"]),
    ]
}

#[test]
fn check_and_connect_end_by_the_signal() {
    let (listener, addr) = silent_server();
    for args in waiting(&addr) {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_frameloop"));
            command.args(&args).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = Process::spawn(&mut command).unwrap();
            let _accepted = listener.accept().unwrap();
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            assert_eq!(child.status().signal(), Some(signal as i32), "{args:?}");
        }
    }
}

/// What `unshare` has started.
fn first_child(pid: u32) -> Pid {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(children.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn as_process_1_every_command_ends_by_signals() {
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    let can = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: a process namespace of its own is not permitted here");
        return;
    }
    let mut server = Command::new("unshare");
    server.args(unshare).args([env!("CARGO_BIN_EXE_frameloop"), "serve", "--listen", "127.0.0.1:0"]).env_clear();
    let server = Process::start(&mut server);
    server.listening_on();
    kill(first_child(server.id()), Signal::SIGTERM).unwrap();
    assert_eq!(server.outcome().code, Some(0));

    let (listener, addr) = silent_server();
    let load = ["load", &addr, "-c", "1", "-d", "1h"].map(str::to_owned).to_vec();
    for args in waiting(&addr).into_iter().chain([load]) {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut command = Command::new("unshare");
            command.args(unshare).arg(env!("CARGO_BIN_EXE_frameloop")).args(&args).env_clear();
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = Process::spawn(&mut command).unwrap();
            let _accepted = listener.accept().unwrap();
            kill(first_child(child.id()), signal).unwrap();
            let code = child.status().code();
            // A load reports what it saw: a frame without an answer.
            let expected = if args[0] == "load" { [Some(0), Some(1)] } else { [Some(128 + signal as i32); 2] };
            assert!(expected.contains(&code), "{args:?}: {code:?} by {signal}");
        }
    }
}
