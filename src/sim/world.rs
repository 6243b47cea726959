//! The simulated kernel: sockets, listen queues, readiness and a clock, without any real one.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Instant;

use crate::addr::PeerAddr;
use crate::net::{Readiness, Ready};
use crate::sim::rng::Rng;

/// How often which fault happens, in thousandths of the calls that it can happen to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// `EINTR` from a read, a write or an accept.
    pub interrupted: u16,
    /// `EAGAIN` although the call could go on; an edge follows.
    pub would_block: u16,
    /// A write takes only some of the bytes; an edge follows.
    pub short_write: u16,
    /// A read brings only some of the bytes; an edge follows.
    pub short_read: u16,
    /// A write takes nothing, and says so as 0.
    pub write_zero: u16,
    /// `ECONNRESET` from a read or a write.
    pub reset: u16,
    /// `ECONNABORTED` from an accept; the connection is lost.
    pub accept_aborted: u16,
    /// `EMFILE` and its like from an accept; the connection stays in the listen queue.
    pub accept_exhausted: u16,
    /// The readiness queue does not take a new connection.
    pub register: u16,
    /// Events are reported again, for no reason, shuffled, and split into readable and writable ones.
    pub noise: u16,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) listeners: Vec<ListenQueue>,
    /// What the next poll reports.
    pending: Vec<Ready>,
    /// What the last poll reported.
    pub(crate) reported: Vec<Ready>,
    pub(crate) send_buffer_bytes: usize,
}

/// A listener's side of the world.
#[derive(Debug)]
pub(crate) struct ListenQueue {
    pub(crate) port: u16,
    pub(crate) token: usize,
    pub(crate) is_open: bool,
    pub(crate) queue: VecDeque<usize>,
}

