//! A [`Net`] whose streams have a layer on top of the sockets.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::conn::io::Transport;
use crate::net::detached::Released;
use crate::net::seam::{Net, Ready, ThreadTime};
use crate::options::ListenOptions;

/// A transport on top of another one, which it owns.
pub trait Layer: Transport {
    /// The transport below: the socket, or another layer.
    type Below: Transport;

    /// Returns the transport below.
    fn below(&self) -> &Self::Below;

    /// Returns the transport below, to register it. The layer goes on using it.
    fn below_mut(&mut self) -> &mut Self::Below;

    /// Returns the transport below, for a connection that is detached. What the layer holds is lost.
    fn into_below(self) -> Self::Below;
}

/// Which side of a connection a layer is put on.
///
/// An address decides which connections get which layer: on one listener TLS, on another a layer that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Side<'a> {
    /// The reactor has accepted it: for TLS, this is the server.
    #[non_exhaustive]
    Accepted {
        /// The bound address of the listener.
        listener: &'a Address,
    },
    /// The reactor dials it: for TLS, this is the client.
    #[non_exhaustive]
    Dialed {
        /// The address that is dialed.
        to: &'a Address,
    },
}

/// A listener of a [`Wrapped`].
#[derive(Debug)]
pub struct WrappedListener<L> {
    listener: L,
    bound: Address,
}

/// Puts a layer on each stream that another [`Net`] accepts or dials.
///
/// The function gets the stream and its side, and returns the layer. It must not read or write yet: a dialed stream is not
/// connected then. A layer that speaks first wants to write from the beginning
/// ([`wants_write`](Transport::wants_write)).
///
/// Detaching a connection releases the socket below, without the state of the layer.
/// [`Detached::unsent`](crate::Detached::unsent) and [`unread`](crate::Detached::unread) are what the layer has not encoded and what it has
/// decoded; what it holds itself is lost. So detach only where both sides have agreed to end the layer.
///
/// `watch`, `adopt_listener` and `adopt_stream` are not available on a reactor on it: these are for [`Mio`](crate::net::Mio)
/// itself.
///
/// # Examples
///
/// On the sockets of the operating system, with a layer `Tls` (which is yours):
///
/// ```ignore
/// let config = Config::default();
/// let net = Wrapped::new(Mio::new(&config)?, |stream, side| Tls::new(stream, side));
/// let mut reactor = Reactor::with_net(net, config, handler)?;
/// ```
///
/// On a simulated network, in a test, it is `Wrapped::new(sim.net(), ..)`. A complete layer:
///
/// ```
/// use std::io::{self, Read, Write};
///
/// use frameloop::net::{Layer, Mio, Transport, Wrapped};
/// use frameloop::{Config, Echo, Reactor};
///
/// /// Inverts each bit. It holds nothing, so the defaults of `Transport` fit.
/// struct Inverted<S>(S);
///
/// impl<S: Read> Read for Inverted<S> {
///     fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
///         let len = self.0.read(buf)?;
///         buf[..len].iter_mut().for_each(|byte| *byte = !*byte);
///         Ok(len)
///     }
/// }
///
/// impl<S: Write> Write for Inverted<S> {
///     fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
///         self.0.write(&buf.iter().map(|byte| !byte).collect::<Vec<_>>())
///     }
///
///     fn flush(&mut self) -> io::Result<()> {
///         self.0.flush()
///     }
/// }
///
/// impl<S: Transport> Transport for Inverted<S> {
///     fn local_addr(&self) -> Option<std::net::SocketAddr> {
///         self.0.local_addr()
///     }
///
///     fn shutdown_write(&mut self) -> io::Result<()> {
///         self.0.shutdown_write()
///     }
///     fn short_read_drains(&self) -> bool {
///         self.0.short_read_drains()
///     }
///     fn has_input(&mut self) -> bool {
///         self.0.has_input()
///     }
///     fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
///         self.0.unacknowledged_bytes()
///     }
///     fn limit_unsent(&mut self, is_limited: bool) {
///         self.0.limit_unsent(is_limited);
///     }
///     fn reset(&mut self) {
///         self.0.reset();
///     }
/// }
///
/// impl<S: Transport> Layer for Inverted<S> {
///     type Below = S;
///     fn below(&self) -> &S {
///         &self.0
///     }
///     fn below_mut(&mut self) -> &mut S {
///         &mut self.0
///     }
///     fn into_below(self) -> S {
///         self.0
///     }
/// }
///
/// let config = Config::default();
/// let net = Wrapped::new(Mio::new(&config)?, |stream, _side| Inverted(stream));
/// let mut reactor = Reactor::with_net(net, config, Echo)?;
/// reactor.listen(&"127.0.0.1:0".parse()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Wrapped<N, F> {
    net: N,
    wrap: F,
}

impl<N: Net, F> Wrapped<N, F> {
    /// Puts what `wrap` returns on the streams of `net`.
    pub fn new<T>(net: N, wrap: F) -> Self
    where
        F: FnMut(N::Stream, Side<'_>) -> T,
        T: Layer<Below = N::Stream>,
    {
        Self { net, wrap }
    }
}

impl<N: fmt::Debug, F> fmt::Debug for Wrapped<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped").field("net", &self.net).finish_non_exhaustive()
    }
}

impl<N: AsFd, F> AsFd for Wrapped<N, F> {
    /// Returns the descriptor of the net below.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

impl<N, F, T> Net for Wrapped<N, F>
where
    N: Net,
    F: FnMut(N::Stream, Side<'_>) -> T,
    T: Layer<Below = N::Stream>,
{
    type Stream = T;
    type Listener = WrappedListener<N::Listener>;
    type Wake = N::Wake;

    fn now(&self) -> Instant {
        self.net.now()
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.poll(timeout)
    }

    fn events(&self) -> impl Iterator<Item = Ready> {
        self.net.events()
    }

    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        options: &ListenOptions,
        token: usize,
    ) -> io::Result<(Self::Listener, Address)> {
        let (listener, bound) = self.net.listen(addr, config, options, token)?;
        Ok((WrappedListener { listener, bound: bound.clone() }, bound))
    }

    fn accept(&mut self, listener: &Self::Listener, config: &Config) -> io::Result<(T, PeerAddr)> {
        let (stream, peer) = self.net.accept(&listener.listener, config)?;
        Ok(((self.wrap)(stream, Side::Accepted { listener: &listener.bound }), peer))
    }

    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<T> {
        let stream = self.net.dial(to, from, config)?;
        Ok((self.wrap)(stream, Side::Dialed { to }))
    }

    fn is_connected(&self, stream: &T) -> io::Result<bool> {
        self.net.is_connected(stream.below())
    }

    fn register(&mut self, stream: &mut T, token: usize) -> io::Result<()> {
        self.net.register(stream.below_mut(), token)
    }

    fn release(&mut self, stream: T) -> Released {
        self.net.release(stream.into_below())
    }

    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        self.net.waker(token)
    }

    fn is_watched(&self, token: usize) -> bool {
        self.net.is_watched(token)
    }

    fn has_room(&self, token: usize) -> bool {
        self.net.has_room(token)
    }

    fn thread_time(&self) -> Option<ThreadTime> {
        self.net.thread_time()
    }
}
