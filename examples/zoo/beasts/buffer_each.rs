//! Each connection has a read buffer of its own, for as long as it lives.
//!
//! People make it because a buffer belongs to the connection it is for, and one that is kept need not be allocated again.
//! Most connections are idle most of the time. It was asked of the WebSocket library of gorilla:
//! <https://github.com/gorilla/websocket/issues/8>.
//!
//! All is well with a hundred clients. With a hundred thousand who say nothing the buffers alone are 6 GiB.
//!
//! Caught by `idle-memory` alone. After other cases the heap that their connections left may hide it.

use std::io::{Read, Result};
use std::net::TcpListener;

use crate::sound::connection::{Behavior, Filled, READ_LEN, fill_through};
use crate::sound::edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<BufferEach>(listener)
}

#[derive(Debug)]
struct BufferEach(Vec<u8>);

impl Default for BufferEach {
    fn default() -> Self {
        // The mistake. It is written to, and so resident: pages of zeros would not be until they are used.
        Self(vec![u8::MAX; READ_LEN])
    }
}

impl Behavior for BufferEach {
    fn fill(&mut self, stream: &mut impl Read, inbox: &mut Vec<u8>) -> Result<Filled> {
        fill_through(&mut self.0, stream, inbox)
    }
}
