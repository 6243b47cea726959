//! Our own end: close, cut, and the bounded while in which input is thrown away.

use std::io::ErrorKind;

use crate::config::Config;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{frame_of, stream};

fn lingering() -> Driver {
    let mut driver = Driver::echo();
    driver.receive(&stream(&[3]));
    driver.close();
    assert_eq!(driver.phase(), Phase::Lingering);
    driver
}

#[test]
fn graceful_close_flushes_sends_fin_and_awaits_peer_fin() {
    for room in 0..7 {
        let mut driver = Driver::echo();
        driver.socket.room = room;
        driver.receive(&stream(&[3]));
        driver.close();
        assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Flushing, false));
        driver.take(7 - room);
        assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Lingering, true));
        driver.arrive(Arrival::Eof);
        driver.ended(CloseReason::ClosedByHandler);
    }
}

#[test]
fn closing_with_nothing_pending_sends_fin_immediately() {
    let mut driver = Driver::echo();
    driver.close();
    assert!(driver.socket.is_shut_down);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn lingering_discards_input_and_costs_no_memory() {
    let mut driver = lingering();
    for _ in 0..50 {
        driver.receive(&stream(&[10_000, 5]));
        driver.at_rest();
    }
    driver.receive(&[0xff; 100]);
    assert_eq!((driver.sink.frames, driver.conn.closed()), (1, None));
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn lingering_ends_at_fin_or_rst_and_keeps_its_reason() {
    for end in [Arrival::Eof, Arrival::Reset, Arrival::Fail(ErrorKind::TimedOut)] {
        let mut driver = lingering();
        driver.socket.arrivals.extend([Arrival::Bytes(vec![1; 200_000]), end]);
        while driver.socket.arrive() {}
        driver.react();
        driver.ended(CloseReason::ClosedByHandler);
    }
}

#[test]
fn lingering_keeps_to_the_read_budget() {
    let mut driver = lingering();
    driver.socket.arrivals.push_back(Arrival::Bytes(vec![1; 1 << 20]));
    driver.socket.arrive();
    driver.note(true, true);
    let (turns, before) = (driver.turns, driver.socket.read_bytes);
    while driver.conn.wants_turn() {
        let read = driver.socket.read_bytes;
        driver.turn();
        assert!(driver.socket.read_bytes - read < 140_000);
    }
    assert_eq!(driver.socket.read_bytes - before, 1 << 20);
    assert!(driver.turns - turns >= 8);
}

#[test]
fn a_deadline_cuts_lingering_and_leaves_its_reason() {
    let mut driver = lingering();
    driver.conn.abort(CloseReason::Cut);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn an_abort_while_lingering_is_an_abort() {
    let mut driver = lingering();
    driver.conn.abort(CloseReason::AbortedByHandler);
    driver.ended(CloseReason::AbortedByHandler);
}

#[test]
fn a_fin_that_cannot_be_sent_closes_at_once() {
    let mut driver = Driver::echo();
    driver.socket.shutdown_error = Some(ErrorKind::NotConnected);
    driver.close();
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn peer_fin_before_close_ends_lingering_at_once() {
    let mut driver = Driver::echo();
    driver.socket.room = 0;
    driver.receive(&stream(&[3]));
    driver.close();
    driver.arrive(Arrival::Eof);
    assert_eq!(driver.phase(), Phase::Flushing);
    driver.take(7);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn cut_loses_pending_output_and_releases_the_memory() {
    let mut driver = Driver::echo();
    driver.socket.room = 3;
    driver.receive(&[stream(&[3, 1_000]), vec![0; 2]].concat());
    driver.conn.abort(CloseReason::WriteTimeout);
    assert_eq!(driver.conn.closed(), Some(CloseReason::WriteTimeout));
    assert!(!driver.conn.wants_turn() && driver.conn.state().is_ending());
    driver.conn.release(&mut driver.shared);
    driver.at_rest();
    driver.conn.abort(CloseReason::Cut);
    assert_eq!(driver.conn.closed(), Some(CloseReason::WriteTimeout));
}

#[test]
fn a_second_wish_does_not_change_the_first() {
    let mut driver = Driver::echo();
    driver.socket.room = 0;
    driver.receive(&stream(&[3]));
    driver.close();
    driver.conn.close(CloseReason::Drained);
    driver.drain_now();
    assert_eq!(driver.phase(), Phase::Flushing);
    driver.take(100);
    driver.conn.close(CloseReason::Drained);
    driver.drain_now();
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
    driver.conn.close(CloseReason::Drained);
    driver.conn.drain();
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn handler_gets_no_frame_after_close_or_panic() {
    let bytes = stream(&[3, 4, 5, 6]);
    let ends = [(Act::Close, CloseReason::ClosedByHandler), (Act::Panic, CloseReason::HandlerPanicked)];
    for ((act, reason), style) in
        ends.into_iter().flat_map(|end| [Style::Echo, Style::Copy, Style::Mixed].map(|style| (end, style)))
    {
        for (step, at) in [(bytes.len(), 1), (bytes.len(), 2), (bytes.len(), 4), (1, 1), (1, 3)] {
            let mut driver = Driver::new(style, Config::default());
            driver.sink.acts = vec![(at, act)];
            bytes.chunks(step).for_each(|piece| driver.receive(piece));
            assert_eq!((driver.sink.frames, driver.phase()), (at, Phase::Lingering));
            assert_eq!(driver.socket.written, stream(&[3, 4, 5, 6][..at]));
            driver.arrive(Arrival::Eof);
            driver.ended(reason);
        }
    }
}

#[test]
fn a_handler_that_aborts_ends_the_connection_at_once() {
    for style in [Style::Echo, Style::Copy, Style::Silent] {
        let mut driver = Driver::new(style, Config::default());
        driver.sink.acts = vec![(2, Act::Abort)];
        driver.socket.room = 5;
        driver.receive(&stream(&[3, 4, 5]));
        assert_eq!((driver.sink.frames, driver.conn.closed()), (2, Some(CloseReason::AbortedByHandler)));
        assert!(!driver.socket.is_shut_down);
        driver.at_rest();
    }
}

#[test]
fn an_abort_loses_pending_output_even_if_the_socket_has_room() {
    for payload_len in [4, 100_000] {
        let mut driver = Driver::echo();
        driver.sink.acts = vec![(1, Act::Abort)];
        driver.receive(&stream(&[payload_len]));
        assert_eq!(driver.conn.closed(), Some(CloseReason::AbortedByHandler));
        assert_eq!(driver.socket.written.len(), 0);
        driver.at_rest();
    }
}

#[test]
fn nothing_is_queued_on_a_connection_that_ends() {
    let mut driver = lingering();
    assert_eq!(driver.send_now(b"x"), Err(SendError::Closed));
    driver.arrive(Arrival::Eof);
    assert_eq!(driver.send_now(b"x"), Err(SendError::Closed));

    let mut driver = Driver::echo();
    driver.socket.room = 0;
    assert_eq!(driver.send_now(b"x"), Ok(()));
    driver.close();
    assert_eq!(driver.send_now(b"y"), Err(SendError::Closed));
    driver.take(100);
    assert_eq!(driver.socket.written, frame_of(b"x"));
}

#[test]
fn input_that_waits_is_dropped_by_a_close() {
    let mut driver = Driver::echo();
    driver.sink.acts = vec![(1, Act::Pause)];
    driver.receive(&[stream(&[3, 4]), vec![0]].concat());
    assert_eq!(driver.conn.held_bytes(), (9, 0));
    driver.close();
    driver.at_rest();
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
    assert_eq!(driver.sink.frames, 1);
}
