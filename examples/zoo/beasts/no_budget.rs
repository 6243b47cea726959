//! A connection is served until its socket is empty, however long that takes; and each answer is a write.
//!
//! People make it because edges ask for it: read until WouldBlock. A client that sends as fast as it is read never lets that
//! come. ws-rs did it, and a second client could not connect while the first sent:
//! <https://github.com/housleyjk/ws-rs/issues/65>.
//!
//! One client that floods has the server for itself; all others wait until it stops, without an error anywhere.
//!
//! Caught by `flood-beside`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{Connection, Filled, Next, fill};
use crate::sound::edges;
use crate::sound::frames::{consume, whole_frame};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<NoBudget>(listener)
}

#[derive(Debug, Default)]
struct NoBudget {
    inbox: Vec<u8>,
    outbox: Outbox,
    is_ended: bool,
}

impl Connection for NoBudget {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        self.outbox.flush(stream)?;
        // The mistake: only WouldBlock ends this turn.
        while !self.is_ended && !self.outbox.is_full() {
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => self.is_ended = true,
                Filled::With(_) => self.answer_one_by_one(stream)?,
            }
        }
        Ok(if self.is_ended && self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}

impl NoBudget {
    fn answer_one_by_one(&mut self, stream: &mut impl Write) -> Result<()> {
        let mut used = 0;
        while let Some(frame) = whole_frame(&self.inbox[used..])? {
            self.outbox.push(frame);
            self.outbox.flush(stream)?;
            used += frame.len();
        }
        consume(&mut self.inbox, used);
        Ok(())
    }
}
