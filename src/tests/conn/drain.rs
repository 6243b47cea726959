//! A drain answers what has come by then, and nothing else.

use crate::config::Config;
use crate::conn::sink::Drain;
use crate::error::CloseReason;
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{frame_of, stream};

/// Bytes that are in the socket and whose event was not seen yet.
fn unseen(driver: &mut Driver, bytes: &[u8]) {
    driver.socket.arrivals.push_back(Arrival::Bytes(bytes.to_vec()));
    driver.socket.arrive();
}

/// The peer reads to our FIN, and sends its own.
fn ends_drained(driver: &mut Driver) {
    assert_eq!(driver.phase(), Phase::Lingering);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::Drained);
    assert_eq!(driver.sink.half_closes, 0);
}

#[test]
fn a_connection_at_rest_is_closed_by_a_drain() {
    for frames in [&[][..], &[3, 4]] {
        let mut driver = Driver::echo();
        driver.receive(&stream(frames));
        driver.drain_now();
        ends_drained(&mut driver);
    }
}

#[test]
fn a_drain_answers_the_frames_that_the_socket_holds() {
    let bytes = stream(&[3, 100, 0, 150_000]);
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        let mut driver = Driver::new(style, Config::default());
        unseen(&mut driver, &bytes);
        driver.drain_now();
        assert!(driver.sink.frames == 4 && driver.socket.written == bytes);
        ends_drained(&mut driver);
    }
}

#[test]
fn a_drain_waits_for_a_partial_frame_and_answers_it() {
    let bytes = stream(&[20]);
    for cut in 1..bytes.len() {
        for is_seen in [true, false] {
            let mut driver = Driver::echo();
            if is_seen {
                driver.receive(&bytes[..cut]);
            } else {
                unseen(&mut driver, &bytes[..cut]);
            }
            driver.drain_now();
            assert_eq!((driver.phase(), driver.socket.is_shut_down), (Phase::Draining, false));
            driver.receive(&bytes[cut..]);
            assert_eq!(driver.socket.written, bytes);
            ends_drained(&mut driver);
        }
    }
}

#[test]
fn a_drain_waits_for_a_large_partial_frame() {
    let bytes = stream(&[200_000]);
    let mut driver = Driver::echo();
    driver.receive(&bytes[..100_000]);
    driver.drain_now();
    assert_eq!(driver.phase(), Phase::Draining);
    driver.receive(&bytes[100_000..]);
    assert!(driver.socket.written == bytes);
    ends_drained(&mut driver);
}

#[test]
fn frame_behind_awaited_one_is_answered_if_received() {
    let bytes = stream(&[20, 30]);
    let mut driver = Driver::echo();
    driver.receive(&bytes[..10]);
    driver.drain_now();
    driver.receive(&bytes[10..]);
    assert_eq!(driver.socket.written, bytes);
    ends_drained(&mut driver);
}

#[test]
fn a_drain_flushes_pending_output_and_what_waits_behind_it() {
    let bytes = stream(&[300; 20]);
    let config = Config { output_high_water: 1_000, output_low_water: 10, ..Config::default() };
    let mut driver = Driver::new(Style::Echo, config);
    driver.socket.room = 0;
    driver.receive(&bytes);
    driver.drain_now();
    assert_eq!(driver.phase(), Phase::Draining);
    while driver.socket.written.len() < bytes.len() {
        assert!(!driver.socket.is_shut_down);
        driver.take(299);
    }
    assert_eq!(driver.socket.written, bytes);
    ends_drained(&mut driver);
}

#[test]
fn a_drain_keeps_to_the_budgets() {
    let bytes = stream(&[40; 1_000]);
    let config = Config { frame_budget: 10, read_budget_bytes: 1_000, write_budget_bytes: 500, ..Config::default() };
    let mut driver = Driver::new(Style::Mixed, config);
    unseen(&mut driver, &bytes);
    driver.drain_now();
    assert!(driver.turns >= 100);
    assert_eq!(driver.socket.written, bytes);
    ends_drained(&mut driver);
}

#[test]
fn fin_during_a_drain_ends_it_as_it_would_have_ended_anyway() {
    let bytes = stream(&[20]);
    for (cut, reason) in [
        (0, CloseReason::PeerFinished),
        (10, CloseReason::TruncatedFrame { received: 10 }),
        (bytes.len(), CloseReason::PeerFinished),
    ] {
        let mut driver = Driver::echo();
        // No handler is asked whether it would rather stay.
        driver.sink.keeps_half_closed = true;
        driver.socket.room = 0;
        driver.socket.arrivals.extend([Arrival::Bytes(bytes[..cut].to_vec()), Arrival::Eof]);
        while driver.socket.arrive() {}
        driver.conn.drain();
        driver.react();
        driver.take(100);
        driver.ended(reason);
        assert!(!driver.socket.is_shut_down);
    }
}

#[test]
fn rst_during_a_drain_closes() {
    let mut driver = Driver::echo();
    driver.receive(&[0]);
    driver.drain_now();
    driver.arrive(Arrival::Reset);
    assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
    driver.at_rest();
}

