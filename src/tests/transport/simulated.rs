//! Connections with a cipher on top of simulated sockets.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use crate::config::{Config, ConfigBuilder};
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::net::{Detached, Side, Transport, Wrapped};
use crate::reactor::{Reactor, Turn};
use crate::sim::{PeerStream, Sim, SimNet, SimStream};
use crate::tests::transport::cipher::{Cipher, Role};
use crate::wire::encode_header;
use crate::{Address, Dial, Frame};

const PORT: u16 = 7007;
const TIMEOUT: Duration = Duration::from_secs(10);

type CipherNet = Wrapped<SimNet, fn(SimStream, Side<'_>) -> Cipher<SimStream>>;

/// Echoes. Greets first if there is a greeting, and obeys some frames.
#[derive(Debug, Default)]
struct Talker {
    greeting: &'static [u8],
    starts_paused: bool,
    frames: usize,
    detached: Option<Detached>,
    closed: Option<CloseReason>,
}

impl Handler for Talker {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        if !self.greeting.is_empty() {
            conn.reply(self.greeting).unwrap();
        }
        if self.starts_paused {
            conn.pause();
        }
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.frames += 1;
        match frame.payload() {
            b"close" => conn.close(),
            b"finish" => conn.finish(),
            b"detach" => conn.detach(),
            b"no reply" => {}
            _ => conn.reply_frame(frame).unwrap(),
        }
    }

    fn on_detach(&mut self, _: &mut Context<'_>, _: ConnId, (): &mut (), detached: Detached) {
        self.detached = Some(detached);
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed = Some(*reason);
    }
}

struct Run {
    sim: Sim,
    reactor: Reactor<Talker, CipherNet>,
}

