//! Frames longer than a chunk, and those at its border.

use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::error::CloseReason;
use crate::fuzzing::driver::Driver;
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::{pieces, stream};
use crate::wire::HEADER_LEN;

const STYLES: [Style; 4] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect];

/// A payload that makes a frame as long as a chunk.
const FITS: usize = CHUNK_LEN - HEADER_LEN;

/// Each style with pieces of each of these lengths.
fn pairs() -> impl Iterator<Item = (Style, usize)> {
    STYLES.into_iter().flat_map(|style| [1_009, 9_999, 70_001, 136_000, 299_993].map(|step| (style, step)))
}

fn finishes(mut driver: Driver, bytes: &[u8]) {
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
    assert!(driver.sink.received == bytes && driver.socket.written == bytes);
}

#[test]
fn frames_at_the_border_of_a_chunk_come_back_in_order() {
    let payload_lens = [FITS - 1, 0, FITS, 1, FITS + 1, 7, FITS + 2, 30_000, FITS + 1, FITS, FITS, FITS + 1];
    let bytes = stream(&payload_lens);
    for style in STYLES {
        for step in [CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 1_000, bytes.len()] {
            let mut driver = Driver::new(style, Config::default());
            bytes.chunks(step).for_each(|piece| driver.receive(piece));
            finishes(driver, &bytes);
        }
    }
}

#[test]
fn a_frame_at_the_border_of_a_chunk_is_whole_at_its_last_byte() {
    for payload_len in [FITS - 1, FITS, FITS + 1] {
        let bytes = stream(&[payload_len]);
        for cut in [1, 3, 4, 5, 40_000, bytes.len() - 1] {
            let mut driver = Driver::echo();
            driver.receive(&bytes[..cut]);
            assert_eq!((driver.sink.frames, driver.conn.held_bytes().0), (0, cut));
            driver.receive(&bytes[cut..]);
            assert_eq!(driver.sink.frames, 1);
            driver.at_rest();
            finishes(driver, &bytes);
        }
    }
}

#[test]
fn a_frame_of_a_mebibyte_comes_back_in_whatever_pieces_it_came() {
    let bytes = stream(&[3, 1 << 20, 0, 1 << 20, 200_000, 5]);
    for (style, step) in pairs() {
        let mut driver = Driver::new(style, Config::default());
        bytes.chunks(step).for_each(|piece| driver.receive(piece));
        finishes(driver, &bytes);
    }
}

#[test]
fn large_replies_are_sent_whatever_the_socket_takes() {
    let bytes = stream(&[1 << 20, 100, 300_000]);
    for (style, step) in pairs() {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        driver.receive(&bytes);
        while driver.socket.written.len() < bytes.len() {
            driver.take(step);
        }
        finishes(driver, &bytes);
    }
}

#[test]
fn large_frame_behind_small_ones_costs_no_more_memory() {
    for before in [1_000, 10_000, 29_000, 30_000, 35_000, 36_860, 50_000, 65_000] {
        let bytes = stream(&[before, 1 << 20]);
        for first in [CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, before + 300, before + 33_000] {
            let mut driver = Driver::echo();
            let (first, second) = bytes.split_at(first.max(before + 4));
            driver.receive(first);
            driver.receive(&second[..1]);
            driver.receive(&second[1..]);
            finishes(driver, &bytes);
        }
    }
}

#[test]
fn an_echo_of_a_large_frame_waits_behind_pending_output() {
    let bytes = stream(&[10, 100_000, 10, 10]);
    for style in STYLES {
        let mut driver = Driver::new(style, Config { output_high_water: 1 << 20, ..Config::default() });
        driver.socket.room = 5;
        driver.receive(&bytes);
        assert_eq!((driver.sink.frames, driver.socket.written.len()), (4, 5));
        driver.take(usize::MAX);
        finishes(driver, &bytes);
    }
}

#[test]
fn a_handler_may_pause_or_end_at_a_large_frame() {
    let bytes = stream(&[3, 100_000, 4]);
    for (act, reason) in [
        (Act::Close, Some(CloseReason::ClosedByHandler)),
        (Act::Abort, Some(CloseReason::AbortedByHandler)),
        (Act::Panic, Some(CloseReason::HandlerPanicked)),
        (Act::Pause, None),
    ] {
        let mut driver = Driver::echo();
        driver.sink.acts = vec![(2, act)];
        driver.receive(&bytes);
        assert_eq!(driver.sink.frames, 2);
        if act == Act::Pause {
            driver.resume();
            assert_eq!(driver.sink.frames, 3);
            finishes(driver, &bytes);
            continue;
        }
        if act != Act::Abort {
            assert_eq!(driver.socket.written.len(), bytes.len() - 8);
            driver.arrive(Arrival::Eof);
        }
        assert_eq!(driver.conn.closed(), reason);
        driver.at_rest();
    }
}

#[test]
fn a_large_frame_may_end_at_any_border_of_its_chunks() {
    let bytes = stream(&[200_000]);
    for cut in [512, 1_024, 32_768, 65_536, 65_536 + CHUNK_LEN, 65_536 + 2 * CHUNK_LEN - 1] {
        for delta in [-1_isize, 0, 1] {
            let cut = cut.saturating_add_signed(delta).min(bytes.len());
            let mut driver = Driver::echo();
            pieces(&bytes, &[4, cut - 4, bytes.len() - cut]).for_each(|piece| driver.receive(piece));
            finishes(driver, &bytes);
        }
    }
}
