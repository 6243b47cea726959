//! A reactor that the test turns on its own thread, a handler made of closures, and clients that never block.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use frameloop::{
    Address, CloseReason, Config, ConnId, Connection, Context, Drain, Frame, Handler, Reactor, Readiness, SourceId,
    Turn,
};

pub(crate) use super::PATIENCE;
pub(crate) use super::client::frame;

/// A reactor listening on a port of its own.
pub(crate) struct Server<H: Handler> {
    pub(crate) reactor: Reactor<H>,
    pub(crate) addr: SocketAddr,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

impl<H: Handler> Server<H> {
    pub(crate) fn new(config: Config, handler: H) -> Self {
        let mut reactor = Reactor::new(config, handler).unwrap();
        let addr = listen(&mut reactor);
        Self { reactor, addr }
    }

    /// One turn, which sleeps little.
    pub(crate) fn turn(&mut self) -> Turn {
        self.reactor.turn(Some(Duration::from_millis(1))).unwrap()
    }

    /// Turns until something is so; `what` says what was waited for if it never is.
    pub(crate) fn turn_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Reactor<H>) -> bool) {
        let begin = Instant::now();
        while !is_so(&mut self.reactor) {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
            let _ = self.turn();
        }
    }

    /// A client that was accepted or refused.
    pub(crate) fn connect(&mut self) -> TcpStream {
        let seen = |reactor: &mut Reactor<H>| {
            let stats = reactor.stats();
            stats.accepted + stats.refused.total()
        };
        let before = seen(&mut self.reactor);
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_nonblocking(true).unwrap();
        self.turn_until("the connection to be accepted", |reactor| seen(reactor) > before);
        client
    }

    /// Writes all of `bytes`, turning while the socket is full.
    pub(crate) fn write(&mut self, mut client: &TcpStream, bytes: &[u8]) {
        let mut unsent = bytes;
        while !unsent.is_empty() {
            match client.write(unsent) {
                Ok(len) => unsent = &unsent[len..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => drop(self.turn()),
                Err(error) => panic!("the client cannot write: {error}"),
            }
        }
    }

    /// Fills `buf`, turning while there is nothing to read.
    pub(crate) fn read_into(&mut self, mut client: &TcpStream, buf: &mut [u8]) {
        let begin = Instant::now();
        let mut filled = 0;
        while filled < buf.len() {
            match client.read(&mut buf[filled..]) {
                Ok(0) => panic!("FIN after {filled} of {} bytes", buf.len()),
                Ok(len) => filled += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(begin.elapsed() < PATIENCE, "got {filled} of {} bytes", buf.len());
                    let _ = self.turn();
                }
                Err(error) => panic!("the client cannot read: {error}"),
            }
        }
    }

    /// Reads what `payloads` are as frames, and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, client: &TcpStream, payloads: &[&[u8]]) {
        let expected = frames(payloads);
        let mut received = vec![0; expected.len()];
        self.read_into(client, &mut received);
        assert!(received == expected, "received {:?}, expected {:?}", preview(&received), preview(&expected));
    }

    /// Reads what is left, and how the stream ends.
    pub(crate) fn read_to_end(&mut self, mut client: &TcpStream) -> (Vec<u8>, End) {
        let begin = Instant::now();
        let mut received = Vec::new();
        let mut buf = vec![0; 64 << 10];
        loop {
            match client.read(&mut buf) {
                Ok(0) => return (received, End::Fin),
                Ok(len) => received.extend_from_slice(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(begin.elapsed() < PATIENCE, "no end after {} bytes", received.len());
                    let _ = self.turn();
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return (received, End::Reset),
                Err(error) => panic!("the client cannot read: {error}"),
            }
        }
    }

    /// Reads what `payloads` are as frames, and then FIN.
    #[track_caller]
    pub(crate) fn expect_last(&mut self, client: &TcpStream, payloads: &[&[u8]]) {
        self.expect(client, payloads);
        let (more, end) = self.read_to_end(client);
        assert!(more.is_empty() && end == End::Fin, "then came {:?} and {end:?}", preview(&more));
    }

    /// Sends a frame and waits for the same.
    pub(crate) fn echo(&mut self, client: &TcpStream, payload: &[u8]) {
        self.write(client, &frame(payload));
        self.expect(client, &[payload]);
    }
}

