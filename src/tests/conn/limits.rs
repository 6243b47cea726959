//! The limits on a frame's length and on memory.

use crate::config::Config;
use crate::error::{CloseReason, SendError};
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{stream, too_long};
use crate::wire::{Protocol, encode_header};

const LIMIT: u32 = 1_000;

fn limited(style: Style) -> Driver {
    Driver::new(style, Config { max_payload: LIMIT, ..Config::default() })
}

fn bounded(style: Style, memory: usize) -> Driver {
    Driver::new(style, Config { memory, ..Config::default() })
}

fn is_evicted(driver: &Driver) -> bool {
    matches!(driver.conn.closed(), Some(CloseReason::Evicted { .. }))
}

#[test]
fn a_payload_of_exactly_the_limit_is_answered() {
    let bytes = stream(&[LIMIT as usize, 1, LIMIT as usize]);
    let mut driver = limited(Style::Echo);
    bytes.chunks(300).for_each(|piece| driver.receive(piece));
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
    assert_eq!(driver.socket.written, bytes);
}

#[test]
fn length_above_limit_closes_after_earlier_replies() {
    for announced in [LIMIT + 1, 1 << 31, u32::MAX] {
        let header = encode_header(announced);
        let reason = CloseReason::FrameTooLong(too_long(&header, LIMIT));
        for replies in [&[][..], &[0], &[5, LIMIT as usize]] {
            let mut driver = limited(Style::Echo);
            driver.receive(&stream(replies));
            driver.receive(&header[..3]);
            assert!(!driver.conn.state().is_ending());
            driver.receive(&header[3..]);
            assert!(driver.socket.is_shut_down);
            assert_eq!(driver.socket.written, stream(replies));
            driver.arrive(Arrival::Eof);
            driver.ended(reason);
        }
    }
}

#[test]
fn length_above_limit_waits_for_earlier_replies() {
    let frames = stream(&[10, 20]);
    let bytes = [&frames[..], &[0xff; 4]].concat();
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        for room in 0..frames.len() {
            let mut driver = limited(style);
            driver.socket.room = room;
            driver.receive(&bytes);
            assert_eq!((driver.sink.frames, driver.phase()), (2, Phase::Flushing));
            driver.take(frames.len() - room);
            assert_eq!((driver.socket.written.len(), driver.phase()), (frames.len(), Phase::Lingering));
            driver.arrive(Arrival::Eof);
            driver.ended(CloseReason::FrameTooLong(too_long(&[0xff; 4], LIMIT)));
        }
    }
}

#[test]
fn what_comes_behind_a_length_over_the_limit_is_not_looked_at() {
    let mut driver = limited(Style::Echo);
    driver.receive(&[&b"GET / HTTP/1.1\r\n\r\n"[..], &stream(&[3])].concat());
    driver.receive(&stream(&[3]));
    driver.arrive(Arrival::Eof);
    let error = too_long(b"GET ", LIMIT);
    assert_eq!(error.looks_like, Some(Protocol::Http));
    driver.ended(CloseReason::FrameTooLong(error));
    assert_eq!((driver.sink.frames, driver.sink.half_closes), (0, 0));
}

#[test]
fn length_above_limit_closes_paused_connection_on_resume() {
    let mut driver = limited(Style::Echo);
    driver.conn.pause(true);
    driver.receive(&[&stream(&[2])[..], &[0xff; 4]].concat());
    assert_eq!((driver.sink.frames, driver.socket.reads), (0, 0));
    driver.resume();
    assert_eq!((driver.sink.frames, driver.phase()), (1, Phase::Lingering));
}

#[test]
fn four_gib_minus_one_announced_costs_a_few_kib() {
    let config = Config { max_payload: u32::MAX, memory: 8 << 30, ..Config::default() };
    let mut driver = Driver::new(Style::Echo, config);
    driver.receive(&[0xff; 4]);
    driver.receive(&[7; 1_000]);
    assert!(driver.conn.buffered_bytes() <= 2 * 1_004 + 4_096);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::TruncatedFrame { received: 1_004 });
}

