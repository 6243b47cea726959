//! The rules of the transport contract, and how a violation is reported.

use std::error::Error;
use std::fmt;

/// A rule of the [`Transport`](crate::net::Transport) contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContractRule {
    /// Bytes arrive unchanged, in order, each once.
    ExactBytes,
    /// A call returns `WouldBlock`, or moves fewer bytes than asked for, only after its socket has done that in the direction
    /// that the call waits for.
    LostEdge,
    /// A read that returns `WouldBlock`, or a short one that drains, has left no decoded input inside, or `has_buffered_input`
    /// says that it has.
    HeldInput,
    /// Output that the socket has not accepted is reported by `wants_write`, and sent by `flush`.
    HeldOutput,
    /// A read returns `Ok(0)` at the end of the peer's stream and from then on, and never before.
    EndOfStream,
    /// A reset is an error, and so is the end of a stream without its closing message. Nothing else is.
    Failure,
    /// `shutdown_write` returns `Ok(())` after it has sent what was held, the closing message, and FIN.
    ClosingHandshake,
    /// `wants_write` is false after a `flush` that has succeeded, and after FIN; `has_closing_message` after FIN;
    /// `has_buffered_input` after the end was read.
    StaleWish,
    /// A read or write moves at least one byte and at most as many as asked for.
    Length,
    /// A connection that can do nothing makes no calls.
    BusyLoop,
}

impl fmt::Display for ContractRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExactBytes => "bytes arrive unchanged, in order, each once",
            Self::LostEdge => "a call would block only after its socket would",
            Self::HeldInput => "no decoded input is left inside unreported",
            Self::HeldOutput => "output that is held is reported and flushed",
            Self::EndOfStream => "a read returns 0 at the end of the stream, and only there",
            Self::Failure => "a reset or a truncated stream is an error, and nothing else is",
            Self::ClosingHandshake => "FIN follows everything that was written, and the closing message",
            Self::StaleWish => "a wish ends when it is fulfilled",
            Self::Length => "a call moves at least one byte, and no more than asked for",
            Self::BusyLoop => "a connection that can do nothing makes no calls",
        })
    }
}

/// Reports which rule a transport has violated, in the run of which seed, and how.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: ContractRule,
    /// The seed. A check of this seed alone gives the same violation.
    pub seed: u64,
    /// What was observed.
    pub observed: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} violated ({}) with seed {}: {}", self.rule, self.rule, self.seed, self.observed)
    }
}

/// The same as [`Display`](fmt::Display): that is what `unwrap` prints.
impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Violation {}
