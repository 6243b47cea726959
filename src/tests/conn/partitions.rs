//! However a stream is cut, by the peer, the network or the socket's buffer, the same frames come out.

use crate::config::Config;
use crate::error::CloseReason;
use crate::fuzzing::content::Content;
use crate::fuzzing::driver::Driver;
use crate::fuzzing::sink::Style;
use crate::fuzzing::socket::{Arrival, Room};
use crate::tests::conn::{compositions, pieces, stream};
use crate::wire::HEADER_LEN;

const STYLES: [Style; 4] = [Style::Echo, Style::Copy, Style::Mixed, Style::Inspect];

/// Streams of at most 14 bytes.
const SHORT: [&[usize]; 7] = [&[0], &[10], &[0, 0, 0], &[1, 5], &[5, 1], &[0, 2, 0], &[2, 4]];

fn driver(style: Style) -> Driver {
    Driver::new(style, Config::default())
}

/// The peer sends FIN, and everything has come back.
fn finishes(driver: &mut Driver, bytes: &[u8]) {
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
    assert!(driver.sink.received == bytes && driver.socket.written == bytes);
    assert_eq!(driver.sink.half_closes, 1);
}

#[test]
fn every_partition_of_what_arrives_gives_the_same_frames() {
    for payload_lens in SHORT {
        let bytes = stream(payload_lens);
        for style in STYLES {
            let mut driver = driver(style);
            for lens in compositions(bytes.len()) {
                let mut came = 0;
                for piece in pieces(&bytes, &lens) {
                    driver.receive(piece);
                    came += piece.len();
                    let content = Content::of(&bytes[..came], u32::MAX);
                    assert_eq!(driver.sink.frames, content.frames.len(), "{lens:?}");
                    assert_eq!(driver.socket.written.len(), content.whole_len(), "{lens:?}");
                }
                finishes(&mut driver, &bytes);
                driver.reconnect();
            }
        }
    }
}

#[test]
fn every_partition_of_writes_gives_the_same_bytes() {
    for payload_lens in SHORT {
        let bytes = stream(payload_lens);
        for style in STYLES {
            let mut driver = driver(style);
            for lens in compositions(bytes.len()) {
                driver.socket.room = 0;
                driver.receive(&bytes);
                for len in lens {
                    let before = driver.socket.written.len();
                    driver.take(len);
                    assert_eq!(driver.socket.written.len(), before + len);
                }
                finishes(&mut driver, &bytes);
                driver.reconnect();
            }
        }
    }
}

#[test]
fn every_partition_of_both_sides_gives_the_same_bytes() {
    for (payload_lens, style) in [(&[0, 1][..], Style::Echo), (&[4], Style::Copy), (&[0, 0], Style::Mixed)] {
        let bytes = stream(payload_lens);
        let mut driver = driver(style);
        for arrivals in compositions(bytes.len()) {
            for rooms in compositions(bytes.len()) {
                driver.socket.room = 0;
                driver.socket.arrivals.extend(pieces(&bytes, &arrivals).map(|piece| Arrival::Bytes(piece.to_vec())));
                driver.socket.rooms.extend(rooms.iter().map(|&len| Room::Bytes(len)));
                driver.play();
                finishes(&mut driver, &bytes);
                driver.reconnect();
            }
        }
    }
}

#[test]
fn the_end_may_come_with_any_last_piece() {
    for payload_lens in SHORT {
        let bytes = stream(payload_lens);
        let mut driver = driver(Style::Echo);
        for cut in 0..=bytes.len() {
            let (first, last) = bytes.split_at(cut);
            driver.receive(first);
            // One event for the last bytes and the FIN behind them.
            driver.socket.arrivals.extend([Arrival::Bytes(last.to_vec()), Arrival::Eof]);
            while driver.socket.arrive() {}
            driver.react();
            driver.ended(CloseReason::PeerFinished);
            assert_eq!(driver.socket.written, bytes);
            driver.reconnect();
        }
    }
}

#[test]
fn edges_with_nothing_behind_them_change_nothing() {
    let bytes = stream(&[3, 0, 4]);
    for style in STYLES {
        let mut driver = driver(style);
        driver.socket.room = 0;
        for &byte in &bytes {
            driver.arrive(Arrival::Nothing);
            driver.make_room(Room::Nothing);
            driver.receive(&[byte]);
            driver.arrive(Arrival::Nothing);
            driver.make_room(Room::Nothing);
        }
        assert_eq!(driver.socket.written, b"");
        for _ in &bytes {
            driver.take(1);
            driver.make_room(Room::Nothing);
        }
        finishes(&mut driver, &bytes);
    }
}

#[test]
fn a_header_may_be_cut_anywhere_behind_any_frame() {
    for before in [0, 1, 100, 5_000] {
        let bytes = stream(&[before, 300]);
        for cut in 0..=HEADER_LEN {
            let mut driver = driver(Style::Mixed);
            let (first, second) = bytes.split_at(HEADER_LEN + before + cut);
            driver.receive(first);
            assert_eq!((driver.sink.frames, driver.conn.held_bytes()), (1, (cut, 0)));
            driver.receive(second);
            finishes(&mut driver, &bytes);
        }
    }
}

#[test]
fn frames_without_payload_are_answered_one_for_one() {
    for style in STYLES {
        let mut driver = driver(style);
        let bytes = stream(&[0; 1_000]);
        driver.receive(&bytes);
        assert_eq!((driver.sink.frames, driver.socket.writes), (1_000, 1));
        finishes(&mut driver, &bytes);
    }
}

#[test]
fn a_frame_that_arrives_byte_by_byte_is_whole_at_its_last_byte() {
    let bytes = stream(&[2_000]);
    let mut driver = driver(Style::Echo);
    for (at, &byte) in bytes.iter().enumerate() {
        assert_eq!((driver.sink.frames, driver.conn.held_bytes().0), (0, at));
        driver.receive(&[byte]);
    }
    assert_eq!((driver.sink.frames, driver.socket.reads, driver.socket.writes), (1, bytes.len(), 1));
    driver.at_rest();
    finishes(&mut driver, &bytes);
}

#[test]
fn unanswered_frames_leave_nothing_between_echoes() {
    let bytes = stream(&[3, 0, 5, 1, 7, 9, 0, 4]);
    let echoes = [frame(&bytes, 1), frame(&bytes, 3), frame(&bytes, 5), frame(&bytes, 7)].concat();
    for step in 1..=bytes.len() {
        for room in [0, 1, 6, usize::MAX] {
            let mut driver = driver(Style::Alternate);
            driver.socket.room = room;
            bytes.chunks(step).for_each(|piece| driver.receive(piece));
            driver.take(usize::MAX);
            assert_eq!(driver.socket.written, echoes);
        }
    }
}

/// The frame with this number, counted from 0.
fn frame(bytes: &[u8], nth: usize) -> &[u8] {
    let start = |nth| (0..nth).fold(0, |at, _| at + HEADER_LEN + usize::from(bytes[at + 3]));
    &bytes[start(nth)..start(nth + 1)]
}
