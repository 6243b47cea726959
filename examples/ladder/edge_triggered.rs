//! Rung 5: the kernel reports each occasion once, and the loop uses it up.
//!
//! Each socket is registered once, for both directions, and a turn goes on until a call returns `WouldBlock`. Neither
//! unread input nor a writable socket wakes the loop a second time.
//!
//! Its ceiling is left from rung 3: one read is taken for one frame, so a header in two pieces is misread.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 5
//! listening on 127.0.0.1:7007
//! $ frameloop check --case idle-cpu,deaf-cpu,connect-burst --pid "$(pidof ladder)"
//! …
//! All holds: 3 cases played, and none failed.
//! $ frameloop check --case header-1-3,header-2-2,header-3-1
//! …
//!   FAILED  header-1-3                   65.6 ms
//!   FAILED  header-2-2                   64.0 ms
//!   FAILED  header-3-1                   61.9 ms
//! …
//!   expected  304 bytes: 00 00 01 2c …
//!   came      at offset 3 of the answers 2b …
//!             instead of 2c …
//! …
//! error: 3 of 3 cases failed: see the score card
//! ```

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

pub(crate) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut clients = Slab::new();
    let mut buf = vec![0; READ_LEN];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            let token = event.token();
            if token == LISTENER {
                accept_all(&listener, &poll, &mut clients);
            } else if let Some(client) = clients.get_mut(token.0)
                && !client.turn(&mut buf).unwrap_or(false)
            {
                // Closing a descriptor that was not duplicated also removes it from the poll.
                clients.remove(token.0);
            }
        }
    }
}

/// Accepts until no connection is waiting: the listener's edge is not repeated for those that are left.
fn accept_all(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let entry = clients.vacant_entry();
                if let Ok(client) = Client::new(stream, poll, Token(entry.key())) {
                    entry.insert(client);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
}

struct Client {
    stream: TcpStream,
    /// What the socket has not taken of the last reply.
    pending: Vec<u8>,
}

impl Client {
    /// Registers the socket, once for its whole life.
    fn new(mut stream: TcpStream, poll: &Poll, token: Token) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Writes and reads until one of the two returns `WouldBlock`: only then is another edge certain. Returns whether the
    /// client stays.
    fn turn(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        loop {
            self.flush()?;
            // A client that takes no reply is not read from. The next edge is a writable one.
            if !self.pending.is_empty() {
                return Ok(true);
            }
            match self.stream.read(buf) {
                Ok(0) => return Ok(false),
                Ok(len) => self.answer(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
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

/// Not a valid index.
const LISTENER: Token = Token(usize::MAX);

/// The most that one read takes, and so the longest frame.
const READ_LEN: usize = 64 << 10;