impl Server<Hooks> {
    pub(crate) fn log(&self) -> &Log {
        &self.reactor.handler().log
    }

    /// Lets `act` run in the next turn, as a message from a handle, and returns what it returned.
    #[track_caller]
    pub(crate) fn act<R: Send + 'static>(&mut self, act: impl FnOnce(&mut Context<'_>) -> R + Send + 'static) -> R {
        let messages = self.reactor.stats().messages;
        let (sender, receiver) = channel();
        self.reactor.handle().send(Box::new(move |cx| drop(sender.send(act(cx))))).ok().unwrap();
        self.turn_until("the message", |reactor| reactor.stats().messages > messages);
        receiver.try_recv().expect("the message's act panicked")
    }

    /// A client, and the id of its connection.
    pub(crate) fn connect_with_id(&mut self) -> (TcpStream, ConnId) {
        let client = self.connect();
        (client, *self.log().opened.last().unwrap())
    }

    /// Waits until `count` connections have ended, and returns how the last one did.
    pub(crate) fn closed(&mut self, count: usize) -> (ConnId, CloseReason) {
        self.turn_until("a close", |reactor| reactor.handler().log.closed.len() >= count);
        let closed = &self.log().closed;
        assert_eq!(closed.len(), count, "{closed:?}");
        closed[count - 1]
    }
}

