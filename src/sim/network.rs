//! A simulated network, as a test and as a reactor see it.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::error::{AdoptError, Error};
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::{Lease, Net, Ready, Released, Transport};
use crate::options::ListenOptions;
use crate::reactor::{Reactor, Turn};
use crate::sim::edges::Edges;
use crate::sim::faults::Faults;
use crate::sim::socket::Socket;
use crate::sim::world::World;

/// Controls a simulated network and its clock. Clones share the network.
#[derive(Debug, Clone)]
pub struct Sim {
    pub(crate) world: Rc<RefCell<World>>,
}

impl Sim {
    /// Creates a network without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_faults(seed, Faults::default())
    }

    /// Creates a network with faults, which the seed places.
    #[must_use]
    pub fn with_faults(seed: u64, faults: Faults) -> Self {
        let world = World::new(seed, faults, crate::net::mio::beginning());
        Self { world: Rc::new(RefCell::new(world)) }
    }

    /// Returns the reactor's side of the network, for [`Reactor::with_net`].
    #[must_use]
    pub fn net(&self) -> SimNet {
        SimNet { world: Rc::clone(&self.world), has_rung: Arc::default(), waker_token: None }
    }

    /// Returns the address of a port to listen on.
    #[must_use]
    pub fn addr(&self, port: u16) -> Address {
        Address::Tcp(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
    }

    /// Connects a new peer, which has its own address. Returns `None` if the reactor does not listen on that port.
    #[must_use]
    pub fn connect(&self, port: u16) -> Option<Peer> {
        self.connect_from(port, self.next_ip())
    }

    /// Returns the address of the next peer.
    fn next_ip(&self) -> Ipv4Addr {
        let number = self.world.borrow().sockets.len() as u32;
        Ipv4Addr::from_bits(0x0a00_0000 | (number & 0x00ff_ffff))
    }

    /// Connects a new peer from a given address. Returns `None` if the reactor does not listen on that port.
    #[must_use]
    pub fn connect_from(&self, port: u16, ip: impl Into<IpAddr>) -> Option<Peer> {
        let peer = PeerAddr::from(SocketAddr::new(ip.into(), 40_000));
        let socket = self.world.borrow_mut().connect(port, peer)?;
        Some(Peer { world: Rc::clone(&self.world), socket })
    }

    /// Connects a new peer elsewhere, and lets the reactor adopt the server's end, as [`Reactor::adopt_stream`] does.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::adopt_stream`].
    pub fn adopt<H: Handler>(
        &self,
        reactor: &mut Reactor<H, SimNet>,
        unread: &[u8],
    ) -> Result<(ConnId, Peer), AdoptError> {
        self.adopt_from(self.next_ip(), reactor, unread)
    }

    pub(crate) fn adopt_from<H: Handler>(
        &self,
        ip: Ipv4Addr,
        reactor: &mut Reactor<H, SimNet>,
        unread: &[u8],
    ) -> Result<(ConnId, Peer), AdoptError> {
        let peer = PeerAddr::from(SocketAddr::new(ip.into(), 40_000));
        let socket = self.world.borrow_mut().connect_elsewhere(peer.clone());
        let stream = SimStream { world: Rc::clone(&self.world), socket };
        let id = reactor.adopt(stream, peer, unread)?;
        Ok((id, Peer { world: Rc::clone(&self.world), socket }))
    }

    /// Returns the other end of the next dialed connection that is established, in order; `None` if there is none.
    #[must_use]
    pub fn dialed(&self) -> Option<Peer> {
        let socket = self.world.borrow_mut().answered.pop_front()?;
        Some(Peer { world: Rc::clone(&self.world), socket })
    }

    /// Advances the clock.
    pub fn advance(&self, duration: Duration) {
        self.world.borrow_mut().now += duration;
    }

    /// Returns the current instant.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.world.borrow().now
    }

    /// Sets the faults that happen from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.borrow_mut().faults = faults;
    }

    /// Sets which edges are reported from now on. Default [`Edges::Strict`].
    pub fn set_edges(&self, edges: Edges) {
        self.world.borrow_mut().edges = edges;
    }

    /// Sets the size of each send buffer: how many bytes the kernel accepts that the peer does not read. Default 16 KiB.
    pub fn set_send_buffer_bytes(&self, bytes: usize) {
        self.world.borrow_mut().send_buffer_bytes = bytes;
    }

    /// Sets whether new connections are Unix sockets, where ancillary data that shortens a read is not reported. Default
    /// `false`: TCP.
    pub fn set_local(&self, is_local: bool) {
        self.world.borrow_mut().is_local = is_local;
    }

    /// Returns how many sockets the server has accepted or dialed, and neither closed nor detached.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        let world = self.world.borrow();
        let is_open = |socket: &&Socket| socket.is_accepted && !socket.server_has_closed && !socket.is_detached;
        world.sockets.iter().filter(is_open).count()
    }

    /// Runs turns until the reactor has nothing to do before time passes or a peer acts. Its net is [`net`](Self::net), or
    /// [wrapped](crate::net::Wrapped) around that.
    ///
    /// # Errors
    ///
    /// As for [`Reactor::turn`]; [`Error::Poll`] if the reactor is still busy after 100,000 turns.
    pub fn settle<H: Handler, N: Net>(&self, reactor: &mut Reactor<H, N>) -> Result<Turn, Error> {
        for _ in 0..SETTLE_TURNS_MAX {
            if reactor.turn(Some(Duration::ZERO))? == Turn::Done {
                return Ok(Turn::Done);
            }
            let is_due = reactor.next_deadline().is_some_and(|due| due <= self.now());
            if !is_due && !self.world.borrow().has_pending() {
                return Ok(Turn::Running);
            }
        }
        Err(Error::Poll(io::Error::other("the reactor does not come to rest")))
    }
}

