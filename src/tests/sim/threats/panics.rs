//! Handlers that panic: each panic is caught, counted and logged, in whichever callback.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;

use crate::Frame;
use crate::address::{Address, Dial};
use crate::config::Config;
use crate::error::{CloseReason, DialError, Error};
use crate::handler::{Connection, Context, Handler};
use crate::id::{ConnId, SourceId, TimerId};
use crate::info::Listening;
use crate::net::{Interest, Readiness};
use crate::options::ListenOptions;
use crate::reactor::Reactor;
use crate::reactor::handle::Handle;
use crate::sim::Peer;
use crate::tests::sim::threats::capture::warnings_of;
use crate::tests::sim::threats::{SECOND, Scene, frame, patient, sim_with_send_buffer};

/// Panics, once, where it is to; otherwise it echoes, and answers `large` with more than the peer takes.
#[derive(Default)]
struct Panicking {
    at: Option<&'static str>,
    ids: Vec<ConnId>,
    /// To send a message that no turn will take up.
    own: Option<Handle<Message>>,
}

impl Panicking {
    fn reach(&mut self, callback: &'static str) {
        if self.at == Some(callback) {
            self.at = None;
            // Past the panic hook, which would print it.
            resume_unwind(Box::new(format!("part of\nthe test of {callback}")));
        }
    }
}

struct Message {
    panics: bool,
}

impl Drop for Message {
    fn drop(&mut self) {
        if self.panics {
            resume_unwind(Box::new("part of\nthe test of dropping a message"));
        }
    }
}

impl Handler for Panicking {
    type State = ();
    type Message = Message;

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.ids.push(conn.id());
        self.reach("on_open");
    }
    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.reach("on_frame");
        let _ = match frame.payload() {
            b"large" => conn.reply(&[7; 5_000]),
            _ => conn.reply_frame(frame),
        };
    }
    fn on_writable(&mut self, _: &mut Connection<'_>, (): &mut ()) {
        self.reach("on_writable");
    }
    fn on_wake(&mut self, _: &mut Connection<'_>, (): &mut ()) {
        self.reach("on_wake");
    }
    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.reach("on_half_close");
        conn.close();
    }
    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), _: &CloseReason) {
        if let Some(own) = &self.own {
            assert!(own.send(Message { panics: true }).is_ok());
        }
        self.reach("on_close");
    }
    fn on_dial_failed(&mut self, _: &mut Context<'_>, _: ConnId, _: &DialError) {
        self.reach("on_dial_failed");
    }
    fn on_timer(&mut self, _: &mut Context<'_>, _: TimerId) {
        self.reach("on_timer");
    }
    fn on_message(&mut self, _: &mut Context<'_>, _: Message) {
        self.reach("on_message");
    }
    fn on_listen(&mut self, _: &mut Context<'_>, _: &Address, _: Result<Listening, Error>) {
        self.reach("on_listen");
    }
    fn on_source(&mut self, _: &mut Context<'_>, _: SourceId, _: Readiness) {
        self.reach("on_source");
    }
}

fn scene(at: Option<&'static str>) -> Scene<Panicking> {
    let config = patient().output_high_water(1_024).output_low_water(256);
    Scene::with(sim_with_send_buffer(100), config, Panicking { at, ..Panicking::default() })
}

/// What the line of a panic begins with: what the callback was called for.
#[derive(Debug, Clone, Copy)]
enum Prefix {
    Conn,
    Dial,
    Nothing,
}

type Provoke = fn(&mut Scene<Panicking>, &Peer);

/// How each callback comes to be called.
const CALLBACKS: [(&str, Prefix, Provoke); 10] = [
    ("on_open", Prefix::Conn, |_, _| {}),
    ("on_frame", Prefix::Conn, |_, peer| peer.send(&frame(b"x"))),
    ("on_writable", Prefix::Conn, |scene, peer| {
        peer.send(&frame(b"large"));
        scene.settle();
        while !peer.receive().is_empty() {
            scene.settle();
        }
    }),
    ("on_half_close", Prefix::Conn, |_, peer| peer.finish()),
    ("on_wake", Prefix::Conn, |scene, _| {
        let id = scene.reactor.handler().ids[0];
        assert!(scene.reactor.cx().wake(id));
    }),
    ("on_close", Prefix::Conn, |_, peer| peer.finish()),
    ("on_dial_failed", Prefix::Dial, |scene, _| {
        let to = scene.sim.addr(1);
        let id = scene.reactor.cx().dial(Dial::to(to)).unwrap();
        scene.reactor.handler_mut().ids = vec![id];
        assert!(scene.reactor.cx().abort(id));
    }),
    ("on_timer", Prefix::Nothing, |scene, _| {
        let now = scene.sim.now();
        scene.reactor.cx().set_timer(now).unwrap();
    }),
    ("on_listen", Prefix::Nothing, |scene, _| {
        let addr = scene.sim.addr(1);
        scene.reactor.cx().listen(addr, ListenOptions::default()).unwrap();
    }),
    ("on_message", Prefix::Nothing, |scene, _| {
        assert!(scene.reactor.handle().send(Message { panics: false }).is_ok());
    }),
];

