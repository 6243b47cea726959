//! What must not hurt a reactor, in virtual time, where each figure is exact. `tests/threats/` has what a kernel decides.

mod accepting;
mod capture;
mod deadlines;
mod endings;
mod events;
mod fairness;
mod floods;
mod forever;
mod memory;
mod panics;
mod pauses;
mod prefixes;
mod queued;
mod reclaim;
mod slow_readers;

use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::error::CloseReason;
use crate::handler::{Connection, Echo, Handler};
use crate::id::ConnId;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Faults, Peer, Sim, SimNet};
use crate::wire::encode_header;
use crate::{Frame, Stats};

const PORT: u16 = 7007;

const SECOND: Duration = Duration::from_secs(1);

/// Far more turns than anything takes that is waited for.
const TURNS_MAX: usize = 10_000;

/// A reactor on a network of its own.
struct Scene<H: Handler> {
    sim: Sim,
    reactor: Reactor<H, SimNet>,
}

impl Scene<Echo> {
    fn new(config: ConfigBuilder) -> Self {
        Self::with(Sim::new(7), config, Echo)
    }
}

impl<H: Handler> Scene<H> {
    fn with(sim: Sim, config: ConfigBuilder, handler: H) -> Self {
        let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), handler).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        Self { sim, reactor }
    }

    /// A peer in the listen queue.
    fn knock(&self) -> Peer {
        self.sim.connect(PORT).unwrap()
    }

    /// A peer that was let in, or refused.
    fn connect(&mut self) -> Peer {
        let peer = self.knock();
        self.settle();
        peer
    }

    /// Everything is done that can be done now.
    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    /// One turn, without a sleep.
    fn turn(&mut self) {
        let _ = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.reactor.check_invariants();
    }

    /// Lets time pass, and what is due be done.
    fn pass(&mut self, duration: Duration) {
        self.sim.advance(duration);
        self.settle();
    }

    /// Turns, asleep for as long as the reactor wants to be, until something is so. Returns how long that took.
    fn sleep_until(&mut self, is_so: impl Fn(&Stats) -> bool) -> Duration {
        let began = self.sim.now();
        for _ in 0..TURNS_MAX {
            if is_so(&self.reactor.stats()) {
                return self.sim.now() - began;
            }
            let _ = self.reactor.turn(None).unwrap();
            self.reactor.check_invariants();
        }
        panic!("it never is so: {}", self.reactor.stats());
    }

    #[track_caller]
    fn call(&mut self, peer: &Peer, payload: &[u8]) {
        peer.send(&frame(payload));
        self.settle();
        assert!(peer.receive() == frame(payload));
    }

    fn stats(&self) -> Stats {
        self.reactor.stats()
    }

    fn closed(&self, reason: &CloseReason) -> u64 {
        self.reactor.stats().closed_by(reason.kind())
    }

    /// Checks that there is no connection, and no memory is held.
    #[track_caller]
    fn is_empty(&self) {
        let stats = self.stats();
        assert_eq!((stats.connections, stats.buffered_bytes, self.sim.open_sockets()), (0, 0, 0), "{stats}");
        assert_eq!(stats.accepted, stats.closed_total(), "{stats}");
    }
}

/// Echoes, and notes whom it has met.
#[derive(Default)]
struct Noting {
    ids: Vec<ConnId>,
}

impl Handler for Noting {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.ids.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

/// The defaults, without deadlines.
fn patient() -> ConfigBuilder {
    Config::builder().frame_timeout(None).write_timeout(None)
}

/// A strict network, of which a send buffer takes so much.
fn sim_with_send_buffer(bytes: usize) -> Sim {
    let sim = Sim::with_faults(7, Faults::default());
    sim.set_send_buffer_bytes(bytes);
    sim
}