/// Far more turns than the work of any test needs.
const SETTLE_TURNS_MAX: usize = 100_000;

/// Controls the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    world: Rc<RefCell<World>>,
    pub(crate) socket: usize,
}

impl Peer {
    /// Returns the peer's address, as the server sees it.
    #[must_use]
    pub fn addr(&self) -> PeerAddr {
        self.world.borrow().sockets[self.socket].peer.clone()
    }

    /// Sends bytes.
    pub fn send(&self, bytes: &[u8]) {
        self.world.borrow_mut().peer_sends(self.socket, bytes);
    }

    /// Reads all bytes that have arrived.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        self.receive_some(usize::MAX)
    }

    /// Reads at most `len_max` of the bytes that have arrived.
    #[must_use]
    pub fn receive_some(&self, len_max: usize) -> Vec<u8> {
        self.world.borrow_mut().peer_reads(self.socket, len_max)
    }

    /// Sends urgent data (`MSG_OOB`), or ancillary data on a Unix socket (`SCM_RIGHTS`). It is no part of the stream, but a read
    /// that has returned bytes before it stops there.
    pub fn mark(&self) {
        self.world.borrow_mut().peer_marks(self.socket);
    }

    /// Sends FIN.
    pub fn finish(&self) {
        self.world.borrow_mut().peer_finishes(self.socket);
    }

    /// Sends RST.
    pub fn reset(&self) {
        self.world.borrow_mut().peer_resets(self.socket);
    }

    /// Returns whether the server has sent FIN, and everything before it was read.
    #[must_use]
    pub fn has_server_finished(&self) -> bool {
        let mut world = self.world.borrow_mut();
        world.close_dropped();
        let socket = &world.sockets[self.socket];
        socket.server_has_finished && socket.outbound_len() == 0
    }

    /// Returns whether the server has detached the connection, and other code still has it.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        let mut world = self.world.borrow_mut();
        world.close_dropped();
        let socket = &world.sockets[self.socket];
        socket.is_detached && !socket.server_has_closed
    }

    /// Returns whether the connection was reset, by either end.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.world.borrow().sockets[self.socket].is_reset
    }

    /// Returns how many reads and writes the server has made on this connection.
    #[must_use]
    pub fn calls(&self) -> (u64, u64) {
        let world = self.world.borrow();
        let socket = &world.sockets[self.socket];
        (socket.past.reads, socket.past.writes)
    }
}

