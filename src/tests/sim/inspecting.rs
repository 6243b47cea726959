//! What a handler learns about connections by their ids.

use std::time::Duration;

use crate::address::Dial;
use crate::config::Config;
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::info::{ConnectionCounters, ConnectionInfo};
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Sim, SimNet};
use crate::wire::{Framing, encode_header};
use crate::{ConnectionState, Frame, PausedBy, Scan};

/// Echoes, inspects all connections in each callback, and does what a frame says.
#[derive(Default)]
struct Inspecting {
    open: Vec<ConnId>,
    /// Of the connection that a callback is about: the callback's name, and the connection before and after it has acted.
    own: Vec<(&'static str, ConnectionInfo, ConnectionInfo)>,
}

impl Inspecting {
    fn look(&mut self, name: &'static str, conn: &mut Connection<'_>, act: impl FnOnce(&mut Connection<'_>)) {
        let id = conn.id();
        let before = conn.cx().inspect(id).unwrap();
        assert_eq!((before.id, &before.peer, before.local), (id, conn.peer_addr(), conn.local_addr()));
        assert_eq!((before.listener, before.framing, before.limits), (conn.listener(), conn.framing(), conn.limits()));
        act(conn);
        let after = conn.cx().inspect(id).unwrap();
        assert_eq!(after.pending_output, conn.pending_output());
        let mut ids = conn.cx().connections();
        ids.sort();
        let mut open = self.open.clone();
        open.sort();
        assert_eq!(ids, open);
        self.own.push((name, before, after));
    }
}

impl Handler for Inspecting {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.open.push(conn.id());
        self.look("on_open", conn, |_| {});
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let order = frame.payload().to_vec();
        self.look("on_frame", conn, |conn| {
            match order.as_slice() {
                b"pause" => conn.pause(),
                b"close" => conn.close(),
                b"finish" => conn.finish(),
                b"abort" => conn.abort(),
                _ => {}
            }
            let _ = conn.reply_frame(frame);
        });
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.look("on_half_close", conn, |_| {});
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, (): (), _: &crate::CloseReason) {
        assert_eq!(cx.inspect(id), None);
        self.open.retain(|open| *open != id);
        assert_eq!(cx.connections().len(), self.open.len());
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Inspecting, SimNet>,
}

impl Scene {
    fn new(counts: bool) -> Self {
        let sim = Sim::new(2);
        let config = Config::builder().connection_counters(counts).output_high_water(1_000).output_low_water(100);
        let mut reactor = Reactor::with_net(sim.net(), config.build().unwrap(), Inspecting::default()).unwrap();
        reactor.listen(&sim.addr(7007)).unwrap();
        Self { sim, reactor }
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn info(&mut self, number: usize) -> ConnectionInfo {
        let id = self.reactor.handler().open[number];
        self.reactor.cx().inspect(id).unwrap()
    }

    /// The last callback about a connection: the connection before and after it.
    fn own(&self) -> (&ConnectionInfo, &ConnectionInfo) {
        let (_, before, after) = self.reactor.handler().own.last().unwrap();
        (before, after)
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

#[test]
fn connection_shows_its_addresses_state_and_pending_bytes() {
    let mut scene = Scene::new(false);
    scene.sim.set_send_buffer_bytes(100);
    let peer = scene.sim.connect(7007).unwrap();
    scene.settle();
    let info = scene.info(0);
    assert_eq!((&info.peer, info.is_dialed, info.state), (&peer.addr(), false, ConnectionState::Open));
    assert_eq!(info.local, Some("127.0.0.1:7007".parse().unwrap()));
    assert_eq!((info.paused_by, info.pending_input, info.pending_output, info.buffered_bytes), (None, 0, 0, 0));
    assert_eq!((info.framing, info.counters), (Framing::default(), None));
    assert_eq!(scene.own().0.local, info.local);

    // A part of a frame, and output that waits.
    peer.send(&[&frame(&[1; 1_500])[..], &[0, 0]].concat());
    scene.settle();
    let info = scene.info(0);
    assert_eq!((info.pending_output, info.paused_by), (1_504 - 100, Some(PausedBy::Backpressure)));
    assert!(info.buffered_bytes >= 1_404, "{info:?}");
    assert_eq!((scene.own().0.pending_output, scene.own().1.pending_output), (0, 1_504));
    while !peer.receive().is_empty() {
        scene.settle();
    }
    assert_eq!((scene.info(0).pending_output, scene.info(0).pending_input, scene.info(0).paused_by), (0, 2, None));
}

#[test]
fn state_and_pause_are_those_after_the_callback_has_acted() {
    for (order, paused_by, state) in [
        ("", None, ConnectionState::Open),
        ("pause", Some(PausedBy::Handler), ConnectionState::Open),
        ("finish", None, ConnectionState::Finished),
        ("close", None, ConnectionState::Closing),
        ("abort", None, ConnectionState::Closing),
    ] {
        let mut scene = Scene::new(false);
        let peer = scene.sim.connect(7007).unwrap();
        peer.send(&frame(order.as_bytes()));
        scene.settle();
        let (before, after) = scene.own();
        assert_eq!((before.paused_by, before.state), (None, ConnectionState::Open), "{order}");
        assert_eq!((after.paused_by, after.state), (paused_by, state), "{order}");
        if order != "abort" {
            assert_eq!((scene.info(0).paused_by, scene.info(0).state), (paused_by, state), "{order}");
        }
    }
    let mut scene = Scene::new(false);
    let peer = scene.sim.connect(7007).unwrap();
    peer.finish();
    scene.settle();
    assert_eq!((scene.own().1.state, scene.info(0).state), (ConnectionState::HalfClosed, ConnectionState::HalfClosed));
    // Both directions have ended.
    let peer = scene.sim.connect(7007).unwrap();
    peer.send(&frame(b"finish"));
    scene.settle();
    peer.finish();
    scene.settle();
    assert_eq!((scene.own().0.state, scene.own().1.state), (ConnectionState::Closing, ConnectionState::Closing));
}

#[test]
fn idle_time_begins_anew_with_each_byte() {
    let mut scene = Scene::new(false);
    let peers = [(); 2].map(|()| scene.sim.connect(7007).unwrap());
    scene.settle();
    for second in 1..5 {
        scene.sim.advance(Duration::from_secs(1));
        peers[0].send(&[0]);
        scene.settle();
        let idle = [scene.info(0).idle, scene.info(1).idle];
        assert!(idle[0] < Duration::from_millis(2), "{idle:?}");
        assert!(idle[1].abs_diff(Duration::from_secs(second)) < Duration::from_millis(3), "{idle:?}");
        // In its own callback, before the frame is counted.
        if second == 4 {
            let own = scene.own().0.idle;
            assert!(own.abs_diff(Duration::from_secs(1)) < Duration::from_millis(3), "{own:?}");
        }
    }
}

#[test]
fn counters_are_those_of_the_connection_and_not_of_its_slot() {
    let mut scene = Scene::new(true);
    for round in 1..4 {
        let peers = [(); 2].map(|()| scene.sim.connect(7007).unwrap());
        scene.settle();
        peers[1].send(&[frame(b"abc"), frame(b""), vec![0]].concat());
        scene.settle();
        scene.sim.advance(Duration::from_secs(5));
        let counters = |frames_in, bytes_in, bytes_out| {
            Some(ConnectionCounters { age: Duration::from_secs(5), frames_in, bytes_in, bytes_out })
        };
        // By their addresses: slots are used again in another order.
        for (peer, expected) in peers.iter().zip([counters(0, 0, 0), counters(2, 12, 11)]) {
            let ids = scene.reactor.cx().connections();
            let infos = ids.into_iter().filter_map(|id| scene.reactor.cx().inspect(id)).collect::<Vec<_>>();
            let info = infos.iter().find(|info| info.peer == peer.addr()).unwrap();
            assert_eq!(info.counters, expected, "round {round}");
        }
        peers.iter().for_each(crate::sim::Peer::reset);
        scene.settle();
        assert_eq!(scene.reactor.cx().connections(), []);
    }
}

#[test]
fn dial_in_progress_is_no_connection_yet() {
    let mut scene = Scene::new(false);
    let backend = scene.sim.addr(9000);
    let limits = Limits::of(&Config::default()).max_payload(5);
    let id = scene.reactor.cx().dial(Dial::to(backend).framing(Framing::lines()).limits(limits)).unwrap();
    assert_eq!((scene.reactor.cx().inspect(id), scene.reactor.cx().connections()), (None, vec![]));
    scene.settle();
    let info = scene.info(0);
    assert_eq!((info.id, info.is_dialed, info.listener, info.framing), (id, true, None, Framing::lines()));
    assert_eq!((info.limits, info.local), (limits, None));
    assert!(scene.own().0.is_dialed);
}

#[test]
fn local_listener_shows_no_address() {
    let mut scene = Scene::new(false);
    scene.sim.set_local(true);
    let options = ListenOptions::default().name("local");
    let id = scene.reactor.listen_with(&scene.sim.addr(7008), options).unwrap().id;
    let _peer = scene.sim.connect(7008).unwrap();
    scene.settle();
    assert_eq!((scene.info(0).local, scene.info(0).listener), (None, Some(id)));
}

#[test]
fn scan_visits_every_connection_once_in_any_steps() {
    for slots in [1, 3, 4, 100] {
        let mut scene = Scene::new(false);
        let mut peers: Vec<_> = (0..10).map(|_| scene.sim.connect(7007).unwrap()).collect();
        scene.settle();
        for leaving in [7, 4, 0] {
            peers.remove(leaving).finish();
        }
        scene.settle();
        let (mut scan, mut visited, mut steps) = (Scan::default(), Vec::new(), 1);
        while scene.reactor.scan(&mut scan, slots, |info| visited.push(info.id)) {
            steps += 1;
            // A connection in a slot that was visited, or that was not.
            if steps % 2 == 0 {
                peers.push(scene.sim.connect(7007).unwrap());
                scene.settle();
            }
        }
        let mut open = scene.reactor.cx().connections();
        open.sort();
        visited.sort();
        visited.dedup();
        assert!(visited.len() >= 7 && visited.iter().all(|id| open.contains(id)), "{slots}: {visited:?}");
        assert!(steps >= 10_usize.div_ceil(slots), "{slots}: {steps}");
        let mut again = Scan::default();
        let mut count = 0;
        while scene.reactor.scan(&mut again, slots, |_| count += 1) {}
        assert_eq!(count, open.len(), "{slots}");
    }
}
