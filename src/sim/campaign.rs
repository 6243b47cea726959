//! Campaigns: thousands of steps of chance under a seed, with every invariant checked after every turn.
//!
//! A seed decides the settings, the peers, the faults and the order of everything. `FRAMELOOP_SIM_SEEDS` and
//! `FRAMELOOP_SIM_STEPS` make a campaign longer, `FRAMELOOP_SIM_SEED` replays one seed.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::frame::{HEADER_LEN, decode_header, encode_header};
use crate::handler::{ConnId, Context, Handler, Peers};
use crate::reactor::{Reactor, Turn};
use crate::sim::socket::take;
use crate::sim::{Edges, Faults, Peer, Rng, Sim, SimNet};
use crate::{Frame, PeerAddr, Sent};

const PORT: u16 = 7007;

/// What the first byte of a payload asks the handler to do.
const COPY: u8 = 1;
const CLOSE: u8 = 2;
const ABORT: u8 = 3;
const PANIC: u8 = 4;
const SEND: u8 = 5;
const BROADCAST: u8 = 6;
const PAUSE: u8 = 7;
/// The first byte of a payload that nobody asked for.
const UNASKED: u8 = 0xee;

/// Does what the frames ask for, and notes who opened and who closed.
#[derive(Debug)]
struct Obedient {
    rng: Rng,
    open: HashMap<ConnId, PeerAddr>,
    ids: Vec<ConnId>,
    paused: Vec<ConnId>,
    closed: HashMap<PeerAddr, CloseReason>,
    /// Connections whose reply was not taken: only the memory limit may end them so.
    unanswered: Vec<ConnId>,
    /// What should not have been. The reactor catches panics of a handler, so an assertion in one would say nothing.
    broken: Vec<&'static str>,
}

impl Obedient {
    fn expect(&mut self, holds: bool, otherwise: &'static str) {
        if !holds {
            self.broken.push(otherwise);
        }
    }

    fn any_id(&mut self) -> Option<ConnId> {
        // Some of these are dead.
        let index = self.rng.below(self.ids.len());
        self.ids.get(index).copied()
    }
}

impl Handler for Obedient {
    type State = ConnId;
    type Message = ();

    fn on_open(&mut self, conn: &mut Context<'_>) -> ConnId {
        self.ids.push(conn.id());
        let is_new = self.open.insert(conn.id(), conn.peer_addr().clone()).is_none();
        self.expect(is_new, "opened twice");
        conn.id()
    }

    fn on_frame(&mut self, conn: &mut Context<'_>, id: &mut ConnId, mut frame: Frame<'_>) {
        self.expect(*id == conn.id(), "the state is another connection's");
        let order = frame.payload().first().copied();
        let sent = match order {
            Some(COPY) => {
                let payload = frame.payload().to_vec();
                conn.reply(&payload)
            }
            _ => conn.reply_frame(frame),
        };
        if sent == Sent::Gone {
            self.unanswered.push(*id);
        }
        self.expect(matches!(sent, Sent::Queued | Sent::Gone), "the first reply is refused at the mark");
        match order {
            Some(CLOSE) => conn.close(),
            Some(ABORT) => conn.abort(),
            Some(PANIC) => std::panic::panic_any("the handler was asked to panic"),
            Some(SEND) => {
                if let Some(to) = self.any_id() {
                    let _ = conn.send(to, &[UNASKED; 100]);
                }
            }
            Some(BROADCAST) => {
                let _ = conn.broadcast(&[UNASKED; 30]);
            }
            Some(PAUSE) => {
                conn.pause();
                self.paused.push(conn.id());
            }
            _ => {}
        }
    }

    fn on_close(&mut self, peers: &mut Peers<'_>, id: ConnId, state: ConnId, reason: &CloseReason) {
        self.expect(id == state, "the state is another connection's");
        match self.open.remove(&id) {
            Some(peer) => drop(self.closed.insert(peer, *reason)),
            None => self.broken.push("closed without being open"),
        }
        let is_limited = matches!(reason, CloseReason::MemoryLimit { .. });
        let was_answered = !self.unanswered.contains(&id);
        self.expect(is_limited || was_answered, "a reply was not taken, and not for the memory limit");
        let sent = peers.send(id, b"too late");
        self.expect(sent == Sent::Gone, "a frame was queued on a connection that has ended");
        if self.rng.chance(100)
            && let Some(to) = self.any_id()
        {
            let _ = peers.send(to, &[UNASKED; 10]);
        }
    }

