//! Addresses: where a reactor listens, where it dials, and who a peer is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddr {
    /// An IPv4 or IPv6 address with a port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket (`unix(7)`).
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

/// Whom to connect to, for [`Peers::dial`](crate::Peers::dial).
///
/// ```
/// use frameloop::Dial;
///
/// let server: std::net::SocketAddr = "127.0.0.1:7007".parse()?;
/// let dial = Dial::to(server).from_ip("127.0.0.2".parse()?);
/// assert_eq!(dial.to_string(), "127.0.0.1:7007 from 127.0.0.2");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dial {
    pub(crate) to: ListenAddr,
    pub(crate) from: Option<IpAddr>,
}

impl Dial {
    /// To somebody who listens there.
    #[must_use]
    pub fn to(addr: impl Into<ListenAddr>) -> Self {
        Self { to: addr.into(), from: None }
    }

    /// From this address of our own, instead of one that the kernel chooses. It has no effect on a Unix socket.
    ///
    /// There are some 28,000 ports to one destination for each address (`net.ipv4.ip_local_port_range`). The port is
    /// chosen when the connection is made, so that one port can serve connections to several destinations
    /// (`IP_BIND_ADDRESS_NO_PORT`, `ip(7)`).
    #[must_use]
    pub fn from_ip(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(ip) => write!(f, "{} from {ip}", self.to),
            None => self.to.fmt(f),
        }
    }
}

/// Who is at the other end of a connection.
///
/// An IPv6 address is boxed, so that a connection does not carry room for one that it has not got.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    V4(Ipv4Addr, u16),
    Other(Box<SocketAddr>),
    Unnamed,
}

impl PeerAddr {
    /// A peer on this machine that has no address: the far end of a Unix socket.
    pub const UNNAMED: Self = Self(Kind::Unnamed);

    /// The socket address; `None` for a Unix socket.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::V4(ip, port) => Some(SocketAddr::V4(SocketAddrV4::new(*ip, *port))),
            Kind::Other(addr) => Some(**addr),
            Kind::Unnamed => None,
        }
    }

    /// The IP address, an IPv4 address mapped into IPv6 (RFC 4291, section 2.5.5.2) as IPv4; `None` for a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip().to_canonical())
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => Self(Kind::V4(*v4.ip(), v4.port())),
            SocketAddr::V6(_) => Self(Kind::Other(Box::new(addr))),
        }
    }
}

impl From<&ListenAddr> for PeerAddr {
    fn from(addr: &ListenAddr) -> Self {
        match addr {
            ListenAddr::Tcp(addr) => Self::from(*addr),
            ListenAddr::Unix(_) => Self::UNNAMED,
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket_addr() {
            Some(addr) => addr.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in ["127.0.0.1:7007", "[::1]:7007"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(ListenAddr::from(addr).to_string(), text);
            assert_eq!(PeerAddr::from(addr).to_string(), text);
            assert_eq!(PeerAddr::from(addr).socket_addr(), Some(addr));
        }
        assert_eq!(PeerAddr::UNNAMED.to_string(), "unix");
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_counts_as_the_ipv4_address() {
        let addr: SocketAddr = "[::ffff:192.0.2.1]:1".parse().unwrap();
        assert_eq!(PeerAddr::from(addr).ip(), Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_peer_takes_sixteen_bytes_of_its_connection() {
        assert_eq!(size_of::<PeerAddr>(), 16);
    }
}
