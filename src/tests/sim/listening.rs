//! Listeners that callbacks ask for, and counters that callbacks read.

use crate::config::Config;
use crate::error::Error;
use crate::handler::{Connection, Context, Handler};
use crate::id::ListenerId;
use crate::options::ListenOptions;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Peer, Sim, SimNet};
use crate::stats::Stats;
use crate::wire::Framing;
use crate::{Address, CloseReason, ConnId, Frame, Listening};

/// What a frame asks for.
#[derive(Debug, Clone)]
enum Request {
    Listen(u16),
    Unlisten(ListenerId),
    UnlistenAll,
    Stop,
}

/// Carries out its requests at the next frame, and writes down what follows.
#[derive(Default)]
struct Asking {
    requests: Vec<Request>,
    refused: Vec<String>,
    outcomes: Vec<(Address, Result<Listening, Error>)>,
    /// Failed attempts are repeated so many times.
    retries: usize,
    listeners: Vec<Option<ListenerId>>,
    seen: Vec<Stats>,
}

fn addr(port: u16) -> Address {
    Sim::new(0).addr(port)
}

impl Asking {
    fn listen(&mut self, cx: &mut Context<'_>, addr: Address) {
        let asked = cx.listen(addr, ListenOptions::default().framing(Framing::lines()));
        self.refused.extend(asked.err().map(|error| error.to_string()));
    }
}

impl Handler for Asking {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.listeners.push(conn.listener());
        self.seen.push(conn.cx().stats());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.seen.push(conn.cx().stats());
        let _ = conn.reply_frame(frame);
        for request in std::mem::take(&mut self.requests) {
            let mut cx = conn.cx();
            match request {
                Request::Listen(port) => self.listen(&mut cx, addr(port)),
                Request::Unlisten(id) => cx.unlisten(id),
                Request::UnlistenAll => cx.unlisten_all(),
                Request::Stop => cx.stop(),
            }
        }
    }

    fn on_listen(&mut self, cx: &mut Context<'_>, asked: &Address, outcome: Result<Listening, Error>) {
        if let (Err(Error::Listen { addr, .. }), 1..) = (&outcome, self.retries) {
            self.retries -= 1;
            self.listen(cx, addr.clone());
        }
        self.outcomes.push((asked.clone(), outcome));
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, (): (), _: &CloseReason) {
        self.seen.push(cx.stats());
    }
}

struct Scene {
    sim: Sim,
    reactor: Reactor<Asking, SimNet>,
    peer: Peer,
}

impl Scene {
    fn new() -> Self {
        let sim = Sim::new(5);
        let mut reactor = Reactor::with_net(sim.net(), Config::default(), Asking::default()).unwrap();
        let options = ListenOptions::default().framing(Framing::lines());
        reactor.listen_with(&sim.addr(7000), options).unwrap();
        let peer = sim.connect(7000).unwrap();
        let mut scene = Self { sim, reactor, peer };
        scene.settle();
        scene
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    fn ask(&mut self, requests: &[Request]) {
        self.reactor.handler_mut().requests = requests.to_vec();
        self.peer.send(b"go\n");
    }

    /// Whether a new client of this port is served.
    fn is_served(&mut self, port: u16) -> bool {
        let Some(peer) = self.sim.connect(port) else { return false };
        peer.send(b"hi\n");
        self.settle();
        peer.receive() == b"hi\n"
    }

    /// The addresses for which `on_listen` was called, with the id and the bound address, or the error.
    fn outcomes(&self) -> Vec<(String, String)> {
        let text = |outcome: &Result<Listening, Error>| match outcome {
            Ok(listening) => format!("{} {}", listening.id.0, listening.addr),
            Err(error) => error.to_string(),
        };
        self.reactor.handler().outcomes.iter().map(|(asked, outcome)| (asked.to_string(), text(outcome))).collect()
    }
}

#[test]
fn listener_of_a_callback_serves_after_its_turn() {
    let mut scene = Scene::new();
    scene.ask(&[Request::Listen(7001), Request::Listen(7002)]);
    scene.settle();
    let [first, second] = ["127.0.0.1:7001", "127.0.0.1:7002"];
    assert_eq!(scene.outcomes(), [(first.into(), format!("1 {first}")), (second.into(), format!("2 {second}"))]);
    assert!(scene.is_served(7001) && scene.is_served(7002) && scene.is_served(7000));
    let ids = [0, 1, 2, 0].map(|id| Some(ListenerId(id)));
    assert_eq!(scene.reactor.handler().listeners, ids);
    // A listener of the reactor has the next id.
    let next = scene.reactor.listen_with(&scene.sim.addr(7003), ListenOptions::default()).unwrap();
    assert_eq!(next.id, ListenerId(3));
}

#[test]
fn requests_of_listeners_are_carried_out_in_order() {
    let mut scene = Scene::new();
    scene.ask(&[Request::UnlistenAll, Request::Listen(7001), Request::Listen(7002)]);
    scene.settle();
    assert_eq!(scene.outcomes().len(), 2, "{:?}", scene.outcomes());
    assert!(!scene.is_served(7000) && scene.is_served(7001) && scene.is_served(7002));
    scene.ask(&[Request::Unlisten(ListenerId(1))]);
    scene.settle();
    assert!(!scene.is_served(7001) && scene.is_served(7002));
    scene.ask(&[Request::Listen(7003), Request::UnlistenAll]);
    scene.settle();
    assert_eq!(scene.outcomes().len(), 3, "it was bound before it was closed");
    assert!((7000..7004).all(|port| !scene.is_served(port)));
}

#[test]
fn address_in_use_is_reported_and_retries_end_each_turn() {
    let mut scene = Scene::new();
    scene.reactor.handler_mut().retries = 3;
    scene.ask(&[Request::Listen(7000)]);
    for attempts in 1..=4 {
        assert_eq!(scene.reactor.turn(Some(std::time::Duration::ZERO)).unwrap(), Turn::Running);
        assert_eq!(scene.outcomes().len(), attempts);
    }
    scene.settle();
    let outcomes = scene.outcomes();
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.iter().all(|(_, text)| text.starts_with("cannot listen on 127.0.0.1:7000: ")), "{outcomes:?}");
    assert!(scene.is_served(7000));
    // No attempt that fails uses up an id.
    let next = scene.reactor.listen_with(&addr(7001), ListenOptions::default()).unwrap();
    assert_eq!(next.id, ListenerId(1));
}

