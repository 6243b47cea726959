//! `frameloop connect` without a terminal: lines, hexadecimal, files, and how it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::{env, fs, thread};

use crate::process::{Outcome, Process, frameloop, outcome, outcome_with_input};

/// Runs `connect` with `args` against an echo server of its own.
fn echoed(args: &[&str], input: &[u8]) -> Outcome {
    let (_server, addr) = Process::serve(&[]);
    outcome_with_input(&mut frameloop(&[&["connect", &addr], args].concat()), input)
}

#[track_caller]
fn assert_echoed(args: &[&str], input: &[u8], stdout: &str) {
    let echoed = echoed(args, input);
    assert_eq!((echoed.code, echoed.stdout.as_str(), echoed.stderr.as_str()), (Some(0), stdout, ""));
}

/// The address of a server that does with its only connection what it is told.
fn server_that(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || act(listener.accept().unwrap().0));
    addr
}

#[track_caller]
fn assert_lost(lost: &Outcome, stderr: &str) {
    assert_eq!((lost.code, lost.stderr.as_str()), (Some(1), format!("error: {stderr}\n").as_str()));
}

#[test]
fn a_line_is_a_frame_and_a_reply_is_a_line() {
    assert_echoed(&[], b"hello\n\ngr\xc3\xbc\xc3\x9fe\tto you\nlast", "hello\n\ngrüße\tto you\nlast\n");
    assert_echoed(&[], b"", "");
}

#[test]
fn what_is_not_printable_is_escaped() {
    assert_echoed(&[], b"a\\b\nbell\x07\\\ncr\r\n\xff\n", "a\\b\nbell\\x07\\\\\ncr\\r\n\\xff\n");
}

#[test]
fn quit_and_exit_leave_before_the_rest_of_the_input() {
    assert_echoed(&[], b"one\nquit\ntwo\n", "one\n");
    assert_echoed(&["--hex"], b"6f6e65\nexit\n74776f\n", "6f6e65\n");
    assert_echoed(&[], b"quitter\n", "quitter\n");
}

#[test]
fn hexadecimal_is_read_and_printed() {
    assert_echoed(&["--hex"], b"00 FF\n\n71756974\n", "00ff\n\n71756974\n");
    let refused = echoed(&["--hex"], b"00\nxyz\n01\n");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), "00\n"));
    assert_eq!(refused.stderr, "error: line 2: expected two hexadecimal digits a byte, and found xyz\n");
}

#[test]
fn a_file_is_one_frame_and_its_reply_is_raw() {
    let path = env::temp_dir().join(format!("frameloop-cli-{}-file", std::process::id()));
    let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    fs::write(&path, &bytes).unwrap();
    let (_server, addr) = Process::serve(&[]);
    let output = frameloop(&["connect", &addr, "--file", path.to_str().unwrap()]).output().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    assert!(output.stdout == bytes, "{} bytes came back of {}", output.stdout.len(), bytes.len());
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_in_one_line() {
    let missing = outcome(&mut frameloop(&["connect", "127.0.0.1:1", "--file", "/nonexistent"]));
    assert_lost(&missing, "cannot send /nonexistent: No such file or directory (os error 2)");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_too_long_for_a_frame_is_not_read() {
    let path = env::temp_dir().join(format!("frameloop-cli-{}-long", std::process::id()));
    fs::File::create(&path).unwrap().set_len(1 << 32).unwrap();
    let refused = outcome(&mut frameloop(&["connect", "127.0.0.1:1", "--file", path.to_str().unwrap()]));
    fs::remove_file(&path).unwrap();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("4294967296 bytes") && refused.stderr.contains("4294967295"), "{refused:?}");
}

#[test]
fn a_frame_over_the_servers_limit_loses_the_connection() {
    let (_server, addr) = Process::serve(&["--max-frame", "8"]);
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"short\nmuch too long\nshort\n");
    assert_eq!((lost.code, lost.stdout.as_str()), (Some(1), "short\n"));
    assert!(lost.stderr.starts_with("error: the connection was lost: "), "{lost:?}");
}

#[test]
fn a_server_that_closes_is_a_lost_connection() {
    let addr = server_that(|mut stream| {
        let mut frame = [0; 6];
        stream.read_exact(&mut frame).unwrap();
    });
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_lost(&lost, "the connection was lost: the server closed it");
}

#[test]
fn a_server_that_closes_inside_a_reply_is_a_lost_connection() {
    let addr = server_that(|mut stream| {
        let mut frame = [0; 6];
        stream.read_exact(&mut frame).unwrap();
        stream.write_all(b"\0\0\0\x02h").unwrap();
    });
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_lost(&lost, "the connection was lost: the server closed it 5 bytes into a reply of 6");
    assert_eq!(lost.stdout, "");
}

#[test]
fn a_reply_that_announces_too_much_is_refused() {
    let addr = server_that(|mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let refused = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("at most 1073741824 are allowed; it looks like SSH"), "{refused:?}");
}

#[test]
fn a_reply_that_does_not_come_is_a_failure_after_the_timeout() {
    let addr = server_that(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let timeout = outcome_with_input(&mut frameloop(&["connect", &addr, "--timeout", "50ms"]), b"hi\n");
    assert_lost(&timeout, "no reply within 50ms");

    let addr = server_that(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut command = frameloop(&["connect", &addr]);
    let timeout = outcome_with_input(command.env("FRAMELOOP_TIMEOUT", "20ms"), b"hi\n");
    assert_lost(&timeout, "no reply within 20ms");
}

#[test]
fn nobody_at_the_address_is_a_failure_in_one_line() {
    let refused = outcome(&mut frameloop(&["connect", "127.0.0.1:1"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.starts_with("error: cannot connect to 127.0.0.1:1: "), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");

    let missing = outcome(&mut frameloop(&["connect", "unix:/nonexistent.sock"]));
    assert_lost(&missing, "cannot connect to unix:/nonexistent.sock: No such file or directory (os error 2)");

    // RFC 6761: no name below .invalid resolves.
    let unknown = outcome(&mut frameloop(&["connect", "nowhere.invalid:7007"]));
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.starts_with("error: cannot resolve nowhere.invalid:7007: "), "{unknown:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (_server, addr) = Process::serve(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut process = Process::start_onto(writer, frameloop(&["connect", &addr]).stdin(Stdio::piped()));
    process.stdin().write_all(b"hello\n").unwrap();
    let ended = process.outcome();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}
