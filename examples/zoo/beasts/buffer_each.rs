//! Each connection has a read buffer of its own, for as long as it lives.
//!
//! People make it because a buffer belongs to the connection it is for, and one that is kept need not be allocated again.
//! Most connections are idle most of the time. It was asked of the WebSocket library of gorilla:
//! <https://github.com/gorilla/websocket/issues/8>.
//!
//! All is well with a hundred clients. With a hundred thousand who say nothing the buffers alone are 6 GiB.
//!
//! Caught by `idle-memory` alone. After other cases the heap that their connections left may hide it.

use std::io::{Read, Result, Write};
use std::net::TcpListener;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, READ_LEN, fill_through};
use crate::sound::edges;
use crate::sound::frames::{Answers, Echo};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_with::<BufferEach>(listener)
}

#[derive(Debug)]
struct BufferEach {
    buffer: Vec<u8>,
    inbox: Vec<u8>,
    outbox: Outbox,
    is_ended: bool,
}

impl Default for BufferEach {
    fn default() -> Self {
        // The mistake. It is written to, and so resident: pages of zeros would not be until they are used.
        let buffer = vec![u8::MAX; READ_LEN];
        Self { buffer, inbox: Vec::new(), outbox: Outbox::default(), is_ended: false }
    }
}

impl Connection for BufferEach {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let mut budget = BUDGET;
        self.outbox.flush(stream)?;
        while !self.is_ended && !self.outbox.is_full() {
            if budget == 0 {
                return Ok(Next::Again);
            }
            match fill_through(&mut self.buffer, stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => self.is_ended = true,
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            Echo.answer(&mut self.inbox, &mut self.outbox)?;
            self.outbox.flush(stream)?;
        }
        Ok(if self.is_ended && self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}
