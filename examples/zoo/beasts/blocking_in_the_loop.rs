//! The loop waits for readiness, and then reads until the frame is whole and writes until all is written.
//!
//! People make it because a loop over epoll looks nonblocking, and the calls in it are familiar. Readiness means that there
//! is a byte; waiting for the next one blocks all other clients. The poller of an Electrum server waited like this for one
//! client's TLS handshake:
//! <https://github.com/spesmilo/electrum-server/issues/106>.
//!
//! One client that sends half a frame, or does not read its answers, stops the server until it goes on or goes away.
//!
//! Caught by `drip-beside`, `never-reads-beside` and `announced-memory`.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};

use crate::sound::blocking::read_frame;
use crate::sound::connection::{Connection, Next};
use crate::sound::{doors, levels};

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    levels::serve(listener, doors::sound, open)
}

fn open(stream: &TcpStream) -> Result<Blocking> {
    stream.set_nonblocking(false)?; // the mistake
    Ok(Blocking)
}

#[derive(Debug)]
struct Blocking;

impl Connection for Blocking {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        let Some(frame) = read_frame(stream)? else { return Ok(Next::Close) };
        stream.write_all(&frame)?;
        Ok(Next::Wait)
    }
}
