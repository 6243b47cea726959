//! `write_all` on a socket that does not block: WouldBlock is an error like any other there.
//!
//! People make it because `write_all` is right on a blocking socket, and here too as long as the answer fits into the
//! socket's buffer. How much was written when it fails cannot be known, so nothing can be recovered afterwards:
//! <https://github.com/rust-lang/rust/issues/115483>.
//!
//! Clients that read at once see nothing. One that reads slowly, or asks for much, finds its connection closed in the
//! middle of an answer.
//!
//! Caught by `large-frame`, `slow-reader` and `half-close-owed`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, fill};
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, consume, whole_frame};

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<WriteAll>(listener)
}

#[derive(Debug, Default)]
struct WriteAll {
    inbox: Vec<u8>,
}

impl Connection for WriteAll {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        while budget > 0 {
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => return Ok(Next::Close),
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            let mut used = 0;
            while let Some(frame) = whole_frame(&self.inbox[used..])? {
                used += frame.len();
            }
            if used >= HEADER_LEN {
                stream.write_all(&self.inbox[..used])?; // the mistake
            }
            consume(&mut self.inbox, used);
        }
        Ok(Next::Again)
    }
}
