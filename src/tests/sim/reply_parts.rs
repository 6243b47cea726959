//! Replies that are sent in parts.

use crate::Frame;
use crate::config::Config;
use crate::conn::chunk::CHUNK_LEN;
use crate::error::SendError;
use crate::handler::{Connection, Handler};
use crate::id::ConnId;
use crate::options::ListenOptions;
use crate::reactor::{Reactor, Turn};
use crate::sim::{Sim, SimNet};
use crate::wire::Framing;

/// Begins a reply of 10 bytes when it is woken first, and then sends a part each time.
struct Slow {
    ids: Vec<ConnId>,
    sent: usize,
    results: Vec<Result<(), SendError>>,
}

impl Handler for Slow {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.ids.push(conn.id());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.results.push(conn.reply_frame(frame));
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        if self.sent == 0 {
            assert_eq!(conn.unfinished_reply(), 0);
            assert_eq!(conn.reply_part(b"x"), Err(SendError::TooLong { len: 1, max: 0 }));
            assert_eq!(conn.begin_reply(10), Ok(()));
            assert_eq!(conn.begin_reply(10), Err(SendError::ReplyUnfinished));
        }
        assert_eq!(conn.unfinished_reply(), 10 - self.sent);
        assert_eq!(conn.reply_part(&[7; 11]), Err(SendError::TooLong { len: 11, max: 10 - self.sent }));
        assert_eq!(conn.reply_part(b""), Ok(()));
        assert_eq!(conn.reply_part(&[self.sent as u8; 5]), Ok(()));
        self.sent += 5;
    }
}

#[test]
fn no_frame_comes_between_the_parts_of_a_reply() {
    let sim = Sim::new(8);
    let handler = Slow { ids: Vec::new(), sent: 0, results: Vec::new() };
    let mut reactor = Reactor::with_net(sim.net(), Config::default(), handler).unwrap();
    reactor.listen(&sim.addr(7007)).unwrap();
    let peer = sim.connect(7007).unwrap();
    let settle = |reactor: &mut Reactor<Slow, SimNet>| {
        let outlook = sim.settle(reactor).unwrap();
        reactor.check_invariants();
        outlook
    };
    assert_eq!(settle(&mut reactor), Turn::Running);
    let id = reactor.handler().ids[0];
    assert!(reactor.cx().wake(id));
    assert_eq!(settle(&mut reactor), Turn::Running);
    assert_eq!(peer.receive(), b"\0\0\0\x0a\0\0\0\0\0");

    // A send, a broadcast and a reply are refused meanwhile.
    assert_eq!(reactor.cx().send(id, b"between"), Err(SendError::ReplyUnfinished));
    let reached = reactor.cx().broadcast_all(b"between");
    assert_eq!((reached.queued, reached.full), (0, 1));
    peer.send(b"\0\0\0\x01a");
    assert_eq!(settle(&mut reactor), Turn::Running);
    assert_eq!(reactor.handler().results, [Err(SendError::ReplyUnfinished)]);
    assert_eq!(peer.receive(), b"");

    // A drain waits for the rest.
    reactor.drain();
    assert_eq!(settle(&mut reactor), Turn::Running);
    assert!(!peer.has_server_finished());
    assert!(reactor.cx().wake(id));
    assert_eq!(settle(&mut reactor), Turn::Running);
    assert_eq!(peer.receive(), [5; 5]);
    assert!(peer.has_server_finished());
    peer.finish();
    assert_eq!(settle(&mut reactor), Turn::Done);
    assert_eq!((reactor.drain_report().drained, reactor.drain_report().cut), (1, 0));
}

#[test]
fn drain_does_not_wait_for_a_reply_that_finish_has_given_up() {
    /// Half-closes in the middle of a reply.
    struct Cut;

    impl Handler for Cut {
        type State = ();
        type Message = ();

        fn on_open(&mut self, conn: &mut Connection<'_>) {
            assert_eq!(conn.begin_reply(10), Ok(()));
            assert_eq!(conn.reply_part(b"half"), Ok(()));
            conn.finish();
        }

        fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}
    }

    let sim = Sim::new(1);
    let mut reactor = Reactor::with_net(sim.net(), Config::default(), Cut).unwrap();
    reactor.listen(&sim.addr(7007)).unwrap();
    let peer = sim.connect(7007).unwrap();
    assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
    reactor.check_invariants();
    assert_eq!((peer.receive(), peer.has_server_finished()), (b"\0\0\0\x0ahalf".to_vec(), true));
    reactor.drain();
    let _ = sim.settle(&mut reactor).unwrap();
    peer.finish();
    assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Done);
    assert_eq!((reactor.drain_report().drained, reactor.drain_report().cut), (1, 0));
}

/// Replies with a part for each call, as long as there is room.
struct Zeros {
    len: usize,
    is_full: usize,
}

impl Zeros {
    fn go_on(&mut self, conn: &mut Connection<'_>) {
        while conn.unfinished_reply() > 0 {
            match conn.reply_part(&vec![0; conn.unfinished_reply().min(10_000)]) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error, SendError::Full);
                    self.is_full += 1;
                    return;
                }
            }
        }
    }
}

impl Handler for Zeros {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        assert_eq!(conn.begin_reply(self.len), Ok(()));
        self.go_on(conn);
    }

    fn on_frame(&mut self, _: &mut Connection<'_>, (): &mut (), _: Frame<'_>) {}

    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        self.go_on(conn);
    }
}

#[test]
fn reply_in_parts_goes_on_when_there_is_room() {
    for (len, framing) in
        [(0, Framing::default()), (1, Framing::lines()), (1 << 20, Framing::default()), (1 << 20, Framing::crlf())]
    {
        let sim = Sim::new(9);
        let mut reactor = Reactor::with_net(sim.net(), Config::default(), Zeros { len, is_full: 0 }).unwrap();
        reactor.listen_with(&sim.addr(7007), ListenOptions::default().framing(framing)).unwrap();
        let peer = sim.connect(7007).unwrap();
        let mut expected = Vec::new();
        framing.encode(&vec![0; len], &mut expected).unwrap();
        let mut received = Vec::new();
        loop {
            assert_eq!(sim.settle(&mut reactor).unwrap(), Turn::Running);
            reactor.check_invariants();
            assert!(reactor.stats().buffered_bytes < 3 * CHUNK_LEN as u64);
            let more = peer.receive();
            if more.is_empty() {
                break;
            }
            received.extend(more);
        }
        assert!(received == expected, "{len} bytes of {framing}: {}", received.len());
        assert_eq!(reactor.handler().is_full > 3, len > 1_000);
        assert_eq!(reactor.stats().buffered_bytes, 0);
    }
}
