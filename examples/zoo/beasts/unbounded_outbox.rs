//! A connection is read on, whatever it is owed: its outbox has no bound.
//!
//! People make it because the socket takes what it can and the rest is queued, which is right; that the queue is memory, and
//! that only the peer can empty it, does not show while peers read. http-kit queued for a slow client until memory ran out:
//! <https://github.com/http-kit/http-kit/issues/180>.
//!
//! One client that pipelines and does not read makes the process grow as fast as it can send, until the kernel ends it.
//!
//! Caught by `never-reads-memory`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, fill};
use crate::sound::edges;
use crate::sound::frames::{Answers, Echo};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<UnboundedOutbox>(listener)
}

#[derive(Debug, Default)]
struct UnboundedOutbox {
    inbox: Vec<u8>,
    outbox: Outbox,
    is_ended: bool,
}

impl Connection for UnboundedOutbox {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        while !self.is_ended {
            self.outbox.flush(stream)?;
            // The mistake: nobody asks here how much is owed.
            if budget == 0 {
                return Ok(Next::Again);
            }
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => self.is_ended = true,
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            Echo.answer(&mut self.inbox, &mut self.outbox)?;
        }
        self.outbox.flush(stream)?;
        Ok(if self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}
