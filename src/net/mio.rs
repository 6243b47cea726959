//! [`Net`] for the operating system's sockets, by way of mio.

// The only place of the library core that reads the clock.
#![allow(clippy::disallowed_methods)]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::conn::io::{Readiness, Transport};
use crate::net::detached::Released;
use crate::net::kernel;
use crate::net::listener::Listener;
use crate::net::seam::{Net, Ready, ThreadTime};
use crate::net::socket::Stream;
use crate::net::sources::{Interest, Sources};
use crate::options::ListenOptions;

/// The longest timeout of a poll: a kernel may refuse a longer one (`kevent(2)`), and a poll that returns early does no harm.
const POLL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The events for which a connection is woken.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STREAM_INTEREST: mio::Interest =
    mio::Interest::READABLE.add(mio::Interest::WRITABLE).add(mio::Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STREAM_INTEREST: mio::Interest = mio::Interest::READABLE.add(mio::Interest::WRITABLE);

/// Provides the operating system's sockets, by way of mio: epoll on Linux, kqueue on the BSDs and macOS.
#[derive(Debug)]
pub struct Mio {
    poll: Poll,
    events: Events,
    spin: Duration,
    sources: Sources,
}

impl Mio {
    /// Creates a readiness queue, for [`Reactor::with_net`](crate::Reactor::with_net). [`Reactor::new`](crate::Reactor::new) does
    /// that itself; you need this one to put a [`Wrapped`](crate::net::Wrapped) or a `Net` of your own around it.
    ///
    /// Of the configuration it uses [`events_per_turn`](crate::ConfigBuilder::events_per_turn) and
    /// [`spin`](crate::ConfigBuilder::spin), so use the same one for the reactor.
    ///
    /// # Errors
    ///
    /// The kernel's error, if it has no descriptor for a readiness queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::net::Mio;
    /// use frameloop::{Config, Echo, Reactor};
    ///
    /// let config = Config::default();
    /// let mut reactor = Reactor::with_net(Mio::new(&config)?, config, Echo)?;
    /// reactor.listen(&"127.0.0.1:0".parse()?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(config: &Config) -> io::Result<Self> {
        kernel::watch_forks()?;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(config.events_per_turn),
            spin: config.spin,
            sources: Sources::default(),
        })
    }

    /// Watches a descriptor of the caller.
    pub(crate) fn watch(&mut self, fd: BorrowedFd<'_>, token: usize, interest: Interest) -> io::Result<()> {
        self.sources.watch(self.poll.registry(), fd.as_raw_fd(), token, interest)
    }

    /// Changes the interest of a [`watch`](Self::watch). What is true then is reported once more.
    pub(crate) fn rewatch(&mut self, token: usize, interest: Interest) -> io::Result<()> {
        self.sources.rewatch(self.poll.registry(), token, interest)
    }

    /// Ends a [`watch`](Self::watch). Returns whether the descriptor was still watched.
    pub(crate) fn unwatch(&mut self, token: usize) -> bool {
        self.sources.unwatch(self.poll.registry(), token)
    }

    /// Whether no watched descriptor has this token.
    pub(crate) fn is_free(&self, token: usize) -> bool {
        self.sources.is_free(token)
    }

    /// Registers a listener that was bound elsewhere.
    pub(crate) fn register_listener(&mut self, listener: &mut Listener, token: usize) -> io::Result<()> {
        self.poll.registry().register(listener.source(), Token(token), mio::Interest::READABLE)
    }

    fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.min(POLL_MAX));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }
}

impl AsFd for Mio {
    /// Returns the descriptor of the readiness queue, which is readable while events wait in it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl Net for Mio {
    type Stream = Stream;
    type Listener = Listener;
    type Wake = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.spin.is_zero() || timeout == Some(Duration::ZERO) {
            return self.poll_once(timeout);
        }
        let begun = Instant::now();
        let spin = timeout.map_or(self.spin, |timeout| timeout.min(self.spin));
        loop {
            self.poll_once(Some(Duration::ZERO))?;
            let spun = begun.elapsed();
            if !self.events.is_empty() || timeout.is_some_and(|timeout| spun >= timeout) {
                return Ok(());
            }
            if spun >= spin {
                return self.poll_once(timeout.map(|timeout| timeout - spun));
            }
        }
    }

    fn events(&self) -> impl Iterator<Item = Ready> {
        self.events.iter().map(|event| {
            // The next read and the next write report an error or a hang-up.
            let failed = event.is_error() || event.is_write_closed();
            let readiness = Readiness {
                readable: event.is_readable() || failed,
                writable: event.is_writable() || failed,
                read_closed: event.is_read_closed() || failed,
                urgent: event.is_priority(),
                // Not a hang-up: on a Unix socket that comes with input still to be read.
                failed: event.is_error(),
            };
            Ready { token: event.token().0, readiness }
        })
    }

    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        options: &ListenOptions,
        token: usize,
    ) -> io::Result<(Listener, Address)> {
        let (mut listener, bound) = Listener::bind(addr, config, options)?;
        self.register_listener(&mut listener, token)?;
        Ok((listener, bound))
    }

    fn accept(&mut self, listener: &Listener, config: &Config) -> io::Result<(Stream, PeerAddr)> {
        listener.accept(config)
    }

    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Stream> {
        Stream::connect(to, from, config)
    }

    fn is_connected(&self, stream: &Stream) -> io::Result<bool> {
        stream.is_connected()
    }

    fn register(&mut self, stream: &mut Stream, token: usize) -> io::Result<()> {
        self.poll.registry().register(stream.source(), Token(token), STREAM_INTEREST)
    }

    fn release(&mut self, mut stream: Stream) -> Released {
        // It fails only if it is not registered.
        let _ = self.poll.registry().deregister(stream.source());
        stream.limit_unsent(false);
        Released::from(stream.into_fd())
    }

    fn is_watched(&self, token: usize) -> bool {
        self.sources.is_watched(token)
    }

    fn has_room(&self, token: usize) -> bool {
        self.sources.has_room(token)
    }

    fn thread_time(&self) -> Option<ThreadTime> {
        kernel::thread_time()
    }

    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        let waker = Arc::new(Waker::new(self.poll.registry(), Token(token))?);
        Ok(Box::new(move || waker.wake()))
    }
}

/// Returns an instant at which a simulated clock begins: only the real clock makes one.
#[cfg(any(test, feature = "sim", feature = "fuzzing", feature = "micro"))]
pub(crate) fn beginning() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spinning_poll_ends_at_its_timeout() {
        let config = Config::builder().spin(Duration::from_secs(3_600)).build().unwrap();
        let mut net = Mio::new(&config).unwrap();
        net.poll(Some(Duration::from_millis(1))).unwrap();
        assert!(net.events().next().is_none());
    }
}
