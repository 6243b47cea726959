//! Signals, and sockets that refuse a write.

use std::io::ErrorKind;

use crate::config::Config;
use crate::error::CloseReason;
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::{Arrival, Room};
use crate::tests::conn::stream;

const STYLES: [Style; 4] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect];

/// A script with short reads, short writes and a FIN; returns the stream.
fn script(driver: &mut Driver) -> Vec<u8> {
    let bytes = stream(&[3, 0, 20, 1, 90_000, 7]);
    driver.socket.room = 4;
    driver.socket.arrivals.extend(bytes.chunks(23_456).map(|piece| Arrival::Bytes(piece.to_vec())));
    driver.socket.arrivals.push_back(Arrival::Eof);
    driver.socket.rooms.extend([1, 9, 30, 40_000, 5_000, usize::MAX].map(Room::Bytes));
    bytes
}

#[test]
fn an_interrupted_call_is_repeated_wherever_it_is() {
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        let bytes = script(&mut driver);
        driver.play();
        driver.ended(CloseReason::PeerFinished);
        let calls = driver.socket.calls();
        for call in 0..calls {
            driver.reconnect();
            script(&mut driver);
            driver.socket.interrupted_calls.extend([call, call + 1]);
            driver.play();
            driver.ended(CloseReason::PeerFinished);
            assert!(driver.socket.written == bytes);
            assert_eq!(driver.socket.calls(), calls + 2);
        }
    }
}

#[test]
fn an_interrupted_read_while_lingering_is_repeated() {
    let mut driver = Driver::echo();
    driver.socket.interrupted_calls.insert(0);
    driver.close();
    assert_eq!((driver.phase(), driver.socket.reads), (Phase::Lingering, 2));
}

#[test]
fn a_write_of_zero_closes_wherever_it_comes() {
    let bytes = stream(&[3, 8, 2]);
    for style in STYLES {
        for taken in 0..bytes.len() {
            let mut driver = Driver::new(style, Config::default());
            driver.socket.room = taken;
            driver.receive(&bytes);
            assert_eq!(driver.conn.closed(), None);
            driver.make_room(Room::Zero);
            assert_eq!(driver.conn.closed(), Some(CloseReason::WriteZero));
            assert_eq!(driver.socket.written, &bytes[..taken]);
            driver.at_rest();
        }
    }
}

#[test]
fn a_write_of_zero_at_the_first_write_closes() {
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        driver.make_room(Room::Zero);
        driver.receive(&stream(&[5]));
        assert_eq!(driver.conn.closed(), Some(CloseReason::WriteZero));
        driver.at_rest();
    }
}

#[test]
fn a_fin_behind_a_failed_write_does_not_pass_for_the_end() {
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        driver.make_room(Room::Zero);
        driver.socket.arrivals.extend([Arrival::Bytes(stream(&[5])), Arrival::Eof]);
        driver.socket.arrive();
        driver.socket.arrive();
        driver.react();
        assert_eq!(driver.conn.closed(), Some(CloseReason::WriteZero));
    }
}

#[test]
fn a_failed_write_closes_with_its_reason_whatever_is_pending() {
    for (kind, reason) in [
        (ErrorKind::BrokenPipe, CloseReason::Reset),
        (ErrorKind::ConnectionReset, CloseReason::Reset),
        (ErrorKind::TimedOut, CloseReason::Io(ErrorKind::TimedOut)),
    ] {
        for style in STYLES {
            for taken in [0, 1, 4, 9, 20, 50_000] {
                let mut driver = Driver::new(style, Config::default());
                driver.socket.room = taken;
                driver.receive(&stream(&[5, 0, 80_000, 9]));
                driver.make_room(Room::Fail(kind));
                assert_eq!(driver.conn.closed(), Some(reason));
                assert_eq!(driver.socket.written.len(), taken);
                driver.at_rest();
            }
        }
    }
}

#[test]
fn failed_write_closes_closing_connection_with_its_error() {
    for (end, phase) in [("close", Phase::Flushing), ("drain", Phase::Flushing), ("finish", Phase::FlushingAfterFin)] {
        let mut driver = Driver::echo();
        driver.socket.room = 3;
        driver.receive(&stream(&[5]));
        match end {
            "close" => driver.close(),
            "drain" => driver.drain_now(),
            _ => driver.arrive(Arrival::Eof),
        }
        assert_eq!(driver.phase(), phase);
        driver.make_room(Room::Fail(ErrorKind::BrokenPipe));
        assert_eq!(driver.conn.closed(), Some(CloseReason::Reset), "{end}");
        driver.at_rest();
    }
}

#[test]
fn every_write_may_block_first() {
    let bytes = stream(&[5, 0, 30, 2]);
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        for piece in bytes.chunks(6) {
            driver.receive(piece);
        }
        assert_eq!((driver.sink.frames, driver.socket.written.len()), (4, 0));
        // The exact room leaves nothing short: the next write blocks.
        for piece in bytes.chunks(6) {
            driver.take(piece.len());
        }
        driver.arrive(Arrival::Eof);
        driver.ended(CloseReason::PeerFinished);
        assert_eq!(driver.socket.written, bytes);
    }
}