impl Run {
    fn new(send_buffer_bytes: usize, config: ConfigBuilder, handler: Talker) -> Self {
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(send_buffer_bytes);
        let wrap: fn(SimStream, Side<'_>) -> _ = |socket, side| Cipher::new(socket, side.into());
        let config = config.linger_timeout(TIMEOUT).build().unwrap();
        let mut reactor = Reactor::with_net(Wrapped::new(sim.net(), wrap), config, handler).unwrap();
        reactor.listen(&sim.addr(PORT)).unwrap();
        Self { sim, reactor }
    }

    fn connect(&self) -> Client {
        Client::new(self.sim.connect(PORT).unwrap().into_stream(), Role::Client)
    }

    fn settle(&mut self) {
        assert_eq!(self.sim.settle(&mut self.reactor).unwrap(), Turn::Running);
        self.reactor.check_invariants();
    }

    /// Lets both sides go on until neither makes progress.
    fn pump(&mut self, client: &mut Client) {
        let mut before = None;
        loop {
            client.go_on();
            let _ = self.sim.settle(&mut self.reactor).unwrap();
            self.reactor.check_invariants();
            let now = (self.sim.world.borrow().past.progress, client.received.len(), client.end);
            if before.replace(now) == Some(now) {
                return;
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.sim.advance(duration);
        self.settle();
    }

    fn closed(&self) -> Option<CloseReason> {
        self.reactor.handler().closed
    }
}

/// The peer, which writes and reads as much as it can.
struct Client {
    cipher: Cipher<PeerStream>,
    to_send: Vec<u8>,
    received: Vec<u8>,
    /// The closing message was received, or the error that was received instead.
    end: Option<Result<(), ErrorKind>>,
}

impl Client {
    fn new(stream: PeerStream, role: Role) -> Self {
        Self { cipher: Cipher::new(stream, role), to_send: Vec::new(), received: Vec::new(), end: None }
    }

    fn frame(&mut self, payload: &[u8]) {
        self.to_send.extend(frame(payload));
    }

    fn go_on(&mut self) {
        while !self.to_send.is_empty()
            && let Ok(len) = self.cipher.write(&self.to_send)
        {
            self.to_send.drain(..len);
        }
        let mut buf = [0; 1_000];
        while self.end.is_none() {
            match self.cipher.read(&mut buf) {
                Ok(0) => self.end = Some(Ok(())),
                Ok(len) => self.received.extend(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.end = Some(Err(error.kind())),
            }
        }
        self.cipher.flush().unwrap();
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32)[..], payload].concat()
}

#[test]
fn frames_of_any_length_are_echoed_through_the_cipher() {
    for send_buffer_bytes in [20, 700, 16 << 10] {
        let mut run = Run::new(send_buffer_bytes, Config::builder(), Talker::default());
        let mut client = run.connect();
        for len in [0, 1, 295, 296, 297, 5_000, 70_000, 300_000] {
            client.frame(&vec![len as u8; len]);
        }
        let sent = client.to_send.clone();
        run.pump(&mut client);
        assert_eq!(client.received.len(), sent.len());
        assert!(client.received == sent);
        client.cipher.shutdown_write().unwrap();
        run.pump(&mut client);
        assert_eq!((client.end, run.closed()), (Some(Ok(())), Some(CloseReason::PeerFinished)));
    }
}

#[test]
fn greeting_waits_for_the_handshake_although_reading_is_paused() {
    let handler = Talker { greeting: b"hello", starts_paused: true, ..Talker::default() };
    let mut run = Run::new(20, Config::builder(), handler);
    let mut client = run.connect();
    run.settle();
    client.frame(b"not read");
    run.pump(&mut client);
    assert_eq!(client.received, frame(b"hello"));
    assert_eq!(run.reactor.handler().frames, 0);
    assert_eq!(run.closed(), None);
}

#[test]
fn client_without_handshake_is_closed_at_the_idle_timeout() {
    let mut run = Run::new(700, Config::builder().idle_timeout(Some(TIMEOUT)), Talker::default());
    let _client = run.connect();
    run.settle();
    run.pass(TIMEOUT);
    assert_eq!(run.closed(), Some(CloseReason::IdleTimeout));
}

#[test]
fn output_that_waits_for_a_handshake_ends_at_the_write_timeout() {
    let handler = Talker { greeting: b"hello", ..Talker::default() };
    let mut run = Run::new(700, Config::builder().idle_timeout(None).write_timeout(Some(TIMEOUT)), handler);
    let _client = run.connect();
    run.settle();
    // In the first window it was queued; in the second nothing was accepted.
    run.pass(TIMEOUT);
    run.pass(TIMEOUT);
    assert_eq!(run.closed(), Some(CloseReason::WriteTimeout));
}

#[test]
fn close_sends_the_closing_message_before_fin() {
    for send_buffer_bytes in [3, 700] {
        let mut run = Run::new(send_buffer_bytes, Config::builder(), Talker::default());
        let mut client = run.connect();
        client.frame(b"a frame");
        client.frame(b"close");
        run.pump(&mut client);
        assert_eq!((client.received, client.end), (frame(b"a frame"), Some(Ok(()))));
        assert_eq!(run.closed(), None, "it waits for the closing message of the peer");
        client.cipher.shutdown_write().unwrap();
        run.settle();
        assert_eq!(run.closed(), Some(CloseReason::ClosedByHandler));
    }
}

#[test]
fn finish_sends_the_closing_message_and_reads_on() {
    for send_buffer_bytes in [3, 700] {
        let mut run = Run::new(send_buffer_bytes, Config::builder(), Talker::default());
        let mut client = run.connect();
        client.frame(b"a frame");
        client.frame(b"finish");
        run.pump(&mut client);
        assert_eq!((client.received.as_slice(), client.end), (&frame(b"a frame")[..], Some(Ok(()))));
        client.frame(b"no reply");
        run.pump(&mut client);
        assert_eq!((run.reactor.handler().frames, run.closed()), (3, None));
        client.cipher.shutdown_write().unwrap();
        run.settle();
        assert_eq!(run.closed(), Some(CloseReason::PeerFinished));
    }
}

#[test]
fn close_before_the_handshake_waits_for_it() {
    let mut run = Run::new(700, Config::builder(), Talker::default());
    let mut client = run.connect();
    run.settle();
    run.reactor.drain();
    run.settle();
    assert_eq!(run.closed(), None);
    client.frame(b"too late");
    run.pump(&mut client);
    assert_eq!((client.received.len(), client.end), (0, Some(Ok(()))));
}

/// Returns a run whose connection closes, and its client, which does not read: the closing message waits for room, and does so until
/// 1 ms before the linger timeout.
fn closing_without_room() -> (Run, Client) {
    // The handshake and the echo fit, the closing message does not.
    let mut run = Run::new(30, Config::builder(), Talker::default());
    let mut client = run.connect();
    client.cipher.flush().unwrap();
    run.settle();
    // It reads the handshake of the server, and nothing after it.
    client.go_on();
    client.frame(b"0123456789012345678901");
    client.frame(b"close");
    while !client.to_send.is_empty() {
        let len = client.cipher.write(&client.to_send).unwrap();
        client.to_send.drain(..len);
    }
    run.settle();
    run.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(run.closed(), None);
    (run, client)
}

#[test]
fn closing_message_without_room_ends_at_the_linger_timeout() {
    let (mut run, mut client) = closing_without_room();
    run.pass(Duration::from_millis(1));
    assert_eq!(run.closed(), Some(CloseReason::WriteTimeout));
    client.go_on();
    assert_eq!(client.end, Some(Err(ErrorKind::ConnectionReset)));
}

/// Each of the two takes no longer than the linger timeout: until the closing message is sent, and after it.
#[test]
fn linger_timeout_begins_again_when_the_closing_message_is_sent() {
    let (mut run, mut client) = closing_without_room();
    run.pump(&mut client);
    assert_eq!((client.end, run.closed()), (Some(Ok(())), None));
    run.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(run.closed(), None);
    run.pass(Duration::from_millis(1));
    assert_eq!(run.closed(), Some(CloseReason::ClosedByHandler));
}

#[test]
fn stream_without_closing_message_is_an_error() {
    let mut run = Run::new(700, Config::builder(), Talker::default());
    let peer = run.sim.connect(PORT).unwrap();
    run.settle();
    peer.finish();
    run.settle();
    assert_eq!(run.closed(), Some(CloseReason::Io(ErrorKind::UnexpectedEof)));
}

#[test]
fn dialed_connection_begins_the_handshake() {
    let handler = Talker { greeting: b"hello", ..Talker::default() };
    let mut run = Run::new(20, Config::builder(), handler);
    let Address::Tcp(addr) = run.sim.addr(9) else { panic!("no TCP address") };
    run.reactor.cx().dial(Dial::to(addr)).unwrap();
    run.settle();
    let mut server = Client::new(run.sim.dialed().unwrap().into_stream(), Role::Server);
    run.pump(&mut server);
    assert_eq!(server.received, frame(b"hello"));
}

#[test]
fn detached_connection_hands_over_the_socket_below() {
    let mut run = Run::new(700, Config::builder(), Talker::default());
    let mut client = run.connect();
    client.frame(b"detach");
    client.frame(b"unread");
    run.pump(&mut client);
    assert_eq!(run.closed(), Some(CloseReason::Detached));
    let detached = run.reactor.handler().detached.as_ref().unwrap();
    assert_eq!(detached.unread, frame(b"unread"));
    assert_eq!((client.end, run.sim.open_sockets()), (None, 0));
}
