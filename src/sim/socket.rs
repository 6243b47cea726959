//! One connection in the simulated kernel, on the server's side.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Instant;

use crate::address::PeerAddr;
use crate::net::Readiness;
use crate::sim::edges::{Edge, Edges};

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) peer: PeerAddr,
    /// The port of the listener that it has connected to.
    pub(crate) port: Option<u16>,
    pub(crate) token: Option<usize>,
    /// It is in the kernel's ready list.
    pub(crate) is_listed: bool,
    input: Edge,
    room: Edge,
    /// Sent by the peer, and not arrived yet.
    pub(crate) in_flight: VecDeque<Packet>,
    /// Sent by the peer, not read by the server.
    inbound: VecDeque<u8>,
    /// Positions in the stream, in bytes, where a read stops although more has arrived.
    marks: VecDeque<u64>,
    /// It is a Unix socket: a read stops at ancillary data, which is not reported.
    pub(crate) is_local: bool,
    /// Written by the server, not read by the peer.
    outbound: VecDeque<u8>,
    pub(crate) peer_has_finished: bool,
    pub(crate) is_reset: bool,
    pub(crate) is_accepted: bool,
    /// The server has handed it to other code.
    pub(crate) is_detached: bool,
    pub(crate) link: Link,
    /// The server has sent FIN, by a shutdown or a close.
    pub(crate) server_has_finished: bool,
    pub(crate) server_has_closed: bool,
    pub(crate) past: Past,
}

/// The progress of a connect attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Made,
    Dialed,
    /// No socket listens at the address.
    Refused,
}

/// A part of what a peer sends.
#[derive(Debug)]
pub(crate) enum Packet {
    Bytes(Vec<u8>),
    /// Urgent data, or ancillary data on a Unix socket: a read that has returned bytes stops here.
    Mark,
    Fin,
}

/// The history of a socket.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) bytes_read: u64,
    /// The server has read the end, or an error.
    pub(crate) is_end_read: bool,
    pub(crate) bytes_written: u64,
    pub(crate) writes_of_zero: u64,
    /// The peer has reset it, or the network, before the server closed it.
    pub(crate) was_reset: bool,
    /// When the server sent FIN, by a shutdown.
    pub(crate) finished_at: Option<Instant>,
    /// When the server closed it, and whether the peer had finished by then.
    pub(crate) closed_at: Option<(Instant, bool)>,
}

impl Socket {
    pub(crate) fn new(peer: PeerAddr) -> Self {
        Self {
            peer,
            port: None,
            token: None,
            is_listed: false,
            input: Edge::Armed,
            room: Edge::Raised,
            in_flight: VecDeque::new(),
            inbound: VecDeque::new(),
            marks: VecDeque::new(),
            is_local: false,
            outbound: VecDeque::new(),
            peer_has_finished: false,
            is_reset: false,
            is_accepted: false,
            is_detached: false,
            link: Link::Made,
            server_has_finished: false,
            server_has_closed: false,
            past: Past::default(),
        }
    }

    /// The server's end of a connection that it dials.
    pub(crate) fn dialed(to: PeerAddr) -> Self {
        Self { link: Link::Dialed, is_accepted: true, ..Self::new(to) }
    }

    pub(crate) fn is_read_closed(&self) -> bool {
        self.peer_has_finished || self.is_reset
    }

    /// It was closed with its listener, and never accepted.
    #[cfg(test)]
    pub(crate) fn is_dropped_from_queue(&self) -> bool {
        !self.is_accepted && self.past.closed_at.is_some()
    }

