//! Edge-triggered, with one read per event.
//!
//! People make it because it works with levels, and with clients that send little. An edge means that more has arrived, and is
//! reported once; what one read leaves in the socket waits for the next edge, which a client that waits for its answer never
//! causes. mio is asked about it again and again, here of UDP: <https://github.com/tokio-rs/mio/issues/1076>.
//!
//! Small frames are answered. One that is longer than the buffer, or a pipeline, stops in the middle and goes on when the
//! client sends something else.
//!
//! Caught by `coalesced`, `large-frame`, `urgent-mark`, `slow-reader`, `half-close-owed` and `idle-memory` (frames of
//! 16 KiB).

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{Connection, Filled, Next, fill_through};
use crate::sound::edges;
use crate::sound::frames::echo;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<NoDrain>(listener)
}

#[derive(Debug, Default)]
struct NoDrain {
    inbox: Vec<u8>,
    outbox: Outbox,
    is_ended: bool,
}

impl Connection for NoDrain {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        if !self.is_ended && !self.outbox.is_full() {
            // The mistake: there is no loop.
            match fill_through(&mut [0; 4 << 10], stream, &mut self.inbox)? {
                Filled::Ended => self.is_ended = true,
                Filled::With(_) | Filled::Drained => echo(&mut self.inbox, &mut self.outbox)?,
            }
        }
        self.outbox.flush(stream)?;
        Ok(if self.is_ended && self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}
