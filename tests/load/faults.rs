//! Servers that answer wrong, not at all, or only for a while.

use std::io::Write;

use frameloop::load::{FaultKind, Plan};

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
