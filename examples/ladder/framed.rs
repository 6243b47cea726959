//! Rung 6: frames are collected over several reads, and output waits for several writes.
//!
//! A frame may arrive in any pieces, and a reply may be taken in any. A peer that has sent FIN still gets the replies
//! to its earlier frames. For well-behaved clients this is a sound server.
//!
//! It has four ceilings, because each client decides how much the server does. Nothing limits the length that a header
//! announces, the output that is pending for a client, the work of one turn, or the time that a frame may take.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 6
//! listening on 127.0.0.1:7007
//! $ frameloop check --level nonblocking --pid "$(pidof ladder)"
//! …
//! All holds: 29 cases played, and none failed.
//! $ frameloop check --case length-over-limit,never-reads-memory,flood-beside,stalled-frame --frame-timeout 2s
//! …
//!   FAILED  length-over-limit             2.06 s
//!   FAILED  never-reads-memory            107 ms
//!   FAILED  flood-beside                  800 ms
//!   FAILED  stalled-frame                 4.28 s
//! …
//!   came      nothing: it was still open after 2s
//! …
//!   came      64 MiB were taken, and none read
//! …
//!   came      …nothing for 500ms
//! …
//!   came      nothing: it was still open after 4s
//! …
//! error: 4 of 4 cases failed: see the score card
//! ```

use std::collections::VecDeque;
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
    /// The bytes of an incomplete frame.
    input: Vec<u8>,
    /// Replies that the socket has not taken yet.
    outbox: VecDeque<u8>,
    /// Whether the peer has sent FIN. It may still be reading.
    is_half_closed: bool,
}

impl Client {
    /// Registers the socket, once for its whole life.
    fn new(mut stream: TcpStream, poll: &Poll, token: Token) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, input: Vec::new(), outbox: VecDeque::new(), is_half_closed: false })
    }

    /// Flushes pending output, and reads until the socket is drained. Returns whether the client stays.
    fn turn(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.flush()?;
        while !self.is_half_closed {
            match self.stream.read(buf) {
                Ok(0) => self.is_half_closed = true,
                Ok(len) => {
                    self.input.extend_from_slice(&buf[..len]);
                    self.answer_whole_frames()?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // A client that has sent FIN still gets the replies to its earlier frames.
        Ok(!self.is_half_closed || !self.outbox.is_empty())
    }

    /// Answers each complete frame, and keeps the rest for the next read.
    fn answer_whole_frames(&mut self) -> io::Result<()> {
        let mut taken = 0;
        while let Some(frame_len) = first_frame_len(&self.input[taken..]) {
            self.outbox.extend(&self.input[taken..taken + frame_len]);
            taken += frame_len;
            self.flush()?;
        }
        self.input.drain(..taken);
        Ok(())
    }

    /// Writes pending output until the socket takes no more.
    fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(self.outbox.as_slices().0) {
                Ok(len) => drop(self.outbox.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The length of the frame at the front of `bytes`, header and payload, once it is complete.
fn first_frame_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<4>()?;
    let frame_len = header.len() + u32::from_be_bytes(*header) as usize;
    (bytes.len() >= frame_len).then_some(frame_len)
}

/// Not a valid index.
const LISTENER: Token = Token(usize::MAX);

/// The most that one read takes. A frame may take many.
const READ_LEN: usize = 64 << 10;
