//! The grader with framings other than the default: on the project's own server, and on servers with a mistake.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::check::{alone, check, graded, server, with_outcome};
use crate::serve;

/// Cases that differ by framing, apart from the basic ones.
const FURTHER: &str = "slow-reader,half-close-owed,fin-in-header,fin-in-payload,rst-in-header,rst-in-payload,\
                       length-over-limit,never-reads-memory,flood-beside,stalled-frame,four-gib";

/// Grades the project's own server twice with a framing. Returns what fails and why, and what is skipped.
fn outcomes(framing: &str) -> (Vec<String>, Vec<String>) {
    // Long enough for a busy machine: a case that pauses inside a frame must not meet the deadline.
    let options = ["--framing", framing, "--max-payload", "64KiB", "--frame-timeout", "2s"];
    let (_server, addr) = serve(&[&["-q"], &options[..]].concat());
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for cases in [["--level", "basic"], ["--case", FURTHER]] {
        let done = check(&[&[&addr, "--timeout", "4s", "--json"], &options[..], &cases].concat());
        let result = graded(&done);
        assert_eq!(done.code, Some(i32::from(!with_outcome(&result, "fails").is_empty())), "{framing}: {done:?}");
        let failures = result["cases"].as_array().unwrap().iter().filter(|case| case["outcome"] == "fails");
        failed.extend(failures.map(|case| format!("{}: {}", case["name"], case["failure"])));
        skipped.extend(with_outcome(&result, "skipped").into_iter().map(String::from));
    }
    (failed, skipped)
}

#[test]
fn own_server_holds_what_applies_to_each_framing() {
    let (in_two, inside) = (["header-2-2", "header-3-1"], ["fin-in-header", "rst-in-header"]);
    let no_header = [&["header-1-3"][..], &in_two, &inside].concat();
    let bare = [&["zero-length"][..], &no_header, &["length-over-limit", "four-gib"]].concat();
    let raw =
        [&bare[..], &["whole-then-part", "half-frame", "large-frame", "fin-in-payload", "rst-in-payload"]].concat();
    let rows: [(&str, Vec<&str>); 13] = [
        ("u32be", vec![]),
        ("u8", [&no_header[..], &["length-over-limit", "four-gib"]].concat()),
        ("u16be", [&in_two[..], &["length-over-limit", "four-gib"]].concat()),
        ("u16le", [&in_two[..], &["length-over-limit", "four-gib"]].concat()),
        ("u24be", vec!["header-3-1", "four-gib"]),
        ("u64be", vec![]),
        ("varint", in_two.to_vec()),
        ("u32be,offset=1,adjust=-4,header", vec![]),
        ("lines", [&no_header[..], &["four-gib"]].concat()),
        ("crlf", [&in_two[..], &["four-gib"]].concat()),
        ("delim:0d0a0d0a", vec!["four-gib"]),
        ("exact:64", bare.clone()),
        ("raw", [&raw[..], &["stalled-frame"]].concat()),
    ];
    let _alone = alone();
    // Most of a grade is waiting.
    thread::scope(|scope| {
        for some in rows.chunks(4) {
            scope.spawn(move || {
                for (framing, expected) in some {
                    let (failed, mut skipped) = outcomes(framing);
                    let mut expected = expected.clone();
                    expected.sort_unstable();
                    skipped.sort_unstable();
                    assert_eq!(
                        (failed, skipped),
                        (vec![], expected.into_iter().map(String::from).collect()),
                        "{framing}"
                    );
                }
            });
        }
    });
}

/// Answers what each read returns as if it were one frame with a little-endian length of 2 bytes.
fn read_is_a_frame(mut client: TcpStream) {
    let mut bytes = [0; 64 << 10];
    while let Ok(len @ 2..) = client.read(&mut bytes) {
        let end = (2 + usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))).min(len);
        if client.write_all(&bytes[..end]).is_err() {
            return;
        }
    }
}

/// Answers what each read returns as if it were one line.
fn read_is_a_line(mut client: TcpStream) {
    let mut bytes = [0; 64 << 10];
    while let Ok(len @ 1..) = client.read(&mut bytes) {
        let line = bytes[..len].strip_suffix(b"\n").unwrap_or(&bytes[..len]);
        if client.write_all(&[line, b"\n"].concat()).is_err() {
            return;
        }
    }
}

