//! The simulated kernel: sockets, listen queues, readiness and a clock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::address::PeerAddr;
use crate::net::{Lease, Readiness, Ready};
use crate::sim::edges::{Edge, Edges};
use crate::sim::faults::{EXHAUSTIONS, Faults, no_space};
use crate::sim::rng::Rng;
use crate::sim::socket::{Link, Packet, Socket};

/// More calls than a turn makes, unless it never ends.
const CALLS_PER_TURN_MAX: usize = 4 << 20;

/// How many of 1,000 polls report more than there is to report, with noisy edges.
const NOISE: u16 = 500;
/// How many of 1,000 calls are overtaken by packets in flight.
const OVERTAKEN: u16 = 300;

/// The state of the network.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) edges: Edges,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) listeners: Vec<ListenQueue>,
    /// Sources with something to report, in the order of arrival.
    ready: VecDeque<Source>,
    /// Sockets to which packets are in flight.
    flying: Vec<usize>,
    /// Dialed sockets, with the result that the next poll finds.
    dialing: Vec<(usize, Link)>,
    /// Detached sockets, and the leases of the code that has them.
    detached: Vec<(usize, Weak<()>)>,
    /// Established dialed sockets whose other end no test has taken yet.
    pub(crate) answered: VecDeque<usize>,
    pub(crate) reported: Vec<Ready>,
    /// The most events that a poll reports; others wait for the next.
    pub(crate) events_max: usize,
    pub(crate) send_buffer_bytes: usize,
    /// New connections are Unix sockets.
    pub(crate) is_local: bool,
    /// The kernel has no descriptors left.
    pub(crate) is_exhausted: bool,
    pub(crate) past: Past,
}

/// Totals for tests.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Calls of the server since the last poll.
    calls: usize,
    /// Accepts since the last poll that failed for lack of descriptors or memory.
    pub(crate) exhaustions: usize,
    /// Bytes moved, connections accepted and closed.
    pub(crate) progress: u64,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Socket(usize),
    Listener(usize),
    Waker(usize),
    #[cfg(test)]
    Stray(Ready),
}