    #[cfg(test)]
    pub(crate) fn is_registered(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the next arrival is reported, or there is an event already.
    pub(crate) fn is_input_armed(&self) -> bool {
        match self.input {
            Edge::Raised => true,
            Edge::Armed => !self.is_read_closed() || self.past.is_end_read,
            Edge::Reported => false,
        }
    }

    /// Whether room is reported, or there is an event already.
    pub(crate) fn is_room_armed(&self) -> bool {
        self.room != Edge::Reported
    }

    /// Bytes that the peer has sent and the server has not read.
    pub(crate) fn inbound_len(&self) -> usize {
        self.inbound.len()
    }

    /// Bytes that the server has written and the peer has not read.
    pub(crate) fn outbound_len(&self) -> usize {
        self.outbound.len()
    }

    // Each of these returns whether there is something to report.

    /// Notes the result of a dial.
    pub(crate) fn answer(&mut self, link: Link, edges: Edges) -> bool {
        self.link = link;
        match link {
            Link::Made => self.writable_again(edges),
            Link::Dialed => false,
            Link::Refused => self.reset(),
        }
    }

    /// Notes the arrival of a packet.
    pub(crate) fn arrive(&mut self, packet: Packet, edges: Edges) -> bool {
        if self.is_read_closed() {
            return false;
        }
        match packet {
            // The server has closed, so the kernel sends RST.
            Packet::Bytes(_) if self.server_has_closed => self.reset(),
            Packet::Bytes(bytes) => {
                self.inbound.extend(bytes);
                self.input.raise(edges)
            }
            Packet::Mark => {
                self.marks.push_back(self.past.bytes_read + self.inbound.len() as u64);
                // Urgent data is an edge, whatever was read before.
                if !self.is_local {
                    self.input = Edge::Raised;
                }
                !self.is_local
            }
            Packet::Fin => {
                self.peer_has_finished = true;
                self.input = Edge::Raised;
                true
            }
        }
    }

    /// RST, from either side. Bytes that the peer has not received are lost; bytes that the server has not read can still be
    /// read, as in Linux.
    pub(crate) fn reset(&mut self) -> bool {
        self.is_reset = true;
        self.past.was_reset |= !self.server_has_closed;
        self.in_flight.clear();
        self.outbound.clear();
        (self.input, self.room) = (Edge::Raised, Edge::Raised);
        true
    }

    /// Notes that there is more to read than was reported.
    pub(crate) fn readable_again(&mut self, edges: Edges) -> bool {
        self.input.exhausted();
        self.input.raise(edges)
    }

    /// Notes that there is more room than was reported.
    pub(crate) fn writable_again(&mut self, edges: Edges) -> bool {
        self.room = Edge::Armed;
        self.room.raise(edges)
    }

    /// The peer reads bytes. Room is reported once a third of the buffer is free (`sk_stream_is_writeable` in Linux), and only
    /// after a write found none (`SOCK_NOSPACE`).
    pub(crate) fn peer_takes(&mut self, len_max: usize, buffer: usize) -> (Vec<u8>, bool) {
        let bytes = take(&mut self.outbound, len_max);
        let used = self.outbound.len();
        let is_roomy = buffer.saturating_sub(used) >= used / 2;
        let is_edge = !bytes.is_empty() && is_roomy && self.room.raise(Edges::Strict);
        (bytes, is_edge)
    }

    // The server's calls.

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.marks.front().is_some_and(|mark| *mark <= self.past.bytes_read) {
            self.marks.pop_front();
        }
        let to_mark = self.marks.front().map_or(usize::MAX, |mark| (mark - self.past.bytes_read) as usize);
        let available = self.inbound.len().min(to_mark).min(buf.len());
        if available < buf.len() && available == self.inbound.len() {
            self.input.exhausted();
        }
        if available > 0 {
            self.inbound.read_exact(&mut buf[..available])?;
            self.past.bytes_read += available as u64;
            return Ok(available);
        }
        self.past.is_end_read |= self.is_read_closed();
        match (self.peer_has_finished, self.is_reset) {
            // Linux reports the FIN also when an RST came after it.
            (true, _) => Ok(0),
            (false, true) => Err(io::ErrorKind::ConnectionReset.into()),
            (false, false) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Accepts the bytes, of `asked` that the call wanted to write.
    pub(crate) fn write(&mut self, bytes: &[u8], asked: usize) -> io::Result<usize> {
        if bytes.len() < asked {
            self.room = Edge::Armed;
        }
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outbound.extend(bytes);
        self.past.bytes_written += bytes.len() as u64;
        Ok(bytes.len())
    }

    pub(crate) fn shutdown_write(&mut self, now: Instant) -> io::Result<()> {
        if self.is_reset {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.server_has_finished = true;
        self.past.finished_at = Some(now);
        Ok(())
    }

    /// The server closes its descriptor. With input unread the kernel sends RST (RFC 1122, 4.2.2.13).
    pub(crate) fn close(&mut self, now: Instant) {
        self.server_has_closed = true;
        self.past.closed_at = Some((now, self.is_read_closed()));
        if self.inbound.is_empty() && !self.is_reset {
            self.server_has_finished = true;
        } else {
            self.reset();
        }
        self.inbound = VecDeque::new();
    }

    // The reports of a poll.

    /// Returns what was not reported yet; `None` if there is no reason left.
    pub(crate) fn report(&mut self, edges: Edges) -> Option<Readiness> {
        let level = self.level();
        let is_input = self.input.report(level.readable);
        let is_room = self.room.report(level.writable);
        if !is_input && !is_room {
            return None;
        }
        Some(match edges {
            Edges::Noisy => level,
            Edges::Strict => Readiness {
                readable: is_input,
                writable: is_room,
                read_closed: is_input && level.read_closed,
                urgent: is_input && level.urgent,
                failed: level.failed,
            },
        })
    }

    /// The whole state, as a level-triggered queue would report it.
    pub(crate) fn level(&self) -> Readiness {
        if self.link == Link::Dialed {
            return Readiness::default();
        }
        let read_closed = self.is_read_closed();
        Readiness {
            readable: read_closed || !self.inbound.is_empty(),
            writable: self.is_reset || self.room != Edge::Armed,
            read_closed,
            urgent: !self.is_local && !self.marks.is_empty(),
            failed: self.is_reset,
        }
    }
}

/// Removes at most `len_max` bytes from the front.
pub(crate) fn take(from: &mut VecDeque<u8>, len_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; from.len().min(len_max)];
    // It cannot fail, because there are enough bytes.
    let _ = from.read_exact(&mut bytes);
    bytes
}
