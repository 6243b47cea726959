//! The peer's end, FIN or RST, at every byte.

use std::io::ErrorKind;

use crate::config::Config;
use crate::conn::io::Readiness;
use crate::error::CloseReason;
use crate::fuzzing::content::Content;
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::{Arrival, Room};
use crate::tests::conn::{frame_of, stream};

const STYLES: [Style; 4] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect];
const FRAMES: &[usize] = &[3, 0, 10, 1, 6];

/// What these bytes are, and why their connection ends if a FIN is behind them.
fn outlook(bytes: &[u8]) -> (Content, CloseReason) {
    let content = Content::of(bytes, u32::MAX);
    let reason = content.reason(bytes, u32::MAX);
    (content, reason)
}

/// The first bytes, in the given step, then `end`; `together` in the same edge as the last of them.
fn cut_off(driver: &mut Driver, bytes: &[u8], step: usize, end: Arrival, together: bool) {
    for piece in bytes.chunks(step) {
        driver.socket.arrivals.push_back(Arrival::Bytes(piece.to_vec()));
    }
    driver.socket.arrivals.push_back(end);
    while driver.socket.arrivals.len() > if together { 2 } else { 0 } {
        driver.socket.arrive();
        driver.react();
    }
    while driver.socket.arrive() {}
    driver.react();
}

#[test]
fn fin_is_clean_between_frames_and_abrupt_inside() {
    let all = stream(FRAMES);
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for cut in 0..=all.len() {
            for (step, together) in [(1, false), (7, true), (100, false), (100, true)] {
                cut_off(&mut driver, &all[..cut], step, Arrival::Eof, together);
                let (content, reason) = outlook(&all[..cut]);
                driver.ended(reason);
                assert_eq!(
                    (driver.sink.frames, driver.socket.written.len()),
                    (content.frames.len(), content.whole_len())
                );
                let is_in_order = reason == CloseReason::PeerFinished;
                assert_eq!(driver.sink.half_closes, usize::from(is_in_order));
                assert!(!driver.socket.is_shut_down, "closing sends the FIN");
                driver.reconnect();
            }
        }
    }
}

#[test]
fn fin_at_every_byte_leaves_replies_to_slow_reader() {
    let all = stream(FRAMES);
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for cut in 0..=all.len() {
            let (content, reason) = outlook(&all[..cut]);
            driver.socket.room = 0;
            cut_off(&mut driver, &all[..cut], 5, Arrival::Eof, true);
            for at in 0..content.whole_len() {
                assert_eq!((driver.conn.closed(), driver.socket.written.len()), (None, at));
                driver.take(1);
            }
            driver.ended(reason);
            assert_eq!(driver.socket.written, &all[..content.whole_len()]);
            driver.reconnect();
        }
    }
}

#[test]
fn fin_in_a_large_frame_is_reported_with_the_bytes_that_came() {
    let all = stream(&[5, 200_000]);
    for received in [1, 3, 4, 5, 1_000, 65_536, 69_632, 69_633, 200_003] {
        for together in [false, true] {
            let mut driver = Driver::echo();
            cut_off(&mut driver, &all[..9 + received], 50_000, Arrival::Eof, together);
            driver.ended(CloseReason::TruncatedFrame { received });
            assert_eq!(driver.sink.frames, 1);
        }
    }
}

#[test]
fn rst_at_every_byte_closes_at_once() {
    let all = stream(FRAMES);
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for cut in 0..=all.len() {
            for (step, together) in [(1, false), (7, true), (100, true)] {
                cut_off(&mut driver, &all[..cut], step, Arrival::Reset, together);
                assert_eq!(driver.conn.closed(), Some(CloseReason::Reset), "after {cut} bytes");
                assert!(driver.sink.frames <= Content::of(&all[..cut], u32::MAX).frames.len());
                assert_eq!(driver.sink.half_closes, 0);
                driver.at_rest();
                driver.reconnect();
            }
        }
    }
}

#[test]
fn rst_in_a_large_frame_gives_its_memory_back() {
    let mut driver = Driver::echo();
    driver.receive(&stream(&[1 << 20])[..500_000]);
    assert!(driver.conn.buffered_bytes() >= 500_000);
    driver.arrive(Arrival::Reset);
    assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
    driver.at_rest();
}

