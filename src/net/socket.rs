//! Sockets of connections, and their options.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::address::{Address, UnixAddr};
use crate::config::Config;
use crate::conn::io::Transport;
use crate::error::NotLocal;
use crate::net::kernel;
use crate::net::owner::Owner;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::net::unix_queue;

/// Whether the readiness queue reports urgent data, at whose mark a read stops. Elsewhere it has to be expected at any time.
const URGENT_DATA_IS_REPORTED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How many bytes the kernel may hold for a slow peer beyond the peer's window: two chunks (`TCP_NOTSENT_LOWAT`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_SLOW: u32 = 128 << 10;

/// The flag with which a write raises no SIGPIPE. Apple's systems have a socket option instead, which is set when a socket is
/// made.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: i32 = 0;

/// Holds the TCP or Unix socket of a connection.
///
/// In the process that made the socket, dropping it shuts the connection down, even while a forked child has a copy. In any
/// other process, and after a [reset](Transport::reset), it only closes the descriptor.
#[derive(Debug)]
pub struct Stream {
    /// `None` only while a stream is dropped whose socket was released.
    connected: Option<Connected>,
}

#[derive(Debug)]
enum Connected {
    Tcp(TcpStream, Owner),
    Unix(UnixStream, Owner),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self { connected: Some(Connected::Tcp(stream, Owner::this_process())) }
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self { connected: Some(Connected::Unix(stream, Owner::this_process())) }
    }

    /// Returns the descriptor, which is not shut down.
    pub(crate) fn into_fd(mut self) -> OwnedFd {
        match self.connected.take() {
            Some(Connected::Tcp(stream, _)) => stream.into(),
            Some(Connected::Unix(stream, _)) => stream.into(),
            None => unreachable!("a stream is released once"),
        }
    }

    #[inline]
    fn connected(&self) -> &Connected {
        match &self.connected {
            Some(connected) => connected,
            None => unreachable!("a stream whose socket was released is only dropped"),
        }
    }

    #[inline]
    fn connected_mut(&mut self) -> &mut Connected {
        match &mut self.connected {
            Some(connected) => connected,
            None => unreachable!("a stream whose socket was released is only dropped"),
        }
    }

    /// Begins to connect.
    pub(crate) fn connect(to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Self> {
        match to {
            Address::Tcp(to) => {
                let socket = Socket::new(Domain::for_address(*to), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(true)?;
                set_options(&SockRef::from(&socket), config)?;
                if let Some(from) = from {
                    choose_port_late(&socket)?;
                    socket.bind(&SocketAddr::new(from, 0).into()).map_err(|error| match error.kind() {
                        io::ErrorKind::AddrNotAvailable => io::Error::other(NotLocal),
                        _ => error,
                    })?;
                }
                match socket.connect(&(*to).into()) {
                    Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
                    Ok(()) | Err(_) => Ok(Stream::tcp(TcpStream::from_std(socket.into()))),
                }
            }
            Address::Unix(path) => UnixStream::connect_addr(&UnixAddr::of(path).socket_addr()?).map(Stream::unix),
        }
    }

    /// Whether the connection is established. An error means that the attempt has failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let (error, peer) = match self.connected() {
            Connected::Tcp(stream, _) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Connected::Unix(stream, _) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self.connected_mut() {
            Connected::Tcp(stream, _) => stream,
            Connected::Unix(stream, _) => stream,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self.connected() {
            Connected::Tcp(stream, _) => stream.as_fd(),
            Connected::Unix(stream, _) => stream.as_fd(),
        }
    }

    fn socket(&self) -> SockRef<'_> {
        match self.connected() {
            Connected::Tcp(stream, _) => SockRef::from(stream),
            Connected::Unix(stream, _) => SockRef::from(stream),
        }
    }

    pub(crate) fn owner_mut(&mut self) -> &mut Owner {
        let (Connected::Tcp(_, owner) | Connected::Unix(_, owner)) = self.connected_mut();
        owner
    }

    /// Notes a reset, which ends both directions.
    #[cold]
    fn note_failed(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionReset {
            self.owner_mut().note_reset();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(Connected::Tcp(_, owner) | Connected::Unix(_, owner)) = &self.connected else { return };
        if owner.must_shut_down() {
            // It fails if the connection was never established.
            let _ = self.socket().shutdown(Shutdown::Both);
        }
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outcome = match self.connected_mut() {
            Connected::Tcp(stream, _) => stream.read(buf),
            Connected::Unix(stream, _) => stream.read(buf),
        };
        match &outcome {
            Ok(0) if !buf.is_empty() => self.owner_mut().note_peer_finished(),
            Ok(_) => {}
            Err(error) => self.note_failed(error),
        }
        outcome
    }
}

impl Write for Stream {
    /// Never raises SIGPIPE: the standard library writes to sockets with `MSG_NOSIGNAL` where there is such a flag.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.connected_mut() {
            Connected::Tcp(stream, _) => stream.write(buf),
            Connected::Unix(stream, _) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Stream {
    fn local_addr(&self) -> Option<SocketAddr> {
        match self.connected() {
            Connected::Tcp(stream, _) => stream.local_addr().ok(),
            Connected::Unix(..) => None,
        }
    }

    /// Never raises SIGPIPE either: the standard library's vectored write would (`sendmsg(2)`).
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket().send_vectored_with_flags(pieces, NO_SIGNAL)
    }

    #[inline]
    fn short_read_drains(&self) -> bool {
        URGENT_DATA_IS_REPORTED && matches!(self.connected, Some(Connected::Tcp(..)))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)?;
        self.owner_mut().note_finished();
        Ok(())
    }

    fn has_input(&mut self) -> bool {
        let found = self.socket().peek(&mut [MaybeUninit::uninit()]);
        !found.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Connected::Unix(stream, _) = self.connected()
            && let Some(unread) = unix_queue::unread_bytes(stream.as_fd())
        {
            return Ok(Some(unread));
        }
        kernel::unacknowledged_bytes(self.fd())
    }

    fn unacknowledged_bytes_max(&self) -> io::Result<Option<usize>> {
        kernel::unacknowledged_bytes(self.fd())
    }

    fn limit_unsent(&mut self, is_limited: bool) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if matches!(self.connected, Some(Connected::Tcp(..))) {
            // 0: the machine's setting (`tcp(7)`). Where it fails, the send buffer is the bound.
            let _ = self.socket().set_tcp_notsent_lowat(if is_limited { UNSENT_BYTES_SLOW } else { 0 });
        }
        let _ = is_limited;
    }

    fn reset(&mut self) {
        let Connected::Tcp(_, owner) = self.connected() else { return };
        if owner.is_this_process() && kernel::disconnect(self.fd()).is_err() {
            // Then the close sends RST, if no other process has the socket.
            let _ = self.socket().set_linger(Some(Duration::ZERO));
        }
    }
}

