//! The examples that speak well-known protocols, as the usual programs of these protocols see them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

use support::{Process, example};

/// An example on a port of its own; it drains when its standard input is closed.
fn start(name: &str) -> (Process, String) {
    let (process, addr) = Process::serve_by(Command::new(example(name)).stdin(Stdio::piped()));
    (process, addr.port().to_string())
}

#[track_caller]
fn end(mut process: Process) -> String {
    process.close_stdin();
    let outcome = process.outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    outcome.stdout
}

/// Runs a program with these arguments, separated by spaces, and something on its standard input. `None`: it is not installed.
fn run(program: &str, arguments: &str, input: &str) -> Option<Output> {
    if let Err(error) = Command::new(program).arg("--version").output() {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        println!("skipped: {program} is not installed");
        return None;
    }
    let mut command = Command::new("timeout");
    command.args(["60", program]).args(arguments.split(' ')).env("LC_ALL", "C").env("PGCONNECT_TIMEOUT", "30");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that reads no input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Some(child.wait_with_output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn psql_prints_why_it_is_refused() {
    let (process, port) = start("postgres");
    let address = format!("postgresql:///?host=127.0.0.1&port={port}&user=ada&dbname=shop");
    for (sslmode, message) in [
        ("prefer", "FATAL:  database \"shop\" has moved, and is not served here\n"),
        ("require", "server does not support SSL, but SSL was required\n"),
    ] {
        let Some(output) = run("psql", &format!("{address}&sslmode={sslmode}"), "") else { return };
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).ends_with(message), "{output:?}");
    }
    end(process);
}

#[test]
fn redis_cli_prints_the_replies() {
    let (process, port) = start("kv");
    let commands = "ping\nset greeting \"hello world\"\nget greeting\nincr n\nincr n\nmset a 1 b 2\nmget a b none\n\
        exists a none\ndel a b none\necho hi\nselect 0\nselect 1\ncommand\nget none\nfly\nflushall\nget greeting\nquit\n";
    let Some(output) = run("redis-cli", &format!("-p {port} --no-raw"), commands) else { return };
    let expected = "PONG\nOK\n\"hello world\"\n(integer) 1\n(integer) 2\nOK\n1) \"1\"\n2) \"2\"\n3) (nil)\n\
        (integer) 1\n(integer) 2\n\"hi\"\nOK\n(error) ERR there is one database, 0\n(empty array)\n(nil)\n\
        (error) ERR unknown command 'fly'\nOK\n(nil)\n";
    assert_eq!((text(&output.stdout).as_str(), output.status.success()), (expected, true), "{output:?}");
    // A word of a megabyte, from standard input.
    let value = "v".repeat(1_000_000);
    let output = run("redis-cli", &format!("-p {port} -x set large"), &value).unwrap();
    assert_eq!(text(&output.stdout), "OK\n", "{output:?}");
    let output = run("redis-cli", &format!("-p {port} get large"), "").unwrap();
    assert!(text(&output.stdout).trim_end() == value, "{} bytes came", output.stdout.len());
    end(process);
}

#[test]
fn redis_benchmark_gets_a_reply_to_each_pipelined_command() {
    let (process, port) = start("kv");
    let arguments = format!("-p {port} -t ping,set,get,incr,mset -P 16 -n 20000 --csv");
    let Some(output) = run("redis-benchmark", &arguments, "") else { return };
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    let rows: Vec<_> = stdout.lines().filter_map(|line| line.split(',').next()).collect();
    let names = ["test", "PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"];
    assert_eq!(rows, names.map(|name| format!("\"{name}\"")), "{output:?}");
    let output = run("redis-cli", &format!("-p {port} get counter:__rand_int__"), "").unwrap();
    assert_eq!(text(&output.stdout), "20000\n", "{output:?}");
    end(process);
}

#[test]
fn dig_prints_the_answers() {
    let (process, port) = start("dns");
    let dig = |arguments: &str| run("dig", &format!("+tcp @127.0.0.1 -p {port} {arguments}"), "");
    let Some(output) = dig("example.test A") else { return };
    let stdout = text(&output.stdout);
    assert!(output.status.success() && stdout.contains("example.test.\t\t300\tIN\tA\t192.0.2.1\n"), "{output:?}");
    assert!(!stdout.contains("malformed") && !stdout.contains("Warning"), "{output:?}");
    for (arguments, status) in
        [("other.test A", "NXDOMAIN"), ("example.test AAAA", "NOERROR"), ("example.test A -c CH", "REFUSED")]
    {
        let output = dig(arguments).unwrap();
        assert!(text(&output.stdout).contains(&format!("status: {status}, ")), "{output:?}");
        assert!(!text(&output.stdout).contains("192.0.2.1"), "{output:?}");
    }
    // Two queries on one connection.
    let output = dig("+keepopen +short example.test A EXAMPLE.test A").unwrap();
    assert_eq!(text(&output.stdout), "192.0.2.1\n192.0.2.1\n", "{output:?}");
    end(process);
}

#[test]
fn mosquitto_pub_publishes() {
    let (process, port) = start("mqtt");
    for arguments in ["-t home/kitchen -m 21.5 -q 1", "-t home -m hi -q 0", "-t lines -q 1 -l"] {
        let Some(output) = run("mosquitto_pub", &format!("-h 127.0.0.1 -p {port} {arguments}"), "one\ntwo\n") else {
            return;
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let output = run("mosquitto_pub", &format!("-h 127.0.0.1 -p {port} -t x -m hi -V mqttv5"), "").unwrap();
    assert!(text(&output.stderr).contains("Unsupported Protocol Version"), "{output:?}");
    assert_eq!(end(process), "home/kitchen: 21.5\nhome: hi\nlines: one\nlines: two\n");
}
