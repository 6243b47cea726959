//! FIN is not noticed: a read of 0 bytes is taken for one that brought nothing this time.
//!
//! People make it because they look for errors only, and 0 is none. Thunder left connections in CLOSE_WAIT for ever that
//! way: <https://github.com/rdkcentral/Thunder/pull/1933>.
//!
//! A client that waits for the server's FIN waits for ever. `ss -t state close-wait` shows a line for each client that
//! ever came and went in order, and one day `accept` says EMFILE.
//!
//! Caught by `fin-after-frames`, `half-close-owed`, `fin-in-header`, `fin-in-payload`, and alone by `churn-descriptors`. With a
//! limit of 1,500 descriptors `churn-under-load` takes the last of them; then nothing else can be played.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, fill};
use crate::sound::edges;
use crate::sound::frames::{Answers, Echo};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<NeverCloses>(listener)
}

#[derive(Debug, Default)]
struct NeverCloses {
    inbox: Vec<u8>,
    outbox: Outbox,
}

impl Connection for NeverCloses {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        loop {
            self.outbox.flush(stream)?;
            if self.outbox.is_full() {
                return Ok(Next::Wait);
            }
            if budget == 0 {
                return Ok(Next::Again);
            }
            match fill(stream, &mut self.inbox)? {
                Filled::Drained | Filled::Ended => return Ok(Next::Wait), // the mistake
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            Echo.answer(&mut self.inbox, &mut self.outbox)?;
        }
    }
}