/// Provides the sockets and the clock of a [`Sim`] to a reactor.
pub struct SimNet {
    world: Rc<RefCell<World>>,
    has_rung: Arc<AtomicBool>,
    waker_token: Option<usize>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").finish_non_exhaustive()
    }
}

impl Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;
    type Wake = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    /// Never waits. Without an event, it advances the clock by the timeout.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        if let Some(token) = self.waker_token
            && self.has_rung.swap(false, Ordering::AcqRel)
        {
            world.ring(token);
        }
        world.poll(timeout);
        Ok(())
    }

    fn events(&self) -> impl Iterator<Item = Ready> {
        self.world.borrow().reported.clone().into_iter()
    }

    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        _options: &ListenOptions,
        token: usize,
    ) -> io::Result<(SimListener, Address)> {
        let Address::Tcp(socket_addr) = addr else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let index = self.world.borrow_mut().listen(socket_addr.port(), token, config.events_per_turn)?;
        Ok((SimListener { world: Rc::clone(&self.world), index }, addr.clone()))
    }

    fn accept(&mut self, listener: &SimListener, _config: &Config) -> io::Result<(SimStream, PeerAddr)> {
        let mut world = self.world.borrow_mut();
        let socket = world.accept(listener.index)?;
        let peer = world.sockets[socket].peer.clone();
        Ok((SimStream { world: Rc::clone(&self.world), socket }, peer))
    }

    fn dial(&mut self, to: &Address, _from: Option<IpAddr>, _config: &Config) -> io::Result<SimStream> {
        let socket = self.world.borrow_mut().dial(PeerAddr::from(to));
        Ok(SimStream { world: Rc::clone(&self.world), socket })
    }

    fn is_connected(&self, stream: &SimStream) -> io::Result<bool> {
        self.world.borrow().is_connected(stream.socket)
    }

    fn register(&mut self, stream: &mut SimStream, token: usize) -> io::Result<()> {
        self.world.borrow_mut().register(stream.socket, token)
    }

    fn release(&mut self, stream: SimStream) -> Released {
        let lease = Lease::default();
        self.world.borrow_mut().release(stream.socket, &lease);
        Released { fd: None, lease: Some(lease) }
    }

    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        self.waker_token = Some(token);
        let has_rung = Arc::clone(&self.has_rung);
        Ok(Box::new(move || {
            has_rung.store(true, Ordering::Release);
            Ok(())
        }))
    }
}

/// Holds a simulated listening socket.
#[derive(Debug)]
pub struct SimListener {
    world: Rc<RefCell<World>>,
    index: usize,
}

impl Drop for SimListener {
    /// Resets the connections in the listen queue (`tcp(7)`).
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        let listener = &mut world.listeners[self.index];
        listener.is_open = false;
        for socket in std::mem::take(&mut listener.queue) {
            world.peer_resets(socket);
            world.close(socket);
        }
    }
}

/// Holds the server's end of a simulated connection.
#[derive(Debug)]
pub struct SimStream {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) socket: usize,
}

impl Read for SimStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.world.borrow_mut().read(self.socket, buf)
    }
}

impl Write for SimStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.world.borrow_mut().write(self.socket, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for SimStream {
    fn local_addr(&self) -> Option<SocketAddr> {
        let socket = &self.world.borrow().sockets[self.socket];
        let port = socket.port.filter(|_| !socket.is_local)?;
        Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
    }

    fn short_read_drains(&self) -> bool {
        !self.world.borrow().sockets[self.socket].is_local
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.world.borrow_mut().shutdown_write(self.socket)
    }

    fn has_input(&mut self) -> bool {
        let socket = &self.world.borrow().sockets[self.socket];
        socket.inbound_len() > 0 || socket.is_read_closed()
    }

    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        Ok(Some(self.world.borrow().sockets[self.socket].outbound_len()))
    }

    fn reset(&mut self) {
        self.world.borrow_mut().reset_by_server(self.socket);
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        if !world.sockets[self.socket].is_detached {
            world.close(self.socket);
        }
    }
}
