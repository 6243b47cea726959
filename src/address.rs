//! Addresses of listeners, outbound connections and peers.

mod explained;
mod unix;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use crate::address::explained::is_mapped;
pub(crate) use crate::address::unix::{UnixAddr, connect as connect_unix};

use crate::config::{Config, ConfigError};
use crate::options::{Limits, check_framing};
use crate::wire::Framing;

/// Holds an address to listen on or to dial.
///
/// It is parsed from `IP:PORT`, or from `unix:` and a path. A name is not resolved, because that would block.
///
/// # Examples
///
/// ```
/// use frameloop::Address;
///
/// for text in ["127.0.0.1:7007", "[::1]:0", "unix:/run/echo.sock", "unix:@echo"] {
///     assert_eq!(text.parse::<Address>()?.to_string(), text);
/// }
/// # Ok::<(), frameloop::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IPv4 or IPv6 address with a port. For a listener, port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket (`unix(7)`), of at most [`UNIX_LEN_MAX`](Self::UNIX_LEN_MAX) bytes.
    ///
    /// On Linux, `@name` is an abstract name, which is no file: any process in the same network namespace may connect, and
    /// there is no file to remove. Write `./@name` for a file whose name begins with `@`.
    Unix(PathBuf),
}

impl Address {
    /// The longest path of a Unix socket, or abstract name without its `@`, in bytes: 107 on Linux.
    pub const UNIX_LEN_MAX: usize = unix::LEN_MAX;
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => UnixAddr::of(path).fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Parses `IP:PORT`, such as `127.0.0.1:7007` or `[::1]:7007`, or `unix:` and a path, as [`Display`](fmt::Display) writes
    /// them.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some(path) => match UnixAddr::of(path.as_ref()).socket_addr() {
                Ok(_) => Ok(Self::Unix(path.into())),
                Err(error) => Err(AddressError(format!("{text:?} is not an address: {error}"))),
            },
            None => text.parse().map(Self::Tcp).map_err(|_| {
                AddressError(format!("{text:?} is not an address: write IP:PORT, such as 127.0.0.1:7007, or unix:PATH"))
            }),
        }
    }
}

/// Reports that a text is not an [`Address`]. It displays the text and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

/// Explains why listening on an address failed, and what to do.
pub(crate) fn explain_listen(addr: &Address, error: io::Error) -> io::Error {
    match addr {
        Address::Tcp(addr) => explained::explain_tcp(*addr, error),
        Address::Unix(path) => unix::explain_listen(path, error),
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

/// Describes an outbound connection to open, for [`Context::dial`](crate::Context::dial).
///
/// # Examples
///
/// ```
/// use frameloop::Dial;
///
/// let server: std::net::SocketAddr = "127.0.0.1:7007".parse()?;
/// let dial = Dial::to(server).bind("127.0.0.2".parse()?);
/// assert_eq!(dial.to_string(), "127.0.0.1:7007 from 127.0.0.2");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dial {
    to: Targets,
    from: Option<IpAddr>,
    // A box, so that a dial without options takes no room for them.
    options: Option<Box<DialOptions>>,
}

/// What the connection has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct DialOptions {
    pub(crate) framing: Framing,
    pub(crate) limits: Option<Limits>,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Targets {
    One(Address),
    AnyOf(VecDeque<SocketAddr>),
}

impl Dial {
    /// Creates a dial to one address.
    #[must_use]
    pub fn to(addr: impl Into<Address>) -> Self {
        Self { to: Targets::One(addr.into()), from: None, options: None }
    }

    /// Creates a dial to the first of several addresses that accepts.
    ///
    /// They are tried one after the other, in this order, each for the whole
    /// [`connect_timeout`](crate::ConfigBuilder::connect_timeout). If an attempt fails because of its address, the next one
    /// follows; the dial fails with the error of the last. An empty list fails with [`DialError::NoAddress`].
    ///
    /// For a name, pass all its addresses, in the order of RFC 8305, section 4. Resolve it before, on another thread, because
    /// that blocks.
    ///
    /// [`DialError::NoAddress`]: crate::DialError::NoAddress
    #[must_use]
    pub fn any_of(addrs: Vec<SocketAddr>) -> Self {
        Self { to: Targets::AnyOf(addrs.into()), from: None, options: None }
    }

    /// Sets the local address to connect from. By default the kernel chooses. It has no effect on a Unix socket.
    ///
    /// For each local address there are about 28,000 ports to one destination (`net.ipv4.ip_local_port_range`). The kernel
    /// chooses the port at `connect`, so connections to several destinations can share it (`IP_BIND_ADDRESS_NO_PORT`,
    /// `ip(7)`).
    #[must_use]
    pub fn bind(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }

    /// Sets where a frame ends. Default [`Framing::default`]: a 4-byte big-endian length.
    #[must_use]
    pub fn framing(mut self, framing: impl Into<Framing>) -> Self {
        self.options.get_or_insert_default().framing = framing.into();
        self
    }

    /// Sets the limits of the connection. Default: those of the [`Config`](crate::Config).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.get_or_insert_default().limits = Some(limits);
        self
    }

    /// Sets how long an attempt to connect may take. Default: [`connect_timeout`](crate::ConfigBuilder::connect_timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.get_or_insert_default().timeout = Some(timeout);
        self
    }

    /// Checks the options against the settings of a reactor.
    pub(crate) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let Some(options) = &self.options else { return Ok(()) };
        check_framing(options.framing)?;
        if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(ConfigError::new("timeout", "0 s", "more than 0 s"));
        }
        options.limits.map_or(Ok(()), |limits| limits.check(config))
    }

    pub(crate) fn options(&self) -> Option<&DialOptions> {
        self.options.as_deref()
    }

    /// Returns the local address, if one is set.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.from
    }

    /// Takes the address to try next. Addresses of another family than the source are skipped if there are others.
    pub(crate) fn take_next(&mut self) -> Option<Address> {
        let from = self.from;
        let fits = |to: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == to.is_ipv4());
        match std::mem::replace(&mut self.to, Targets::AnyOf(VecDeque::new())) {
            Targets::One(to) => Some(to),
            Targets::AnyOf(mut addrs) => {
                if addrs.iter().any(fits) {
                    addrs.retain(fits);
                }
                let next = addrs.pop_front();
                self.to = Targets::AnyOf(addrs);
                next.map(Address::Tcp)
            }
        }
    }

    /// Whether [`take_next`](Self::take_next) will return an address.
    pub(crate) fn has_next(&self) -> bool {
        match &self.to {
            Targets::One(_) => true,
            Targets::AnyOf(addrs) => !addrs.is_empty(),
        }
    }
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Targets::One(to) => to.fmt(f)?,
            Targets::AnyOf(addrs) => {
                for (at, to) in addrs.iter().enumerate() {
                    write!(f, "{}{to}", if at == 0 { "" } else { ", " })?;
                }
            }
        }
        self.from.map_or(Ok(()), |ip| write!(f, " from {ip}"))
    }
}

