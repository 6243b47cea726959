//! A script's bytes as settings and steps. Every byte string is one: where bytes are missing, they are zero.

use std::time::Duration;

use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::wire::HEADER_LEN;

/// What holds for the whole script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) max_payload: u32,
    pub(super) memory: usize,
    pub(super) pool_bytes_max: usize,
    pub(super) output_high_water: usize,
    pub(super) output_low_water: usize,
    pub(super) read_budget_bytes: usize,
    pub(super) write_budget_bytes: usize,
    pub(super) frame_budget: usize,
    /// How a frame is answered if no [`Act`] is waiting.
    pub(super) answer: Act,
    /// The handler keeps a connection whose peer has finished, until somebody closes it.
    pub(super) keeps_half_closed: bool,
    /// The handler sends a frame when the peer has finished, and when there is room again.
    pub(super) is_talkative: bool,
    /// Our FIN cannot be sent.
    pub(super) fails_shutdown: bool,
    /// How much the socket takes at first.
    pub(super) room: usize,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The peer has a frame to send.
    Frame {
        payload_len: usize,
    },
    /// The peer has these bytes to send.
    Raw(Vec<u8>),
    /// So many of the bytes that the peer has to send arrive.
    Deliver(usize),
    /// The peer reads so many bytes.
    Room(usize),
    /// The kernel reports what it has of this; the connection runs.
    Event {
        readable: bool,
        writable: bool,
    },
    /// The kernel reports this, which need not be so.
    Spurious {
        readable: bool,
        writable: bool,
    },
    /// The connection runs without an event.
    Turn,
    /// Everything is reported and done that can be.
    Settle,
    Fin,
    Reset,
    /// Reading fails, writing does not.
    FailRead,
    /// The next write fails.
    FailWrite,
    /// The next write takes zero bytes.
    TakeZero,
    /// A signal interrupts so many calls.
    Interrupt(u8),
    /// So many calls would block, and are reported ready again.
    Block(u8),
    /// The next read gets at most this, and there is another edge.
    ShortRead(u8),
    /// What the handler does at a further frame.
    Act(Act),
    Pause(bool),
    /// Somebody else sends a frame on this connection.
    Send {
        payload_len: usize,
    },
    Close,
    Drain,
    Cut,
    /// Time passes, in milliseconds; who is late is cut.
    Pass(u16),
}

/// What a handler does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Answers it with its own bytes.
    Echo,
    /// Answers it with a copy of its payload.
    Copy,
    /// Looks at the payload in both ways, then answers with its bytes.
    Inspect,
    Ignore,
    /// Answers with its own bytes, then this often with a payload of this length.
    Replies {
        count: u8,
        payload_len: u16,
    },
    Pause,
    Close,
    Abort,
    Panic,
}

impl Setup {
    /// All timeouts are short, so that [`Step::Pass`] makes a difference.
    pub(super) fn config(&self) -> Config {
        Config {
            max_payload: self.max_payload,
            memory: self.memory,
            pool_bytes_max: self.pool_bytes_max,
            output_high_water: self.output_high_water,
            output_low_water: self.output_low_water,
            read_budget_bytes: self.read_budget_bytes,
            write_budget_bytes: self.write_budget_bytes,
            frame_budget: self.frame_budget,
            frame_timeout: Some(TIMEOUT),
            write_timeout: Some(TIMEOUT),
            linger_timeout: TIMEOUT,
            ..Config::default()
        }
    }
}

/// Every timeout of a script.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings, then the steps.
pub(super) fn of(data: &[u8]) -> (Setup, Vec<Step>) {
    let mut bytes = Bytes(data);
    let setup = bytes.setup();
    let mut steps = Vec::new();
    while !bytes.0.is_empty() {
        steps.push(bytes.step(setup.max_payload));
    }
    (setup, steps)
}

/// The largest payload of a frame that is sent on purpose, in bytes: three chunks.
pub(super) const LONGEST: usize = 2 * CHUNK_LEN + 10_000;

pub(super) const PAYLOAD_LENS: [u32; 8] =
    [200, 5_000, 0, 7, (CHUNK_LEN - HEADER_LEN) as u32, CHUNK_LEN as u32, LONGEST as u32, u32::MAX];
