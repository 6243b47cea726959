//! The clocks that the deadlines read: since when a frame is incomplete, output is stalled, input is discarded.

use crate::config::Config;
use crate::fuzzing::driver::{Driver, Phase};
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::{Arrival, Room};
use crate::tests::conn::stream;

/// Since when a frame is awaited, in milliseconds since the start.
fn frame_since(driver: &Driver) -> Option<u128> {
    driver.millis(driver.conn.frame_since())
}

fn stalled_since(driver: &Driver) -> Option<u128> {
    driver.millis(driver.conn.stalled_since())
}

fn lingering_since(driver: &Driver) -> Option<u128> {
    driver.millis(driver.lingering_since())
}

#[test]
fn a_frame_is_awaited_since_its_first_byte() {
    let bytes = stream(&[10]);
    for cut in 1..bytes.len() {
        let mut driver = Driver::echo();
        assert_eq!(frame_since(&driver), None);
        driver.pass(5);
        driver.receive(&bytes[..cut]);
        assert_eq!(frame_since(&driver), Some(5));
        for byte in &bytes[cut..bytes.len() - 1] {
            driver.pass(5);
            driver.receive(&[*byte]);
            driver.arrive(Arrival::Nothing);
            assert_eq!(frame_since(&driver), Some(5));
        }
        driver.pass(5);
        driver.receive(&bytes[bytes.len() - 1..]);
        assert_eq!(frame_since(&driver), None);
    }
}

#[test]
fn a_large_frame_is_awaited_since_its_first_byte() {
    let bytes = stream(&[300_000]);
    let mut driver = Driver::echo();
    for piece in bytes.chunks(10_000) {
        driver.pass(7);
        assert_eq!(frame_since(&driver), (driver.socket.read_bytes > 0).then_some(7));
        driver.receive(piece);
    }
    assert_eq!(frame_since(&driver), None);
}

#[test]
fn each_frame_is_awaited_since_its_own_first_byte() {
    let bytes = stream(&[10; 20]);
    let mut driver = Driver::echo();
    for piece in bytes.chunks(14).map(|frame| frame.len()).enumerate() {
        let at = piece.0 * 14;
        driver.pass(1);
        // The last bytes of one frame come with the first of the next.
        driver.receive(&bytes[at + usize::from(at > 0) * 5..(at + 14 + 5).min(bytes.len())]);
        let awaited = (piece.0 < 19).then_some(piece.0 as u128 + 1);
        assert_eq!(frame_since(&driver), awaited);
    }
}

#[test]
fn frame_clock_stands_only_while_input_waits_unread() {
    let bytes = stream(&[3, 10]);
    let mut driver = Driver::echo();
    driver.sink.acts = vec![(1, Act::Pause)];
    driver.receive(&bytes[..10]);
    assert_eq!((driver.conn.held_bytes().0, frame_since(&driver)), (3, Some(0)));
    driver.pass(30);
    driver.receive(&bytes[10..11]);
    assert_eq!((driver.conn.held_bytes().0, frame_since(&driver)), (3, None));
    driver.pass(70);
    driver.resume();
    assert_eq!(frame_since(&driver), Some(70), "30 ms of it have passed");

    let config = Config { output_high_water: 100, output_low_water: 10, ..Config::default() };
    let mut driver = Driver::new(Style::Echo, config);
    driver.receive(&bytes[..3]);
    driver.socket.room = 0;
    driver.pass(20);
    let _ = driver.send_now(&[0; 100]);
    assert_eq!(frame_since(&driver), Some(0));
    driver.receive(&bytes[3..4]);
    assert_eq!(frame_since(&driver), None);
    driver.pass(20);
    driver.take(94);
    assert_eq!(frame_since(&driver), Some(20));
}

