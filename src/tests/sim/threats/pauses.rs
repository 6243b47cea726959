//! What a pause, by pending output or by the handler, must not hide: frames for ever, the peer's end, and deadlines.

use std::time::Duration;

use crate::address::Dial;
use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::reactor::Reactor;
use crate::sim::{Peer, Sim};
use crate::tests::sim::threats::{SECOND, Scene, frame, sim_with_send_buffer};
use crate::wire::encode_header;
use crate::{Address, Frame};

const HIGH: usize = 4_000;

/// Sends without end: whenever there is room, as much as fits.
#[derive(Default)]
struct Streamer {
    frames: usize,
    half_closes: usize,
    is_done: bool,
}

impl Streamer {
    fn fill(&self, conn: &mut Connection<'_>) {
        while !self.is_done && conn.reply(&[7; 500]).is_ok() {}
    }
}

impl Handler for Streamer {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.fill(conn);
    }

    fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {
        self.frames += 1;
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.fill(conn);
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.half_closes += 1;
        conn.close();
    }
}

fn streaming() -> (Scene<Streamer>, Peer) {
    let config = Config::builder().output_high_water(HIGH).output_low_water(HIGH / 4);
    let mut scene = Scene::with(sim_with_send_buffer(1_000), config, Streamer::default());
    let peer = scene.connect();
    (scene, peer)
}

/// The peer reads a little more than there is room for, so that the outbox falls to its low mark and is filled again.
fn read_on(scene: &mut Scene<Streamer>, peer: &Peer) {
    for _ in 0..10 {
        assert!(!peer.receive().is_empty());
        scene.settle();
    }
}

#[test]
fn streaming_connection_takes_each_frame_between_refills() {
    let (mut scene, peer) = streaming();
    for frames in 1..=20 {
        peer.send(&frame(b"are you there?"));
        read_on(&mut scene, &peer);
        assert_eq!(scene.reactor.handler().frames, frames);
    }
}

#[test]
fn streaming_connection_sees_fin_at_once() {
    for behind in [&[][..], &frame(b"one more"), &frame(b"cut")[..5]] {
        let (mut scene, peer) = streaming();
        peer.send(behind);
        peer.finish();
        scene.settle();
        while !peer.has_server_finished() {
            assert!(!peer.receive().is_empty(), "{}", scene.stats());
            scene.settle();
        }
        let is_whole = behind.len() != 5;
        assert_eq!(scene.reactor.handler().half_closes, usize::from(is_whole));
        assert_eq!(scene.reactor.handler().frames, usize::from(behind.len() > 5));
        scene.is_empty();
    }
}

#[test]
fn frame_deadline_holds_while_output_is_above_the_mark() {
    let timeout = Config::default().frame_timeout.unwrap();
    for drips in [false, true] {
        let (mut scene, peer) = streaming();
        let began = scene.sim.now();
        peer.send(&encode_header(1_000));
        while scene.stats().connections > 0 {
            read_on_or_end(&mut scene, &peer);
            if drips {
                peer.send(&[0]);
            }
            scene.pass(SECOND);
            assert!(scene.sim.now() - began <= timeout + 2 * SECOND, "{}", scene.stats());
        }
        assert_eq!(scene.closed(&CloseReason::FrameTimeout), 1);
    }
}

fn read_on_or_end(scene: &mut Scene<Streamer>, peer: &Peer) {
    for _ in 0..5 {
        let _ = peer.receive();
        scene.settle();
    }
}

/// Pauses at the first frame, and answers each.
#[derive(Default)]
struct Pausing {
    ids: Vec<ConnId>,
    frames: usize,
    half_closes: usize,
}

impl Handler for Pausing {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.ids.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.frames += 1;
        if self.frames == 1 {
            conn.pause();
        }
        let _ = conn.reply_frame(frame);
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.half_closes += 1;
        conn.close();
    }
}

fn pausing() -> (Scene<Pausing>, Peer) {
    let mut scene = Scene::with(Sim::new(7), Config::builder(), Pausing::default());
    let peer = scene.connect();
    (scene, peer)
}

#[test]
fn paused_connection_with_nothing_unread_ends_at_fin() {
    let (mut scene, peer) = pausing();
    peer.send(&frame(b"pause"));
    scene.settle();
    peer.finish();
    scene.settle();
    assert_eq!(scene.reactor.handler().half_closes, 1);
    assert_eq!(peer.receive(), frame(b"pause"));
    assert_eq!(scene.closed(&CloseReason::PeerFinished), 1);
    scene.is_empty();
}

