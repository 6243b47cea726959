//! Servers that answer wrong, not at all, or only for a while.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use frameloop::load::{FaultKind, Plan, Stop};

use crate::double::{Double, echo, frame, swallow};
use crate::{outcome, plan};

#[test]
fn a_wrong_byte_is_named_with_its_connection_frame_and_offset() {
    let server = Double::start(|number, client| {
        if number != 3 {
            return echo(client, usize::MAX);
        }
        echo(client, 5);
        if let Some(mut frame) = frame(client) {
            frame[4 + 17] ^= 0x20;
            let _ = client.write_all(&frame);
        }
        swallow(client);
    });
    let outcome = outcome(&plan(server.addr));
    assert_eq!((outcome.errors.wrong, outcome.errors.total()), (1, 1), "{:?}", outcome.errors);
    let fault = outcome.faults[0];
    assert_eq!(fault.frame, 5);
    let FaultKind::Byte { offset: 17, expected, got } = fault.kind else { panic!("{fault}") };
    assert_eq!(expected ^ got, 0x20);
    let text = fault.to_string();
    assert!(text.contains("frame 5: byte 17 of the payload is 0x"), "{text}");
    // The others go on, and do its share.
    assert_eq!(outcome.frames, 1_000);
}

#[test]
fn answers_out_of_order_are_wrong() {
    let server = Double::start(|_, client| {
        while let (Some(first), Some(second)) = (frame(client), frame(client)) {
            let _ = client.write_all(&second).and_then(|()| client.write_all(&first));
        }
    });
    let outcome = outcome(&Plan { connections: 1, depth: 2, ..plan(server.addr) });
    assert_eq!(outcome.errors.wrong, 1);
    assert_eq!((outcome.frames, outcome.faults[0].frame), (0, 0));
}

#[test]
fn a_frame_too_many_is_wrong() {
    let server = Double::start(|_, client| {
        while let Some(frame) = frame(client) {
            let _ = client.write_all(&frame.repeat(2));
        }
    });
    let outcome = outcome(&Plan { connections: 1, ..plan(server.addr) });
    assert_eq!(outcome.errors.wrong, 1, "{:?}", outcome.errors);
}

#[test]
fn a_server_that_never_answers_leaves_every_frame_unanswered() {
    let server = Double::start(|_, client| swallow(client));
    let patience = Duration::from_millis(200);
    let stop = Stop::After(Duration::from_millis(300));
    let outcome = outcome(&Plan { patience, stop, ..plan(server.addr) });
    assert_eq!((outcome.frames, outcome.errors.unanswered), (0, 10));
    assert_eq!(outcome.errors.total(), 10);
    assert_eq!(outcome.service.len(), 10, "each with how long it has waited");
    assert!(outcome.service.min() >= 200_000_000, "{}", outcome.service.min());
}

#[test]
fn a_server_that_dies_ends_the_run_and_is_told_of() {
    // After 50 frames of all clients each connection is closed, and no new one is taken up.
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    let server = Double::start(|_, client| {
        while ANSWERED.fetch_add(1, Ordering::Relaxed) < 50 {
            echo(client, 1);
        }
    });
    let outcome = outcome(&Plan { stop: Stop::After(Duration::from_secs(3_600)), ..plan(server.addr) });
    assert_eq!(outcome.frames, 50);
    assert_eq!(outcome.errors.ended, 10, "{:?}", outcome.errors);
    assert!(outcome.measured < Duration::from_secs(60), "it does not wait for an hour");
    assert_eq!(outcome.ended.values().sum::<u64>(), 10);
}

#[test]
fn a_server_that_turns_half_of_them_away_is_named_as_the_cause() {
    let server = Double::start(|number, client| {
        if number % 2 == 0 {
            echo(client, usize::MAX);
        }
    });
    let outcome = outcome(&plan(server.addr));
    assert_eq!(outcome.connecting.turned_away, 5, "{:?}", outcome.connecting);
    assert_eq!(outcome.frames, 1_000, "the others carry the load");
    let cause = outcome.causes.iter().map(ToString::to_string).collect::<String>();
    assert!(cause.starts_with("5 connections: the server ended them"), "{cause}");
}