/// One TCP connection, as the kernel sees it from the server's side.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) peer: PeerAddr,
    token: Option<usize>,
    /// Sent by the peer, not read by the server.
    inbound: VecDeque<u8>,
    /// Written by the server, not read by the peer.
    outbound: VecDeque<u8>,
    pub(crate) peer_has_finished: bool,
    pub(crate) is_reset: bool,
    /// The server has sent FIN, by a shutdown or a close.
    pub(crate) server_has_finished: bool,
    pub(crate) server_has_closed: bool,
    /// A write found no room: room will be an edge.
    wants_room: bool,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, now: Instant) -> Self {
        Self {
            now,
            rng: Rng::new(seed),
            faults,
            sockets: Vec::new(),
            listeners: Vec::new(),
            pending: Vec::new(),
            reported: Vec::new(),
            send_buffer_bytes: 16 << 10,
        }
    }

    // What the reactor calls.

    pub(crate) fn poll(&mut self) {
        self.reported = std::mem::take(&mut self.pending);
        if self.rng.chance(self.faults.noise) {
            self.make_noise();
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn report(&mut self, ready: Ready) {
        self.pending.push(ready);
    }

    pub(crate) fn accept(&mut self, listener: usize) -> io::Result<usize> {
        if self.listeners[listener].queue.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rng.chance(self.faults.accept_exhausted) {
            return Err(io::Error::other("too many open files, simulated"));
        }
        let Some(socket) = self.listeners[listener].queue.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if self.rng.chance(self.faults.accept_aborted) {
            self.sockets[socket].reset();
            self.sockets[socket].server_has_closed = true;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(socket)
    }

    pub(crate) fn register(&mut self, socket: usize, token: usize) -> io::Result<()> {
        if self.rng.chance(self.faults.register) {
            return Err(io::Error::other("no space left in the readiness queue, simulated"));
        }
        let registered = &mut self.sockets[socket];
        registered.token = Some(token);
        let read_closed = registered.is_read_closed();
        let readable = read_closed || !registered.inbound.is_empty();
        let failed = registered.is_reset;
        let readiness = Readiness { readable, writable: true, read_closed, failed };
        self.report(Ready { token, readiness });
        Ok(())
    }

    pub(crate) fn read(&mut self, socket: usize, buf: &mut [u8]) -> io::Result<usize> {
        self.sockets[socket].reads += 1;
        self.interrupt(socket)?;
        let source = &mut self.sockets[socket];
        if source.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let available = source.inbound.len().min(buf.len());
        if available == 0 {
            return if source.peer_has_finished { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        if self.rng.chance(self.faults.would_block) {
            self.readable_again(socket);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut len = available;
        if available > 1 && self.rng.chance(self.faults.short_read) {
            len = self.rng.between(1, available - 1);
            self.readable_again(socket);
        }
        self.sockets[socket].inbound.read_exact(&mut buf[..len])?;
        Ok(len)
    }

    pub(crate) fn write(&mut self, socket: usize, bytes: &[u8]) -> io::Result<usize> {
        self.sockets[socket].writes += 1;
        self.interrupt(socket)?;
        if self.sockets[socket].is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.rng.chance(self.faults.write_zero) {
            return Ok(0);
        }
        let room = self.send_buffer_bytes.saturating_sub(self.sockets[socket].outbound.len());
        let mut len = bytes.len().min(room);
        if len > 1 && self.rng.chance(self.faults.short_write) {
            len = self.rng.between(1, len - 1);
        }
        if self.rng.chance(self.faults.would_block) {
            len = 0;
        }
        let sink = &mut self.sockets[socket];
        sink.outbound.extend(&bytes[..len]);
        if len < bytes.len() {
            // The kernel reports room only to who has found none (tcp(7), SOCK_NOSPACE): a full buffer, or a short call.
            sink.wants_room = true;
            if len < room {
                self.room_again(socket);
            }
        }
        if len == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(len) }
    }

    pub(crate) fn shutdown_write(&mut self, socket: usize) -> io::Result<()> {
        let socket = &mut self.sockets[socket];
        if socket.is_reset {
            return Err(io::ErrorKind::NotConnected.into());
        }
        socket.server_has_finished = true;
        Ok(())
    }

    /// The server closes its descriptor. With input unread the kernel sends RST.
    pub(crate) fn close(&mut self, socket: usize) {
        let socket = &mut self.sockets[socket];
        socket.server_has_closed = true;
        socket.token = None;
        if socket.inbound.is_empty() {
            socket.server_has_finished = true;
        } else {
            socket.reset();
        }
    }

    // What peers do.

    pub(crate) fn connect(&mut self, port: u16, peer: PeerAddr) -> Option<usize> {
        let index = self.listeners.iter().position(|queue| queue.port == port && queue.is_open)?;
        let socket = self.sockets.len();
        self.sockets.push(Socket::new(peer));
        let listener = &mut self.listeners[index];
        listener.queue.push_back(socket);
        let token = listener.token;
        self.report(Ready { token, readiness: Readiness { readable: true, ..Readiness::default() } });
        Some(socket)
    }

    pub(crate) fn peer_sends(&mut self, socket: usize, bytes: &[u8]) {
        let target = &mut self.sockets[socket];
        if bytes.is_empty() || target.peer_has_finished || target.is_reset {
            return;
        }
        if target.server_has_closed {
            // Nobody is there to receive it: the kernel answers RST.
            return target.reset();
        }
        target.inbound.extend(bytes);
        self.readable_again(socket);
    }

    pub(crate) fn peer_reads(&mut self, socket: usize, len_max: usize) -> Vec<u8> {
        let source = &mut self.sockets[socket];
        let bytes = take(&mut source.outbound, len_max);
        if !bytes.is_empty() {
            self.room_again(socket);
        }
        bytes
    }

    pub(crate) fn peer_finishes(&mut self, socket: usize) {
        let source = &mut self.sockets[socket];
        if !source.peer_has_finished && !source.is_reset {
            source.peer_has_finished = true;
            self.readable_again(socket);
        }
    }

    pub(crate) fn peer_resets(&mut self, socket: usize) {
        self.sockets[socket].reset();
        self.readable_again(socket);
        self.sockets[socket].wants_room = true;
        self.room_again(socket);
    }

    fn interrupt(&mut self, socket: usize) -> io::Result<()> {
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rng.chance(self.faults.reset) {
            self.peer_resets(socket);
        }
        Ok(())
    }

    fn readable_again(&mut self, socket: usize) {
        let source = &self.sockets[socket];
        if let Some(token) = source.token {
            let read_closed = source.is_read_closed();
            let failed = source.is_reset;
            let readiness = Readiness { readable: true, writable: false, read_closed, failed };
            self.report(Ready { token, readiness });
        }
    }

    /// An edge of writability, if the server waits for one.
    fn room_again(&mut self, socket: usize) {
        let source = &mut self.sockets[socket];
        if let Some(token) = source.token
            && std::mem::take(&mut source.wants_room)
        {
            let read_closed = source.is_read_closed();
            let failed = source.is_reset;
            let readiness = Readiness { readable: false, writable: true, read_closed, failed };
            self.report(Ready { token, readiness });
        }
    }

    /// Reports more than there is to report, in another order.
    fn make_noise(&mut self) {
        let tokens: Vec<usize> = self.sockets.iter().filter_map(|socket| socket.token).collect();
        for _ in 0..self.rng.below(4) {
            if let Some(&token) = tokens.get(self.rng.below(tokens.len())) {
                let (readable, writable) = (self.rng.chance(500), self.rng.chance(500));
                let readiness = Readiness { readable, writable, ..Readiness::default() };
                self.reported.push(Ready { token, readiness });
            }
        }
        for index in 0..self.reported.len() {
            let other = self.rng.below(self.reported.len());
            self.reported.swap(index, other);
            let again = self.reported[index];
            if self.rng.chance(300) {
                self.reported.push(again);
            }
        }
    }
}

impl Socket {
    fn new(peer: PeerAddr) -> Self {
        Self {
            peer,
            token: None,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
            peer_has_finished: false,
            is_reset: false,
            server_has_finished: false,
            server_has_closed: false,
            wants_room: false,
            reads: 0,
            writes: 0,
        }
    }

    fn is_read_closed(&self) -> bool {
        self.peer_has_finished || self.is_reset
    }

    /// What the peer has not read is lost with it.
    fn reset(&mut self) {
        self.is_reset = true;
        self.inbound.clear();
        self.outbound.clear();
    }

    /// Bytes that the server has written and the peer has not read.
    pub(crate) fn outbound_len(&self) -> usize {
        self.outbound.len()
    }
}

/// Takes at most `len_max` bytes away from the front.
pub(crate) fn take(from: &mut VecDeque<u8>, len_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; from.len().min(len_max)];
    // No more is asked for than there is, so there is no error.
    let _ = from.read_exact(&mut bytes);
    bytes
}