#[test]
fn input_without_room_evicts_where_no_other_holds_more() {
    for (payload_len, memory) in [(2_000, 1_024), (100_000, 1_024), (100_000, 30_000), (1 << 20, 200_000)] {
        let bytes = stream(&[payload_len]);
        let mut driver = bounded(Style::Echo, memory);
        let mut sent = 0;
        for piece in bytes[..bytes.len() - 1].chunks(1_500) {
            driver.receive(piece);
            sent += piece.len();
            assert!(driver.shared.pool.used_bytes() <= memory);
            if is_evicted(&driver) {
                break;
            }
        }
        let Some(CloseReason::Evicted { input, output }) = driver.conn.closed() else {
            panic!("{:?}", driver.conn);
        };
        let input = input as usize;
        assert!(2 * sent + 4_096 > memory && input <= sent && input + 1_500 >= sent, "{input} of {sent}");
        assert_eq!(output, 0);
        driver.at_rest();
    }
}

#[test]
fn echo_without_room_evicts_where_no_other_holds_more() {
    let mut driver = bounded(Style::Echo, 2_048);
    driver.socket.room = 10;
    driver.receive(&stream(&[1_000; 8]));
    let Some(CloseReason::Evicted { input, output }) = driver.conn.closed() else { panic!("{:?}", driver.conn) };
    assert_eq!((input, output), (0, 8 * 1_004 - 10));
    driver.at_rest();
}

#[test]
fn reply_without_room_is_an_error_and_not_queued() {
    for style in [Style::Copy, Style::Mixed] {
        let mut driver = bounded(style, 2_048);
        driver.socket.room = 10;
        driver.receive(&stream(&[1_000; 8]));
        assert!(driver.sink.refused > 0 && driver.sink.replies > 0);
        assert_eq!((driver.sink.frames, driver.conn.closed()), (8, None));
        driver.take(1 << 20);
        driver.sent_all();
        driver.at_rest();
        driver.receive(&stream(&[1_000]));
        driver.sent_all();
    }
}

#[test]
fn an_echo_that_the_socket_takes_costs_no_memory() {
    let bytes = stream(&[10_000, 30_000, 20_000]);
    let mut driver = bounded(Style::Echo, 0);
    driver.receive(&bytes);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
    assert_eq!(driver.socket.written, bytes);
}

#[test]
fn message_without_room_is_an_error_value() {
    let mut driver = bounded(Style::Echo, 8 << 10);
    driver.socket.room = 0;
    assert_eq!(driver.send_now(&[1; 5_000]), Err(SendError::NoMemory));
    assert_eq!(driver.send_now(&[2; 4_000]), Ok(()));
    // What is left of the limit is less than an eighth of it.
    assert_eq!(driver.send_now(&[3; 3_000]), Err(SendError::NoMemory));
    assert_eq!(driver.send_now(&[4; 88]), Ok(()));
    assert_eq!(driver.conn.closed(), None);
    driver.take(1 << 20);
    driver.sent_all();
    driver.at_rest();
    let counts = &driver.shared.counts;
    assert_eq!((counts.frames_without_memory, counts.frames_full, counts.frames_gone), (2, 0, 0));
}

#[test]
fn message_above_the_mark_is_refused_as_full() {
    let mut driver = Driver::new(
        Style::Echo,
        Config { memory: 2_048, output_high_water: 500, output_low_water: 100, ..Config::default() },
    );
    driver.socket.room = 0;
    assert_eq!(driver.send_now(&[1; 1_000]), Ok(()));
    assert_eq!(driver.send_now(&[2; 1_000]), Err(SendError::Full));
}

#[test]
fn eviction_of_one_connection_leaves_its_memory_to_the_next() {
    let mut driver = bounded(Style::Echo, 2_048);
    driver.socket.room = 0;
    for _ in 0..10 {
        driver.receive(&stream(&[3_000]));
        assert!(is_evicted(&driver));
        driver.reconnect();
        driver.socket.room = 0;
    }
    driver.receive(&stream(&[1_000]));
    driver.take(1 << 20);
    assert_eq!(driver.socket.written, stream(&[1_000]));
}
