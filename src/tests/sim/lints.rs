//! The readiness lint: a handler, or a peer, that makes each mistake, and its neighbors that do not.

use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, TimerId};
use crate::lint::{Lint, LintMode};
use crate::net::{Readiness, Ready};
use crate::reactor::Reactor;
use crate::reactor::token::Subject;
use crate::sim::{Peer, Sim, SimNet};
use crate::wire::encode_header;
use crate::{Drain, Frame};

const PORT: u16 = 7007;
const NOTHING: Readiness =
    Readiness { readable: false, writable: false, read_closed: false, urgent: false, failed: false };

/// Echoes, and takes some time in one callback.
struct Faulty {
    sim: Sim,
    slow: &'static str,
    takes: Duration,
    /// `on_wake` wakes its connection again.
    wakes_again: bool,
    opened: Vec<ConnId>,
}

impl Faulty {
    fn called(&self, callback: &str) {
        if callback == self.slow {
            self.sim.advance(self.takes);
        }
    }
}

impl Handler for Faulty {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.opened.push(conn.id());
        self.called("on_open");
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.called("on_frame");
        let _ = conn.reply_frame(frame);
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.called("on_wake");
        if self.wakes_again {
            let id = conn.id();
            assert!(conn.cx().wake(id));
        }
    }

    fn on_writable(&mut self, _: &mut Connection<'_>, (): &mut ()) {
        self.called("on_writable");
    }

    /// Keeps the connection open.
    fn on_half_close(&mut self, _: &mut Connection<'_>, (): &mut ()) {
        self.called("on_half_close");
    }

    fn on_drain(&mut self, _: &mut Connection<'_>, (): &mut ()) -> Drain {
        self.called("on_drain");
        Drain::AtRest
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), _: &crate::CloseReason) {
        self.called("on_close");
    }

    fn on_timer(&mut self, _: &mut Context<'_>, _: TimerId) {
        self.called("on_timer");
    }

    fn on_message(&mut self, _: &mut Context<'_>, (): ()) {
        self.called("on_message");
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Faulty, SimNet>,
    peers: Vec<Peer>,
}

impl Scene {
    /// A reactor with the lint, and peers that are connected.
    fn new(peers: usize, config: ConfigBuilder) -> Self {
        Self::with_mode(LintMode::Count, peers, config)
    }

    fn with_mode(mode: LintMode, peers: usize, config: ConfigBuilder) -> Self {
        let sim = Sim::new(1);
        let handler =
            Faulty { sim: sim.clone(), slow: "", takes: Duration::ZERO, wakes_again: false, opened: Vec::new() };
        let mut reactor = Reactor::with_net(sim.net(), config.lint(mode).build().unwrap(), handler).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        let peers = (0..peers).map(|_| sim.connect(PORT).unwrap()).collect();
        let mut scene = Self { sim, reactor, peers };
        scene.settle();
        scene
    }

    fn slow(&mut self, callback: &'static str, takes: Duration) {
        let handler = self.reactor.handler_mut();
        (handler.slow, handler.takes) = (callback, takes);
    }

    fn turn(&mut self) {
        let _ = self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.reactor.check_invariants();
    }

    fn settle(&mut self) {
        let _ = self.sim.settle(&mut self.reactor).unwrap();
    }

    fn id(&self, peer: usize) -> ConnId {
        self.reactor.handler().opened[peer]
    }

    /// Lets the next poll report an event, true or not, and turns.
    fn report(&mut self, peer: usize, readiness: Readiness) {
        let token = Subject::Conn(self.id(peer)).token();
        self.sim.world.borrow_mut().report(Ready { token, readiness });
        self.turn();
    }

    fn wake(&mut self, peer: usize) {
        let id = self.id(peer);
        assert!(self.reactor.cx().wake(id));
    }

    fn counts(&self) -> Vec<(Lint, u64)> {
        self.reactor.stats().lints().collect()
    }
}