#[test]
fn paused_connection_ends_at_fin_inside_a_frame() {
    for len in [1, 4, 5, 10] {
        let (mut scene, peer) = pausing();
        peer.send(&frame(b"pause"));
        peer.send(&frame(b"0123456789")[..len]);
        scene.settle();
        peer.finish();
        scene.settle();
        assert_eq!(scene.closed(&CloseReason::TruncatedFrame { received: len }), 1, "{}", scene.stats());
        scene.is_empty();
    }
}

#[test]
fn paused_connection_ends_at_reset_whatever_is_unread() {
    for frames in [0, 1, 1_000] {
        let (mut scene, peer) = pausing();
        peer.send(&frame(b"pause"));
        peer.send(&frame(b"unread").repeat(frames));
        scene.settle();
        peer.reset();
        scene.settle();
        assert_eq!(scene.closed(&CloseReason::Reset), 1, "{}", scene.stats());
        scene.is_empty();
    }
}

#[test]
fn frames_before_fin_are_delivered_on_resume() {
    for frames in [1, 3, 500, 20_000] {
        let (mut scene, peer) = pausing();
        peer.send(&frame(b"pause"));
        peer.send(&frame(b"unread").repeat(frames));
        peer.finish();
        scene.settle();
        scene.pass(Config::default().write_timeout.unwrap() - SECOND);
        assert_eq!((scene.reactor.handler().frames, scene.reactor.handler().half_closes), (1, 0));
        let id = scene.reactor.handler().ids[0];
        assert!(scene.reactor.cx().resume(id));
        let mut received = Vec::new();
        while !peer.has_server_finished() {
            scene.settle();
            received.extend(peer.receive());
        }
        scene.settle();
        assert_eq!((scene.reactor.handler().frames, scene.reactor.handler().half_closes), (1 + frames, 1));
        assert!(received == [frame(b"pause"), frame(b"unread").repeat(frames)].concat());
        assert_eq!(scene.closed(&CloseReason::PeerFinished), 1);
        scene.is_empty();
    }
}

#[test]
fn connection_paused_for_good_ends_a_write_timeout_after_fin() {
    let long = [&encode_header(100_000)[..], &[7; 100_000]].concat();
    for unread in [frame(b"unread"), frame(b"unread").repeat(2_000), long.clone(), long[..90_000].to_vec()] {
        let (mut scene, peer) = pausing();
        peer.send(&frame(b"pause"));
        peer.send(&unread);
        peer.finish();
        scene.settle();
        assert_eq!(peer.receive(), frame(b"pause"));
        let waited = scene.sleep_until(|stats| stats.connections == 0);
        assert_eq!(waited, Config::default().write_timeout.unwrap());
        assert!(peer.has_server_finished());
        assert_eq!((scene.reactor.handler().frames, scene.closed(&CloseReason::PeerFinished)), (1, 1));
        scene.is_empty();
    }
}

/// The look that gives up the unread frames comes soon after the end of a window for output.
#[test]
fn output_is_not_judged_when_unread_frames_are_given_up() {
    let mut scene = Scene::with(Sim::new(7), Config::builder().write_rate_min(0), Pausing::default());
    let peer = scene.connect();
    // So much that it is watched from the beginning.
    let long = frame(&[7; 30_000]);
    peer.send(&long);
    scene.settle();
    scene.pass(SECOND);
    peer.send(&frame(b"unread"));
    peer.finish();
    scene.settle();
    scene.pass(4 * SECOND);
    let mut received = peer.receive();
    scene.settle();
    let waited = scene.sleep_until(|stats| stats.connections == 0);
    assert_eq!(waited, Config::default().write_timeout.unwrap() - 4 * SECOND);
    assert_eq!(scene.closed(&CloseReason::PeerFinished), 1, "{}", scene.stats());
    assert!(!peer.is_reset());
    received.extend(peer.receive());
    assert!(received == long);
    scene.is_empty();
}

/// Asks far more than fits, and notes what is answered.
#[derive(Default)]
struct Asking {
    queued: usize,
    refused: usize,
    answered: usize,
    answers_each: bool,
    pauses_input: bool,
}

impl Asking {
    fn ask(&mut self, conn: &mut Connection<'_>) {
        while conn.reply(&[1; 996]).is_ok() {
            self.queued += 1;
        }
    }
}

