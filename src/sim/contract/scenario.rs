//! One run of a transport: a connection that echoes, a peer that sends, and an end, all placed by a seed.
//!
//! The clock stands still, so that no deadline ends what an event has to end.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use crate::config::Config;
use crate::conn::frame::Frame;
use crate::error::Error;
use crate::handler::{Connection, Handler};
use crate::id::ConnId;
use crate::net::Transport;
use crate::reactor::Reactor;
use crate::sim::contract::observed::{ObservedNet, Record};
use crate::sim::contract::peer::{Cut, PeerStream, Wire};
use crate::sim::contract::rules::ContractRule;
use crate::sim::faults::Faults;
use crate::sim::network::{Sim, SimStream};
use crate::sim::rng::Rng;
use crate::wire::encode_header;

const PORT: u16 = 7_007;

/// Rounds in a row without progress, after which nothing more is expected. With faults, a few rounds may be unlucky.
const IDLE_ROUNDS: usize = 12;

/// A violated rule, and what was observed.
pub(crate) type Broken = (ContractRule, String);

/// How the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    PeerFinishes,
    ServerCloses,
    ServerFinishes,
    ServerDrains,
    Cut,
}

/// Echoes; sends a greeting first, and pauses at random.
#[derive(Debug)]
struct Talker {
    greeting: Vec<u8>,
    rng: Rng,
    pauses_per_mille: u16,
    id: Option<ConnId>,
}

impl Handler for Talker {
    type State = ();
    type Message = std::convert::Infallible;

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.id = Some(conn.id());
        if !self.greeting.is_empty() {
            // The first reply always finds room.
            let _ = conn.reply(&self.greeting);
        }
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        // The first reply to a frame always finds room.
        let _ = conn.reply_frame(frame);
        if self.rng.chance(self.pauses_per_mille) {
            conn.pause();
        }
    }
}

/// The reactor, which a scenario need not know the type of.
trait Server {
    fn settle(&mut self, sim: &Sim) -> Result<(), Error>;
    fn id(&self) -> Option<ConnId>;
    fn resume(&mut self);
    fn end(&mut self, end: End);
}

impl<F: FnMut(SimStream) -> T, T: Transport> Server for Reactor<Talker, ObservedNet<'_, F>> {
    fn settle(&mut self, sim: &Sim) -> Result<(), Error> {
        sim.settle(self).map(|_| ())
    }

    fn id(&self) -> Option<ConnId> {
        self.handler().id
    }

    fn resume(&mut self) {
        if let Some(id) = self.id() {
            self.cx().resume(id);
        }
    }

    fn end(&mut self, end: End) {
        match (end, self.id()) {
            (End::ServerCloses, Some(id)) => _ = self.cx().close(id),
            (End::ServerFinishes, Some(id)) => _ = self.cx().finish(id),
            (End::ServerDrains, _) => self.drain(),
            (End::ServerCloses | End::ServerFinishes, None) | (End::PeerFinishes | End::Cut, _) => {}
        }
    }
}

/// The peer: its side of the transport, what it sends and what it has received.
struct PeerSide<P> {
    transport: P,
    to_send: Vec<u8>,
    next: usize,
    received: Vec<u8>,
    is_shut_down: bool,
    is_end_read: bool,
    failure: Option<io::Error>,
}

struct Scenario<'a, P> {
    sim: Sim,
    server: &'a mut dyn Server,
    peer: PeerSide<P>,
    wire: Rc<RefCell<Wire>>,
    record: Rc<RefCell<Record>>,
    rng: Rng,
    greeting: Vec<u8>,
    end: End,
}