fn frame(payload_len: usize) -> Vec<u8> {
    [&encode_header(payload_len as u32)[..], &vec![7; payload_len]].concat()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lets each callback happen once.
fn call_all(scene: &mut Scene) {
    scene.peers.push(scene.sim.connect(PORT).unwrap());
    scene.settle();
    // More output than the socket takes, and its end.
    scene.peers[0].send(&frame(200_000));
    scene.settle();
    let _ = scene.peers[0].receive();
    scene.settle();
    scene.wake(0);
    let mut cx = scene.reactor.cx();
    let now = cx.now();
    cx.set_timer(now).unwrap();
    scene.reactor.handle().send(()).unwrap();
    scene.settle();
    while !scene.peers[0].receive().is_empty() {
        scene.settle();
    }
    scene.peers[0].finish();
    scene.settle();
    scene.reactor.drain();
    scene.settle();
}

#[test]
fn slow_callback_of_each_kind_is_counted() {
    for callback in [
        "on_open",
        "on_frame",
        "on_wake",
        "on_writable",
        "on_half_close",
        "on_drain",
        "on_close",
        "on_timer",
        "on_message",
    ] {
        for takes in [Duration::from_micros(1_000), Duration::from_micros(1_001)] {
            let mut scene = Scene::new(1, Config::builder());
            scene.slow(callback, takes);
            call_all(&mut scene);
            let slow = scene.reactor.stats().lint(Lint::SlowCallback);
            assert_eq!(slow > 0, takes > ms(1), "{callback} within {takes:?}: {slow}");
            assert_eq!(scene.counts().len(), usize::from(slow > 0), "{callback}: {:?}", scene.counts());
        }
    }
}

#[test]
fn many_fast_frames_of_one_run_are_no_slow_callback() {
    let mut scene = Scene::new(1, Config::builder());
    scene.slow("on_frame", Duration::from_micros(20));
    scene.peers[0].send(&frame(1).repeat(1_000));
    scene.settle();
    assert_eq!((scene.counts(), scene.peers[0].receive().len()), (vec![], 5_000));
}

#[test]
fn slow_frames_of_a_read_are_found_in_the_next_if_only_counted() {
    for (mode, found) in [(LintMode::Count, [0, 3, 3, 6]), (LintMode::Log, [3, 6, 9, 12])] {
        let mut scene = Scene::with_mode(mode, 1, Config::builder());
        scene.slow("on_frame", ms(2));
        for (read, expected) in found.into_iter().enumerate() {
            if read == 2 {
                // The suspicion of the first read is over.
                scene.sim.advance(ms(1_001));
            }
            scene.peers[0].send(&frame(1).repeat(3));
            scene.settle();
            assert_eq!(scene.reactor.stats().lint(Lint::SlowCallback), expected, "{mode:?}, read {read}");
        }
    }
}

#[test]
fn connection_behind_a_long_run_is_starved() {
    for (takes, starved) in [(ms(10), 0), (Duration::from_micros(10_001), 1)] {
        let mut scene = Scene::new(2, Config::builder());
        scene.slow("on_frame", takes);
        scene.peers.iter().for_each(|peer| peer.send(&frame(1)));
        scene.turn();
        assert_eq!(
            scene.counts().last(),
            [(Lint::SlowCallback, 2), (Lint::StarvedNeighbor, 1)].get(starved),
            "{takes:?}"
        );
        assert_eq!(scene.reactor.stats().lint(Lint::SlowCallback), 2);
    }
}

#[test]
fn connection_behind_a_slow_timer_is_starved() {
    let mut scene = Scene::new(1, Config::builder());
    scene.slow("on_timer", ms(11));
    let mut cx = scene.reactor.cx();
    let now = cx.now();
    cx.set_timer(now).unwrap();
    scene.peers[0].send(&frame(1));
    scene.turn();
    assert_eq!(scene.counts(), [(Lint::SlowCallback, 1), (Lint::StarvedNeighbor, 1)]);
}

#[test]
fn long_but_fair_queue_starves_no_connection() {
    let mut scene = Scene::new(30, Config::builder());
    scene.slow("on_frame", ms(2));
    scene.peers.iter().for_each(|peer| peer.send(&frame(1)));
    scene.turn();
    // The last has waited for 58 ms.
    assert_eq!(scene.counts(), [(Lint::SlowCallback, 30)]);
    // Nor does one that is late because the process was stopped.
    scene.slow("", ms(0));
    scene.peers.iter().for_each(|peer| peer.send(&frame(16 << 10).repeat(100)));
    for _ in 0..20 {
        scene.turn();
        scene.sim.advance(ms(1_000));
    }
    assert_eq!(scene.counts(), [(Lint::SlowCallback, 30)]);
}

#[test]
fn connection_left_over_by_earlier_turns_is_starved() {
    // One run spends the budget of a turn.
    let mut scene = Scene::new(5, Config::builder().turn_budget(16 << 10));
    scene.slow("on_frame", ms(6));
    scene.peers.iter().for_each(|peer| peer.send(&frame(16 << 10)));
    for _ in 0..12 {
        let before = scene.reactor.stats().frames_in;
        scene.turn();
        // Less than the limit, in one turn.
        assert!(scene.reactor.stats().frames_in - before <= 1);
    }
    assert_eq!(scene.counts(), [(Lint::SlowCallback, 4), (Lint::StarvedNeighbor, 5)]);
}

#[test]
fn wake_that_moves_nothing_is_counted_each_hundred_times() {
    let mut scene = Scene::new(1, Config::builder());
    scene.reactor.handler_mut().wakes_again = true;
    scene.wake(0);
    for runs in 1..=300 {
        scene.turn();
        assert_eq!(scene.reactor.stats().lint(Lint::WakeWithoutProgress), runs / 100, "{runs}");
    }
    assert_eq!(scene.counts(), [(Lint::WakeWithoutProgress, 3)]);
}

#[test]
fn wake_with_progress_in_between_is_no_mistake() {
    let mut scene = Scene::new(1, Config::builder());
    for round in 0..300 {
        if round % 99 == 0 {
            scene.peers[0].send(&frame(1));
        }
        scene.wake(0);
        scene.turn();
    }
    assert_eq!(scene.counts(), []);
}

#[test]
fn wakes_and_room_by_turns_are_no_streak_of_either() {
    let mut scene = Scene::new(1, Config::builder());
    for _ in 0..200 {
        scene.wake(0);
        scene.turn();
        scene.report(0, Readiness { writable: true, ..NOTHING });
    }
    assert_eq!(scene.counts(), []);
}

#[test]
fn readable_event_without_input_is_a_wake_for_nothing() {
    let mut scene = Scene::new(1, Config::builder());
    (0..100).for_each(|_| scene.report(0, Readiness { readable: true, ..NOTHING }));
    assert_eq!(scene.counts(), [(Lint::WakeWithoutProgress, 1)]);
}

#[test]
fn events_of_a_paused_connection_are_no_mistake() {
    let mut scene = Scene::new(1, Config::builder());
    let id = scene.id(0);
    assert!(scene.reactor.cx().pause(id));
    scene.turn();
    (0..300).for_each(|_| scene.report(0, Readiness { readable: true, writable: true, ..NOTHING }));
    assert_eq!(scene.counts(), []);
}

#[test]
fn room_without_pending_output_is_unused_write_interest() {
    let mut scene = Scene::new(2, Config::builder());
    for _ in 0..98 {
        scene.report(0, Readiness { writable: true, ..NOTHING });
    }
    // The first report came when the connection opened.
    assert_eq!(scene.counts(), []);
    scene.report(0, Readiness { writable: true, ..NOTHING });
    assert_eq!(scene.counts(), [(Lint::UnusedWriteInterest, 1)]);
    // A frame in between is progress.
    for _ in 0..3 {
        (0..99).for_each(|_| scene.report(1, Readiness { writable: true, ..NOTHING }));
        scene.peers[1].send(&frame(1));
        scene.turn();
    }
    assert_eq!(scene.counts().len(), 1);
}

#[test]
fn frame_budget_spent_fifty_times_in_a_row_is_counted() {
    for (frames, count) in [(50, 0), (51, 1), (101, 2)] {
        let mut scene = Scene::new(1, Config::builder().frame_budget(1));
        scene.peers[0].send(&frame(1).repeat(frames));
        scene.settle();
        assert_eq!(scene.reactor.stats().lint(Lint::FrameBudgetSpent), count, "{frames}");
        assert_eq!(scene.counts().len(), usize::from(count > 0));
    }
}

#[test]
fn output_a_second_after_the_fin_is_a_stalled_half_close() {
    for reads in [false, true] {
        let mut scene = Scene::new(1, Config::builder().output_high_water(1 << 20));
        scene.sim.set_send_buffer_bytes(1_000);
        scene.peers[0].send(&frame(5_000));
        scene.peers[0].finish();
        scene.settle();
        let since = scene.sim.now();
        assert_eq!(scene.reactor.next_deadline().map(|due| due - since), Some(ms(1_000)));
        scene.sim.advance(ms(999));
        scene.settle();
        while reads && !scene.peers[0].receive().is_empty() {
            scene.settle();
        }
        scene.sim.advance(ms(1));
        scene.settle();
        let count = if reads { vec![] } else { vec![(Lint::StalledHalfClose, 1)] };
        assert_eq!(scene.counts(), count);
        scene.sim.advance(ms(5_000));
        scene.settle();
        assert_eq!(scene.counts(), count, "it is counted once");
    }
}

#[test]
fn lint_that_is_off_counts_nothing() {
    let mut scene = Scene::with_mode(LintMode::Off, 2, Config::builder().frame_budget(1));
    scene.slow("on_frame", ms(20));
    scene.peers.iter().for_each(|peer| peer.send(&frame(1).repeat(60)));
    scene.settle();
    assert_eq!(scene.counts(), []);
    assert!(!scene.reactor.stats().to_string().contains("lints"));
}

#[test]
fn counters_mention_lints_if_there_are_any() {
    let mut scene = Scene::new(2, Config::builder());
    assert!(!scene.reactor.stats().to_string().contains("lints"));
    scene.slow("on_frame", ms(20));
    scene.peers.iter().for_each(|peer| peer.send(&frame(1)));
    scene.turn();
    let line = scene.reactor.stats().to_string();
    assert!(line.ends_with("; lints: slow callback 2, starved neighbor 1"), "{line}");
}

#[test]
fn each_advice_is_a_sentence_that_names_a_chapter() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/study");
    let pages = std::fs::read_dir(folder).unwrap().map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap());
    let titles: Vec<String> =
        pages.filter_map(|page| Some(page.lines().next()?.strip_prefix("# ")?.to_owned())).collect();
    for lint in Lint::ALL {
        let (name, advice) = (lint.name(), lint.advice());
        assert_eq!(Lint::ALL.iter().filter(|other| other.name() == name).count(), 1);
        let chapter = advice.rsplit_once(", see \"").and_then(|(_, chapter)| chapter.strip_suffix('"')).unwrap();
        assert!(titles.iter().any(|title| title == chapter), "{name}: {chapter}");
        assert!(advice.split(' ').count() <= 25 && !advice.contains('.'), "{name}: {advice}");
    }
}