#[derive(Debug)]
pub(crate) struct ListenQueue {
    pub(crate) port: u16,
    pub(crate) is_open: bool,
    pub(crate) queue: VecDeque<usize>,
    token: usize,
    edge: Edge,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, now: Instant) -> Self {
        Self {
            now,
            rng: Rng::new(seed),
            faults,
            edges: Edges::default(),
            sockets: Vec::new(),
            listeners: Vec::new(),
            ready: VecDeque::new(),
            flying: Vec::new(),
            dialing: Vec::new(),
            detached: Vec::new(),
            answered: VecDeque::new(),
            reported: Vec::new(),
            events_max: usize::MAX,
            send_buffer_bytes: 16 << 10,
            is_local: false,
            is_exhausted: false,
            past: Past::default(),
        }
    }

    // The reactor's calls.

    /// Reports what is ready. If nothing is, it advances the clock by the timeout.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) {
        self.close_dropped();
        if !self.has_pending() {
            self.now += timeout.unwrap_or(Duration::ZERO);
        }
        for socket in std::mem::take(&mut self.flying) {
            self.land(socket, usize::MAX);
        }
        self.answer_dials();
        (self.past.calls, self.past.exhaustions) = (0, 0);
        self.reported.clear();
        while self.reported.len() < self.events_max
            && let Some(source) = self.ready.pop_front()
        {
            let ready = self.observe(source);
            self.reported.extend(ready);
        }
        if self.edges == Edges::Noisy && self.rng.chance(NOISE) {
            self.make_noise();
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.ready.is_empty() || !self.flying.is_empty() || !self.dialing.is_empty()
    }

    pub(crate) fn ring(&mut self, token: usize) {
        self.ready.push_back(Source::Waker(token));
    }

    /// Reports an event at the next poll, whether it is true or not.
    #[cfg(test)]
    pub(crate) fn report(&mut self, ready: Ready) {
        self.ready.push_back(Source::Stray(ready));
    }

    pub(crate) fn listen(&mut self, port: u16, token: usize, events_max: usize) -> io::Result<usize> {
        if self.listeners.iter().any(|listener| listener.port == port && listener.is_open) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.events_max = events_max;
        self.listeners.push(ListenQueue { port, token, is_open: true, queue: VecDeque::new(), edge: Edge::Armed });
        Ok(self.listeners.len() - 1)
    }

    pub(crate) fn accept(&mut self, listener: usize) -> io::Result<usize> {
        self.count_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.listeners[listener].queue.is_empty() {
            self.listeners[listener].edge.exhausted();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.is_exhausted || self.rng.chance(self.faults.accept_exhausted) {
            self.past.exhaustions += 1;
            return Err(io::Error::from_raw_os_error(EXHAUSTIONS[self.rng.below(EXHAUSTIONS.len())]));
        }
        if self.rng.chance(self.faults.would_block) {
            self.listeners[listener].edge.exhausted();
            self.knock(listener);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(socket) = self.listeners[listener].queue.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.past.progress += 1;
        if self.rng.chance(self.faults.accept_aborted) {
            self.sockets[socket].reset();
            self.sockets[socket].server_has_closed = true;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.sockets[socket].is_accepted = true;
        Ok(socket)
    }

    pub(crate) fn dial(&mut self, to: PeerAddr) -> usize {
        let index = self.sockets.len();
        self.sockets.push(Socket::dialed(to));
        let link = if self.rng.chance(self.faults.dial_unanswered) {
            Link::Dialed
        } else if self.rng.chance(self.faults.dial_refused) {
            Link::Refused
        } else {
            Link::Made
        };
        self.dialing.push((index, link));
        index
    }

    pub(crate) fn is_connected(&self, socket: usize) -> io::Result<bool> {
        match self.sockets[socket].link {
            Link::Made => Ok(true),
            Link::Dialed => Ok(false),
            Link::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn answer_dials(&mut self) {
        let edges = self.edges;
        for (socket, link) in std::mem::take(&mut self.dialing) {
            if self.sockets[socket].server_has_closed {
                continue;
            }
            if link == Link::Made {
                self.answered.push_back(socket);
            }
            self.raise(socket, |dialed| dialed.answer(link, edges));
        }
    }

    pub(crate) fn register(&mut self, socket: usize, token: usize) -> io::Result<()> {
        if self.rng.chance(self.faults.register) {
            return Err(no_space());
        }
        let edges = self.edges;
        let registered = &mut self.sockets[socket];
        registered.token = Some(token);
        if registered.link != Link::Made {
            return Ok(());
        }
        if registered.level().readable {
            registered.readable_again(edges);
        }
        registered.writable_again(edges);
        self.list(socket);
        Ok(())
    }

    pub(crate) fn read(&mut self, socket: usize, buf: &mut [u8]) -> io::Result<usize> {
        self.sockets[socket].past.reads += 1;
        self.begin_call(socket)?;
        let available = self.sockets[socket].inbound_len().min(buf.len());
        let edges = self.edges;
        if available > 0 && self.rng.chance(self.faults.would_block) {
            self.raise(socket, |source| source.readable_again(edges));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut len = buf.len();
        if available > 1 && self.rng.chance(self.faults.short_read) {
            len = self.rng.between(1, available - 1);
        }
        let outcome = self.sockets[socket].read(&mut buf[..len]);
        if len < available {
            self.raise(socket, |source| source.readable_again(edges));
        }
        self.past.progress += *outcome.as_ref().unwrap_or(&0) as u64;
        self.overtake(socket);
        outcome
    }

    pub(crate) fn write(&mut self, socket: usize, bytes: &[u8]) -> io::Result<usize> {
        self.sockets[socket].past.writes += 1;
        self.begin_call(socket)?;
        if self.sockets[socket].is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.rng.chance(self.faults.write_zero) {
            self.sockets[socket].past.writes_of_zero += 1;
            return Ok(0);
        }
        let room = self.send_buffer_bytes.saturating_sub(self.sockets[socket].outbound_len()).min(bytes.len());
        let mut len = room;
        if len > 1 && self.rng.chance(self.faults.short_write) {
            len = self.rng.between(1, len - 1);
        }
        if self.rng.chance(self.faults.would_block) {
            len = 0;
        }
        let outcome = self.sockets[socket].write(&bytes[..len], bytes.len());
        if len < room {
            let edges = self.edges;
            self.raise(socket, |sink| sink.writable_again(edges));
        }
        self.past.progress += len as u64;
        self.overtake(socket);
        outcome
    }

    /// The server hands a socket to other code, which closes it by dropping the last lease.
    pub(crate) fn release(&mut self, socket: usize, lease: &Lease) {
        (self.sockets[socket].token, self.sockets[socket].is_detached) = (None, true);
        self.detached.push((socket, Arc::downgrade(lease)));
    }

    /// Closes the detached sockets that other code has dropped.
    pub(crate) fn close_dropped(&mut self) {
        for (socket, lease) in std::mem::take(&mut self.detached) {
            match lease.strong_count() {
                0 => self.close(socket),
                _ => self.detached.push((socket, lease)),
            }
        }
    }

    pub(crate) fn shutdown_write(&mut self, socket: usize) -> io::Result<()> {
        self.sockets[socket].shutdown_write(self.now)
    }

    /// The server resets the connection, before it closes its descriptor.
    pub(crate) fn reset_by_server(&mut self, socket: usize) {
        let was_reset = self.sockets[socket].past.was_reset;
        self.sockets[socket].reset();
        self.sockets[socket].past.was_reset = was_reset;
    }

    pub(crate) fn close(&mut self, socket: usize) {
        self.past.progress += 1;
        self.sockets[socket].close(self.now);
    }

    // The actions of peers.

    pub(crate) fn connect(&mut self, port: u16, peer: PeerAddr) -> Option<usize> {
        let index = self.listeners.iter().position(|queue| queue.port == port && queue.is_open)?;
        let socket = self.sockets.len();
        let mut made = Socket::new(peer);
        made.port = Some(port);
        made.is_local = self.is_local;
        self.sockets.push(made);
        self.listeners[index].queue.push_back(socket);
        self.knock(index);
        Some(socket)
    }

    /// A connection that did not come by a listener of the reactor.
    pub(crate) fn connect_elsewhere(&mut self, peer: PeerAddr) -> usize {
        let mut made = Socket::new(peer);
        made.is_local = self.is_local;
        made.is_accepted = true;
        self.sockets.push(made);
        self.sockets.len() - 1
    }

    pub(crate) fn peer_sends(&mut self, socket: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.fly(socket, Packet::Bytes(bytes.to_vec()));
        }
    }

    pub(crate) fn peer_marks(&mut self, socket: usize) {
        self.fly(socket, Packet::Mark);
    }

    pub(crate) fn peer_finishes(&mut self, socket: usize) {
        self.fly(socket, Packet::Fin);
    }

    pub(crate) fn peer_resets(&mut self, socket: usize) {
        self.raise(socket, Socket::reset);
    }

    pub(crate) fn peer_reads(&mut self, socket: usize, len_max: usize) -> Vec<u8> {
        let buffer = self.send_buffer_bytes;
        let (bytes, is_edge) = self.sockets[socket].peer_takes(len_max, buffer);
        if is_edge {
            self.list(socket);
        }
        bytes
    }

    /// Sends a packet, behind those that are in flight already.
    fn fly(&mut self, socket: usize, packet: Packet) {
        self.sockets[socket].in_flight.push_back(packet);
        if !self.rng.chance(self.faults.late) {
            self.land(socket, usize::MAX);
        } else if !self.flying.contains(&socket) {
            self.flying.push(socket);
        }
    }

    /// Lets at most `packets_max` packets in flight arrive.
    fn land(&mut self, socket: usize, packets_max: usize) {
        let edges = self.edges;
        for _ in 0..packets_max {
            let Some(packet) = self.sockets[socket].in_flight.pop_front() else { return };
            self.raise(socket, |target| target.arrive(packet, edges));
        }
    }

    // The faults of the server's calls.

    fn begin_call(&mut self, socket: usize) -> io::Result<()> {
        self.count_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rng.chance(self.faults.reset) {
            self.peer_resets(socket);
        }
        self.overtake(socket);
        Ok(())
    }

    fn overtake(&mut self, socket: usize) {
        if !self.sockets[socket].in_flight.is_empty() && self.rng.chance(OVERTAKEN) {
            self.land(socket, 1);
        }
    }

    fn count_call(&mut self) {
        self.past.calls += 1;
        assert!(self.past.calls < CALLS_PER_TURN_MAX, "the server does not come to the end of a turn");
    }

    // The reports.

    /// Puts a socket in the ready list if the event is an edge.
    fn raise(&mut self, socket: usize, happens: impl FnOnce(&mut Socket) -> bool) {
        if happens(&mut self.sockets[socket]) {
            self.list(socket);
        }
    }

    fn list(&mut self, socket: usize) {
        let raised = &mut self.sockets[socket];
        if raised.token.is_some() && !raised.server_has_closed && !std::mem::replace(&mut raised.is_listed, true) {
            self.ready.push_back(Source::Socket(socket));
        }
    }

    /// Notes a connection in the listen queue.
    fn knock(&mut self, listener: usize) {
        if self.listeners[listener].edge.raise(self.edges) {
            self.ready.push_back(Source::Listener(listener));
        }
    }

    fn observe(&mut self, source: Source) -> Option<Ready> {
        let only_readable = Readiness { readable: true, ..Readiness::default() };
        match source {
            Source::Waker(token) => Some(Ready { token, readiness: only_readable }),
            #[cfg(test)]
            Source::Stray(ready) => Some(ready),
            Source::Listener(index) => {
                let ListenQueue { queue, edge, token, is_open, .. } = &mut self.listeners[index];
                let is_reported = edge.report(!queue.is_empty()) && *is_open;
                is_reported.then_some(Ready { token: *token, readiness: only_readable })
            }
            Source::Socket(index) => {
                let socket = &mut self.sockets[index];
                socket.is_listed = false;
                let token = socket.token.filter(|_| !socket.server_has_closed)?;
                socket.report(self.edges).map(|readiness| Ready { token, readiness })
            }
        }
    }

    /// Reports more than there is to report, in another order.
    fn make_noise(&mut self) {
        for _ in 0..self.rng.below(4) {
            let any = self.rng.below(self.sockets.len());
            let Some((token, level)) = self.sockets.get(any).and_then(|s| Some((s.token?, s.level()))) else {
                continue;
            };
            // An event may come without a reason, but a failure is never reported without one.
            let (readable, writable) = (self.rng.chance(500), self.rng.chance(500));
            self.reported.push(Ready { token, readiness: Readiness { readable, writable, ..level } });
        }
        for index in 0..self.reported.len() {
            let again = self.reported[index];
            if self.rng.chance(300) {
                self.reported.push(again);
            }
            if again.readiness.readable && again.readiness.writable && !again.readiness.failed && self.rng.chance(300) {
                self.reported[index].readiness.writable = false;
                let readiness = Readiness { writable: true, ..Readiness::default() };
                self.reported.push(Ready { token: again.token, readiness });
            }
        }
        for index in 0..self.reported.len() {
            let other = self.rng.below(self.reported.len());
            self.reported.swap(index, other);
        }
    }
}
