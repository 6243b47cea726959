//! Recordings of single connections, and their deadlines.

use std::time::Duration;

use crate::address::Dial;
use crate::config::{Config, ConfigBuilder};
use crate::error::{CloseReason, RecordRefused};
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::options::{Limits, ListenOptions};
use crate::reactor::{Reactor, Turn};
use crate::sim::{Faults, Peer, Sim, SimNet};
use crate::wire::encode_header;
use crate::{ConnectionEvent, DeadlineKind, Frame, RecordedEvent};

const SECOND: Duration = Duration::from_secs(1);

/// Echoes, and does what a frame says.
#[derive(Default)]
struct Obeying {
    open: Vec<ConnId>,
    closed: Vec<(ConnId, CloseReason)>,
    /// A half-closed connection stays open.
    keeps: bool,
}

impl Handler for Obeying {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.open.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        match frame.payload() {
            b"pause" => conn.pause(),
            b"finish" => conn.finish(),
            b"close" => conn.close(),
            b"abort" => conn.abort(),
            b"panic" => panic!("it was told to"),
            _ => {}
        }
        let _ = conn.reply_frame(frame);
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        if !self.keeps {
            conn.close();
        }
    }

    fn on_close(&mut self, _cx: &mut Context<'_>, id: ConnId, (): (), reason: &CloseReason) {
        self.open.retain(|open| *open != id);
        self.closed.push((id, *reason));
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Obeying, SimNet>,
}

impl Scene {
    fn new(config: ConfigBuilder) -> Self {
        let sim = Sim::with_faults(3, Faults::default());
        let config = config.connection_counters(true).build().unwrap();
        let mut reactor = Reactor::with_net(sim.net(), config, Obeying::default()).unwrap();
        reactor.listen(&sim.addr(7007)).unwrap();
        Self { sim, reactor }
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn connect(&mut self) -> (Peer, ConnId) {
        let peer = self.sim.connect(7007).unwrap();
        self.settle();
        (peer, *self.reactor.handler().open.last().unwrap())
    }

    /// A connection whose last 100 events are recorded.
    fn recorded(&mut self) -> (Peer, ConnId) {
        let (peer, id) = self.connect();
        assert_eq!(self.reactor.record(id, 100), Ok(()));
        (peer, id)
    }

    fn events(&self, id: ConnId) -> Vec<RecordedEvent> {
        self.reactor.recording(id).unwrap().events().cloned().collect()
    }

    /// The texts of all events after the given one.
    fn texts_after(&self, id: ConnId, seq: u64) -> Vec<String> {
        self.reactor.recording(id).unwrap().events_after(seq).map(|event| event.event.to_string()).collect()
    }

    fn texts(&self, id: ConnId) -> Vec<String> {
        self.texts_after(id, 0)
    }

    /// Checks that the connection has closed, which is recorded with the reason that its handler got.
    #[track_caller]
    fn assert_closed(&self, id: ConnId, expected: CloseReason) {
        assert_eq!(self.reactor.handler().closed.last(), Some(&(id, expected)));
        let recording = self.reactor.recording(id).unwrap();
        assert_eq!(recording.closed(), Some(expected));
        let last = recording.events().last().unwrap();
        assert_eq!((&last.event, last.state), (&ConnectionEvent::Closed(expected), "Closed"));
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32), payload].concat()
}

#[test]
fn echo_and_half_close_are_recorded_step_by_step() {
    let mut scene = Scene::new(Config::builder());
    scene.reactor.handler_mut().keeps = true;
    let (peer, id) = scene.recorded();
    peer.send(&frame(b"hello"));
    scene.settle();
    assert_eq!(
        scene.texts(id),
        [
            "event: readable",
            "recv(69632) = 9: short read, the socket is drained",
            "frame: 5 bytes of payload, delivered",
            "send(9) = 9: all sent",
        ]
    );
    peer.finish();
    scene.settle();
    assert_eq!(
        scene.texts_after(id, 4),
        [
            "event: readable, read-closed",
            "recv(69632) = 0: end of stream",
            "callback: on_half_close",
            "Open -> HalfClosed: pending: 0 bytes of input, 0 bytes of output",
        ]
    );
    assert_eq!(scene.events(id).last().unwrap().state, "HalfClosed");
    assert_eq!(scene.reactor.cx().inspect(id).unwrap().state_name, "HalfClosed");

    let seen = scene.reactor.recording(id).unwrap().last_seq();
    assert!(scene.reactor.cx().close(id));
    scene.settle();
    let texts = scene.texts_after(id, seen);
    let state = "Flushing -> Closed: pending: 0 bytes of input, 0 bytes of output";
    assert_eq!(texts.iter().map(String::as_str).collect::<Vec<_>>(), [state, "closed: end of stream"]);
    scene.assert_closed(id, CloseReason::PeerFinished);
}

