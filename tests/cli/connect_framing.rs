//! `frameloop connect --framing`: the same lines, hexadecimal and files, whatever a frame looks like.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc;

use crate::connect::{assert_lost, server_that};
use crate::support::process::{Process, frameloop, outcome_with_input};
use crate::{at_once, serve};

/// Framings in which five bytes that are no delimiter are a frame.
const FRAMINGS: [&str; 11] = [
    "u8",
    "u16le",
    "u64be",
    "u32be,adjust=-4",
    "varint",
    "lines",
    "crlf",
    "delim:2c",
    "delim:0d0a0d0a",
    "exact:5",
    "raw",
];

#[test]
fn lines_are_echoed_with_each_framing() {
    at_once(FRAMINGS, |framing| {
        let (_server, addr) = serve(&["--framing", framing]);
        for (args, lines) in [(&[][..], "hello\nworld\n"), (&["--hex"], "00ff0d2dff\n2d00ff5cff\n")] {
            let mut command = frameloop(&[&["connect", &addr, "--framing", framing], args].concat());
            let done = outcome_with_input(&mut command, lines.as_bytes());
            assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), lines, ""), "{framing}");
        }
    });
}

#[test]
fn file_is_echoed_with_each_framing() {
    let folder = tempfile::tempdir().unwrap();
    let long: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8 | 0x80).collect();
    let max = long.len().to_string();
    let exact = format!("exact:{max}");
    let rows: [(&str, &[u8]); 9] = [
        ("u16le", &long[..65_535]),
        ("varint", &long),
        ("lines", &long),
        ("crlf", &long),
        ("delim:00", b""),
        ("delim:00ff,keep", &[&long[..], b"\0\xff"].concat()),
        (&exact, &long),
        ("raw", &long),
        ("raw", b""),
    ];
    at_once(rows.into_iter().enumerate(), |(row, (framing, bytes))| {
        let (_server, addr) = serve(&["--framing", framing]);
        let path = folder.path().join(row.to_string());
        fs::write(&path, bytes).unwrap();
        let file = path.to_str().unwrap();
        let output = frameloop(&["connect", &addr, "--framing", framing, "--file", file]).output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(0), ""),
            "{framing}"
        );
        assert!(output.stdout == bytes, "{framing}: {} bytes came back of {}", output.stdout.len(), bytes.len());
    });
}

#[test]
fn empty_line_sends_nothing_where_it_is_no_frame() {
    for framing in ["raw", "exact:3", "delim:2c,keep"] {
        let (_server, addr) = serve(&["--framing", framing]);
        let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--framing", framing]), b"\n\non,\n\ntw,\n");
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "on,\ntw,\n", ""), "{framing}");
    }
    let (_server, addr) = serve(&["--framing", "lines"]);
    let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--framing", "lines"]), b"\none\n\n");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "\none\n\n"));
}

#[test]
fn line_that_is_not_one_frame_is_refused_with_its_number() {
    let rows = [
        ("exact:3", "one\nfour\n", "line 2: a payload of 4 bytes is more than one frame (--framing exact:3)"),
        ("exact:3", "one\nno\n", "line 2: a payload of 2 bytes is not a whole frame (--framing exact:3)"),
        ("delim:2c", "one\na,b\n", "line 2: a payload of 3 bytes is more than one frame (--framing delim:2c)"),
        ("u8,adjust=2", "one\n1\n", "line 2: a payload of 1 bytes does not fit the length field of u8,adjust=2"),
    ];
    for (framing, input, complaint) in rows {
        let (_server, addr) = serve(&["--framing", framing]);
        let refused = outcome_with_input(&mut frameloop(&["connect", &addr, "--framing", framing]), input.as_bytes());
        assert_lost(&refused, complaint);
        assert_eq!(refused.stdout, "one\n");
    }
}

#[test]
fn file_that_is_not_one_frame_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    let file = path.to_str().unwrap();
    fs::write(&path, [&[b'x'; 300_000], &b"\nlast"[..]].concat()).unwrap();
    for (framing, complaint) in [
        ("lines", "a payload of 300005 bytes is more than one frame (--framing lines)"),
        ("exact:400000", "a payload of 300005 bytes is not a whole frame (--framing exact:400000)"),
        ("u16be", "a payload of 300005 bytes does not fit the length field of u16be"),
    ] {
        // Before it is connected.
        let refused = frameloop(&["connect", "127.0.0.1:1", "--framing", framing, "--file", file]).output().unwrap();
        let shown = format!("error: cannot send {file}: {complaint}\n");
        assert_eq!((refused.status.code(), String::from_utf8(refused.stderr).unwrap()), (Some(1), shown));
    }
}

#[test]
fn raw_bytes_after_the_reply_are_shown_as_well() {
    let (go, gone) = mpsc::channel();
    let addr = server_that(move |mut stream| {
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.write_all(b"one").unwrap();
        gone.recv().unwrap();
        stream.write_all(b"two").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut connect = Process::start(frameloop(&["connect", &addr, "--framing", "raw"]).stdin(Stdio::piped()));
    connect.stdin().write_all(b"hi\n").unwrap();
    assert_eq!(connect.stdout_line(), "one");
    go.send(()).unwrap();
    assert_eq!(connect.stdout_line(), "two");
    connect.close_stdin();
    let done = connect.outcome();
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn raw_file_waits_for_the_server_to_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "request").unwrap();
    let (go, gone) = mpsc::channel();
    let addr = server_that(move |mut stream| {
        let mut request = String::new();
        stream.read_to_string(&mut request).unwrap();
        assert_eq!(request, "request");
        stream.write_all(b"reply").unwrap();
        // It stays open until the client has gone.
        gone.recv().unwrap();
    });
    let args = ["connect", &addr, "--framing", "raw", "--timeout", "1s", "--file", path.to_str().unwrap()];
    let done = outcome_with_input(&mut frameloop(&args), b"");
    assert_lost(&done, "no reply within 1s");
    assert_eq!(done.stdout, "reply");
    go.send(()).unwrap();
}

#[test]
fn reply_that_the_framing_refuses_is_an_error() {
    for (framing, reply, complaint) in [
        (
            "u64be",
            &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
            "the reply is too long: frame of 6004222087167619117 bytes exceeds the limit of 1073741824",
        ),
        (
            "u32be,adjust=-4",
            b"\0\0\0\x03",
            "the reply is invalid: length field of 3 is invalid: with an adjustment of -4 it is at least 4",
        ),
        ("lines", b"half a line", "the connection was lost: the server closed it 11 bytes into a reply"),
        ("exact:2", b"h", "the connection was lost: the server closed it 1 bytes into a reply with a payload of 2"),
    ] {
        let mut request = Vec::new();
        framing.parse::<frameloop::wire::Framing>().unwrap().encode(b"hi", &mut request).unwrap();
        let addr = server_that(move |mut stream| {
            stream.read_exact(&mut request).unwrap();
            stream.write_all(reply).unwrap();
        });
        let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--framing", framing]), b"hi\n");
        assert_lost(&done, complaint);
    }
}

#[test]
fn framing_comes_from_the_environment() {
    let (_server, addr) = serve(&["--framing", "crlf"]);
    let mut command = frameloop(&["connect", &addr]);
    let done = outcome_with_input(command.env("FRAMELOOP_FRAMING", "crlf"), b"hello\n");
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "hello\n"), "{done:?}");
}