/// Runs one seed.
pub(crate) fn run<T: Transport, P: Transport>(
    seed: u64,
    server: &mut impl FnMut(SimStream) -> T,
    client: &mut impl FnMut(PeerStream) -> P,
) -> Result<(), Broken> {
    let mut rng = Rng::new(seed);
    let sim = Sim::with_faults(rng.next_u64(), faults(seed, &mut rng));
    sim.set_send_buffer_bytes([64, 700, 16 << 10][rng.below(3)]);
    sim.set_local(rng.chance(200));
    // Every fourth run is short, and is cut off at another byte than the last.
    let is_cut_short = seed.is_multiple_of(4);
    let is_short = is_cut_short || rng.chance(300);
    // The longest do not fit the read buffer.
    let any = [(200, 12), (5_000, 12), (90_000, 2)][rng.below(3)];
    let (payload_max, frames_max) = if is_short { (40, 3) } else { any };
    let greeting = vec![7; if rng.chance(500) { rng.between(1, payload_max) } else { 0 }];
    let to_send = frames(&mut rng, frames_max, payload_max);
    let any = [End::PeerFinishes, End::ServerCloses, End::ServerFinishes, End::ServerDrains, End::Cut][rng.below(5)];
    let end = if is_cut_short { End::Cut } else { any };
    let cut = (end == End::Cut).then(|| {
        let at =
            if is_cut_short { (seed / 8) as usize % (2 * to_send.len() + 50) } else { rng.below(2 * to_send.len()) };
        (at, if (seed / 4).is_multiple_of(2) { Cut::Fin } else { Cut::Reset })
    });

    let record = Rc::new(RefCell::new(Record::default()));
    let net = ObservedNet { net: sim.net(), make: server, record: Rc::clone(&record) };
    let handler = Talker {
        greeting: greeting.clone(),
        rng: Rng::new(rng.next_u64()),
        pauses_per_mille: [0, 0, 300][rng.below(3)],
        id: None,
    };
    let (low, high) = if rng.chance(500) { (16 << 10, 64 << 10) } else { (100, 400) };
    let config = Config::builder().output_low_water(low).output_high_water(high).build();
    let config = config.map_err(|error| (ContractRule::Failure, error.to_string()))?;
    let not_begun = |error: Error| (ContractRule::Failure, error.to_string());
    let mut reactor = Reactor::with_net(net, config, handler).map_err(not_begun)?;
    reactor.listen(&sim.addr(PORT)).map_err(not_begun)?;
    let Some(peer) = sim.connect(PORT) else { return Err((ContractRule::Failure, "no listener".into())) };
    let wire = Rc::new(RefCell::new(Wire::new(peer, Rng::new(rng.next_u64()), cut)));
    let peer = PeerSide {
        transport: client(PeerStream { wire: Rc::clone(&wire) }),
        to_send,
        next: 0,
        received: Vec::new(),
        is_shut_down: false,
        is_end_read: false,
        failure: None,
    };
    let greeting = match greeting.len() {
        0 => Vec::new(),
        len => [&encode_header(len as u32)[..], &greeting].concat(),
    };
    let broken =
        Scenario { sim, server: &mut reactor, peer, wire, record: Rc::clone(&record), rng, greeting, end }.run();
    let observed = record.borrow_mut().violation.take();
    observed.map_or(broken, Err)
}

fn faults(seed: u64, rng: &mut Rng) -> Faults {
    if seed % 5 == 4 {
        return Faults::default();
    }
    let mut chance = || [0, 30, 200][rng.below(3)];
    Faults {
        interrupted: chance(),
        would_block: chance(),
        short_read: chance(),
        short_write: chance(),
        late: chance(),
        ..Faults::default()
    }
}

fn frames(rng: &mut Rng, frames_max: usize, payload_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.between(1, frames_max) {
        let len = rng.below(payload_max + 1);
        bytes.extend(encode_header(len as u32));
        bytes.extend((0..len).map(|_| rng.next_u64() as u8));
    }
    bytes
}