pub(super) const MEMORY: [usize; 8] = [1 << 30, 1 << 30, 1 << 30, 1 << 18, 80_000, 5_000, 512, 0];
pub(super) const HIGH: [usize; 8] = [64 << 10, 1_000, 1, 4, 60, 5_000, 20_000, 200_000];
pub(super) const BUDGETS: [usize; 4] = [64 << 10, 1, 100, 5_000];
pub(super) const FRAMES: [usize; 4] = [2_048, 1, 2, 7];
pub(super) const ROOMS: [usize; 4] = [usize::MAX, 0, 10, 3_000];

/// The rest of a script.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }

    fn u16(&mut self) -> u16 {
        (u16::from(self.next()) << 8) | u16::from(self.next())
    }

    /// A length in bytes: any up to 16 MiB, with those easily found that matter.
    fn len(&mut self, max_payload: u32) -> usize {
        let near = |middle: usize, offset: u8| middle.saturating_add_signed((offset as i8).into());
        match self.next() % 8 {
            0..=3 => self.next().into(),
            4 => self.u16().into(),
            5 => near(max_payload as usize, self.next()),
            6 => near(CHUNK_LEN - HEADER_LEN, self.next()),
            _ => ((self.next() as usize) << 16) | self.u16() as usize,
        }
    }

    fn setup(&mut self) -> Setup {
        let max_payload = self.one_of(&PAYLOAD_LENS);
        let output_high_water = self.one_of(&HIGH);
        let traits = self.next();
        Setup {
            max_payload,
            memory: self.one_of(&MEMORY),
            pool_bytes_max: self.one_of(&[1 << 20, 0]),
            output_high_water,
            output_low_water: output_high_water / 4 * (self.next() as usize % 4),
            read_budget_bytes: self.one_of(&BUDGETS),
            write_budget_bytes: self.one_of(&BUDGETS),
            frame_budget: self.one_of(&FRAMES),
            answer: self.act(),
            keeps_half_closed: traits & 1 != 0,
            is_talkative: traits & 2 != 0,
            fails_shutdown: traits & 4 != 0,
            room: self.one_of(&ROOMS),
        }
    }

    fn act(&mut self) -> Act {
        match self.next() % 12 {
            0 | 9 => Act::Echo,
            1 | 10 => Act::Copy,
            2 | 11 => Act::Inspect,
            3 => Act::Ignore,
            4 => Act::Replies { count: self.next() % 16, payload_len: self.u16() % 8_192 },
            5 => Act::Pause,
            6 => Act::Close,
            7 => Act::Abort,
            _ => Act::Panic,
        }
    }

    fn sides(&mut self) -> (bool, bool) {
        let sides = self.next();
        (sides & 1 != 0, sides & 2 != 0)
    }

    /// What is likely in a connection's life has several numbers.
    fn step(&mut self, max_payload: u32) -> Step {
        match self.next() % 32 {
            0 | 24 => Step::Frame { payload_len: self.len(max_payload) },
            1 => {
                let (raw, rest) = self.0.split_at(self.0.len().min(1 + self.0.first().map_or(0, |&len| len as usize)));
                self.0 = rest;
                Step::Raw(raw.get(1..).unwrap_or_default().to_vec())
            }
            2 | 25 => Step::Deliver(self.len(max_payload)),
            3 | 26 => Step::Deliver(usize::MAX),
            4 | 27 => Step::Room(self.len(max_payload)),
            5 => Step::Room(usize::MAX),
            6 | 28 => {
                let (readable, writable) = self.sides();
                Step::Event { readable, writable }
            }
            7 => {
                let (readable, writable) = self.sides();
                Step::Spurious { readable, writable }
            }
            8 | 29 => Step::Turn,
            9 | 30 => Step::Settle,
            10 => Step::Fin,
            11 => Step::Reset,
            12 => Step::FailRead,
            13 => Step::FailWrite,
            14 => Step::TakeZero,
            15 => Step::Interrupt(self.next()),
            16 => Step::Block(self.next()),
            17 => Step::ShortRead(self.next()),
            18 | 31 => Step::Act(self.act()),
            19 => Step::Pause(self.next().is_multiple_of(2)),
            20 => Step::Send { payload_len: self.len(max_payload) },
            21 => Step::Close,
            22 => Step::Drain,
            _ => match self.next() % 8 {
                0 => Step::Cut,
                _ => Step::Pass(self.u16()),
            },
        }
    }
}
