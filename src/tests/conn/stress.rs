//! Everything at once, by the dice: a failure prints its seed, which plays the same again.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::config::Config;
use crate::error::CloseReason;
use crate::fuzzing::socket::{Arrival, Room};
use crate::tests::conn::driver::{Driver, Phase};
use crate::tests::conn::sink::{Act, Style};
use crate::tests::conn::{Outlook, stream};

/// A xorshift generator (Marsaglia 2003, the 64-bit triple 13, 7, 17).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..3).for_each(|_| _ = dice.roll());
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (((self.roll() >> 32) * limit as u64) >> 32) as usize
    }

    pub(super) fn between(&mut self, min: usize, max: usize) -> usize {
        min + self.below(max - min + 1)
    }

    /// Once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Small more often than large.
    fn skewed(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 2);
        self.below(1 << bits).min(max)
    }
}

/// How much goes wrong.
#[derive(Clone, Copy)]
struct Trouble {
    /// A connection ends by itself only.
    is_mild: bool,
    max_payload: usize,
}

fn config(dice: &mut Dice, trouble: Trouble) -> Config {
    let high = 1 + dice.skewed(1 << 17);
    Config {
        max_payload: trouble.max_payload as u32,
        memory: if trouble.is_mild || dice.below(4) > 0 { 1 << 30 } else { dice.skewed(1 << 18) },
        output_high_water: high,
        output_low_water: dice.below(high),
        read_budget_bytes: 1 + dice.skewed(1 << 17),
        write_budget_bytes: 1 + dice.skewed(1 << 17),
        frame_budget: 1 + dice.skewed(1 << 7),
        ..Config::default()
    }
}

/// Frames, then perhaps a part of one, or a length over the limit.
fn peers_stream(dice: &mut Dice, trouble: Trouble) -> Vec<u8> {
    let lens: Vec<usize> = (0..dice.skewed(60)).map(|_| dice.skewed(trouble.max_payload)).collect();
    let mut bytes = stream(&lens);
    match dice.below(4) {
        0 => bytes.truncate(bytes.len().saturating_sub(dice.skewed(100))),
        1 => bytes.extend([&[0xff; 4][..], &[1; 50]].concat()),
        _ => {}
    }
    bytes
}

fn scripted(dice: &mut Dice, trouble: Trouble) -> (Driver, Vec<u8>) {
    let style = dice.one_of(&[Style::Echo, Style::Copy, Style::Mixed, Style::Inspect, Style::Twice, Style::Alternate]);
    let mut driver = Driver::new(style, config(dice, trouble));
    let bytes = peers_stream(dice, trouble);
    driver.sink.keeps_half_closed = dice.once_in(3);
    driver.sink.on_half_close = dice.once_in(3).then(|| vec![3; 30]);
    if dice.once_in(4) {
        let act = match dice.below(if trouble.is_mild { 2 } else { 5 }) {
            0 => Act::Pause,
            1 => Act::Replies { count: 1 + dice.below(9), payload_len: dice.skewed(5_000) },
            2 => Act::Close,
            3 => Act::Abort,
            _ => Act::Panic,
        };
        driver.sink.acts.push((1 + dice.below(20), act));
    }
    driver.socket.interrupted_calls = (0..40).map(|_| dice.below(300)).collect();
    if dice.once_in(2) {
        driver.socket.room = dice.skewed(1 << 16);
    }
    (driver, bytes)
}

