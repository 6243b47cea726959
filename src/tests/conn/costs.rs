//! System calls and memory: what a connection may cost.

use crate::config::Config;
use crate::conn::Conn;
use crate::conn::chunk::CHUNK_LEN;
use crate::conn::io::SHORT_CALL_IS_LAST;
use crate::conn::reply_buffer::REPLIES_LEN_MAX;
use crate::error::CloseReason;
use crate::fuzzing::driver::Driver;
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::stream;

const STYLES: [Style; 4] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect];

/// Reads, where a short one still has to be followed by one that would block.
fn reads(short: usize) -> usize {
    if SHORT_CALL_IS_LAST { short } else { 2 * short }
}

fn calls(driver: &Driver) -> (usize, usize) {
    (driver.socket.reads, driver.socket.writes)
}

#[test]
fn a_small_frame_costs_one_read_and_one_write() {
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for nth in 1..=10 {
            driver.receive(&stream(&[nth * 100]));
            assert_eq!(calls(&driver), (reads(nth), nth));
            assert_eq!(driver.turns, nth);
            driver.at_rest();
        }
    }
}

#[test]
fn the_replies_to_one_fill_go_out_in_one_write() {
    for style in STYLES {
        for payload_len in [0, 32, 1_000] {
            let mut driver = Driver::new(style, Config::default());
            driver.receive(&stream(&[payload_len; 64]));
            assert_eq!(calls(&driver), (reads(1), 1), "{style:?}, {payload_len} bytes");
            driver.at_rest();
        }
    }
}

#[test]
fn a_partial_frame_costs_no_write() {
    let mut driver = Driver::echo();
    driver.receive(&stream(&[10])[..9]);
    assert_eq!(calls(&driver), (reads(1), 0));
}

#[test]
fn an_event_with_nothing_behind_it_costs_one_read() {
    let mut driver = Driver::echo();
    driver.arrive(Arrival::Nothing);
    assert_eq!(calls(&driver), (1, 0));
}

#[test]
fn a_writable_event_with_nothing_pending_costs_nothing() {
    let mut driver = Driver::echo();
    driver.socket.edge.writable = true;
    driver.react();
    assert_eq!(calls(&driver), (0, 0));
}

#[test]
fn a_held_connection_costs_no_call_whatever_the_peer_sends() {
    let mut driver = Driver::echo();
    driver.conn.pause(true);
    for _ in 0..10 {
        driver.receive(&stream(&[10]));
    }
    assert_eq!(calls(&driver), (0, 0));
}

#[test]
fn large_frame_costs_one_read_and_write_per_chunk() {
    let bytes = stream(&[1 << 20]);
    let chunks = bytes.len().div_ceil(CHUNK_LEN);
    let mut driver = Driver::echo();
    driver.receive(&bytes);
    let (reads, writes) = calls(&driver);
    assert!(writes <= chunks + 1 && reads <= chunks + 2, "{reads} reads, {writes} writes for {chunks} chunks");
}

#[test]
fn what_the_socket_takes_at_once_is_not_kept() {
    for style in [Style::Echo, Style::Inspect] {
        let mut driver = Driver::new(style, Config { memory: 512, ..Config::default() });
        driver.receive(&stream(&[100; 2]));
        assert_eq!(driver.conn.closed(), None);
        driver.at_rest();
    }
}

#[test]
fn short_replies_that_are_sent_at_once_take_no_chunk() {
    let mut driver = Driver::new(Style::Copy, Config::default());
    driver.receive(&stream(&[32; 64]));
    driver.at_rest();
    assert_eq!(driver.shared.pool.free_bytes(), 0);
    // What does not fit the reply buffer is queued in a chunk, which is kept for reuse.
    driver.receive(&stream(&[REPLIES_LEN_MAX]));
    driver.at_rest();
    assert!(driver.shared.pool.free_bytes() > 0);
}

#[test]
fn replies_that_are_sent_in_part_leave_in_order() {
    // Some of them exceed the reply buffer.
    let bytes = stream(&[10, 0, 300, 2_000, 1_900, 20, 5_000, 7]);
    for room in (0..bytes.len()).step_by(37) {
        let mut driver = Driver::new(Style::Copy, Config::default());
        driver.socket.room = room;
        driver.receive(&bytes);
        assert_eq!(driver.conn.unsent_bytes(), bytes.len() - room);
        driver.receive(&stream(&[5]));
        driver.take(usize::MAX);
        assert_eq!(driver.socket.written, [bytes.clone(), stream(&[5])].concat(), "{room}");
        driver.at_rest();
    }
}

#[test]
fn an_idle_connection_owns_no_memory_after_anything_it_did() {
    let streams: [&[usize]; 4] = [&[5], &[0; 500], &[300_000], &[5, 90_000, 5]];
    for style in STYLES {
        let mut driver = Driver::new(style, Config::default());
        for payload_lens in streams {
            let bytes = stream(payload_lens);
            bytes.chunks(9_999).for_each(|piece| driver.receive(piece));
            driver.at_rest();
            driver.socket.room = 0;
            bytes.chunks(9_999).for_each(|piece| driver.receive(piece));
            assert!(driver.conn.has_buffers());
            driver.take(usize::MAX);
            driver.at_rest();
        }
    }
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<CloseReason>() <= 16, "{} bytes", size_of::<CloseReason>());
    assert!(size_of::<Conn>() <= 48, "{} bytes", size_of::<Conn>());
}