#[test]
fn invalid_options_are_refused_without_a_callback() {
    let mut scene = Scene::new();
    let error = scene.reactor.cx().listen(addr(7001), ListenOptions::default().backlog(0)).unwrap_err();
    assert_eq!(error.to_string(), "backlog is 0 and must be from 1 to 2147483647");
    scene.settle();
    assert_eq!(scene.outcomes(), []);
}

#[test]
fn reactor_that_ends_listens_no_more() {
    let mut scene = Scene::new();
    // Asked for before the end, and after it.
    scene.ask(&[Request::Listen(7001), Request::Stop, Request::Listen(7002)]);
    assert_eq!(scene.sim.settle(&mut scene.reactor).unwrap(), Turn::Done);
    let ending = |port| format!("cannot listen on 127.0.0.1:{port}: the reactor drains or has stopped");
    assert_eq!(scene.outcomes(), [("127.0.0.1:7001".into(), ending(7001))]);
    assert_eq!(scene.reactor.handler().refused, [ending(7002)]);
    assert!(scene.sim.connect(7001).is_none());
    let refused = scene.reactor.cx().listen(addr(7003), ListenOptions::default());
    assert!(matches!(refused, Err(Error::Ending { .. })));
}

#[test]
fn request_between_turns_is_answered_if_the_reactor_drains_first() {
    let mut scene = Scene::new();
    scene.reactor.cx().listen(addr(7001), ListenOptions::default()).unwrap();
    scene.reactor.drain();
    scene.settle();
    assert!(matches!(scene.reactor.handler().outcomes[..], [(_, Err(Error::Ending { .. }))]));
}

#[test]
fn callback_sees_what_its_connection_has_read() {
    let mut scene = Scene::new();
    scene.peer.send(b"hello\n");
    scene.settle();
    scene.peer.finish();
    scene.settle();
    let seen = &scene.reactor.handler().seen;
    let now = scene.reactor.stats();
    let counts: Vec<_> = seen
        .iter()
        .chain([&now])
        .map(|stats| (stats.connections, stats.accepted, stats.bytes_in, stats.bytes_out, stats.closed_total()))
        .collect();
    // In `on_open` the connection is not counted, in `on_frame` the reply is not written, and in `on_close` it is gone.
    assert_eq!(counts, [(0, 0, 0, 0, 0), (1, 1, 6, 0, 0), (0, 1, 6, 6, 1), (0, 1, 6, 6, 1)]);
    assert_eq!((seen[1].dialing, seen[1].reads.done, seen[1].writes.done), (0, 1, 0));
    assert_eq!(seen[1].frames_in, 0, "the frames of a run are counted at its end");
}
