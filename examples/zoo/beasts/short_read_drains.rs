//! A read that is shorter than its buffer is taken for the last one of an edge.
//!
//! People make it because it is nearly always true, and saves a system call for each small frame; `epoll(7)` says so in its
//! questions and answers. But a read also stops at urgent data, and at the end of the stream, and what is behind that is
//! not reported again. An experiment for .NET lost the end of the stream like this:
//! <https://github.com/dotnet/runtime/pull/38747>.
//!
//! A frame with an urgent byte in it waits until the client sends another. If FIN arrives together with the last bytes,
//! the connection is never closed.
//!
//! Caught by `urgent-mark`, and by chance by `half-close-owed`, `fin-in-header` and `fin-in-payload`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, READ_LEN, fill};
use crate::sound::edges;
use crate::sound::frames::echo;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<ShortReadDrains>(listener)
}

#[derive(Debug, Default)]
struct ShortReadDrains {
    inbox: Vec<u8>,
    outbox: Outbox,
    is_ended: bool,
}

impl Connection for ShortReadDrains {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        let mut is_drained = false;
        self.outbox.flush(stream)?;
        while !self.is_ended && !is_drained && !self.outbox.is_full() {
            if budget == 0 {
                return Ok(Next::Again);
            }
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => is_drained = true,
                Filled::Ended => self.is_ended = true,
                Filled::With(len) => {
                    is_drained = len < READ_LEN; // the mistake
                    budget = budget.saturating_sub(len);
                }
            }
            echo(&mut self.inbox, &mut self.outbox)?;
            self.outbox.flush(stream)?;
        }
        Ok(if self.is_ended && self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}
