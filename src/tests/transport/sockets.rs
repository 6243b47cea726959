//! Connections with a cipher on top of the sockets of the operating system.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::Config;
use crate::error::CloseReason;
use crate::handler::{Connection, Context, Handler};
use crate::id::ConnId;
use crate::net::{Mio, Side, Stream, Transport, Wrapped};
use crate::reactor::Reactor;
use crate::tests::transport::cipher::{Cipher, Role};
use crate::wire::encode_header;
use crate::{Address, Dial, Frame, Handle};

const WAIT: Duration = Duration::from_secs(20);

type CipherNet = Wrapped<Mio, fn(Stream, Side<'_>) -> Cipher<Stream>>;

/// Echoes; a frame of one byte is answered with as many megabytes, another one with nothing but a close.
#[derive(Debug, Default)]
struct Talker {
    closed: Vec<CloseReason>,
}

impl Handler for Talker {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        match frame.payload() {
            [megabytes] => conn.reply(&megabytes_of(*megabytes)).unwrap(),
            b"close" => conn.close(),
            _ => conn.reply_frame(frame).unwrap(),
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, (): (), reason: &CloseReason) {
        self.closed.push(*reason);
    }
}

fn megabytes_of(count: u8) -> Vec<u8> {
    (0..usize::from(count) << 20).map(|at| (at / 1_000) as u8).collect()
}

fn reactor<H: Handler>(handler: H) -> Reactor<H, CipherNet> {
    let config = Config::builder().max_payload(64 << 20).build().unwrap();
    let wrap: fn(Stream, Side<'_>) -> _ = |socket, side| Cipher::new(socket, side.into());
    Reactor::with_net(Wrapped::new(Mio::new(&config).unwrap(), wrap), config, handler).unwrap()
}

struct Server {
    addr: SocketAddr,
    handle: Handle<()>,
    thread: JoinHandle<Vec<CloseReason>>,
}

impl Server {
    fn start() -> Self {
        let (sender, started) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = reactor(Talker::default());
            let bound = reactor.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
            let Address::Tcp(addr) = bound else { panic!("{bound} is no TCP address") };
            sender.send((addr, reactor.handle())).unwrap();
            reactor.run().unwrap();
            std::mem::take(&mut reactor.handler_mut().closed)
        });
        let (addr, handle) = started.recv_timeout(WAIT).unwrap();
        Self { addr, handle, thread }
    }

    fn connect(&self) -> Cipher<Blocking> {
        let socket = TcpStream::connect(self.addr).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket.set_write_timeout(Some(WAIT)).unwrap();
        Cipher::new(Blocking(socket), Role::Client)
    }

    /// Drains, and returns how the connections have ended.
    fn drain(self) -> Vec<CloseReason> {
        self.handle.drain().unwrap();
        self.thread.join().unwrap()
    }
}

/// A blocking socket of a client.
#[derive(Debug)]
struct Blocking(TcpStream);

impl Read for Blocking {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Blocking {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Blocking {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&encode_header(payload.len() as u32)[..], payload].concat()
}

fn assert_receives(client: &mut Cipher<Blocking>, payload: &[u8]) {
    let mut received = vec![0; 4 + payload.len()];
    client.read_exact(&mut received).unwrap();
    assert!(received == frame(payload), "a reply of {} bytes", payload.len());
}

/// The stream ends with the closing message: without it, a read fails.
fn assert_ended(client: &mut Cipher<Blocking>) {
    assert_eq!(client.read(&mut [0; 100]).unwrap(), 0);
}

#[test]
fn clients_with_the_cipher_are_echoed_over_tcp() {
    let server = Server::start();
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for len in [0, 2, 300, 5_000, 100_000] {
        for client in &mut clients {
            let payload = vec![len as u8; len];
            client.write_all(&frame(&payload)).unwrap();
            assert_receives(client, &payload);
        }
    }
    for client in &mut clients {
        client.shutdown_write().unwrap();
        assert_ended(client);
    }
    let idle = server.connect();
    assert_eq!(server.drain()[..3], [CloseReason::PeerFinished; 3]);
    drop(idle);
}

#[test]
fn long_reply_through_the_cipher_waits_for_a_slow_reader() {
    let server = Server::start();
    let mut client = server.connect();
    // More than the socket buffers hold, so that the layer holds a part of a record.
    client.write_all(&frame(&[24])).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_receives(&mut client, &megabytes_of(24));
    client.write_all(&frame(b"close")).unwrap();
    assert_ended(&mut client);
    client.shutdown_write().unwrap();
    assert_eq!(server.drain(), [CloseReason::ClosedByHandler]);
}

#[test]
fn drain_sends_the_closing_message_over_tcp() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(&frame(b"a frame")).unwrap();
    assert_receives(&mut client, b"a frame");
    server.handle.drain().unwrap();
    assert_ended(&mut client);
    client.shutdown_write().unwrap();
    assert_eq!(server.drain(), [CloseReason::Drained]);
}

#[test]
fn tcp_stream_without_closing_message_is_an_error() {
    let server = Server::start();
    let mut client = server.connect();
    client.write_all(&frame(b"a frame")).unwrap();
    assert_receives(&mut client, b"a frame");
    drop(client);
    let truncated = CloseReason::Io(io::ErrorKind::UnexpectedEof);
    while server.handle.stats().unwrap().connections > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.drain(), [truncated]);
}

/// Dials, sends a frame, and stops once the reply has come.
struct Caller {
    reply: Vec<u8>,
}

impl Handler for Caller {
    type State = ();
    type Message = ();

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        conn.reply(b"from a dialed connection").unwrap();
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        self.reply = frame.payload().to_vec();
        conn.close();
        conn.cx().drain();
    }
}

#[test]
fn reactor_dials_another_one_through_the_cipher() {
    let server = Server::start();
    let mut caller = reactor(Caller { reply: Vec::new() });
    caller.cx().dial(Dial::to(server.addr)).unwrap();
    caller.run().unwrap();
    assert_eq!(caller.handler().reply, b"from a dialed connection");
    while server.handle.stats().unwrap().connections > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(server.drain(), [CloseReason::PeerFinished]);
}