/// Answers each line, however long it is.
fn endless_lines(client: TcpStream) {
    let mut replies = client.try_clone().unwrap();
    let (mut client, mut line) = (BufReader::new(client), Vec::new());
    while client.read_until(b'\n', &mut line).is_ok_and(|len| len > 0 && line.ends_with(b"\n")) {
        if replies.write_all(&line).is_err() {
            return;
        }
        line.clear();
    }
}

/// Answers each frame with a length of 2 bytes in the other order.
fn swapped(mut client: TcpStream) {
    let mut header = [0; 2];
    while client.read_exact(&mut header).is_ok() {
        let mut payload = vec![0; usize::from(u16::from_le_bytes(header))];
        header.reverse();
        if client.read_exact(&mut payload).is_err() || client.write_all(&[&header, &payload[..]].concat()).is_err() {
            return;
        }
    }
}

#[test]
fn mistakes_are_found_with_other_framings() {
    let parts = &["byte-at-a-time", "every-split", "whole-then-part", "half-frame"][..];
    type Row = (&'static str, fn(TcpStream), &'static str, &'static [&'static str]);
    let rows: [Row; 4] = [
        (
            "u16le",
            read_is_a_frame,
            "one-frame,byte-at-a-time,header-1-3,coalesced",
            &["byte-at-a-time", "header-1-3", "coalesced"],
        ),
        ("lines", read_is_a_line, "one-frame,byte-at-a-time,every-split,whole-then-part,half-frame", parts),
        (
            "lines",
            endless_lines,
            "one-frame,every-split,coalesced,fin-in-payload,length-over-limit",
            &["length-over-limit"],
        ),
        ("u16le", swapped, "one-frame", &["one-frame"]),
    ];
    for (framing, serve, cases, expected) in rows {
        let args = ["--framing", framing, "--max-payload", "64KiB", "--timeout", "500ms", "--case", cases, "--json"];
        let done = check(&[&[&server(serve)[..]], &args[..]].concat());
        let result = graded(&done);
        assert_eq!((done.code, with_outcome(&result, "fails")), (Some(1), expected.to_vec()), "{framing}: {result:#}");
    }
}

#[test]
fn mistake_is_reported_in_the_words_of_the_framing() {
    let done = check(&[&server(swapped), "--framing", "u16le", "--case", "one-frame"]);
    for part in [
        ", framing u16le: 1 case in ",
        "\n  sent      260 bytes in one write: 02 01 ",
        "\n  likely    the answer's length has its highest byte first",
    ] {
        assert!(done.stdout.contains(part), "{part:?} in\n{}", done.stdout);
    }
    let done = check(&[&server(read_is_a_line), "--framing", "lines", "--case", "half-frame", "--timeout", "500ms"]);
    assert!(done.stdout.contains("half a payload gets no reply until the other half and the"), "{}", done.stdout);
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 80), "{}", done.stdout);
}

#[test]
fn result_names_the_framing_unless_it_is_the_default() {
    let (_server, addr) = serve(&["-q", "--framing", "delim:0D0A"]);
    let lines = graded(&check(&[&addr, "--framing", "delim:0D0A", "--case", "one-frame", "--json"]));
    assert_eq!((&lines["framing"], &lines["passed"]), (&"crlf".into(), &1.into()));
    let (_server, addr) = serve(&["-q"]);
    let default = graded(&check(&[&addr, "--framing", "u32be", "--case", "one-frame", "--json"]));
    assert_eq!((default.get("framing"), &default["passed"]), (None, &1.into()));
}

#[test]
fn where_no_case_applies_that_is_no_success() {
    let (_server, addr) = serve(&["-q", "--framing", "raw"]);
    let done = check(&[&addr, "--framing", "raw", "--case", "header-1-3,zero-length"]);
    assert_eq!(done.code, Some(1));
    assert_eq!(done.stderr, "error: nothing was played: see the score card for the reasons\n");
    assert!(done.stdout.contains("a frame of raw has neither a header nor a delimiter"), "{}", done.stdout);
}

#[test]
fn framing_that_cannot_be_graded_is_a_usage_error() {
    for (framing, part) in [
        ("u31be", "\"u31be\" is not a framing"),
        ("exact:513", "payloads have 513 bytes or more: at most 512 can be graded"),
        ("u32be,adjust=70000", "payloads have 70000 bytes or more"),
        ("u8,adjust=-300", "holds the length of no payload"),
    ] {
        // Nothing listens there: it is not asked.
        let done = check(&["127.0.0.1:1", "--max-payload", "512", "--framing", framing]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{framing}");
        assert!(done.stderr.contains(part) && done.stderr.contains("--framing"), "{}", done.stderr);
    }
}
