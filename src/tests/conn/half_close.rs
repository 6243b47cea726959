//! The peer has sent FIN, and may still read.

use crate::config::Config;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{frame_of, stream};

/// A half-closed connection whose handler answers later.
fn kept(style: Style, frames: &[usize]) -> Driver {
    let mut driver = Driver::new(style, Config::default());
    driver.sink.keeps_half_closed = true;
    driver.receive(&stream(frames));
    driver.arrive(Arrival::Eof);
    assert_eq!((driver.phase(), driver.sink.half_closes), (Phase::HalfClosed, 1));
    driver
}

#[test]
fn a_handler_may_keep_a_half_closed_connection_and_answer_later() {
    let mut driver = kept(Style::Silent, &[3, 4]);
    driver.at_rest();
    assert_eq!(driver.send_now(b"later"), Ok(()));
    assert_eq!(driver.socket.written, frame_of(b"later"));
    assert_eq!(driver.send_now(b"and later"), Ok(()));
    assert!(!driver.conn.state().is_ending());
    driver.close();
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn half_closed_connection_flushes_late_replies() {
    let mut driver = kept(Style::Echo, &[3]);
    driver.socket.room = 2;
    assert_eq!(driver.send_now(b"later"), Ok(()));
    driver.close();
    assert_eq!((driver.phase(), driver.send_now(b"too late")), (Phase::FlushingAfterFin, Err(SendError::Closed)));
    driver.take(6);
    assert_eq!(driver.conn.closed(), None);
    driver.take(1);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn a_half_closed_connection_is_not_read_again() {
    let mut driver = kept(Style::Echo, &[3]);
    let reads = driver.socket.reads;
    driver.socket.room = 1;
    let _ = driver.send_now(b"later");
    driver.take(100);
    let _ = driver.send_now(b"later still");
    assert_eq!(driver.socket.reads, reads);
}

#[test]
fn draining_a_half_closed_connection_flushes_and_closes_it() {
    let mut driver = kept(Style::Echo, &[]);
    driver.drain_now();
    driver.ended(CloseReason::PeerFinished);

    let mut driver = kept(Style::Echo, &[]);
    driver.socket.room = 3;
    let _ = driver.send_now(b"later");
    driver.drain_now();
    assert_eq!(driver.phase(), Phase::FlushingAfterFin);
    driver.take(100);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn a_last_word_at_half_close_is_sent() {
    for room in [0, 3, 100] {
        for keeps in [false, true] {
            let mut driver = Driver::echo();
            driver.sink.on_half_close = Some(b"goodbye".to_vec());
            driver.sink.keeps_half_closed = keeps;
            driver.socket.room = room;
            driver.receive(&stream(&[5]));
            driver.arrive(Arrival::Eof);
            driver.take(100);
            assert_eq!(driver.socket.written, [stream(&[5]), frame_of(b"goodbye")].concat());
            if keeps {
                driver.close();
            }
            driver.ended(CloseReason::PeerFinished);
        }
    }
}

#[test]
fn half_close_is_reported_once_after_the_last_frame() {
    let mut driver = kept(Style::Echo, &[1, 2, 3]);
    assert_eq!(driver.sink.frames, 3);
    driver.socket.edge.readable = true;
    driver.react();
    assert_eq!(driver.sink.half_closes, 1);
}

#[test]
fn half_close_is_not_reported_inside_a_frame() {
    let mut driver = Driver::echo();
    driver.receive(&stream(&[5])[..7]);
    driver.arrive(Arrival::Eof);
    assert_eq!(driver.sink.half_closes, 0);
    driver.ended(CloseReason::TruncatedFrame { received: 7 });
}

#[test]
fn half_close_waits_for_all_frames_under_backpressure_and_pause() {
    let bytes = stream(&[300; 20]);
    let config = Config { output_high_water: 1_000, output_low_water: 10, ..Config::default() };
    let mut driver = Driver::new(Style::Copy, config);
    driver.socket.room = 0;
    driver.socket.arrivals.extend([Arrival::Bytes(bytes.clone()), Arrival::Eof]);
    while driver.socket.arrive() {}
    driver.react();
    while driver.sink.frames < 20 {
        assert_eq!(driver.sink.half_closes, 0);
        driver.take(700);
    }
    driver.take(usize::MAX);
    driver.ended(CloseReason::PeerFinished);
    assert_eq!((driver.socket.written.len(), driver.sink.half_closes), (bytes.len(), 1));
}

#[test]
fn a_half_closed_connection_ends_when_the_peer_resets_it() {
    for room in [3, usize::MAX] {
        let mut driver = kept(Style::Echo, &[]);
        driver.socket.room = room;
        let _ = driver.send_now(b"later");
        assert_eq!(driver.conn.unsent_bytes() > 0, room == 3);
        driver.arrive(Arrival::Reset);
        assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
        driver.at_rest();
    }
}
