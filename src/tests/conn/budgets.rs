//! What one connection may do in one turn.

use crate::config::Config;
use crate::error::CloseReason;
use crate::fuzzing::driver::Driver;
use crate::fuzzing::sink::{Act, Style};
use crate::fuzzing::socket::Arrival;
use crate::tests::conn::stream;

const STYLES: [Style; 3] = [Style::Echo, Style::Copy, Style::Mixed];

/// One edge with all of `bytes`, and not one more: what is done turn by turn.
fn turn_by_turn(driver: &mut Driver, bytes: &[u8], mut each: impl FnMut(&mut Driver)) {
    driver.socket.arrivals.push_back(Arrival::Bytes(bytes.to_vec()));
    driver.socket.arrive();
    driver.note(true, true);
    while driver.conn.wants_turn() {
        driver.turn();
        each(driver);
    }
    assert!(driver.socket.written == bytes);
    driver.at_rest();
    driver.arrive(Arrival::Eof);
    driver.ended(CloseReason::PeerFinished);
}

#[test]
fn frame_budget_ends_a_turn_and_needs_no_event() {
    let bytes = stream(&[7; 100]);
    for style in STYLES {
        for frame_budget in [1, 3, 99, 100, 101] {
            let mut driver = Driver::new(style, Config { frame_budget, ..Config::default() });
            let mut before = 0;
            turn_by_turn(&mut driver, &bytes, |driver| {
                assert!(driver.sink.frames - before <= frame_budget);
                before = driver.sink.frames;
            });
            let spent = driver.shared.counts.frame_budgets_spent;
            assert_eq!(spent, 99 / frame_budget as u64);
        }
    }
}

#[test]
fn read_budget_ends_a_turn_and_needs_no_event() {
    let bytes = stream(&[1_000; 400]);
    for style in STYLES {
        let mut driver = Driver::new(style, Config { read_budget_bytes: 10_000, ..Config::default() });
        let mut before = 0;
        turn_by_turn(&mut driver, &bytes, |driver| {
            // One read may go past the budget, and is at most a read buffer.
            assert!(driver.socket.read_bytes - before < 10_000 + 69_632);
            before = driver.socket.read_bytes;
        });
        assert!(driver.turns > 5 && driver.shared.counts.read_budgets_spent > 0);
    }
}

#[test]
fn the_read_budget_ends_a_turn_inside_a_large_frame() {
    let bytes = stream(&[1 << 20]);
    let mut driver = Driver::new(Style::Echo, Config { read_budget_bytes: 50_000, ..Config::default() });
    let mut before = 0;
    turn_by_turn(&mut driver, &bytes, |driver| {
        assert!(driver.socket.read_bytes - before < 50_000 + 69_632);
        before = driver.socket.read_bytes;
    });
    assert!(driver.turns > 8);
}

#[test]
fn write_budget_ends_a_turn_and_needs_no_event() {
    for payload_lens in [&[1 << 20][..], &[60_000; 10], &[100; 3_000]] {
        let bytes = stream(payload_lens);
        for style in STYLES {
            let config = Config { write_budget_bytes: 10_000, read_budget_bytes: 1 << 20, ..Config::default() };
            let mut driver = Driver::new(style, config);
            let mut before = 0;
            turn_by_turn(&mut driver, &bytes, |driver| {
                assert!(driver.socket.written.len() - before < 10_000 + 69_632);
                before = driver.socket.written.len();
            });
            assert!(driver.turns > 3 && driver.shared.counts.write_budgets_spent > 0);
        }
    }
}

#[test]
fn the_smallest_budgets_still_answer_everything() {
    let bytes = stream(&[0, 5, 80_000, 1, 0, 3_000]);
    for style in STYLES {
        let config = Config {
            frame_budget: 1,
            read_budget_bytes: 1,
            write_budget_bytes: 1,
            output_high_water: 1,
            output_low_water: 0,
            ..Config::default()
        };
        turn_by_turn(&mut Driver::new(style, config), &bytes, |_| {});
    }
}

#[test]
fn spent_budget_with_full_socket_waits_for_room() {
    let bytes = stream(&[500; 100]);
    for style in STYLES {
        let config = Config {
            frame_budget: 7,
            write_budget_bytes: 900,
            output_high_water: 4_000,
            output_low_water: 10,
            ..Config::default()
        };
        let mut driver = Driver::new(style, config);
        driver.socket.room = 1_234;
        driver.receive(&bytes);
        assert!(!driver.conn.wants_turn());
        while driver.socket.written.len() < bytes.len() {
            driver.take(3_333);
        }
        assert!(driver.socket.written == bytes);
        driver.at_rest();
    }
}

/// The frame at which the handler pauses spends the budget, and no event follows.
#[test]
fn paused_connection_finds_its_peers_end_in_its_next_turn() {
    for (end, reason) in [(Arrival::Eof, CloseReason::PeerFinished), (Arrival::Reset, CloseReason::Reset)] {
        for behind in [0, 3] {
            let config = Config { read_budget_bytes: 5, ..Config::default() };
            let mut driver = Driver::new(Style::Echo, config);
            driver.sink.acts = vec![(1, Act::Pause)];
            let bytes = [stream(&[3]), vec![0; behind]].concat();
            driver.socket.arrivals.extend([Arrival::Bytes(bytes), end.clone()]);
            while driver.socket.arrive() {}
            driver.react();
            let is_truncated = behind > 0 && reason == CloseReason::PeerFinished;
            let reason = if is_truncated { CloseReason::TruncatedFrame { received: behind } } else { reason };
            assert_eq!((driver.conn.closed(), driver.sink.frames), (Some(reason), 1));
        }
    }
}

#[test]
fn paused_connection_reads_little_ahead_whatever_its_budget() {
    for read_budget_bytes in [100, 64 << 10] {
        let mut driver = Driver::new(Style::Echo, Config { read_budget_bytes, ..Config::default() });
        driver.sink.acts = vec![(1, Act::Pause)];
        driver.socket.arrivals.extend([Arrival::Bytes(stream(&[3; 20_000])), Arrival::Eof]);
        while driver.socket.arrive() {}
        driver.react();
        let held = driver.conn.held_bytes().0;
        assert!(held <= 69_632 && driver.conn.closed().is_none(), "{held} bytes are held");
        assert!(driver.turns < 100, "{} turns", driver.turns);
    }
}