#[test]
fn numbers_have_no_gap_and_times_are_those_of_turns() {
    let mut scene = Scene::new(Config::builder());
    let (peer, id) = scene.recorded();
    let began = scene.sim.now();
    for second in 0..3 {
        peer.send(&frame(b"x"));
        scene.settle();
        let last = scene.events(id).pop().unwrap();
        assert_eq!(last.at, began + second * SECOND);
        scene.sim.advance(SECOND);
    }
    let events = scene.events(id);
    assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as u64));
    let recording = scene.reactor.recording(id).unwrap();
    assert_eq!((recording.id(), recording.last_seq(), recording.closed()), (id, 12, None));
    for seq in [0, 5, 11, 12, 13, u64::MAX] {
        let expected = events.iter().filter(|event| event.seq > seq);
        assert!(recording.events_after(seq).eq(expected), "after {seq}");
    }
}

#[test]
fn stalled_reader_shows_pause_pending_bytes_and_resume() {
    let mut scene = Scene::new(Config::builder().output_high_water(1_000).output_low_water(100));
    scene.sim.set_send_buffer_bytes(100);
    let (peer, id) = scene.recorded();
    peer.send(&[&frame(&[1; 1_500])[..], &[0, 0]].concat());
    scene.settle();
    let paused = scene.events(id).pop().unwrap();
    assert_eq!(
        paused.event.to_string(),
        "Open -> Open (paused by backpressure): pending: 2 bytes of input, 1404 bytes of output"
    );
    assert_eq!((paused.state, paused.pending_input, paused.pending_output), ("Open", 2, 1_404));
    let texts = scene.texts(id);
    assert!(
        texts.iter().any(|text| text == "send(1504) = 100: short write, the rest waits for a writable event"),
        "{texts:?}"
    );

    let mut pending = 1_404;
    loop {
        let seen = scene.reactor.recording(id).unwrap().last_seq();
        if peer.receive().is_empty() {
            break;
        }
        scene.settle();
        for event in scene.reactor.recording(id).unwrap().events_after(seen) {
            assert!(event.pending_output <= pending, "{event:?}");
            pending = event.pending_output;
        }
    }
    assert_eq!(pending, 0);
    let texts = scene.texts(id);
    let resumed = texts.iter().find(|text| text.starts_with("Open (paused by backpressure) -> Open: "));
    assert!(resumed.is_some() && texts.contains(&"callback: on_writable".into()), "{texts:?}");
}

#[test]
fn expired_deadline_is_recorded_before_the_close() {
    let mut scene = Scene::new(Config::builder().frame_timeout(Some(2 * SECOND)));
    let (peer, id) = scene.recorded();
    peer.send(&[0, 0]);
    scene.settle();
    let deadlines = scene.reactor.deadlines_of(id);
    let [frame] = deadlines[..] else { panic!("{deadlines:?}") };
    let due = scene.sim.now() + 2 * SECOND;
    assert_eq!(
        (frame.kind, frame.kind.name(), frame.at, frame.timeout),
        (DeadlineKind::Frame, "frame", due, 2 * SECOND)
    );

    let seen = scene.reactor.recording(id).unwrap().last_seq();
    scene.sim.advance(2 * SECOND);
    scene.settle();
    let texts = scene.texts_after(id, seen);
    assert_eq!(texts.first().unwrap(), "deadline: frame timeout of 2s expired");
    let expected = ConnectionEvent::Deadline { kind: DeadlineKind::Frame, timeout: 2 * SECOND };
    assert!(scene.events(id).iter().any(|event| event.event == expected));
    scene.assert_closed(id, CloseReason::FrameTimeout);
    // Two bytes of a frame are lost.
    assert_eq!(scene.events(id).last().unwrap().pending_input, 2);
    assert_eq!(scene.reactor.deadlines_of(id), []);
}

/// Whether our FIN was sent before or not, lingering begins when the handler closes, and input does not prolong it.
#[test]
fn linger_deadline_counts_from_close_and_is_not_moved_by_input() {
    for is_finished in [false, true] {
        let mut scene = Scene::new(Config::builder().linger_timeout(10 * SECOND).idle_timeout(None));
        let (peer, id) = scene.recorded();
        if is_finished {
            peer.send(&frame(b"finish"));
            scene.settle();
            assert!(peer.has_server_finished());
        }
        scene.sim.advance(7 * SECOND);
        let closed_at = scene.sim.now();
        assert!(scene.reactor.cx().close(id));
        for _ in 0..4 {
            scene.settle();
            let linger = scene.reactor.deadlines_of(id);
            assert_eq!(linger.len(), 1, "{linger:?}");
            assert_eq!((linger[0].kind, linger[0].at), (DeadlineKind::Linger, closed_at + 10 * SECOND));
            peer.send(&frame(b"too late"));
            scene.sim.advance(3 * SECOND);
        }
        scene.settle();
        scene.assert_closed(id, CloseReason::ClosedByHandler);
    }
}

