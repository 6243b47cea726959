//! The interface between a reactor and the operating system: [`Net`].

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::conn::io::{Readiness, Transport};
use crate::net::detached::Released;
use crate::options::ListenOptions;

/// Provides sockets, readiness and time to a reactor.
///
/// Readiness is edge-triggered: an edge may be reported more often than it happens, but never less often.
pub trait Net {
    /// A nonblocking connection.
    type Stream: Transport;
    /// A nonblocking listening socket.
    type Listener;
    /// A function that wakes a poll from another thread.
    type Wake: Fn() -> io::Result<()> + Send + Sync + 'static;

    /// Returns the current instant. It never goes back.
    fn now(&self) -> Instant;

    /// Waits until an event comes, `timeout` has passed (`None` = no limit), or a signal interrupts it.
    ///
    /// # Errors
    ///
    /// The error of the readiness queue, except `EINTR`.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Returns the events of the last poll.
    fn events(&self) -> impl Iterator<Item = Ready>;

    /// Binds a socket and listens; `token` names the listener in events. Returns the bound address, with its port.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        options: &ListenOptions,
        token: usize,
    ) -> io::Result<(Self::Listener, Address)>;

    /// Accepts a connection from the listen queue.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the queue is empty; otherwise the kernel's error.
    fn accept(&mut self, listener: &Self::Listener, config: &Config) -> io::Result<(Self::Stream, PeerAddr)>;

    /// Begins to connect to one address, from the local address `from` if it is given. When the attempt has ended, the
    /// registered stream becomes writable.
    ///
    /// # Errors
    ///
    /// The kernel's error, if the attempt failed immediately.
    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Self::Stream>;

    /// Returns whether a connection that [`dial`](Self::dial) began is established.
    ///
    /// # Errors
    ///
    /// The error with which the attempt failed.
    fn is_connected(&self, stream: &Self::Stream) -> io::Result<bool>;

    /// Registers a connection for readable and writable events, until it is closed; `token` names it in events.
    ///
    /// # Errors
    ///
    /// The error of the readiness queue.
    fn register(&mut self, stream: &mut Self::Stream, token: usize) -> io::Result<()>;

    /// Gives up a registered connection: no event is reported for it any more. Its peer notices nothing.
    fn release(&mut self, stream: Self::Stream) -> Released;

    /// Returns a function that wakes the poll; `token` names it in events.
    ///
    /// # Errors
    ///
    /// The kernel's error.
    fn waker(&mut self, token: usize) -> io::Result<Self::Wake>;

    /// Returns whether `token` still names the descriptor that [`Reactor::watch`](crate::Reactor::watch) was called with. The
    /// default returns `true`, for a `Net` that watches no such descriptors.
    fn is_watched(&self, token: usize) -> bool {
        let _ = token;
        true
    }

    /// Returns whether the watched descriptor of `token` has room to write now. The default returns `false`. Only the readiness
    /// lint asks ([`Lint::UnusedWriteInterest`](crate::Lint::UnusedWriteInterest)).
    fn has_room(&self, token: usize) -> bool {
        let _ = token;
        false
    }

    /// Returns the times of the thread that calls it. The default returns `None`: they are unknown. Only the readiness lint asks
    /// ([`Lint::SlowCallback`](crate::Lint::SlowCallback)).
    fn thread_time(&self) -> Option<ThreadTime> {
        None
    }
}

/// Reports how long a thread has run, and how often it was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct ThreadTime {
    /// How long the thread was on a processor since it began (`CLOCK_THREAD_CPUTIME_ID` of `clock_gettime(2)`).
    pub running: Duration,
    /// How often the kernel gave its processor to another thread although it could have gone on (`ru_nivcsw` of `getrusage(2)`).
    pub preemptions: u64,
}

/// Reports one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Ready {
    /// The token of the listener, the connection or the other source.
    pub token: usize,
    /// What the kernel reports about it.
    pub readiness: Readiness,
}