#[test]
fn a_drain_waits_for_a_handler_that_has_paused() {
    let bytes = stream(&[3, 4]);
    // With a frame that is left, and with none.
    for len in [bytes.len(), stream(&[3]).len()] {
        let mut driver = Driver::echo();
        driver.sink.acts = vec![(1, Act::Pause)];
        driver.receive(&bytes[..len]);
        driver.drain_now();
        assert_eq!((driver.sink.frames, driver.sink.drains, driver.socket.is_shut_down), (1, 0, false));
        assert!(driver.conn.is_awaited());
        driver.resume();
        assert_eq!(driver.socket.written, bytes[..len]);
        ends_drained(&mut driver);
    }
}

#[test]
fn paused_connection_in_a_drain_sees_its_peers_end() {
    for (end, reason) in [(Arrival::Eof, CloseReason::PeerFinished), (Arrival::Reset, CloseReason::Reset)] {
        let mut driver = Driver::echo();
        driver.sink.acts = vec![(1, Act::Pause)];
        driver.sink.keeps_half_closed = true;
        driver.receive(&stream(&[3]));
        driver.drain_now();
        driver.arrive(end);
        assert_eq!(driver.conn.closed(), Some(reason));
    }
}

/// A connection whose handler has a reply to come when it is asked.
fn awaited(frames: &[usize]) -> Driver {
    let mut driver = Driver::new(Style::Silent, Config::default());
    driver.sink.reply_to_drain = Drain::WhenClosed;
    unseen(&mut driver, &stream(frames));
    driver.drain_now();
    assert_eq!((driver.sink.frames, driver.sink.drains, driver.phase()), (frames.len(), 1, Phase::Open));
    assert!(driver.conn.is_awaited());
    driver
}

#[test]
fn handler_is_asked_once_after_all_frames_and_may_wait() {
    let mut driver = awaited(&[3, 4]);
    driver.receive(&stream(&[5]));
    driver.drain_now();
    assert_eq!((driver.sink.frames, driver.sink.drains, driver.phase()), (3, 1, Phase::Open));
    assert_eq!(driver.send_now(b"the reply"), Ok(()));
    assert_eq!(driver.socket.written, frame_of(b"the reply"));
    driver.close();
    assert!(!driver.conn.is_awaited());
    assert_eq!(driver.phase(), Phase::Lingering);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn awaited_connection_ends_as_any_other() {
    let mut driver = awaited(&[]);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
    let mut driver = awaited(&[3]);
    driver.arrive(Arrival::Reset);
    assert_eq!(driver.conn.closed(), Some(CloseReason::Reset));
    let mut driver = awaited(&[3]);
    driver.conn.abort(CloseReason::Cut);
    driver.ended(CloseReason::Cut);
    assert!(driver.conn.is_awaited(), "the report says so");
}

#[test]
fn handler_that_keeps_a_half_closed_connection_is_asked() {
    for is_drained_first in [false, true] {
        let mut driver = Driver::new(Style::Silent, Config::default());
        driver.sink.keeps_half_closed = true;
        driver.sink.reply_to_drain = Drain::WhenClosed;
        driver.receive(&stream(&[3])[..2]);
        if is_drained_first {
            driver.drain_now();
        }
        driver.socket.arrivals.extend([Arrival::Bytes(stream(&[3])[2..].to_vec()), Arrival::Eof]);
        while driver.socket.arrive() {}
        driver.react();
        if !is_drained_first {
            driver.drain_now();
        }
        assert_eq!((driver.sink.half_closes, driver.sink.drains, driver.phase()), (1, 1, Phase::HalfClosed));
        assert_eq!(driver.send_now(b"the reply"), Ok(()));
        driver.close();
        driver.ended(CloseReason::PeerFinished);
        assert_eq!(driver.socket.written, frame_of(b"the reply"));
    }
}

#[test]
fn farewell_in_a_drain_is_sent_before_fin() {
    for room in [0, 5, 100] {
        let mut driver = Driver::echo();
        driver.sink.on_drain = Some(b"farewell".to_vec());
        driver.socket.room = room;
        driver.drain_now();
        driver.take(100);
        assert_eq!(driver.socket.written, frame_of(b"farewell"));
        ends_drained(&mut driver);
    }
}

#[test]
fn a_handler_may_close_or_send_during_a_drain() {
    let mut driver = Driver::echo();
    driver.receive(&[0]);
    driver.drain_now();
    assert_eq!(driver.send_now(b"still"), Ok(()));
    driver.sink.acts = vec![(1, Act::Close)];
    driver.receive(&stream(&[5, 6])[1..]);
    assert_eq!((driver.sink.frames, driver.phase()), (1, Phase::Lingering));
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::ClosedByHandler);
}

#[test]
fn a_drain_refuses_a_length_over_the_limit() {
    let mut driver = Driver::echo();
    unseen(&mut driver, &[stream(&[2]), vec![0xff; 4]].concat());
    driver.drain_now();
    assert_eq!(driver.socket.written, stream(&[2]));
    driver.arrive(Arrival::Eof);
    assert!(matches!(driver.conn.closed(), Some(CloseReason::FrameTooLong(_))));
}

#[test]
fn a_drains_deadline_cuts_what_is_left() {
    let mut driver = Driver::echo();
    driver.receive(&[0]);
    driver.drain_now();
    driver.conn.abort(CloseReason::Cut);
    driver.conn.release(&mut driver.shared);
    driver.ended(CloseReason::Cut);
}