#[test]
fn deadlines_are_those_of_the_connections_own_limits() {
    let mut scene = Scene::new(Config::builder().output_high_water(1_000).output_low_water(100));
    scene.sim.set_send_buffer_bytes(100);
    let limits = Limits::of(&Config::default()).idle_timeout(Some(50 * SECOND)).write_timeout(Some(20 * SECOND));
    let options = ListenOptions::default().limits(limits);
    scene.reactor.listen_with(&scene.sim.addr(7008), options).unwrap();
    let peers = [7007, 7008].map(|port| scene.sim.connect(port).unwrap());
    for peer in &peers {
        peer.send(&frame(&[1; 500]));
    }
    scene.settle();
    let began = scene.sim.now();
    scene.sim.advance(SECOND);
    for id in scene.reactor.handler().open.clone() {
        let info = scene.reactor.cx().inspect(id).unwrap();
        let shown: Vec<_> = scene.reactor.deadlines_of(id).iter().map(|d| (d.kind, d.at - began, d.timeout)).collect();
        let write = |seconds| (DeadlineKind::Write, seconds * SECOND, seconds * SECOND);
        if info.peer == peers[0].addr() {
            assert_eq!(shown, [write(30)]);
        } else {
            assert_eq!(shown, [(DeadlineKind::Idle, 50 * SECOND, 50 * SECOND), write(20)]);
        }
    }
    assert_eq!(scene.reactor.handler().open.len(), 2);
}

#[test]
fn abort_from_elsewhere_is_recorded_without_a_run() {
    let mut scene = Scene::new(Config::builder());
    let (_peer, id) = scene.recorded();
    assert!(scene.reactor.cx().abort(id));
    // Its end is still to come.
    assert_eq!(scene.reactor.record(id, 100), Ok(()));
    scene.settle();
    assert_eq!(scene.texts(id), ["closed: the handler aborted it"]);
    scene.assert_closed(id, CloseReason::AbortedByHandler);
}

#[test]
fn each_way_to_end_has_its_reason_as_last_event() {
    for (order, states) in [
        ("abort", vec!["Closed"]),
        ("close", vec!["Lingering", "Closed"]),
        ("panic", vec!["Lingering", "Closed"]),
        ("finish", vec!["Finished", "Closed"]),
    ] {
        let mut scene = Scene::new(Config::builder());
        let (peer, id) = scene.recorded();
        peer.send(&frame(order.as_bytes()));
        scene.settle();
        peer.finish();
        scene.settle();
        let (_, reason) = *scene.reactor.handler().closed.last().unwrap();
        scene.assert_closed(id, reason);
        let mut seen: Vec<_> = scene.events(id).iter().map(|event| event.state).collect();
        seen.dedup();
        assert_eq!(seen[0], "Open", "{order}");
        assert_eq!(seen[1..], states, "{order}");
    }
}

#[test]
fn stale_id_and_dial_are_not_recorded() {
    let mut scene = Scene::new(Config::builder());
    let (peer, id) = scene.connect();
    peer.reset();
    scene.settle();
    assert_eq!(scene.reactor.record(id, 50), Err(RecordRefused::Closed));
    assert!(scene.reactor.recording(id).is_none() && !scene.reactor.stop_recording(id));
    assert_eq!(scene.reactor.deadlines_of(id), []);

    let backend = scene.sim.addr(9000);
    let dial = scene.reactor.cx().dial(Dial::to(backend)).unwrap();
    assert_eq!(scene.reactor.record(dial, 50), Err(RecordRefused::Closed));
    // Its turn begins the dial.
    let _ = scene.reactor.turn(Some(Duration::ZERO)).unwrap();
    let kinds: Vec<_> = scene.reactor.deadlines_of(dial).iter().map(|deadline| deadline.kind).collect();
    assert_eq!(kinds, [DeadlineKind::Connect]);
    scene.settle();
    assert_eq!(scene.reactor.record(dial, 50), Ok(()));
}

#[test]
fn seventeenth_recording_is_refused_until_one_stops() {
    let mut scene = Scene::new(Config::builder());
    let connections: Vec<_> = (0..17).map(|_| scene.connect()).collect();
    for (_, id) in &connections[..16] {
        assert_eq!(scene.reactor.record(*id, 1), Ok(()));
    }
    let last = connections[16].1;
    assert_eq!(scene.reactor.record(last, 1), Err(RecordRefused::TooMany { allowed: 16 }));
    // One that exists is only changed.
    assert_eq!(scene.reactor.record(connections[3].1, 2), Ok(()));
    // One that has ended counts as long as it is readable.
    connections[5].0.reset();
    scene.settle();
    assert_eq!(scene.reactor.record(last, 1), Err(RecordRefused::TooMany { allowed: 16 }));
    assert!(scene.reactor.stop_recording(connections[5].1));
    assert_eq!(scene.reactor.record(last, 1), Ok(()));
    assert!(scene.reactor.recording(connections[5].1).is_none());
}