    /// Resumes one that was paused, if it is still there.
    fn on_message(&mut self, peers: &mut Peers<'_>, (): ()) {
        if let Some(id) = self.paused.pop() {
            peers.resume(id);
        }
    }
}

/// A peer with what it wants to say, and what it may expect.
struct Actor {
    peer: Peer,
    addr: PeerAddr,
    /// Still to be sent.
    script: VecDeque<u8>,
    ending: Ending,
    reads: bool,
    piece_max: usize,
    received: Vec<u8>,
    /// What an echo of its whole script would be.
    expected: Vec<u8>,
}

/// What a peer does when its script is at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Wait,
    Finish,
    Reset,
}

struct Rig {
    sim: Sim,
    reactor: Reactor<Obedient, SimNet>,
    rng: Rng,
    actors: Vec<Actor>,
    connected: u32,
    has_faults: bool,
    trace: VecDeque<String>,
    payload_max: usize,
}

const TRACE_LINES: usize = 40;

impl Rig {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let high = [256, 4 << 10, 64 << 10][rng.below(3)];
        let config = Config::builder()
            .payload_len_max(200_000)
            .connections_max(rng.between(2, 24))
            .memory_bytes_max([400_000, 4 << 20][rng.below(2)])
            .outbox_bytes_high(high)
            .outbox_bytes_low(high / 4)
            .idle_timeout(rng.chance(300).then_some(Duration::from_secs(20)))
            .read_budget_bytes([64, 5_000, 64 << 10][rng.below(3)])
            .write_budget_bytes([64, 5_000, 64 << 10][rng.below(3)])
            .frame_budget([1, 7, 2_048][rng.below(3)])
            .turn_budget_bytes([1, 10_000, 256 << 10][rng.below(3)])
            .accept_budget(rng.between(1, 8))
            .pool_bytes_max([0, 1 << 20][rng.below(2)]);
        let Ok(config) = config.build() else { panic!("a setting cannot work") };
        let has_faults = rng.chance(700);
        let faults = if has_faults { faults(&mut rng) } else { Faults::default() };
        let sim = Sim::with_faults(rng.next_u64(), faults);
        sim.set_edges(if rng.chance(500) { Edges::Noisy } else { Edges::Strict });
        sim.set_send_buffer_bytes([100, 3_000, 16 << 10, 200_000][rng.below(4)]);
        let handler = Obedient {
            rng: Rng::new(rng.next_u64()),
            open: HashMap::new(),
            ids: Vec::new(),
            paused: Vec::new(),
            closed: HashMap::new(),
            unanswered: Vec::new(),
            broken: Vec::new(),
        };
        let reactor = Reactor::with_net(sim.net(), config, handler);
        let Ok(mut reactor) = reactor else { panic!("no reactor") };
        assert!(reactor.listen(&sim.addr(PORT)).is_ok());
        let payload_max = [40, 3_000, 199_000][rng.below(3)];
        Self { sim, reactor, rng, actors: Vec::new(), connected: 0, has_faults, trace: VecDeque::new(), payload_max }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line());
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..=4 => self.connect(),
            5..=54 => self.send(),
            55..=84 => self.receive(),
            85..=89 => self.end(),
            90..=93 => {
                let millis = [1, 50, 1_000, 11_000][self.rng.below(4)];
                self.note(|| format!("{millis} ms pass"));
                self.sim.advance(Duration::from_millis(millis));
            }
            94..=97 => {
                let _ = self.reactor.handle().send(());
            }
            _ => {
                // A peer that has ended is forgotten, so that there is room for others.
                let index = self.rng.below(self.actors.len());
                if self.actors.get(index).is_some_and(|actor| actor.peer.is_reset() || actor.peer.has_server_finished())
                {
                    let actor = self.actors.swap_remove(index);
                    self.check_actor(&actor, false);
                }
            }
        }
        self.turn();
    }

    fn turn(&mut self) {
        let outcome = self.reactor.turn(Some(Duration::ZERO));
        assert!(matches!(outcome, Ok(Turn::Running)), "{outcome:?}");
        self.check();
    }

    fn check(&self) {
        self.reactor.check_invariants();
        let broken = &self.reactor.handler().broken;
        assert!(broken.is_empty(), "{broken:?}");
        let open = self.reactor.handler().open.len();
        assert_eq!(open, self.reactor.stats().connections as usize, "on_open and on_close pair");
        assert_eq!(open, self.sim.open_sockets(), "sockets are closed exactly when their connections end");
    }

    fn connect(&mut self) {
        let Some(peer) = self.sim.connect(PORT) else { panic!("nobody listens") };
        self.connected += 1;
        let addr = peer.addr();
        let mut script = VecDeque::new();
        let mut expected = Vec::new();
        for _ in 0..self.rng.below(20) {
            let frame = self.frame();
            script.extend(&frame);
            let order = frame.get(HEADER_LEN).copied();
            if order != Some(ABORT) {
                expected.extend(&frame);
            }
            if matches!(order, Some(CLOSE | ABORT | PANIC)) {
                break;
            }
        }
        match self.rng.below(10) {
            0 => script.extend(encode_header(200_001 + self.rng.below(1_000_000) as u32)),
            1 => script.extend(b"GET / HTTP/1.1\r\n\r\n"),
            2 => script.extend(&self.frame()[..2]),
            _ => {}
        }
        let ending = [Ending::Wait, Ending::Finish, Ending::Finish, Ending::Reset][self.rng.below(4)];
        let actor = Actor {
            peer,
            addr,
            script,
            ending,
            reads: !self.rng.chance(100),
            piece_max: [1, 10, 5_000, 1 << 20][self.rng.below(4)],
            received: Vec::new(),
            expected,
        };
        let (number, bytes, reads, piece) = (self.connected, actor.script.len(), actor.reads, actor.piece_max);
        self.note(|| format!("peer {number} connects: {bytes} bytes by {piece}, reads {reads}, then {ending:?}"));
        self.actors.push(actor);
    }

    fn frame(&mut self) -> Vec<u8> {
        let payload_len = if self.rng.chance(100) { 0 } else { self.rng.below(self.payload_max) };
        let mut frame = encode_header(payload_len as u32).to_vec();
        // Cheap to make, and different in each frame and each block of it.
        while frame.len() < HEADER_LEN + payload_len {
            let block = [self.rng.next_u64().to_le_bytes(); 32];
            let len = (HEADER_LEN + payload_len - frame.len()).min(256);
            frame.extend_from_slice(&block.as_flattened()[..len]);
        }
        if payload_len > 0 {
            frame[HEADER_LEN] = match self.rng.below(60) {
                0 => CLOSE,
                1 => ABORT,
                2 => PANIC,
                3..=6 => SEND,
                7 => BROADCAST,
                8 => PAUSE,
                9..=25 => COPY,
                _ => 0,
            };
        }
        frame
    }

    fn send(&mut self) {
        let index = self.rng.below(self.actors.len());
        let Some(actor) = self.actors.get_mut(index) else { return };
        let len = self.rng.between(1, actor.piece_max).min(actor.script.len());
        let bytes = take(&mut actor.script, len);
        actor.peer.send(&bytes);
        let addr = actor.addr.clone();
        self.note(|| format!("{addr} sends {len} bytes"));
    }

    fn receive(&mut self) {
        let index = self.rng.below(self.actors.len());
        let Some(actor) = self.actors.get_mut(index) else { return };
        if actor.reads {
            let len = self.rng.between(1, 2 * actor.piece_max);
            let bytes = actor.peer.receive_some(len);
            actor.received.extend(&bytes);
            let addr = actor.addr.clone();
            self.note(|| format!("{addr} receives {} bytes", bytes.len()));
        }
    }

    fn end(&mut self) {
        let index = self.rng.below(self.actors.len());
        let Some(actor) = self.actors.get_mut(index) else { return };
        let (addr, ending) = (actor.addr.clone(), actor.ending);
        match ending {
            Ending::Finish if actor.script.is_empty() => actor.peer.finish(),
            Ending::Reset => actor.peer.reset(),
            Ending::Finish | Ending::Wait => return,
        }
        self.note(|| format!("{addr} ends: {ending:?}"));
    }

    /// No more faults, everybody says what is left to say and reads: then everything must complete.
    fn complete(&mut self) {
        self.note(|| "the faults stop".into());
        self.sim.set_faults(Faults::default());
        for _ in 0..40 {
            self.exchange();
            // Accepting that is paused, deadlines, lingering.
            self.sim.advance(Duration::from_secs(1));
        }
        let actors = std::mem::take(&mut self.actors);
        for actor in &actors {
            self.check_actor(actor, true);
        }
    }

    /// Everybody sends and receives until nobody has anything more.
    fn exchange(&mut self) {
        for _ in 0..100_000 {
            let mut is_busy = false;
            let _ = self.reactor.handle().send(());
            for actor in &mut self.actors {
                let len = actor.script.len().min(100_000);
                if len > 0 {
                    actor.peer.send(&take(&mut actor.script, len));
                } else if actor.ending != Ending::Reset {
                    actor.peer.finish();
                }
                let bytes = actor.peer.receive();
                is_busy |= len > 0 || !bytes.is_empty();
                actor.received.extend(&bytes);
            }
            let outcome = self.sim.settle(&mut self.reactor);
            assert!(matches!(outcome, Ok(Turn::Running)), "{outcome:?}");
            self.check();
            if !is_busy && self.reactor.handler().paused.is_empty() {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    /// What a peer has received are the answers to its frames, in order, each once; and all of them if it had a fair chance.
    fn check_actor(&self, actor: &Actor, is_complete: bool) {
        let mut answers: Vec<u8> = Vec::new();
        let mut rest = actor.received.as_slice();
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
            let payload_len = decode_header(*header) as usize;
            if payload_len > 0 && behind.is_empty() {
                // Whether anybody has asked for it is not known yet.
                break;
            }
            let frame_len = (HEADER_LEN + payload_len).min(rest.len());
            if behind.first() != Some(&UNASKED) {
                answers.extend(&rest[..frame_len]);
            }
            rest = &rest[frame_len..];
        }
        let matching = answers.len().min(actor.expected.len());
        assert!(answers[..matching] == actor.expected[..matching], "{} received other bytes", actor.addr);
        let may_be_more = rest.len();
        assert!(answers.len() <= actor.expected.len() + may_be_more, "{} received too much", actor.addr);
        if !is_complete || actor.peer.is_reset() {
            return;
        }
        let ended_in_order = matches!(
            self.reactor.handler().closed.get(&actor.addr),
            Some(CloseReason::PeerFinished | CloseReason::ClosedByHandler | CloseReason::HandlerPanicked)
        );
        if ended_in_order && actor.reads {
            assert_eq!(answers.len(), actor.expected.len(), "{} did not receive everything", actor.addr);
        }
    }

    /// The reactor drains: everybody goes, every byte of memory comes back.
    fn drain(&mut self) {
        self.note(|| "the reactor drains".into());
        self.reactor.drain();
        for _ in 0..20 {
            if matches!(self.sim.settle(&mut self.reactor), Ok(Turn::Done)) {
                break;
            }
            self.sim.advance(Duration::from_secs(1));
        }
        self.check();
        assert_eq!(self.reactor.stats().connections, 0, "a drain ends all connections");
        assert_eq!(self.reactor.stats().buffered_bytes, 0, "and gives all memory back");
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut rate = |max: usize| if rng.chance(500) { rng.below(max) as u16 } else { 0 };
    Faults {
        interrupted: rate(200),
        would_block: rate(200),
        short_write: rate(300),
        short_read: rate(300),
        write_zero: rate(3),
        reset: rate(3),
        late: rate(300),
        accept_aborted: rate(100),
        accept_exhausted: rate(300),
        register: rate(50),
    }
}

/// Runs a seed. On failure, prints how to replay it and what happened last.
fn run(seed: u64, steps: usize) {
    let mut rig = Rig::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..steps {
            rig.step();
        }
        rig.complete();
        rig.drain();
    }));
    if let Err(panic) = outcome {
        let mut report = format!("\nseed {seed} failed; the last steps (faults: {}):\n", rig.has_faults);
        for line in &rig.trace {
            let _ = writeln!(report, "  {line}");
        }
        let _ = write!(report, "replay: FRAMELOOP_SIM_SEED={seed} FRAMELOOP_SIM_STEPS={steps} cargo test campaign");
        eprintln!("{report}");
        resume_unwind(panic);
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is {text:?} and must be a number"),
    }
}

#[test]
fn a_campaign_of_chance_breaks_no_invariant() {
    let steps = setting("FRAMELOOP_SIM_STEPS").unwrap_or(3_000) as usize;
    // The handler panics on request; the default hook would tell each time.
    std::panic::set_hook(Box::new(|info| {
        if info.payload_as_str() != Some("the handler was asked to panic") {
            eprintln!("{info}");
        }
    }));
    match setting("FRAMELOOP_SIM_SEED") {
        Some(seed) => run(seed, steps),
        None => (0..setting("FRAMELOOP_SIM_SEEDS").unwrap_or(256)).for_each(|seed| run(seed, steps)),
    }
}
