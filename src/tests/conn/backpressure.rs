//! A peer that does not read is not read from; and the handler's own pause.

use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{frame_of, stream};

const HIGH: usize = 2_000;
const LOW: usize = 500;
const STYLES: [Style; 5] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect, Style::Twice];

fn marked(style: Style) -> Driver {
    Driver::new(style, Config { output_high_water: HIGH, output_low_water: LOW, ..Config::default() })
}

/// A connection over its mark: the peer has taken nothing, and much of what it sent is unread.
fn over_mark(style: Style, bytes: &[u8]) -> Driver {
    let mut driver = marked(style);
    driver.socket.room = 0;
    driver.receive(bytes);
    assert_eq!(driver.phase(), Phase::Open);
    assert!(driver.conn.is_input_paused() && driver.conn.unsent_bytes() > 0);
    driver
}

#[test]
fn a_peer_that_never_reads_is_paused_at_the_high_water_mark() {
    for style in STYLES {
        let mut driver = over_mark(style, &stream(&[100; 100]));
        let (read, frames) = (driver.socket.read_bytes, driver.sink.frames);
        assert!(driver.conn.unsent_bytes() >= HIGH);
        for _ in 0..20 {
            driver.receive(&stream(&[50_000, 100]));
            driver.arrive(Arrival::Nothing);
        }
        assert_eq!((driver.socket.read_bytes, driver.sink.frames), (read, frames));
        // The driver's invariants keep pending output below the high-water mark and one reply.
    }
}

#[test]
fn with_output_pending_only_little_is_read_ahead() {
    let mut driver = marked(Style::Echo);
    driver.socket.room = 0;
    driver.receive(&stream(&[10]));
    driver.receive(&stream(&[10; 10_000]));
    assert!(driver.socket.read_bytes < HIGH + 2 * 4_096, "{}", driver.socket.read_bytes);
}

#[test]
fn reading_resumes_at_the_low_watermark_and_not_above_it() {
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        let mut driver = over_mark(style, &stream(&[96; 200]));
        let frames = driver.sink.frames;
        while driver.conn.unsent_bytes() > LOW + 1 {
            driver.take(1);
            assert_eq!((driver.sink.frames, driver.sink.low_waters), (frames, 0));
        }
        driver.take(1);
        assert!(driver.sink.frames > frames);
        assert_eq!(driver.sink.low_waters, 1);
    }
}

#[test]
fn everything_arrives_once_the_peer_reads_however_slowly() {
    let bytes = stream(&[96, 0, 3_000, 5, 100_000, 96, 1_999, 2_000, 40, 0, 0, 7_000]);
    for style in [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect] {
        for step in [13, 499, 500, 2_001, 9_999, 200_000] {
            let mut driver = over_mark(style, &bytes);
            driver.arrive(Arrival::Eof);
            while driver.conn.closed().is_none() {
                driver.take(step);
                assert!(driver.conn.buffered_bytes() <= 2 * (CHUNK_LEN + 100_000));
            }
            driver.ended(CloseReason::PeerFinished);
            assert!(driver.socket.written == bytes && driver.sink.received == bytes);
        }
    }
}

#[test]
fn low_water_is_reported_once_each_time_the_mark_was_reached() {
    let mut driver = marked(Style::Silent);
    driver.socket.room = 0;
    for times in 1..=3 {
        assert_eq!(driver.send_now(&[0; HIGH]), Ok(()));
        assert_eq!(driver.send_now(b"more"), Err(SendError::Full));
        driver.take(HIGH + 4 - LOW - 1);
        assert_eq!((driver.sink.low_waters, driver.send_now(b"more")), (times - 1, Err(SendError::Full)));
        driver.take(1);
        assert_eq!(driver.sink.low_waters, times);
        driver.take(LOW);
        driver.at_rest();
    }
}

#[test]
fn what_is_sent_at_low_water_is_sent() {
    let mut driver = marked(Style::Silent);
    driver.sink.on_writable = Some(vec![9; HIGH]);
    driver.socket.room = 0;
    assert_eq!(driver.send_now(&[0; HIGH]), Ok(()));
    for times in 1..10 {
        driver.take(HIGH + 4);
        assert_eq!(driver.sink.low_waters, times);
    }
    driver.sink.on_writable = None;
    driver.take(usize::MAX);
    driver.sent_all();
    driver.at_rest();
}

#[test]
fn unsolicited_output_pauses_the_delivery_of_frames_too() {
    let mut driver = marked(Style::Echo);
    driver.socket.room = 0;
    assert_eq!(driver.send_now(&[0; HIGH]), Ok(()));
    driver.receive(&stream(&[5]));
    assert_eq!((driver.sink.frames, driver.socket.reads), (0, 0));
    driver.take(usize::MAX);
    assert_eq!(driver.sink.frames, 1);
    driver.sent_all();
}

