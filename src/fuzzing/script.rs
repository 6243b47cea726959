//! A script's bytes as settings and steps. Every byte string is one: where bytes are missing, they are zero.

use std::io::ErrorKind;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::conn::sink::Drain;
use crate::fuzzing::content::LONGEST;
use crate::fuzzing::sink::{Act, ScriptedSink, Style};
use crate::fuzzing::socket::Socket;
use crate::wire::HEADER_LEN;

/// The settings of a script.
#[derive(Debug, Clone, PartialEq, Eq, Arbitrary)]
pub(super) struct Setup {
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&PAYLOAD_LENS).copied())]
    pub(super) max_payload: u32,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&MEMORY).copied())]
    pub(super) memory: usize,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&POOL).copied())]
    pub(super) pool_bytes_max: usize,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&HIGH).copied())]
    pub(super) output_high_water: usize,
    /// In quarters of the high-water mark.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=3))]
    pub(super) low_quarters: usize,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&BUDGETS).copied())]
    pub(super) read_budget_bytes: usize,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&BUDGETS).copied())]
    pub(super) write_budget_bytes: usize,
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&FRAMES).copied())]
    pub(super) frame_budget: usize,
    /// The action for a frame if no other [`Act`] is waiting.
    pub(super) answer: Act,
    /// The handler keeps a connection open whose peer has finished, until a step closes it.
    pub(super) keeps_half_closed: bool,
    /// The handler sends a frame when the peer has finished, when there is room again, and when it is drained.
    pub(super) is_talkative: bool,
    /// Our FIN cannot be sent.
    pub(super) fails_shutdown: bool,
    /// How much the socket takes at first.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&ROOMS).copied())]
    pub(super) room: usize,
    /// The handler's reply to a drain.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[Drain::AtRest, Drain::WhenClosed]).copied())]
    pub(super) reply_to_drain: Drain,
}

/// A step of a script.
#[derive(Debug, Clone, PartialEq, Eq, Arbitrary)]
pub(super) enum Step {
    /// The peer has a frame to send.
    Frame {
        #[arbitrary(with = len)]
        payload_len: usize,
    },
    /// The peer has these bytes to send.
    Raw(Vec<u8>),
    /// So many of the bytes that the peer has to send arrive.
    Deliver(#[arbitrary(with = len)] usize),
    /// The peer reads so many bytes.
    Room(#[arbitrary(with = len)] usize),
    /// The kernel reports which of these are true, and the connection runs.
    Event {
        readable: bool,
        writable: bool,
    },
    /// The kernel reports these, true or not.
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
    Block(#[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=3))] u8),
    /// The next read gets at most this, and there is another edge.
    ShortRead(u8),
    /// What the handler does at a further frame.
    Act(Act),
    Pause(bool),
    /// Other code sends a frame on this connection.
    Send {
        #[arbitrary(with = len)]
        payload_len: usize,
    },
    Close,
    Finish,
    Drain,
    Cut,
    /// Time passes, in milliseconds, and deadlines apply.
    Pass(u16),
}

impl Setup {
    pub(super) fn output_low_water(&self) -> usize {
        self.output_high_water / 4 * self.low_quarters
    }

    /// All timeouts are short, so that [`Step::Pass`] makes a difference.
    pub(super) fn config(&self) -> Config {
        Config {
            max_payload: self.max_payload,
            memory: self.memory,
            pool_bytes_max: self.pool_bytes_max,
            output_high_water: self.output_high_water,
            output_low_water: self.output_low_water(),
            read_budget_bytes: self.read_budget_bytes,
            write_budget_bytes: self.write_budget_bytes,
            frame_budget: self.frame_budget,
            frame_timeout: Some(TIMEOUT),
            write_timeout: Some(TIMEOUT),
            linger_timeout: TIMEOUT,
            ..Config::default()
        }
    }

    pub(super) fn socket(&self) -> Socket {
        let mut socket = Socket::new(self.room);
        socket.shutdown_error = self.fails_shutdown.then_some(ErrorKind::NotConnected);
        socket
    }

    pub(super) fn sink(&self) -> ScriptedSink {
        let payload = |payload: &[u8]| self.is_talkative.then(|| payload.to_vec());
        let mut sink = ScriptedSink::new(Style::Echo);
        sink.usual_act = Some(self.answer);
        sink.keeps_half_closed = self.keeps_half_closed;
        sink.reply_to_drain = self.reply_to_drain;
        sink.on_drain = payload(b"it drains");
        (sink.on_half_close, sink.on_writable) = (payload(b"good-bye"), payload(b"there is room"));
        sink
    }
}

/// Every timeout of a script.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings, then the steps.
pub(super) fn of(data: &[u8]) -> (Setup, Vec<Step>) {
    let mut bytes = Unstructured::new(data);
    let setup = bytes.arbitrary().unwrap_or_else(|error| unreachable!("{error}"));
    let mut steps = Vec::new();
    while !bytes.is_empty() {
        let Ok(step) = bytes.arbitrary::<Step>() else { break };
        if !step.is_final() || bytes.ratio(1, 8).unwrap_or(false) {
            steps.push(step);
        }
    }
    (setup, steps)
}

impl Step {
    /// Whether most connections end by it, so that it must be rarer than others for a script to have long connections.
    fn is_final(&self) -> bool {
        match self {
            Self::Fin | Self::Reset | Self::FailRead | Self::FailWrite | Self::TakeZero => true,
            Self::Close | Self::Finish | Self::Drain | Self::Cut | Self::Pass(_) => true,
            Self::Frame { .. } | Self::Raw(_) | Self::Deliver(_) | Self::Room(_) => false,
            Self::Event { .. } | Self::Spurious { .. } | Self::Turn | Self::Settle => false,
            Self::Interrupt(_) | Self::Block(_) | Self::ShortRead(_) => false,
            Self::Act(_) | Self::Pause(_) | Self::Send { .. } => false,
        }
    }
}

pub(super) const PAYLOAD_LENS: [u32; 8] =
    [200, 5_000, 0, 7, (CHUNK_LEN - HEADER_LEN) as u32, CHUNK_LEN as u32, LONGEST as u32, u32::MAX];
const MEMORY: [usize; 8] = [1 << 30, 1 << 30, 1 << 30, 1 << 18, 80_000, 5_000, 512, 0];
const POOL: [usize; 2] = [1 << 20, 0];
const HIGH: [usize; 8] = [64 << 10, 1_000, 1, 4, 60, 5_000, 20_000, 200_000];
const BUDGETS: [usize; 4] = [64 << 10, 1, 100, 5_000];
const FRAMES: [usize; 4] = [2_048, 1, 2, 7];
const ROOMS: [usize; 4] = [usize::MAX, 0, 10, 3_000];

/// A length in bytes: any up to 16 MiB, and those that matter more often.
fn len(bytes: &mut Unstructured<'_>) -> Result<usize> {
    let near = |middle: u32, offset: i8| (middle as usize).saturating_add_signed(offset.into());
    Ok(match bytes.int_in_range(0..=9)? {
        0..=4 => bytes.int_in_range(0..=255)?,
        5 => bytes.int_in_range(0..=6_000)?,
        6 => near(*bytes.choose(&PAYLOAD_LENS)?, bytes.arbitrary()?),
        7 => bytes.int_in_range(0..=(16 << 20))?,
        _ => usize::MAX,
    })
}
