//! The limits on a frame's length and on memory.

use crate::config::Config;
use crate::conn::outbox::Sent;
use crate::conn::tests::driver::Driver;
use crate::conn::tests::sink::Style;
use crate::conn::tests::socket::Arrival;
use crate::conn::tests::{stream, too_long};
use crate::error::CloseReason;
use crate::frame::{Protocol, encode_header};

const LIMIT: u32 = 1_000;

fn limited(style: Style) -> Driver {
    Driver::new(style, Config { payload_len_max: LIMIT, ..Config::default() })
}

fn bounded(style: Style, memory_bytes_max: usize) -> Driver {
    Driver::new(style, Config { memory_bytes_max, ..Config::default() })
}

fn ran_out(driver: &Driver) -> bool {
    matches!(driver.conn.closed(), Some(CloseReason::MemoryLimit { .. }))
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
fn a_length_over_the_limit_closes_at_its_fourth_byte_behind_the_earlier_replies() {
    for announced in [LIMIT + 1, 1 << 31, u32::MAX] {
        let header = encode_header(announced);
        let reason = CloseReason::FrameTooLong(too_long(&header, LIMIT));
        for replies in [&[][..], &[0], &[5, LIMIT as usize]] {
            let mut driver = limited(Style::Echo);
            driver.receive(&stream(replies));
            driver.receive(&header[..3]);
            assert!(!driver.conn.is_ending());
            driver.receive(&header[3..]);
            assert!(driver.socket.is_shut_down);
            assert_eq!(driver.socket.written, stream(replies));
            driver.arrive(Arrival::Eof);
            driver.ended(reason);
        }
    }
}

#[test]
fn a_length_over_the_limit_waits_for_the_earlier_replies_to_be_taken() {
    let frames = stream(&[10, 20]);
    let bytes = [&frames[..], &[0xff; 4]].concat();
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        for room in 0..frames.len() {
            let mut driver = limited(style);
            driver.socket.room = room;
            driver.receive(&bytes);
            assert_eq!((driver.sink.frames, driver.conn.state_name()), (2, "Flushing"));
            driver.take(frames.len() - room);
            assert_eq!((driver.socket.written.len(), driver.conn.state_name()), (frames.len(), "Lingering"));
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
fn a_length_over_the_limit_is_refused_in_a_held_connection_once_it_is_released() {
    let mut driver = limited(Style::Echo);
    driver.conn.pause(true);
    driver.receive(&[&stream(&[2])[..], &[0xff; 4]].concat());
    assert_eq!((driver.sink.frames, driver.socket.reads), (0, 0));
    driver.resume();
    assert_eq!((driver.sink.frames, driver.conn.state_name()), (1, "Lingering"));
}

#[test]
fn four_gib_minus_one_announced_costs_a_few_kib() {
    let config = Config { payload_len_max: u32::MAX, memory_bytes_max: 8 << 30, ..Config::default() };
    let mut driver = Driver::new(Style::Echo, config);
    driver.receive(&[0xff; 4]);
    driver.receive(&[7; 1_000]);
    assert!(driver.conn.buffered_bytes() <= 2 * 1_004 + 4_096);
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::TruncatedFrame { received: 1_004 });
}

#[test]
fn input_that_cannot_be_kept_closes_with_the_memory_limit() {
    for (payload_len, memory_bytes_max) in [(2_000, 1_024), (100_000, 1_024), (100_000, 30_000), (1 << 20, 200_000)] {
        let bytes = stream(&[payload_len]);
        let mut driver = bounded(Style::Echo, memory_bytes_max);
        for piece in bytes[..bytes.len() - 1].chunks(1_500) {
            driver.receive(piece);
            assert!(driver.bench.supplies.pool.lent_bytes() <= memory_bytes_max);
            if ran_out(&driver) {
                break;
            }
        }
        let Some(CloseReason::MemoryLimit { observed, allowed }) = driver.conn.closed() else {
            panic!("{:?}", driver.conn);
        };
        assert!(observed > allowed && allowed == memory_bytes_max);
        driver.at_rest();
    }
}

#[test]
fn output_that_cannot_be_kept_closes_with_the_memory_limit() {
    for style in [Style::Echo, Style::Copy, Style::Mixed] {
        let mut driver = bounded(style, 2_048);
        driver.socket.room = 10;
        driver.receive(&stream(&[1_000; 8]));
        assert!(ran_out(&driver), "{:?}", driver.conn);
        driver.at_rest();
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
fn a_send_that_cannot_be_kept_ends_the_connection() {
    let mut driver = bounded(Style::Echo, 512);
    assert_eq!(driver.send(&[1; 1_000]), Sent::Gone);
    assert!(ran_out(&driver));
    driver.conn.release(&mut driver.bench.supplies);
    driver.at_rest();
}

#[test]
fn one_connections_end_by_the_memory_limit_leaves_the_memory_to_the_next() {
    let mut driver = bounded(Style::Copy, 2_048);
    for _ in 0..10 {
        driver.receive(&stream(&[3_000]));
        assert!(ran_out(&driver));
        driver.reconnect();
    }
    driver.receive(&stream(&[1_000]));
    assert_eq!(driver.socket.written, stream(&[1_000]));
}