impl<P: Transport> Scenario<'_, P> {
    fn run(mut self) -> Result<(), Broken> {
        for _ in 0..self.rng.below(120) {
            self.step()?;
        }
        if self.server.id().is_none() {
            self.settle()?;
        }
        self.server.end(self.end);
        // The peer may be slow to notice that.
        for _ in 0..self.rng.below(20) {
            self.step()?;
        }
        self.pump()?;
        self.sim.set_faults(Faults::default());
        self.wire.borrow_mut().is_faulty = false;
        self.pump()?;
        self.judge()
    }

    /// Takes one step at random.
    fn step(&mut self) -> Result<(), Broken> {
        match self.rng.below(8) {
            0 | 1 => {
                let len = self.rng.between(1, 3_000);
                self.write(len);
            }
            2 => self.peer_flush(),
            3 | 4 => {
                let len = self.rng.between(1, 2_000);
                self.read(len)?;
            }
            5 => {
                let len_max = [3, 50, 5_000][self.rng.below(3)];
                let len = self.rng.between(1, len_max);
                self.deliver(len);
            }
            6 => self.server.resume(),
            _ => self.settle()?,
        }
        self.check()
    }

    /// Lets both sides go on until neither makes progress.
    fn pump(&mut self) -> Result<(), Broken> {
        let mut idle = 0;
        while idle < IDLE_ROUNDS {
            let before = self.progress();
            self.write(usize::MAX);
            self.peer_flush();
            self.deliver(usize::MAX);
            self.server.resume();
            self.settle()?;
            while self.read(4 << 10)? {}
            self.finish();
            self.check()?;
            idle = if self.progress() == before { idle + 1 } else { 0 };
        }
        Ok(())
    }

    fn progress(&self) -> (usize, usize, u64, bool) {
        let peer = &self.peer;
        (peer.next, peer.received.len(), self.sim.world.borrow().past.progress, peer.is_shut_down)
    }

    fn check(&self) -> Result<(), Broken> {
        let mut record = self.record.borrow_mut();
        record.idle_calls = 0;
        record.violation.take().map_or(Ok(()), Err)
    }

    fn settle(&mut self) -> Result<(), Broken> {
        let settled = self.server.settle(&self.sim);
        settled.map_err(|error| (ContractRule::BusyLoop, error.to_string()))
    }

    fn deliver(&mut self, len: usize) {
        let mut wire = self.wire.borrow_mut();
        wire.deliver(len);
        self.record.borrow_mut().is_cut |= wire.is_cut;
    }

    // The peer.

    fn write(&mut self, len_max: usize) {
        let peer = &mut self.peer;
        let is_finishing = self.record.borrow().is_finishing;
        while peer.next < peer.to_send.len() && peer.failure.is_none() && !is_finishing {
            let len = (peer.to_send.len() - peer.next).min(len_max);
            let bytes = &peer.to_send[peer.next..peer.next + len];
            match peer.transport.write(bytes) {
                Ok(written) => {
                    self.record.borrow_mut().sent.extend(&bytes[..written]);
                    peer.next += written;
                    if len_max < usize::MAX {
                        return;
                    }
                }
                Err(error) => return peer.note(error),
            }
        }
    }

    fn peer_flush(&mut self) {
        if self.peer.failure.is_none()
            && self.peer.transport.wants_write()
            && let Err(error) = self.peer.transport.flush()
        {
            self.peer.note(error);
        }
    }

    /// Finishes the peer's stream, once it is time for that.
    fn finish(&mut self) {
        let peer = &mut self.peer;
        let has_sent = peer.next == peer.to_send.len() && self.end == End::PeerFinishes;
        if (has_sent || peer.is_end_read) && !peer.is_shut_down && peer.failure.is_none() {
            self.record.borrow_mut().is_finishing = true;
            match peer.transport.shutdown_write() {
                Ok(()) => peer.is_shut_down = true,
                Err(error) => peer.note(error),
            }
        }
    }

    /// Reads once. Returns whether bytes came.
    fn read(&mut self, len_max: usize) -> Result<bool, Broken> {
        let peer = &mut self.peer;
        if peer.failure.is_some() || peer.is_end_read {
            // What else comes makes room for the other side.
            return Ok(!self.wire.borrow().peer.receive_some(len_max).is_empty());
        }
        let mut buf = vec![0; len_max];
        match peer.transport.read(&mut buf) {
            Ok(0) => {
                peer.is_end_read = true;
                Ok(false)
            }
            Ok(len) => {
                let from = peer.received.len();
                peer.received.extend(&buf[..len]);
                let sent = &self.record.borrow().sent;
                let is_exact = (from..from + len).all(|at| {
                    let expected = self.greeting.get(at).or_else(|| sent.get(at - self.greeting.len()));
                    expected == Some(&peer.received[at])
                });
                if is_exact {
                    return Ok(true);
                }
                Err((ContractRule::ExactBytes, format!("the peer received other bytes from its byte {from} on")))
            }
            Err(error) => {
                peer.note(error);
                Ok(false)
            }
        }
    }

    // The verdict.

    fn judge(&self) -> Result<(), Broken> {
        let open = self.sim.open_sockets();
        let record = self.record.borrow();
        if self.end == End::Cut && self.wire.borrow().is_cut {
            if open > 0 {
                let observed = "the connection outlives the end of its socket".to_owned();
                return Err((ContractRule::Failure, observed));
            }
            return Ok(());
        }
        if let Some(error) = &self.peer.failure {
            return self.judge_failure(error);
        }
        let (sent, received, accepted) = (record.sent.len(), self.peer.received.len(), record.accepted);
        if self.peer.is_end_read && received < accepted {
            let observed = format!("FIN came after {received} of {accepted} bytes that were accepted");
            return Err((ContractRule::ClosingHandshake, observed));
        }
        let expects_all = matches!(self.end, End::PeerFinishes | End::Cut);
        let (unread, room) = self.socket();
        if unread > 0 && (expects_all || open > 0) {
            return Err((ContractRule::LostEdge, format!("{unread} bytes wait in the socket, and nothing reads them")));
        }
        if record.read < sent && (expects_all || open > 0) {
            let observed = format!("{} of {sent} bytes were read, and the socket is empty", record.read);
            return Err((ContractRule::HeldInput, observed));
        }
        if expects_all && accepted < self.greeting.len() + sent {
            let observed =
                format!("{accepted} bytes of output were accepted, more is pending, and there is room for {room}");
            return Err((ContractRule::LostEdge, observed));
        }
        if expects_all && self.peer.next < self.peer.to_send.len() {
            let observed = "the peer cannot send: it waits for something from the transport".to_owned();
            return Err((ContractRule::HeldOutput, observed));
        }
        if received < accepted {
            let is_said = if record.wants_write { "reports" } else { "does not report" };
            let observed = format!(
                "the peer has received {received} of {accepted} bytes; the transport {is_said} that it holds some"
            );
            return Err((ContractRule::HeldOutput, observed));
        }
        if self.end != End::Cut && (!self.peer.is_end_read || open > 0) {
            let observed = match self.peer.is_end_read {
                true => "the connection outlives both ends",
                false => "the peer does not receive the end",
            };
            return Err((ContractRule::ClosingHandshake, observed.to_owned()));
        }
        Ok(())
    }

    fn judge_failure(&self, error: &io::Error) -> Result<(), Broken> {
        let is_closed_by_server = !matches!(self.end, End::PeerFinishes | End::Cut);
        if is_closed_by_server && !self.record.borrow().was_used {
            // Before the handshake.
            return Ok(());
        }
        let rule = match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected => {
                ContractRule::ClosingHandshake
            }
            _ => ContractRule::ExactBytes,
        };
        Err((rule, format!("the peer's side has failed: {error}")))
    }

    /// Unread bytes in the server's socket, and room in it.
    fn socket(&self) -> (usize, usize) {
        let world = self.sim.world.borrow();
        let socket = &world.sockets[self.wire.borrow().peer.socket];
        (socket.inbound_len(), world.send_buffer_bytes.saturating_sub(socket.outbound_len()))
    }
}

impl<P> PeerSide<P> {
    /// Notes that a call has failed, unless it can be repeated.
    fn note(&mut self, error: io::Error) {
        if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            self.failure = Some(error);
        }
    }
}
