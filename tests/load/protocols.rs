//! Other protocols than echo of length-prefixed frames: framings, given payloads, several responses or none, and checks.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use frameloop::load::{Check, FaultKind, Payload, Plan, Stop, Template};
use frameloop::wire::Framing;
use regex::bytes::Regex;

use crate::double::{Double, swallow};
use crate::support::{PATIENCE, holds_within};
use crate::{outcome, plan};

fn given(texts: &[&str]) -> Payload {
    let list = texts.iter().map(|text| Template::parse(text.as_bytes()).unwrap()).collect();
    Payload::Templates { list, shuffle: None }
}

fn framing(text: &str) -> Framing {
    text.parse().unwrap()
}

/// Calls `reply` with each line, and sends back what it returns.
fn lines(reply: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Double {
    Double::start(move |number, client| {
        let reader = BufReader::new(client.try_clone().unwrap());
        for line in reader.lines() {
            let Ok(line) = line else { return };
            if client.write_all(reply(number, &line).as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn random_requests_of_every_framing_are_echoed() {
    let specs = [
        "u8",
        "u16be",
        "u16le",
        "u24be",
        "u24le",
        "u32le",
        "u64be",
        "u64le",
        "varint",
        "u16be,adjust=-2",
        "u32be,offset=1,adjust=-4",
        "varint,offset=1",
        "u32be,header",
        "u16le,offset=3,header",
        "lines",
        "crlf",
        "delim:00",
        "delim:7e7e",
        "delim:2122,keep",
        "raw",
        "exact:200",
    ];
    for (number, spec) in specs.into_iter().enumerate() {
        let framing = framing(spec);
        let any = Plan { connections: 3, stop: Stop::Frames(200), warmup: Duration::ZERO, framing, ..Plan::default() };
        let payload_len = if spec == "exact:200" || spec == "raw" { 200..=200 } else { 5..=200 };
        let any = Plan { payload_len, depth: if spec == "raw" { 1 } else { 4 }, ..any };
        let others = [
            Plan { depth: 1, rate: Some(5_000.0), ..any.clone() },
            Plan { depth: 1, churn: true, ..any.clone() },
            Plan { idle: 1, drip: 1, deaf: 1, check: Check::Len, ..any.clone() },
        ];
        for plan in [&any, &others[number % others.len()]] {
            let outcome = outcome(plan);
            let seen = (outcome.frames, outcome.errors.total());
            assert_eq!(seen, (200, 0), "{spec}: {:?} {:?}", outcome.errors, outcome.faults);
        }
    }
}

#[test]
fn given_payloads_are_sent_in_order_with_their_placeholders() {
    let seen = Arc::new(Mutex::new(vec![Vec::new(); 2]));
    let heard = Arc::clone(&seen);
    let server = lines(move |number, line| {
        heard.lock().unwrap()[number].push(line.to_owned());
        format!("{line}\n")
    });
    let texts = ["first {conn} {seq}", "{now_ns}", "third {rand:6} {{seq} {\"a\":1}"];
    let plan = Plan {
        connections: 2,
        stop: Stop::Frames(60),
        framing: Framing::lines(),
        payload: given(&texts),
        ..plan(server.addr)
    };
    let outcome = outcome(&plan);
    assert_eq!((outcome.frames, outcome.errors.total()), (60, 0), "{:?}", outcome.faults);
    let mut random = BTreeSet::new();
    let (mut numbers, mut before) = (BTreeSet::new(), 0);
    for lines in seen.lock().unwrap().iter() {
        for (at, line) in lines.iter().enumerate() {
            match at % 3 {
                0 => {
                    let (conn, seq) = line.strip_prefix("first ").unwrap().split_once(' ').unwrap();
                    numbers.insert(conn.to_owned());
                    assert_eq!(seq, format!("{at:010}"));
                }
                1 => {
                    let now: u64 = line.parse().unwrap();
                    let elapsed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 - now;
                    assert!(elapsed < 600_000_000_000, "{line} is {elapsed} ns ago");
                    before = before.max(now);
                }
                _ => {
                    let rest = line.strip_prefix("third ").unwrap();
                    assert_eq!(&rest[6..], " {seq} {\"a\":1}");
                    random.insert(rest[..6].to_owned());
                }
            }
        }
    }
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), ["00000000", "00000001"]);
    assert!(random.len() >= 19 && before > 0, "{random:?}");
}

#[test]
fn shuffled_payloads_are_all_sent_as_often() {
    let counts = Arc::new(Mutex::new(std::collections::BTreeMap::<String, u32>::new()));
    let heard = Arc::clone(&counts);
    let server = lines(move |_, line| {
        *heard.lock().unwrap().entry(line.to_owned()).or_default() += 1;
        format!("{line}\n")
    });
    let texts: Vec<String> = (0..10).map(|number| format!("line {number}")).collect();
    let list = texts.iter().map(|text| Template::literal(text.as_bytes())).collect();
    let payload = Payload::Templates { list, shuffle: Some(7) };
    let plan = Plan { connections: 1, stop: Stop::Frames(50), framing: Framing::lines(), payload, ..plan(server.addr) };
    assert_eq!(outcome(&plan).errors.total(), 0);
    assert!(counts.lock().unwrap().values().all(|count| *count == 5), "{counts:?}");
    assert_eq!(counts.lock().unwrap().len(), 10);
}

#[test]
fn request_is_answered_when_all_its_responses_have_come() {
    let server = lines(|_, line| format!("A {line}\nB {line}\nEND\n"));
    let check = Check::Regex(Regex::new("^([AB] get [0-9]{10}|END)$").unwrap());
    for (depth, rate) in [(1, None), (5, None), (1, Some(2_000.0))] {
        let plan = Plan {
            depth,
            rate,
            framing: Framing::lines(),
            payload: given(&["get {seq}"]),
            replies: 3,
            check: check.clone(),
            ..plan(server.addr)
        };
        let outcome = outcome(&plan);
        assert_eq!((outcome.frames, outcome.errors.total()), (1_000, 0), "{:?} {:?}", outcome.errors, outcome.faults);
    }
    // One is missing: the request is never answered.
    let plan = Plan {
        connections: 1,
        framing: Framing::lines(),
        payload: given(&["x"]),
        replies: 4,
        check: Check::Any,
        stop: Stop::After(Duration::from_millis(300)),
        grace: Duration::from_millis(100),
        ..plan(server.addr)
    };
    let outcome = outcome(&plan);
    assert_eq!((outcome.frames, outcome.errors.unanswered), (0, 1), "{:?}", outcome.errors);
}

#[test]
fn frames_that_are_only_sent_are_counted_and_all_arrive() {
    for rate in [None, Some(20_000.0)] {
        let bytes = Arc::new(AtomicU64::new(0));
        let (heard, ends) = (Arc::clone(&bytes), Arc::new(AtomicU64::new(0)));
        let ended = Arc::clone(&ends);
        let server = Double::start(move |_, client| {
            let mut buffer = [0; 65_536];
            while let Ok(len @ 1..) = client.read(&mut buffer) {
                heard.fetch_add(len as u64, Ordering::SeqCst);
            }
            ended.fetch_add(1, Ordering::SeqCst);
        });
        let plan = Plan {
            connections: 4,
            rate,
            stop: Stop::Frames(20_000),
            framing: framing("u16le"),
            replies: 0,
            check: Check::Any,
            ..plan(server.addr)
        };
        let outcome = outcome(&plan);
        assert_eq!((outcome.frames, outcome.errors.total()), (20_000, 0), "{:?}", outcome.errors);
        assert_eq!((outcome.bytes, outcome.service.len()), (20_000 * 66, 0));
        assert_eq!(outcome.response.map(|response| response.len()), rate.map(|_| 20_000));
        assert!(holds_within(PATIENCE, || ends.load(Ordering::SeqCst) == 4));
        assert_eq!(bytes.load(Ordering::SeqCst), 20_000 * 66);
    }
}

#[test]
fn hello_is_answered_before_the_load_begins() {
    let early = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&early);
    let server = Double::start(move |_, client| {
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut greetings = Vec::new();
        for _ in 0..2 {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            greetings.push(line);
        }
        seen.fetch_add(
            u64::from(greetings != ["user a\n", "pass b\n"] || !reader.buffer().is_empty()),
            Ordering::SeqCst,
        );
        let _ = client.write_all(b"ok\nwelcome\n");
        for line in reader.lines().map_while(Result::ok) {
            if client.write_all(format!("{line}\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    let hello = vec![b"user a".to_vec(), b"pass b".to_vec()];
    for churn in [false, true] {
        let plan = Plan { framing: Framing::lines(), hello: hello.clone(), churn, ..plan(server.addr) };
        let outcome = outcome(&plan);
        assert_eq!(
            (outcome.frames, outcome.errors.total()),
            (1_000, 0),
            "{:?} {:?}",
            outcome.errors,
            outcome.connecting
        );
    }
    assert_eq!(early.load(Ordering::SeqCst), 0);
}

#[test]
fn long_hello_is_sent_whole() {
    let server = lines(|_, line| format!("{}\n", line.len()));
    let hello = vec![vec![b'a'; 100_000]; 3];
    let check = Check::Equals(b"64".to_vec());
    let outcome = outcome(&Plan { framing: Framing::lines(), hello, check, ..plan(server.addr) });
    assert_eq!((outcome.frames, outcome.errors.total()), (1_000, 0), "{:?} {:?}", outcome.errors, outcome.connecting);
}

#[test]
fn connection_without_an_answer_to_hello_is_not_established() {
    // One closes, one says nothing.
    let closing = Double::start(|_, client| drop(client.read(&mut [0; 64])));
    let silent = Double::start(|_, client| swallow(client));
    for server in [closing, silent] {
        let plan = Plan {
            connections: 3,
            framing: Framing::lines(),
            hello: vec![b"hi".to_vec()],
            connect_timeout: Duration::from_millis(300),
            ..plan(server.addr)
        };
        let outcome = outcome(&plan);
        assert_eq!((outcome.frames, outcome.connecting.up), (0, 0));
        let failed: Vec<_> = outcome.connecting.failed.into_iter().collect();
        assert_eq!(failed, [("closed before the response to --hello".to_owned(), 3)]);
    }
}

#[test]
fn wrong_responses_are_counted_by_kind_and_the_load_goes_on() {
    let server = lines(|_, line| match line.strip_prefix("n ").and_then(|number| number.parse::<u32>().ok()) {
        Some(number) if number % 2 == 1 => format!("bad \x01{}\n", "x".repeat(60)),
        _ => "good\n".to_owned(),
    });
    for (check, kind) in [
        (Check::Prefix(b"go".to_vec()), FaultKind::Prefix),
        (Check::Regex(Regex::new("^good$").unwrap()), FaultKind::Pattern),
        (Check::Equals(b"good".to_vec()), FaultKind::Length { expected: 4, got: 65 }),
        (Check::Equals(b"goOd".to_vec()), FaultKind::Byte { offset: 2, expected: b'O', got: b'o' }),
    ] {
        let plan = Plan {
            connections: 1,
            framing: Framing::lines(),
            payload: given(&["n {seq}"]),
            check,
            ..plan(server.addr)
        };
        let outcome = outcome(&plan);
        let all = matches!(kind, FaultKind::Byte { .. });
        assert_eq!(outcome.frames, if all { 0 } else { 500 });
        let wrong: u64 = outcome.wrong.values().sum();
        assert_eq!((outcome.errors.wrong, wrong), if all { (1_000, 1_000) } else { (500, 500) });
        assert_eq!(outcome.faults.len(), 3);
        assert_eq!((outcome.faults[0].kind, outcome.wrong[kind.name()]), (kind, 500));
        let excerpt = outcome.faults[1].excerpt.to_string();
        assert_eq!(excerpt, format!("\"bad \\x01{}\"...", "x".repeat(43)));
    }
    // Anything is right, except what answers nothing.
    let plan = Plan { framing: Framing::lines(), check: Check::Any, ..plan(server.addr) };
    assert_eq!(outcome(&plan).errors.total(), 0);
}

#[test]
fn response_without_a_request_is_counted_and_spares_the_connection() {
    let server = Double::start(|_, client: &mut TcpStream| {
        let reader = BufReader::new(client.try_clone().unwrap());
        for (number, _) in reader.lines().map_while(Result::ok).enumerate() {
            let extra = if number == 10 { "push\n" } else { "" };
            if client.write_all(format!("ok\n{extra}").as_bytes()).is_err() {
                return;
            }
        }
    });
    let check = Check::Equals(b"ok".to_vec());
    let plan = Plan { connections: 1, stop: Stop::Frames(100), framing: Framing::lines(), check, ..plan(server.addr) };
    let outcome = outcome(&plan);
    // It came alone, or before the response to the next request.
    let kinds: Vec<&str> = outcome.wrong.keys().map(String::as_str).collect();
    assert!(kinds == ["unasked"] || kinds == ["byte"] || kinds == ["length"], "{:?}", outcome.wrong);
    assert_eq!(outcome.errors.ended, 0);
}
