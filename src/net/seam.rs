//! The seam: what a reactor needs of the world.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::conn::io::{Readiness, Transport};

/// A world for a reactor: sockets, readiness and time.
///
/// Readiness is edge-triggered: an edge may be reported more often than it happens, never less.
pub trait Net {
    /// A nonblocking connection.
    type Stream: Transport;
    /// A nonblocking listening socket.
    type Listener;
    /// Wakes a poll from another thread.
    type Wake: Fn() -> io::Result<()> + Send + Sync + 'static;

    /// The present instant. It never goes back.
    fn now(&self) -> Instant;

    /// Waits until something is ready, `timeout` has passed (`None`: for ever), or a signal came.
    ///
    /// # Errors
    ///
    /// What the readiness queue answered, but for an interruption.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// What the last poll found.
    fn events(&self) -> impl Iterator<Item = Ready>;

    /// Binds and listens; `token` names the listener in events. Returns the address, with the port that was chosen.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    fn listen(&mut self, addr: &Address, config: &Config, token: usize) -> io::Result<(Self::Listener, Address)>;

    /// Takes a connection from the listen queue.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the queue is empty, otherwise what the kernel answered.
    fn accept(&mut self, listener: &Self::Listener, config: &Config) -> io::Result<(Self::Stream, PeerAddr)>;

    /// Begins to connect to one address. The outcome is an edge of writability, once the stream is registered.
    ///
    /// # Errors
    ///
    /// What the kernel answered, if it did so at once.
    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Self::Stream>;

    /// Whether the connection that [`dial`](Self::dial) began is made by now.
    ///
    /// # Errors
    ///
    /// Why it is not made, and will not be.
    fn is_connected(&self, stream: &Self::Stream) -> io::Result<bool>;

    /// Asks for all events of a connection, readable and writable, once and for all; `token` names it in events.
    ///
    /// # Errors
    ///
    /// What the readiness queue answered.
    fn register(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Something that wakes the poll; events name it by `token`.
    ///
    /// # Errors
    ///
    /// What the kernel answered.
    fn waker(&mut self, token: usize) -> io::Result<Self::Wake>;

    /// Whether the descriptor that events name by `token` is still the one that was given to
    /// [`Reactor::watch`](crate::Reactor::watch). A world without such descriptors reports no event for one.
    fn is_watched(&self, token: usize) -> bool {
        let _ = token;
        true
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Ready {
    /// Names the listener, connection or other source that it is about.
    pub token: usize,
    /// What is reported.
    pub readiness: Readiness,
}