type OnConn = Box<dyn FnMut(&mut Connection<'_>) + Send>;
type OnDrain = Box<dyn FnMut(&mut Connection<'_>) -> Drain + Send>;
type OnFrame = Box<dyn FnMut(&mut Connection<'_>, Frame<'_>) + Send>;
type OnClose = Box<dyn FnMut(&mut Context<'_>, ConnId) + Send>;
/// What a handle sends: something to be done in `on_message`.
pub(crate) type Act = Box<dyn FnOnce(&mut Context<'_>) + Send>;

/// A handler made of closures, which logs what it is called for. Without closures it echoes.
pub(crate) struct Hooks {
    on_open: OnConn,
    pub(crate) on_frame: OnFrame,
    on_half_close: OnConn,
    on_writable: OnConn,
    on_wake: OnConn,
    on_drain: OnDrain,
    on_close: OnClose,
    pub(crate) log: Log,
}

/// What a handler was called for.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Connections whose `on_open` has returned.
    pub(crate) opened: Vec<ConnId>,
    pub(crate) closed: Vec<(ConnId, CloseReason)>,
    pub(crate) half_closed: Vec<ConnId>,
    pub(crate) low_water: Vec<ConnId>,
    pub(crate) drained: Vec<ConnId>,
    pub(crate) frames: usize,
    pub(crate) sources: Vec<SourceId>,
    /// What was reported of the last source.
    pub(crate) source_ready: Readiness,
    /// Callbacks that were given another connection's state.
    mixed_up: Vec<ConnId>,
}

impl Log {
    /// Each connection that was opened was closed, once.
    #[track_caller]
    pub(crate) fn assert_paired(&self) {
        let mut opened = self.opened.clone();
        let mut closed: Vec<ConnId> = self.closed.iter().map(|(id, _)| *id).collect();
        opened.sort();
        closed.sort();
        assert_eq!(opened, closed);
        opened.dedup();
        assert_eq!(opened, closed, "an id was used twice");
        assert_eq!(self.mixed_up, [], "these were called with the state of another");
    }

    fn check(&mut self, id: ConnId, state: ConnId) {
        if id != state {
            self.mixed_up.push(id);
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_open: Box::new(|_| {}),
            on_frame: Box::new(|conn, frame| {
                let _ = conn.reply_frame(frame);
            }),
            on_half_close: Box::new(|conn| conn.close()),
            on_writable: Box::new(|_| {}),
            on_wake: Box::new(|_| {}),
            on_drain: Box::new(|_| Drain::AtRest),
            on_close: Box::new(|_, _| {}),
            log: Log::default(),
        }
    }
}

impl Hooks {
    pub(crate) fn on_open(mut self, hook: impl FnMut(&mut Connection<'_>) + Send + 'static) -> Self {
        self.on_open = Box::new(hook);
        self
    }

    pub(crate) fn on_frame(mut self, hook: impl FnMut(&mut Connection<'_>, Frame<'_>) + Send + 'static) -> Self {
        self.on_frame = Box::new(hook);
        self
    }

    pub(crate) fn on_half_close(mut self, hook: impl FnMut(&mut Connection<'_>) + Send + 'static) -> Self {
        self.on_half_close = Box::new(hook);
        self
    }

    pub(crate) fn on_writable(mut self, hook: impl FnMut(&mut Connection<'_>) + Send + 'static) -> Self {
        self.on_writable = Box::new(hook);
        self
    }

    pub(crate) fn on_wake(mut self, hook: impl FnMut(&mut Connection<'_>) + Send + 'static) -> Self {
        self.on_wake = Box::new(hook);
        self
    }

    pub(crate) fn on_drain(mut self, hook: impl FnMut(&mut Connection<'_>) -> Drain + Send + 'static) -> Self {
        self.on_drain = Box::new(hook);
        self
    }

    pub(crate) fn on_close(mut self, hook: impl FnMut(&mut Context<'_>, ConnId) + Send + 'static) -> Self {
        self.on_close = Box::new(hook);
        self
    }
}

impl Handler for Hooks {
    type State = ConnId;
    type Message = Act;

    fn on_open(&mut self, conn: &mut Connection<'_>) -> ConnId {
        (self.on_open)(conn);
        self.log.opened.push(conn.id());
        conn.id()
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, state: &mut ConnId, frame: Frame<'_>) {
        self.log.frames += 1;
        self.log.check(conn.id(), *state);
        (self.on_frame)(conn, frame);
    }

    fn on_writable(&mut self, conn: &mut Connection<'_>, state: &mut ConnId) {
        self.log.low_water.push(conn.id());
        self.log.check(conn.id(), *state);
        (self.on_writable)(conn);
    }

    fn on_wake(&mut self, conn: &mut Connection<'_>, state: &mut ConnId) {
        self.log.check(conn.id(), *state);
        (self.on_wake)(conn);
    }

    fn on_half_close(&mut self, conn: &mut Connection<'_>, state: &mut ConnId) {
        self.log.half_closed.push(conn.id());
        self.log.check(conn.id(), *state);
        (self.on_half_close)(conn);
    }

    fn on_drain(&mut self, conn: &mut Connection<'_>, state: &mut ConnId) -> Drain {
        self.log.drained.push(conn.id());
        self.log.check(conn.id(), *state);
        (self.on_drain)(conn)
    }

    fn on_close(&mut self, cx: &mut Context<'_>, id: ConnId, state: ConnId, reason: &CloseReason) {
        self.log.closed.push((id, *reason));
        self.log.check(id, state);
        (self.on_close)(cx, id);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, act: Act) {
        act(cx);
    }

    fn on_source(&mut self, _cx: &mut Context<'_>, source: SourceId, ready: Readiness) {
        self.log.sources.push(source);
        self.log.source_ready = ready;
    }
}

pub(crate) fn listen<H: Handler>(reactor: &mut Reactor<H>) -> SocketAddr {
    let any_port: SocketAddr = "127.0.0.1:0".parse().unwrap();
    match reactor.listen(&any_port.into()).unwrap() {
        Address::Tcp(addr) => addr,
        other => panic!("{other} is no TCP address"),
    }
}

pub(crate) fn frames(payloads: &[&[u8]]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| frame(payload)).collect()
}

/// `len` bytes whose values depend on their positions.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Closes a client so that the server is sent RST.
pub(crate) fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// Reads a frame from a client that blocks.
pub(crate) fn read_frame(mut client: &TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    client.read_exact(&mut header).unwrap();
    let mut payload = vec![0; u32::from_be_bytes(header) as usize];
    client.read_exact(&mut payload).unwrap();
    payload
}

fn preview(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(40)];
    format!("{} bytes: {}", bytes.len(), shown.escape_ascii())
}
