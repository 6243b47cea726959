//! Rung 3: one thread, sockets that do not block, and a loop that asks each of them again and again.
//!
//! It carries the load that rung 2 could not. A client is a row in a list, and what a thread's stack remembered about
//! an answer that is half written is now data, `pending`. Reading has no such memory: one read is taken for one frame,
//! which is true of a client that sends a frame in one piece and then waits. Until rung 6 the level `basic` does not
//! hold.
//!
//! Its ceiling is silence: to find out that there is nothing to be done takes a whole processor.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 3
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --as=400000000
//! $ frameloop load 127.0.0.1:7007 -c 300 -n 10000 --warmup 0s
//! …
//! connections  300 of 300 up, after 30.6 ms
//! …
//! errors       none
//! …
//! $ frameloop check --case idle-cpu --pid "$(pidof ladder)"
//! …
//!   FAILED  idle-cpu                      1.39 s
//! …
//!   came      97 %, each time of a few
//!   likely    it asks all sockets again and again, or waits for writable readiness
//! …
//! error: 1 of 1 case failed: see the score card
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut clients = Vec::new();
    let mut buf = vec![0; READ_LEN];
    loop {
        // An error is most often `WouldBlock`: nobody waits to be accepted.
        if let Ok(client) = listener.accept().and_then(|(stream, _)| Client::new(stream)) {
            clients.push(client);
        }
        clients.retain_mut(|client| client.turn(&mut buf).unwrap_or(false));
    }
}

struct Client {
    stream: TcpStream,
    /// What the socket has not taken of the last answer.
    pending: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Does what can be done without waiting. Returns whether the client is still there.
    fn turn(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.flush()?;
        // Who does not take an answer is not asked for the next frame.
        if !self.pending.is_empty() {
            return Ok(true);
        }
        match self.stream.read(buf) {
            Ok(0) => Ok(false),
            Ok(len) => {
                self.answer(&buf[..len]);
                self.flush()?;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Takes one read for one frame: what lies behind the first four bytes is its payload.
    fn answer(&mut self, frame: &[u8]) {
        if let Some((_, payload)) = frame.split_first_chunk::<4>() {
            self.pending.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            self.pending.extend_from_slice(payload);
        }
    }

    /// Writes what is pending until the socket takes no more.
    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(len) => drop(self.pending.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The most that one read takes, and so the longest frame.
const READ_LEN: usize = 64 << 10;