impl Handler for Asking {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        if self.pauses_input {
            conn.pause_input_when_full(true);
        }
        self.ask(conn);
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.answered += 1;
        if self.answers_each {
            match conn.reply_frame(frame) {
                Ok(()) => self.queued += 1,
                _ => self.refused += 1,
            }
        }
    }

    fn on_dial_failed(&mut self, _: &mut Context<'_>, _: ConnId, error: &crate::DialError) {
        panic!("{error}");
    }
}

/// A connection that was dialed, with its pending output above the mark and its send buffer full.
fn asking(handler: Asking) -> (Sim, Reactor<Asking, crate::sim::SimNet>, Peer) {
    let sim = sim_with_send_buffer(2_000);
    let config = Config::builder().output_high_water(HIGH).output_low_water(HIGH / 4).build().unwrap();
    let mut reactor = Reactor::with_net(sim.net(), config, handler).unwrap();
    let Address::Tcp(addr) = sim.addr(9) else { panic!("no TCP address") };
    reactor.cx().dial(Dial::to(addr)).unwrap();
    let _ = sim.settle(&mut reactor).unwrap();
    let far_end = sim.dialed().unwrap();
    (sim, reactor, far_end)
}

#[test]
fn outbound_connection_reads_on_whatever_output_is_pending() {
    for len in [0, 10, 1_000, 100_000, 1 << 20] {
        let (sim, mut reactor, far_end) = asking(Asking::default());
        let reply = frame(&vec![5; len]);
        for answered in 1..=20 {
            far_end.send(&reply);
            let _ = sim.settle(&mut reactor).unwrap();
            reactor.check_invariants();
            assert_eq!(reactor.handler().answered, answered, "the far end has read nothing");
        }
    }
}

#[test]
fn replies_on_an_outbound_connection_above_the_mark_are_refused() {
    for len in [0, 10, 1_000, 100_000] {
        let (sim, mut reactor, far_end) = asking(Asking { answers_each: true, ..Asking::default() });
        let queued = reactor.handler().queued;
        far_end.send(&frame(&vec![5; len]).repeat(50));
        let _ = sim.settle(&mut reactor).unwrap();
        reactor.check_invariants();
        let Asking { queued: now, refused, answered, .. } = *reactor.handler();
        assert_eq!((now, refused, answered), (queued, 50, 50));
        // At the low mark they are queued again, and all is in order.
        let mut received = far_end.receive();
        let _ = sim.settle(&mut reactor).unwrap();
        while received.len() < queued * 1_000 {
            received.extend(far_end.receive());
            let _ = sim.settle(&mut reactor).unwrap();
        }
        assert!(received == frame(&[1; 996]).repeat(queued));
        far_end.send(&frame(b"and now"));
        let _ = sim.settle(&mut reactor).unwrap();
        assert_eq!(far_end.receive(), frame(b"and now"));
    }
}

#[test]
fn replies_of_one_read_stop_at_the_outbound_mark() {
    let (sim, mut reactor, far_end) = asking(Asking { answers_each: true, ..Asking::default() });
    let mut received = Vec::new();
    while received.len() < reactor.handler().queued * 1_000 {
        received.extend(far_end.receive());
        let _ = sim.settle(&mut reactor).unwrap();
    }
    let before = reactor.handler().queued;
    far_end.send(&frame(&[5; 96]).repeat(500));
    let _ = sim.settle(&mut reactor).unwrap();
    reactor.check_invariants();
    let Asking { queued, refused, answered, .. } = *reactor.handler();
    assert_eq!((answered, queued - before + refused), (500, 500));
    assert!(refused > 0 && (queued - before) * 100 >= HIGH);
    let mut echoed = 0;
    while echoed < (queued - before) * 100 {
        let more = far_end.receive().len();
        assert!(more > 0);
        echoed += more;
        let _ = sim.settle(&mut reactor).unwrap();
    }
}

#[test]
fn outbound_connection_pauses_input_if_its_handler_says_so() {
    let (sim, mut reactor, far_end) = asking(Asking { pauses_input: true, ..Asking::default() });
    far_end.send(&frame(b"unread"));
    sim.advance(Duration::from_millis(1));
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!(reactor.handler().answered, 0);
    let _ = far_end.receive();
    let _ = sim.settle(&mut reactor).unwrap();
    let _ = far_end.receive();
    let _ = sim.settle(&mut reactor).unwrap();
    assert_eq!(reactor.handler().answered, 1);
}