#[test]
fn a_failed_read_is_reported_by_its_kind() {
    for (kind, reason) in [
        (ErrorKind::ConnectionReset, CloseReason::Reset),
        (ErrorKind::ConnectionAborted, CloseReason::Reset),
        (ErrorKind::NotConnected, CloseReason::Reset),
        (ErrorKind::TimedOut, CloseReason::Io(ErrorKind::TimedOut)),
        (ErrorKind::HostUnreachable, CloseReason::Io(ErrorKind::HostUnreachable)),
        (ErrorKind::OutOfMemory, CloseReason::Io(ErrorKind::OutOfMemory)),
    ] {
        for bytes in [&[][..], &[0, 0], &stream(&[3])[..]] {
            let mut driver = Driver::echo();
            driver.receive(bytes);
            driver.arrive(Arrival::Fail(kind));
            assert_eq!(driver.conn.closed(), Some(reason));
            driver.at_rest();
        }
    }
}

#[test]
fn an_end_behind_a_short_read_is_found_when_it_was_reported() {
    // The read of the bytes is short, and no second edge will come for the end.
    for (end, reason) in [(Arrival::Eof, CloseReason::PeerFinished), (Arrival::Reset, CloseReason::Reset)] {
        let mut driver = Driver::echo();
        driver.socket.arrivals.extend([Arrival::Bytes(frame_of(b"last")), end]);
        while driver.socket.arrive() {}
        driver.note(true, true);
        while driver.conn.wants_turn() {
            driver.turn();
        }
        assert_eq!(driver.conn.closed(), Some(reason));
    }
}

#[test]
fn an_end_is_found_behind_backpressure_once_the_peer_reads() {
    let bytes = stream(&[100; 50]);
    let config = Config { output_high_water: 500, output_low_water: 100, ..Config::default() };
    let mut driver = Driver::new(Style::Echo, config);
    driver.socket.room = 0;
    driver.socket.arrivals.extend([Arrival::Bytes(bytes.clone()), Arrival::Eof]);
    while driver.socket.arrive() {}
    driver.react();
    assert_eq!(driver.phase(), Phase::Open);
    assert!(driver.conn.is_input_paused() && driver.conn.unsent_bytes() > 0);
    while driver.conn.closed().is_none() {
        driver.take(300);
    }
    driver.ended(CloseReason::PeerFinished);
    assert_eq!(driver.socket.written, bytes);
}

#[test]
fn an_end_without_an_announcement_is_found_by_the_next_read() {
    // If the kernel does not report that the peer has closed, the end is a readable edge like any other.
    let mut driver = Driver::echo();
    driver.receive(&stream(&[4]));
    driver.socket.arrivals.push_back(Arrival::Eof);
    driver.socket.arrive();
    driver.socket.edge.read_closed = false;
    driver.react();
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn rst_ends_a_stalled_reader_in_every_state_with_output() {
    for (end, state) in [(None, Phase::Open), (Some(Arrival::Eof), Phase::FlushingAfterFin)] {
        let mut driver = Driver::echo();
        driver.socket.room = 2;
        driver.receive(&stream(&[4]));
        end.into_iter().for_each(|end| driver.arrive(end));
        assert_eq!(driver.phase(), state);
        driver.socket.rooms.push_back(Room::Fail(ErrorKind::ConnectionReset));
        driver.play();
        assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
        driver.at_rest();
    }
}

#[test]
fn an_end_may_be_announced_without_a_word_about_reading() {
    let mut driver = Driver::echo();
    driver.socket.arrivals.push_back(Arrival::Eof);
    driver.socket.arrive();
    driver.socket.report(true, true);
    driver.conn.note_ready(Readiness { read_closed: true, ..Readiness::default() });
    driver.turn();
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn a_reset_behind_a_fin_is_a_reset_wherever_they_are_found() {
    let whole = stream(FRAMES);
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for cut in [0, 2, whole.len()] {
            driver.socket.arrivals.push_back(Arrival::Bytes(whole[..cut].to_vec()));
            driver.socket.arrivals.push_back(Arrival::Eof);
            driver.socket.arrivals.push_back(Arrival::Reset);
            while driver.socket.arrive() {}
            driver.react();
            assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
            driver.reconnect();
        }
    }
}