#[test]
fn look_at_a_paused_frame_finds_whether_its_rest_has_come() {
    let bytes = stream(&[10]);
    for has_come in [false, true] {
        let mut driver = Driver::echo();
        driver.receive(&bytes[..3]);
        driver.conn.pause(true);
        if has_come {
            driver.socket.arrivals.push_back(Arrival::Bytes(bytes[3..].to_vec()));
            driver.socket.arrive();
        }
        driver.socket.excuse_read();
        driver.conn.look_again();
        driver.turn();
        assert_eq!((frame_since(&driver), driver.sink.frames), ((!has_come).then_some(0), 0));
        driver.resume();
        assert_eq!(driver.sink.frames, usize::from(has_come));
    }
}

#[test]
fn frames_that_wait_for_their_turn_are_not_awaited() {
    let mut driver = Driver::new(Style::Echo, Config { frame_budget: 1, ..Config::default() });
    driver.socket.arrivals.push_back(Arrival::Bytes([stream(&[1, 1, 1]), vec![0]].concat()));
    driver.socket.arrive();
    driver.note(true, true);
    for awaited in [None, None, Some(2)] {
        assert_eq!(frame_since(&driver), None);
        driver.turn();
        assert_eq!(frame_since(&driver), awaited);
        driver.pass(1);
    }
}

#[test]
fn what_is_sent_meanwhile_does_not_move_the_frames_deadline() {
    let mut driver = Driver::echo();
    driver.receive(&[0]);
    driver.pass(10);
    let _ = driver.send_now(b"news");
    driver.socket.room = 0;
    let _ = driver.send_now(b"more news");
    driver.pass(10);
    driver.take(100);
    assert_eq!(frame_since(&driver), Some(0));
}

#[test]
fn output_is_stalled_since_nothing_of_it_was_taken() {
    for style in [Style::Echo, Style::Copy] {
        let mut driver = Driver::new(style, Config::default());
        driver.socket.room = 0;
        driver.pass(1);
        driver.receive(&stream(&[100]));
        assert_eq!(stalled_since(&driver), Some(1));
        driver.pass(1);
        driver.receive(&stream(&[100]));
        driver.make_room(Room::Nothing);
        assert_eq!(stalled_since(&driver), Some(1));
        driver.pass(1);
        driver.take(10);
        assert_eq!(stalled_since(&driver), Some(3));
        driver.pass(1);
        driver.take(100);
        assert_eq!(stalled_since(&driver), Some(4));
        driver.take(1_000);
        assert_eq!(stalled_since(&driver), None);
        driver.at_rest();
    }
}

#[test]
fn what_is_sent_anew_stalls_from_then_on() {
    let mut driver = Driver::echo();
    driver.socket.room = 0;
    let _ = driver.send_now(b"first");
    driver.pass(10);
    driver.take(9);
    assert_eq!(stalled_since(&driver), None);
    driver.pass(10);
    let _ = driver.send_now(b"second");
    assert_eq!(stalled_since(&driver), Some(20));
}

#[test]
fn output_stalls_in_every_state_with_pending_output() {
    for (end, phase) in [("close", Phase::Flushing), ("drain", Phase::Flushing), ("finish", Phase::FlushingAfterFin)] {
        let mut driver = Driver::echo();
        driver.socket.room = 3;
        driver.receive(&stream(&[5]));
        driver.pass(10);
        match end {
            "close" => driver.close(),
            "drain" => driver.drain_now(),
            _ => driver.arrive(Arrival::Eof),
        }
        assert_eq!((driver.phase(), stalled_since(&driver)), (phase, Some(0)));
        driver.take(1);
        assert_eq!(stalled_since(&driver), Some(10));
    }
}

#[test]
fn lingering_counts_from_our_fin_and_is_not_moved_by_input() {
    let mut driver = Driver::echo();
    driver.socket.room = 0;
    driver.receive(&stream(&[5]));
    driver.close();
    driver.pass(10);
    assert_eq!(lingering_since(&driver), None);
    driver.take(100);
    assert_eq!(lingering_since(&driver), Some(10));
    driver.pass(10);
    driver.receive(&stream(&[5, 6]));
    assert_eq!(lingering_since(&driver), Some(10));
    assert_eq!((frame_since(&driver), stalled_since(&driver)), (None, None));
    driver.arrive(Arrival::Eof);
    assert_eq!(lingering_since(&driver), None);
}