#[test]
fn recording_holds_as_many_events_as_were_asked_for() {
    for events_max in [0, 1, 50] {
        let mut scene = Scene::new(Config::builder());
        let (peer, id) = scene.connect();
        assert_eq!(scene.reactor.record(id, events_max), Ok(()));
        for _ in 0..30 {
            peer.send(&frame(b"x"));
            scene.settle();
        }
        let recording = scene.reactor.recording(id).unwrap();
        assert_eq!(recording.last_seq(), 120);
        assert!(recording.events().map(|event| event.seq).eq(121 - events_max as u64..=120), "{events_max}");
        assert_eq!(recording.events_after(110).len(), events_max.min(10));
        // A smaller number drops events, a larger one brings none back.
        for (next, held) in [(20, events_max.min(20)), (100, events_max.min(20))] {
            assert_eq!(scene.reactor.record(id, next), Ok(()));
            let recording = scene.reactor.recording(id).unwrap();
            assert!(recording.events().map(|event| event.seq).eq(121 - held as u64..=120), "{events_max}");
        }
        // Also the end is only counted, but its reason is known.
        assert_eq!(scene.reactor.record(id, 0), Ok(()));
        peer.reset();
        scene.settle();
        let recording = scene.reactor.recording(id).unwrap();
        assert_eq!((recording.events().len(), recording.closed()), (0, Some(CloseReason::Reset)));
        assert!(recording.last_seq() > 121);
    }
}

#[test]
fn recording_of_a_closed_connection_stays_until_stopped() {
    let mut scene = Scene::new(Config::builder());
    let (peer, id) = scene.recorded();
    peer.reset();
    scene.settle();
    let before = scene.events(id);
    // Its slot has another connection by then.
    let (other, next) = scene.connect();
    assert_eq!((next.index, next == id), (id.index, false));
    other.send(&frame(b"x"));
    scene.settle();
    scene.assert_closed(id, CloseReason::Reset);
    assert_eq!(scene.events(id), before);
    assert!(scene.reactor.recording(next).is_none());
    assert_eq!(scene.reactor.record(id, 5), Err(RecordRefused::Closed));
    assert!(scene.reactor.recording(id).is_some());
    assert!(scene.reactor.stop_recording(id));
    assert!(scene.reactor.recording(id).is_none());
}

#[test]
fn stopped_recording_begins_anew_with_number_one() {
    let mut scene = Scene::new(Config::builder());
    let (peer, id) = scene.recorded();
    peer.send(&frame(b"x"));
    scene.settle();
    assert!(scene.reactor.stop_recording(id) && !scene.reactor.stop_recording(id));
    peer.send(&frame(b"x"));
    scene.settle();
    assert_eq!(scene.reactor.record(id, 5), Ok(()));
    assert_eq!((scene.reactor.recording(id).unwrap().last_seq(), scene.events(id)), (0, vec![]));
    peer.send(&frame(b"x"));
    scene.settle();
    assert_eq!(scene.events(id)[0].seq, 1);
}

#[test]
fn wake_and_drain_are_recorded_as_callbacks() {
    let mut scene = Scene::new(Config::builder());
    let (_peer, id) = scene.recorded();
    assert!(scene.reactor.cx().wake(id));
    scene.settle();
    assert_eq!(scene.texts(id), ["callback: on_wake"]);
    scene.reactor.drain();
    let _ = scene.reactor.turn(Some(Duration::ZERO)).unwrap();
    let texts = scene.texts(id);
    assert!(texts.contains(&"callback: on_drain".into()), "{texts:?}");
    assert!(texts.contains(&"shutdown(SHUT_WR): FIN follows the output".into()), "{texts:?}");
}

#[test]
fn kinds_of_events_have_the_names_of_their_groups() {
    let mut scene = Scene::new(Config::builder().idle_timeout(Some(SECOND)));
    let (peer, id) = scene.recorded();
    peer.send(&frame(b"x"));
    scene.settle();
    scene.sim.advance(SECOND);
    scene.settle();
    let names: Vec<_> = scene.events(id).iter().map(|event| event.event.name()).collect();
    assert_eq!(names[..5], ["ready", "read", "frame", "write", "deadline"]);
    assert_eq!(names.last(), Some(&"close"));
}
