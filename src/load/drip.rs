//! Slow senders: plain sockets on a thread of their own that send a byte per second each, of a frame that never ends.
//!
//! A reactor sends whole frames only. On their own thread they do not disturb the loops that measure either.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use std::{io, thread};

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::{Address, Dial, connect_unix};
use crate::wire::Framing;

/// Connections that drip until this is dropped.
#[derive(Debug)]
pub(crate) struct Drips {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    is_settled: AtomicBool,
    up: AtomicU64,
    failed: AtomicU64,
    ended: AtomicU64,
}

impl Drips {
    pub(crate) fn start(dials: Vec<Dial>, framing: Framing, timeout: Duration) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = Builder::new().name("drip".into()).spawn(move || drip(&dials, framing, timeout, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether each has been dialed, with or without success.
    pub(crate) fn is_settled(&self) -> bool {
        self.shared.is_settled.load(Ordering::Acquire)
    }

    /// How many have connected, how many could not, and how many the server has closed since.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.shared.up), count(&self.shared.failed), count(&self.shared.ended))
    }
}

impl Drop for Drips {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn drip(dials: &[Dial], framing: Framing, timeout: Duration, shared: &Shared) {
    let mut drips = Vec::new();
    for dial in dials {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        match connect(dial, timeout) {
            Ok(drip) => drips.push(drip),
            Err(_) => drop(shared.failed.fetch_add(1, Ordering::Relaxed)),
        }
        shared.up.store(drips.len() as u64, Ordering::Relaxed);
    }
    shared.is_settled.store(true, Ordering::Release);

    let filler = filler_of(framing);
    let head = head_of(framing, filler);
    let mut at = 0;
    while !shared.is_over.load(Ordering::Acquire) {
        let byte = head.get(at).copied().unwrap_or(filler);
        drips.retain(|drip| {
            let is_alive = send(drip, byte);
            shared.ended.fetch_add(u64::from(!is_alive), Ordering::Relaxed);
            is_alive
        });
        at += 1;
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// At a byte per second it takes 17 hours; within the limit of most servers.
const PAYLOAD_LEN: usize = 60_000;

/// A byte that is in no delimiter of the framing.
fn filler_of(framing: Framing) -> u8 {
    let is_free = |byte: &u8| !matches!(framing, Framing::Delimiter(delimiter) if delimiter.bytes().contains(byte));
    (b'U'..=b'Z').find(is_free).unwrap_or(b'U')
}

/// The header of a long frame, as long as its length field permits.
fn head_of(framing: Framing, filler: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    let len = PAYLOAD_LEN.min(usize::try_from(*framing.payload_lens().end()).unwrap_or(PAYLOAD_LEN));
    let is_written = framing.write_whole(&vec![filler; len], &mut frame).is_ok();
    frame.truncate(if is_written { frame.len() - len.min(frame.len()) } else { 0 });
    frame
}

/// Connects to the first address of `dial` that accepts.
fn connect(dial: &Dial, timeout: Duration) -> io::Result<Socket> {
    let mut dial = dial.clone();
    let mut outcome = Err(ErrorKind::NotFound.into());
    while let (Err(_), Some(to)) = (&outcome, dial.take_next()) {
        outcome = connect_to(&to, dial.source(), timeout);
    }
    outcome
}

fn connect_to(to: &Address, from: Option<IpAddr>, timeout: Duration) -> io::Result<Socket> {
    let socket = match to {
        Address::Tcp(to) => {
            let socket = Socket::new(Domain::for_address(*to), Type::STREAM, Some(Protocol::TCP))?;
            if let Some(from) = from {
                socket.bind(&SocketAddr::new(from, 0).into())?;
            }
            socket.connect_timeout(&(*to).into(), timeout)?;
            socket.set_tcp_nodelay(true)?;
            socket
        }
        Address::Unix(path) => connect_unix(path)?.into(),
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sends a byte. Returns whether the connection is still open.
fn send(mut socket: &Socket, byte: u8) -> bool {
    let outcome = socket.write_all(&[byte]);
    outcome.is_ok() || outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
