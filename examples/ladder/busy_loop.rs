//! Rung 3: one thread, nonblocking sockets, and a loop that tries each of them again and again.
//!
//! It carries the load that was too much for rung 2. A client is a row in a list. What a thread's stack stored about a
//! half-written reply is now data, `pending`. Reading has no such data: one read is taken for one frame, which is true
//! of a client that sends a frame in one piece and then waits. The level `basic` does not hold until rung 6.
//!
//! Its ceiling is silence: to find out that there is nothing to do uses a whole processor.
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
        // Most often the error is `WouldBlock`: no connection is waiting.
        if let Ok(client) = listener.accept().and_then(|(stream, _)| Client::new(stream)) {
            clients.push(client);
        }
        clients.retain_mut(|client| client.turn(&mut buf).unwrap_or(false));
    }
}

struct Client {
    stream: TcpStream,
    /// What the socket has not taken of the last reply.
    pending: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Does what is possible without waiting. Returns whether the client stays.
    fn turn(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.flush()?;
        // A client that takes no reply is not read from.
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

    /// Takes one read for one frame: the bytes after the first four are its payload.
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