#[test]
fn a_reply_refused_at_the_mark_is_followed_by_low_water() {
    let refused = |style, act, frame: usize, room| {
        let mut driver = marked(style);
        driver.socket.room = room;
        driver.sink.acts = vec![(1, act)];
        driver.receive(&stream(&[frame]));
        assert!(driver.sink.refused > 0);
        driver.take(usize::MAX);
        driver.sent_all();
        assert_eq!(driver.sink.low_waters, 1, "{style:?}, room for {room}");
    };
    for style in [Style::Echo, Style::Copy] {
        for room in [0, 100, usize::MAX] {
            refused(style, Act::Replies { count: 1, payload_len: 5 }, HIGH, room);
            refused(style, Act::Replies { count: 40, payload_len: 100 }, 3, room);
            refused(style, Act::Replies { count: 1, payload_len: 5 }, 100_000, room);
        }
    }
}

#[test]
fn each_pause_is_counted_once() {
    let bytes = stream(&[96; 200]);
    let mut driver = over_mark(Style::Echo, &bytes);
    driver.arrive(Arrival::Nothing);
    assert_eq!(driver.shared.counts.pauses, 1);
    while driver.socket.written.len() < bytes.len() {
        driver.take(500);
    }
    assert_eq!(driver.shared.counts.pauses, driver.sink.low_waters as u64);
}

#[test]
fn a_handler_that_pauses_is_given_nothing_until_it_resumes() {
    let bytes = stream(&[3, 4, 5, 6]);
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        for step in [1, 9, bytes.len()] {
            let mut driver = marked(style);
            driver.sink.acts = vec![(1, Act::Pause), (3, Act::Pause)];
            for frames in [1, 3] {
                bytes.chunks(step).filter(|_| frames == 1).for_each(|piece| driver.receive(piece));
                assert_eq!((driver.sink.frames, driver.phase()), (frames, Phase::Open));
                assert!(driver.conn.is_input_paused() && driver.conn.unsent_bytes() == 0);
                driver.sent_all();
                driver.resume();
            }
            assert_eq!(driver.socket.written, bytes);
            driver.arrive(Arrival::Eof);
            driver.ended(CloseReason::PeerFinished);
        }
    }
}

#[test]
fn pending_output_is_sent_while_the_handler_has_paused() {
    let mut driver = marked(Style::Echo);
    driver.sink.acts = vec![(1, Act::Pause)];
    driver.socket.room = 2;
    driver.receive(&stream(&[30, 4]));
    assert_eq!(driver.send_now(b"meanwhile"), Ok(()));
    driver.take(usize::MAX);
    assert_eq!(driver.socket.written, [stream(&[30]), frame_of(b"meanwhile")].concat());
    driver.resume();
    assert_eq!(driver.sink.frames, 2);
    driver.sent_all();
}

#[test]
fn an_end_is_not_looked_for_while_the_handler_has_paused() {
    let mut driver = marked(Style::Echo);
    driver.conn.pause(true);
    driver.socket.arrivals.extend([Arrival::Bytes(stream(&[3])), Arrival::Eof]);
    driver.play();
    assert_eq!((driver.sink.frames, driver.conn.closed()), (0, None));
    driver.resume();
    driver.ended(CloseReason::PeerFinished);
    assert_eq!(driver.sink.frames, 1);
}

#[test]
fn low_water_is_not_reported_to_a_connection_that_ends() {
    // The handler wrote past the mark and closed: it must not be asked for more, or it might never end.
    for at_once in [true, false] {
        let mut driver = marked(Style::Silent);
        driver.sink.on_writable = Some(vec![9; HIGH]);
        driver.socket.room = if at_once { usize::MAX } else { 0 };
        driver.sink.acts = vec![(1, Act::Replies { count: 30, payload_len: 100 }), (1, Act::Close)];
        driver.receive(&stream(&[3]));
        driver.take(usize::MAX);
        assert_eq!((driver.phase(), driver.sink.low_waters), (Phase::Lingering, 0));
        driver.arrive(Arrival::Eof);
        driver.ended(CloseReason::ClosedByHandler);
    }
}

#[test]
fn low_water_is_not_reported_to_a_connection_closed_by_another() {
    let mut driver = marked(Style::Silent);
    driver.sink.on_writable = Some(vec![9; HIGH]);
    driver.socket.room = 0;
    assert_eq!(driver.send_now(&[0; HIGH]), Ok(()));
    driver.close();
    driver.take(usize::MAX);
    assert_eq!((driver.phase(), driver.sink.low_waters), (Phase::Lingering, 0));
}
