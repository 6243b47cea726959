//! The cohort that drips: plain sockets on one thread of their own, a byte a second each, of a frame that never ends.
//!
//! They are no connections of a reactor, because a reactor sends whole frames; and so they do not disturb the loops that
//! measure.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use std::{io, thread};

use socket2::{Domain, Protocol, Socket, Type};

use crate::addr::{Dial, ListenAddr, connect_unix};
use crate::frame::encode_header;

/// Dripping connections, until this is dropped.
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

/// What drips, until its peer ends it.
enum Drip {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Drips {
    /// Begins to connect, and to drip.
    pub(crate) fn start(dials: Vec<Dial>, timeout: Duration) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = Builder::new().name("drip".into()).spawn(move || drip(&dials, timeout, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether each has been dialled, with or without success.
    pub(crate) fn is_settled(&self) -> bool {
        self.shared.is_settled.load(Ordering::Acquire)
    }

    /// How many were connected, how many could not be, and how many the server has ended since.
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

fn drip(dials: &[Dial], timeout: Duration, shared: &Shared) {
    let mut drips = Vec::new();
    for dial in dials {
        if shared.is_over.load(Ordering::Acquire) {
            return;
        }
        match Drip::connect(dial, timeout) {
            Ok(drip) => drips.push(drip),
            Err(_) => drop(shared.failed.fetch_add(1, Ordering::Relaxed)),
        }
        shared.up.store(drips.len() as u64, Ordering::Relaxed);
    }
    shared.is_settled.store(true, Ordering::Release);

    // A header that announces more than will ever come, and then payload.
    let header = encode_header(PAYLOAD_LEN);
    let mut at = 0;
    while !shared.is_over.load(Ordering::Acquire) {
        let byte = [header.get(at).copied().unwrap_or(0x55)];
        drips.retain_mut(|drip| {
            let is_alive = drip.send(byte);
            shared.ended.fetch_add(u64::from(!is_alive), Ordering::Relaxed);
            is_alive
        });
        at += 1;
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// Longer than anybody waits for at a byte a second, and within what servers allow.
const PAYLOAD_LEN: u32 = 60_000;

impl Drip {
    fn connect(dial: &Dial, timeout: Duration) -> io::Result<Self> {
        let mut dial = dial.clone();
        let mut outcome = Err(ErrorKind::NotFound.into());
        while let (Err(_), Some(to)) = (&outcome, dial.take_next()) {
            outcome = Self::connect_to(&to, dial.source(), timeout);
        }
        outcome
    }

    fn connect_to(to: &ListenAddr, from: Option<IpAddr>, timeout: Duration) -> io::Result<Self> {
        match to {
            ListenAddr::Tcp(to) => {
                let socket = Socket::new(Domain::for_address(*to), Type::STREAM, Some(Protocol::TCP))?;
                if let Some(from) = from {
                    socket.bind(&std::net::SocketAddr::new(from, 0).into())?;
                }
                socket.connect_timeout(&(*to).into(), timeout)?;
                socket.set_nonblocking(true)?;
                socket.set_tcp_nodelay(true)?;
                Ok(Self::Tcp(socket.into()))
            }
            ListenAddr::Unix(path) => {
                let stream = connect_unix(path)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Returns whether the connection is still there.
    fn send(&mut self, byte: [u8; 1]) -> bool {
        let outcome = match self {
            Self::Tcp(stream) => stream.write(&byte),
            Self::Unix(stream) => stream.write(&byte),
        };
        match outcome {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}