/// Holds the address of a peer, in 16 bytes.
///
/// An IPv4 address mapped into IPv6 (RFC 4291, section 2.5.5.2) becomes the IPv4 address. An IPv6 address is boxed, so that
/// other connections need no room for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddr(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    V4(Ipv4Addr, u16),
    Other(Box<SocketAddr>),
    Unnamed,
}

impl PeerAddr {
    /// The address of a peer that has none: the other end of a Unix socket.
    pub const UNNAMED: Self = Self(Kind::Unnamed);

    /// Returns the socket address; `None` for a Unix socket.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::V4(ip, port) => Some(SocketAddr::V4(SocketAddrV4::new(*ip, *port))),
            Kind::Other(addr) => Some(**addr),
            Kind::Unnamed => None,
        }
    }

    /// Returns the IP address; `None` for a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.socket_addr().map(|addr| addr.ip())
    }
}

impl From<SocketAddr> for PeerAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Self(Kind::V4(ip, addr.port())),
            IpAddr::V6(_) => Self(Kind::Other(Box::new(addr))),
        }
    }
}

impl From<&Address> for PeerAddr {
    fn from(addr: &Address) -> Self {
        match addr {
            Address::Tcp(addr) => Self::from(*addr),
            Address::Unix(_) => Self::UNNAMED,
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
            assert_eq!(Address::from(addr).to_string(), text);
            assert_eq!(PeerAddr::from(addr).to_string(), text);
            assert_eq!(PeerAddr::from(addr).socket_addr(), Some(addr));
        }
        assert_eq!(PeerAddr::UNNAMED.to_string(), "unix");
    }

    #[test]
    fn text_that_is_no_address_is_an_error_with_what_to_write() {
        let problem = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        for text in ["", "7007", "localhost:7007", "127.0.0.1", "127.0.0.1:65536", "::1:7007", "unix", "/run/echo.sock"]
        {
            let allowed = "write IP:PORT, such as 127.0.0.1:7007, or unix:PATH";
            assert_eq!(problem(text), format!("{text:?} is not an address: {allowed}"));
        }
        assert_eq!(problem("unix:"), "\"unix:\" is not an address: the path is empty");
        assert!(problem(&format!("unix:{}", "x".repeat(108))).contains("has 108 bytes and may have 107"));
        assert!(problem("unix:a\0b").contains("a byte of zero"));
    }

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address() {
        let addr: SocketAddr = "[::ffff:192.0.2.1]:1".parse().unwrap();
        let peer = PeerAddr::from(addr);
        assert_eq!(peer.ip(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(peer, PeerAddr::from("192.0.2.1:1".parse::<SocketAddr>().unwrap()));
        assert_eq!(peer.to_string(), "192.0.2.1:1");
    }

    #[test]
    fn dial_of_several_addresses_keeps_to_its_sources_family() {
        let addrs: Vec<SocketAddr> =
            ["[::1]:1", "127.0.0.1:1", "[::1]:2", "127.0.0.1:2"].map(|text| text.parse().unwrap()).into();
        let given = |dial: Dial| {
            let mut dial = dial;
            let mut given = Vec::new();
            while dial.has_next() {
                given.extend(dial.take_next().map(|addr| addr.to_string()));
            }
            assert_eq!(dial.take_next(), None);
            given
        };
        assert_eq!(given(Dial::any_of(addrs.clone())), ["[::1]:1", "127.0.0.1:1", "[::1]:2", "127.0.0.1:2"]);
        let from = |ip: &str| Dial::any_of(addrs.clone()).bind(ip.parse().unwrap());
        assert_eq!(given(from("127.0.0.2")), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(from("127.0.0.2").to_string(), "[::1]:1, 127.0.0.1:1, [::1]:2, 127.0.0.1:2 from 127.0.0.2");
        let only_v6 = Dial::any_of(vec![addrs[0]]).bind([127, 0, 0, 2].into());
        assert_eq!(given(only_v6), ["[::1]:1"], "the attempt fails, with the cause");
        assert_eq!(given(Dial::any_of(Vec::new())), Vec::<String>::new());
        assert_eq!(given(Dial::to(addrs[1])), ["127.0.0.1:1"]);
    }

    #[test]
    fn a_peer_takes_sixteen_bytes_of_its_connection() {
        assert_eq!(size_of::<PeerAddr>(), 16);
    }
}
