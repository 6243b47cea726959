//! FIN closes the connection at once, whatever is still owed.
//!
//! People make it because a read of 0 bytes means that the peer is gone, they have learnt; it means that the peer sends no
//! more. Envoy did it, and clients that shut down their sending side after the request got no answer:
//! <https://github.com/envoyproxy/envoy/issues/2066>.
//!
//! Small answers are in the socket before FIN is seen, so that it works on the desk. Whoever asks for much, says that this
//! was all, and then reads (`nc -N` in a pipe) gets the beginning of it.
//!
//! Caught by `half-close-owed`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, fill};
use crate::sound::edges;
use crate::sound::frames::{Answers, Echo};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<EofIsDeath>(listener)
}

#[derive(Debug, Default)]
struct EofIsDeath {
    inbox: Vec<u8>,
    outbox: Outbox,
}

impl Connection for EofIsDeath {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        while budget > 0 {
            self.outbox.flush(stream)?;
            if self.outbox.is_full() {
                return Ok(Next::Wait);
            }
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => return Ok(Next::Close), // the mistake
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            Echo.answer(&mut self.inbox, &mut self.outbox)?;
        }
        self.outbox.flush(stream)?;
        Ok(Next::Again)
    }
}
