//! What a connection does when it is ready.

use std::io::{ErrorKind, Read, Result, Write};

use crate::sound::frames::echo;
use crate::sound::outbox::Outbox;

/// One connection, as the loops see it.
pub(crate) trait Connection {
    /// Does what the socket allows. An error ends this connection, and no other.
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next>;

    /// What it waits for; only those ask that watch levels.
    fn waits_for(&self) -> Interest {
        Interest { readable: true, writable: false }
    }
}

/// What is to be done with a connection after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for an event.
    Wait,
    /// Its budget is spent and its socket may not be drained: it goes on after the others, without an event.
    Again,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// What a connection does at each point where it can go wrong. A beast replaces one of these.
pub(crate) trait Behavior {
    /// Called after each read. Takes from the front of `inbox` what it has used. An error ends the connection.
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        echo(inbox, outbox)
    }

    /// Reads once, behind what is in `inbox`.
    fn fill(&mut self, stream: &mut impl Read, inbox: &mut Vec<u8>) -> Result<Filled> {
        fill(stream, inbox)
    }

    /// Whether nothing more should be read from this peer until it has read.
    fn is_full(&self, outbox: &Outbox) -> bool {
        outbox.is_full()
    }

    /// What follows FIN; if nothing, pending output is flushed, and then the connection is closed.
    fn at_fin(&self) -> Option<Next> {
        None
    }

    /// What it asks for, given what it should.
    fn interest(&self, sound: Interest) -> Interest {
        sound
    }
}

/// Nothing goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Right;

impl Behavior for Right {}

/// A connection without a mistake, but for those of `B`.
#[derive(Debug, Default)]
pub(crate) struct Sound<B = Right> {
    inbox: Vec<u8>,
    outbox: Outbox,
    /// FIN came. Pending output is still written, and then it is closed.
    is_ended: bool,
    behavior: B,
}

impl<B: Behavior> Connection for Sound<B> {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        loop {
            self.outbox.flush(stream)?;
            if self.is_ended && self.outbox.is_empty() {
                return Ok(Next::Close);
            }
            if self.is_ended || self.behavior.is_full(&self.outbox) {
                return Ok(Next::Wait);
            }
            if budget == 0 {
                return Ok(Next::Again);
            }
            match self.behavior.fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => match self.behavior.at_fin() {
                    Some(next) => return Ok(next),
                    None => self.is_ended = true,
                },
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            self.behavior.answer(&mut self.inbox, &mut self.outbox)?;
        }
    }

    fn waits_for(&self) -> Interest {
        let reads = !self.is_ended && !self.behavior.is_full(&self.outbox);
        self.behavior.interest(Interest { readable: reads, writable: !self.outbox.is_empty() })
    }
}

/// What came of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    With(usize),
    /// Nothing is there now.
    Drained,
    /// FIN: nothing will come any more.
    Ended,
}

/// Reads once, behind what is in `inbox`.
pub(crate) fn fill(stream: &mut impl Read, inbox: &mut Vec<u8>) -> Result<Filled> {
    fill_through(&mut [0; READ_LEN], stream, inbox)
}

/// Reads once, as much as `chunk` holds.
pub(crate) fn fill_through(chunk: &mut [u8], stream: &mut impl Read, inbox: &mut Vec<u8>) -> Result<Filled> {
    loop {
        match stream.read(chunk) {
            Ok(0) => return Ok(Filled::Ended),
            Ok(len) => {
                inbox.extend_from_slice(&chunk[..len]);
                return Ok(Filled::With(len));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Filled::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The most that one connection may read before the others have their turn, and one read more.
pub(crate) const BUDGET: usize = 64 << 10;
pub(crate) const READ_LEN: usize = 64 << 10;