#[test]
fn panic_in_any_callback_is_logged_and_counted() {
    for (callback, prefix, provoke) in CALLBACKS {
        let mut scene = scene(Some(callback));
        let mut addr = None;
        let lines = warnings_of(|| {
            let peer = scene.connect();
            addr = Some(peer.addr());
            provoke(&mut scene, &peer);
            scene.settle();
        });
        let id = scene.reactor.handler().ids[0];
        let prefix = match prefix {
            Prefix::Conn => format!("[{id}] {}: ", addr.unwrap()),
            Prefix::Dial => format!("[{id}] "),
            Prefix::Nothing => String::new(),
        };
        assert_eq!(lines, [format!("WARN {prefix}{callback} panicked: part of\\nthe test of {callback}")]);
        assert_eq!(scene.stats().handler_panics, 1, "{callback}");
        let other = scene.connect();
        scene.call(&other, b"served after");
    }
}

#[test]
fn a_panic_in_on_source_is_logged_with_its_name_and_counted() {
    let handler = Panicking { at: Some("on_source"), ..Panicking::default() };
    let mut reactor = Reactor::new(Config::default(), handler).unwrap();
    let (mut sender, watched) = UnixStream::pair().unwrap();
    reactor.watch(&watched, Interest::Readable).unwrap();
    sender.write_all(b"x").unwrap();
    let lines = warnings_of(|| _ = reactor.turn(Some(20 * SECOND)).unwrap());
    assert_eq!(lines, ["WARN on_source panicked: part of\\nthe test of on_source"]);
    assert_eq!(reactor.stats().handler_panics, 1);
}

#[test]
fn message_panicking_in_last_drop_is_logged_and_counted() {
    let mut scene = scene(None);
    let _peer = scene.connect();
    scene.reactor.handler_mut().own = Some(scene.reactor.handle());
    scene.reactor.stop();
    let lines = warnings_of(|| _ = scene.reactor.turn(None).unwrap());
    assert_eq!(lines, ["WARN dropping a message panicked: part of\\nthe test of dropping a message"]);
    assert_eq!(scene.stats().handler_panics, 1);
}

#[test]
fn panic_payload_may_panic_be_no_text_or_endless() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            resume_unwind(Box::new(Self));
        }
    }
    struct Throwing;
    impl Handler for Throwing {
        type State = ();
        type Message = ();
        fn on_open(&mut self, _: &mut Connection<'_>) {}
        fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
            match frame.payload() {
                b"bomb" => resume_unwind(Box::new(Bomb)),
                _ => resume_unwind(Box::new("x".repeat(1 << 20))),
            }
        }
    }
    let mut scene: Scene<Throwing> = Scene::with(sim_with_send_buffer(100), patient(), Throwing);
    let lines = warnings_of(|| {
        for payload in [&b"bomb"[..], b"text"] {
            let peer = scene.connect();
            peer.send(&frame(payload));
            scene.settle();
        }
    });
    assert!(lines[0].ends_with(": on_frame panicked, without a message"), "{lines:?}");
    assert!(lines[1].len() < 1_100 && lines[1].ends_with("xxx"), "{}", lines[1].len());
    assert_eq!((lines.len(), scene.stats().handler_panics), (2, 2));
}

#[test]
fn flood_of_timer_panics_logs_ten_lines_per_second_and_a_count() {
    struct Ticking;
    impl Handler for Ticking {
        type State = ();
        type Message = ();
        fn on_open(&mut self, _: &mut Connection<'_>) {}
        fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}
        fn on_timer(&mut self, _: &mut Context<'_>, _: TimerId) {
            resume_unwind(Box::new("part of the test"));
        }
    }
    let mut scene: Scene<Ticking> = Scene::with(sim_with_send_buffer(100), patient(), Ticking);
    let lines = warnings_of(|| {
        for _ in 0..1_000 {
            let now = scene.sim.now();
            scene.reactor.cx().set_timer(now).unwrap();
        }
        scene.settle();
        scene.pass(2 * SECOND);
    });
    let stats = scene.stats();
    assert_eq!((lines.len(), stats.handler_panics, stats.log_lines_left_out), (11, 1_000, 990), "{lines:?}");
}

#[test]
fn between_turns_now_is_current_and_deadlines_count_from_it() {
    let config = Config::builder().write_timeout(Some(SECOND));
    let mut scene = Scene::with(sim_with_send_buffer(100), config, Panicking::default());
    let peer = scene.connect();
    let id = scene.reactor.handler().ids[0];
    for _ in 0..3 {
        scene.sim.advance(100 * SECOND);
        assert_eq!(scene.reactor.cx().now(), scene.sim.now());
    }
    // The reactor has not turned for five minutes: the peer has its second from now on.
    assert_eq!(scene.reactor.cx().send(id, &[7; 5_000]), Ok(()));
    scene.pass(SECOND - SECOND / 100);
    assert_eq!(scene.stats().connections, 1);
    drop(peer);
    scene.pass(SECOND);
    assert_eq!(scene.stats().connections, 0);
}
