//! Rung 4: the kernel reports which sockets are ready.
//!
//! `epoll` has the list, and a wait sleeps until a socket of the list is ready. Silent clients are free. One read is
//! still taken for one frame, as on rung 3.
//!
//! Its ceiling is a client that sends and never reads. While a reply is pending, the server does not read from it, but
//! keeps its interest in readable. That is a level: every wait returns immediately, with nothing to do.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 4
//! listening on 127.0.0.1:7007
//! $ frameloop check --case idle-cpu --pid "$(pidof ladder)"
//! …
//!   holds   idle-cpu                      488 ms
//! …
//! $ frameloop check --case deaf-cpu --pid "$(pidof ladder)"
//! …
//!   FAILED  deaf-cpu                      2.03 s
//! …
//!   came      96 %, each time of a few
//! …
//! error: 1 of 1 case failed: see the score card
//! ```

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut clients = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    let mut buf = vec![0; READ_LEN];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            outcome => outcome?,
        };
        for event in &events[..count] {
            let fd = event.data();
            if fd == LISTENER {
                // Level-triggered: if another connection is waiting, the next wait reports it.
                if let Ok(client) = listener.accept().and_then(|(stream, _)| Client::new(stream, &epoll)) {
                    clients.insert(client.fd(), client);
                }
            } else if let Some(client) = clients.get_mut(&fd)
                && !client.turn(&mut buf, &epoll).unwrap_or(false)
            {
                // Closing a descriptor that was not duplicated also removes it from epoll.
                clients.remove(&fd);
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    /// What the socket has not taken of the last reply.
    pending: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream, epoll: &Epoll) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let client = Self { stream, pending: Vec::new() };
        epoll.add(&client.stream, EpollEvent::new(EpollFlags::EPOLLIN, client.fd()))?;
        Ok(client)
    }

    /// Does what is possible without waiting. Returns whether the client stays.
    fn turn(&mut self, buf: &mut [u8], epoll: &Epoll) -> io::Result<bool> {
        let was_pending = !self.pending.is_empty();
        self.flush()?;
        // A client that takes no reply is not read from.
        let is_there = !self.pending.is_empty() || self.read(buf)?;
        let is_pending = !self.pending.is_empty();
        if is_pending != was_pending {
            // Writable is a level too: without pending output it would wake every wait.
            let writable = if is_pending { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            epoll.modify(self.stream.as_fd(), &mut EpollEvent::new(EpollFlags::EPOLLIN | writable, self.fd()))?;
        }
        Ok(is_there)
    }

    /// Reads once, and answers. Returns whether the client stays.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<bool> {
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

    fn fd(&self) -> u64 {
        self.stream.as_raw_fd() as u64
    }
}

/// Not a valid descriptor.
const LISTENER: u64 = u64::MAX;

/// The most that one read takes, and so the longest frame.
const READ_LEN: usize = 64 << 10;