/// What happens next.
fn step(dice: &mut Dice, driver: &mut Driver, rest: &mut &[u8], trouble: Trouble) {
    driver.pass(1);
    match dice.below(14) {
        0..=4 if !rest.is_empty() => {
            let (piece, later) = rest.split_at((1 + dice.skewed(1 << 17)).min(rest.len()));
            driver.socket.arrivals.push_back(Arrival::Bytes(piece.to_vec()));
            driver.socket.arrive();
            *rest = later;
        }
        5..=8 => {
            driver.socket.rooms.push_back(Room::Bytes(dice.skewed(1 << 17)));
            driver.socket.make_room();
        }
        9 => driver.socket.arrivals.push_back(Arrival::Nothing),
        10 => driver.socket.rooms.push_back(Room::Nothing),
        11 if dice.once_in(4) => drop(driver.send(&vec![dice.below(256) as u8; dice.skewed(3_000)])),
        12 => {
            driver.conn.pause(dice.once_in(4));
            driver.turn();
        }
        13 if !trouble.is_mild && dice.once_in(20) => interfere(dice, driver),
        _ => {}
    }
    driver.socket.arrive();
    driver.socket.make_room();
    // An event may be late: then what it is about is in the socket already.
    if dice.below(3) > 0 {
        driver.react();
    } else if driver.conn.wants_turn() {
        driver.turn();
    }
}

fn interfere(dice: &mut Dice, driver: &mut Driver) {
    match dice.below(7) {
        0 => driver.close(),
        1 | 2 => driver.drain(),
        3 => driver.socket.arrivals.push_back(Arrival::Reset),
        5 => driver.socket.rooms.push_back(dice.one_of(&[Room::Zero, Room::Fail(ErrorKind::BrokenPipe)])),
        4 if dice.once_in(2) => driver.socket.arrivals.push_back(Arrival::Fail(ErrorKind::TimedOut)),
        _ => driver.socket.arrivals.push_back(Arrival::Eof),
    }
}

/// The peer has sent everything and finishes, reads to the end, and nobody holds the connection any more.
fn wind_up(driver: &mut Driver) {
    driver.arrive(Arrival::Eof);
    driver.resume();
    for _ in 0..10 {
        driver.take(1 << 40);
        driver.resume();
    }
    if driver.phase() == Phase::HalfClosed {
        driver.close();
    }
    driver.take(1 << 40);
}

fn play(seed: u64, trouble: Trouble) {
    let mut dice = Dice::new(seed);
    let (mut driver, bytes) = scripted(&mut dice, trouble);
    let mut rest = &bytes[..];
    for _ in 0..dice.between(20, 400) {
        step(&mut dice, &mut driver, &mut rest, trouble);
        if driver.conn.closed().is_some() {
            break;
        }
    }
    if trouble.is_mild {
        driver.receive(rest);
        rest = &[];
    }
    wind_up(&mut driver);

    let sent = &bytes[..bytes.len() - rest.len()];
    let outlook = Outlook::of(sent, driver.shared.limits.max_payload);
    let reason = driver.conn.closed().unwrap_or_else(|| {
        panic!("it does not end with its peer: {:?} {:?}", driver.conn.state(), driver.conn.readiness())
    });
    assert!(driver.sink.received == sent[..driver.sink.received.len()], "other frames than sent");
    if trouble.is_mild {
        assert_eq!(
            (driver.sink.frames, driver.sink.received.len(), reason),
            (outlook.frames, outlook.whole, outlook.reason)
        );
    }
    match reason {
        CloseReason::PeerFinished
        | CloseReason::TruncatedFrame { .. }
        | CloseReason::FrameTooLong(_)
        | CloseReason::ClosedByHandler
        | CloseReason::Drained => driver.sent_all(),
        _ => assert!(!trouble.is_mild && driver.socket.written.len() <= driver.sink.queued.len()),
    }
    driver.conn.release(&mut driver.shared);
    driver.at_rest();
}

fn play_all(seeds: std::ops::Range<u64>, trouble: Trouble) {
    let seeds = match std::env::var("FRAMELOOP_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => seed..seed + 1,
        Ok(Err(_)) | Err(_) => seeds,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed, trouble))) {
            eprintln!("failed with FRAMELOOP_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn a_peer_that_behaves_gets_every_answer_whatever_the_network_does() {
    play_all(0..800, Trouble { is_mild: true, max_payload: 200 });
    play_all(800..1_000, Trouble { is_mild: true, max_payload: 150_000 });
}

#[test]
fn nothing_is_lost_or_leaked_whoever_ends_the_connection() {
    play_all(0..800, Trouble { is_mild: false, max_payload: 200 });
    play_all(800..1_000, Trouble { is_mild: false, max_payload: 150_000 });
}