/// Whether an accepted socket has the options of its listener: true on Linux, where it begins as a copy of it. So no
/// connection costs a system call for them. A test holds this to be true.
pub(crate) const OPTIONS_ARE_INHERITED: bool = cfg!(target_os = "linux");

/// Output leaves immediately: all replies of a turn are one write, which Nagle's algorithm (RFC 1122, section 4.2.3.4) would
/// only delay.
pub(crate) fn set_options(socket: &SockRef<'_>, config: &Config) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    match config.keepalive {
        Some(idle) => socket.set_tcp_keepalive(&keepalive(idle)),
        None => Ok(()),
    }
}

/// The probes that a silent peer may leave without an answer.
const KEEPALIVE_PROBES: u32 = 5;

/// Rule: the setting decides when a dead peer is found, and nothing is left to the machine's settings, which on Linux would
/// add 11 minutes (`tcp(7)`: 9 probes, 75 s apart). The probes together take as long as the silence before them, or 5 s.
fn keepalive(idle: Duration) -> TcpKeepalive {
    let interval = Duration::from_secs((idle.as_secs() / u64::from(KEEPALIVE_PROBES)).max(1));
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(KEEPALIVE_PROBES)
}

/// Lets the kernel choose the port when it knows the destination as well: then one port serves several destinations, and a
/// table that is nearly full costs no search (`IP_BIND_ADDRESS_NO_PORT`, `ip(7)`).
#[cfg(all(target_os = "linux", feature = "load"))]
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
    Ok(setsockopt(socket, IpBindAddressNoPort, &true)?)
}

#[cfg(not(all(target_os = "linux", feature = "load")))]
fn choose_port_late(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::mio::Mio;
    use crate::net::seam::Net;

    #[test]
    fn stream_that_can_be_released_is_no_larger() {
        assert_eq!(size_of::<Stream>(), size_of::<Connected>());
    }

    fn accepted(config: &Config) -> (Stream, std::net::TcpStream) {
        let mut net = Mio::new(config).unwrap();
        let any = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let (listener, bound) = net.listen(&any, config, &crate::options::ListenOptions::default(), 0).unwrap();
        let Address::Tcp(addr) = bound else { panic!("{bound} is no TCP address") };
        let client = std::net::TcpStream::connect(addr).unwrap();
        while net.events().next().is_none() {
            net.poll(None).unwrap();
        }
        (net.accept(&listener, config).unwrap().0, client)
    }

    #[test]
    fn an_accepted_socket_has_the_options_of_its_listener() {
        let config = Config::builder().keepalive(Some(Duration::from_secs(77))).build().unwrap();
        let (stream, _client) = accepted(&config);
        assert!(stream.socket().tcp_nodelay().unwrap());
        assert_probed(&stream, 77, 15);
    }

    #[track_caller]
    fn assert_probed(stream: &Stream, idle: u64, interval: u64) {
        let socket = stream.socket();
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(idle));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(interval));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[test]
    fn keepalive_sets_interval_and_probes() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (idle, interval) in [(1, 1), (4, 1), (5, 1), (9, 1), (10, 2), (60, 12), (7_200, 1_440), (32_767, 6_553)] {
            let config = Config::builder().keepalive(Some(Duration::from_secs(idle))).build().unwrap();
            let (stream, _client) = accepted(&config);
            assert_probed(&stream, idle, interval);
            let to = Address::Tcp(server.local_addr().unwrap());
            let stream = Mio::new(&config).unwrap().dial(&to, None, &config).unwrap();
            assert_probed(&stream, idle, interval);
            assert!(interval * u64::from(KEEPALIVE_PROBES) <= idle.max(5));
        }
        let (stream, _client) = accepted(&Config::default());
        assert!(!stream.socket().keepalive().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn limited_stream_takes_little_that_the_peer_does_not_read() {
        let (mut stream, _client) = accepted(&Config::default());
        // The client's window, and what is not sent.
        let [limited, more] = [true, false].map(|is_limited| {
            stream.limit_unsent(is_limited);
            std::iter::from_fn(|| stream.write(&[7; 4 << 10]).ok()).sum::<usize>()
        });
        assert!(limited < 1 << 20, "{limited} bytes were taken");
        assert!(more > limited, "{more} bytes were taken without a limit");
        assert_eq!(stream.unacknowledged_bytes().unwrap().map(|bytes| bytes <= limited + more), Some(true));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn unacknowledged_bytes_are_those_that_the_peers_kernel_has_not() {
        use std::io::Read;

        let (mut stream, mut client) = accepted(&Config::default());
        stream.write_all(&[7; 1_000]).unwrap();
        client.read_exact(&mut [0; 1_000]).unwrap();
        // On loopback the acknowledgment has come with the write.
        assert_eq!(stream.unacknowledged_bytes().unwrap(), Some(0));
        let mut taken = 0;
        while let Ok(len) = stream.write(&[7; 64 << 10]) {
            taken += len;
        }
        let pending = stream.unacknowledged_bytes().unwrap().unwrap();
        assert!(pending > 0 && pending < taken, "{pending} of {taken} bytes");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reset_reaches_the_peer_while_another_descriptor_is_open() {
        use std::io::Read;

        let (mut stream, mut client) = accepted(&Config::default());
        while stream.write(&[7; 64 << 10]).is_ok() {}
        let held = stream.fd().try_clone_to_owned().unwrap();
        stream.reset();
        drop(stream);
        let outcome = client.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert_eq!(outcome, Err(io::ErrorKind::ConnectionReset));
        drop(held);
    }
}
