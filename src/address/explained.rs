//! Explanations of the kernel's errors about addresses.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// An error with its cause and its remedy in words.
#[derive(Debug)]
pub(crate) struct Explained {
    text: String,
    source: io::Error,
}

impl Explained {
    /// Replaces the kernel's text; the kind stays, and the kernel's error is the source.
    pub(crate) fn error(source: io::Error, text: impl Into<String>) -> io::Error {
        io::Error::new(source.kind(), Self { text: text.into(), source })
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Explains why listening on a TCP address failed, and what to do.
pub(super) fn explain_tcp(addr: SocketAddr, error: io::Error) -> io::Error {
    let (ip, port) = (addr.ip(), addr.port());
    let remedy = match error.kind() {
        _ if is_mapped(addr) => {
            let text = format!("an IPv4-mapped IPv6 address cannot be listened on: use {}", canonical(addr));
            return Explained::error(error, text);
        }
        ErrorKind::AddrInUse => {
            "another socket has the port: stop its server (ss -ltnp shows it), or use another port".into()
        }
        ErrorKind::AddrNotAvailable => {
            format!("{ip} is not an address of this machine: use one that is (ip address), or an unspecified one")
        }
        ErrorKind::PermissionDenied if port < 1_024 => {
            "a port below 1024 requires root or CAP_NET_BIND_SERVICE: use a higher one".into()
        }
        // The kernel returns EINVAL for both.
        ErrorKind::InvalidInput if is_without_zone(addr) => {
            format!("{ip} is a link-local address and needs its interface: use [{ip}%INTERFACE]:{port}")
        }
        _ if error.raw_os_error() == Some(libc::ENODEV) => "there is no interface with this number".into(),
        _ => return error,
    };
    let text = format!("{error}: {remedy}");
    Explained::error(error, text)
}

/// Whether it is an IPv4 address mapped into IPv6 (RFC 4291, section 2.5.5.2). IPv6 listeners take IPv6 only.
pub(crate) fn is_mapped(addr: SocketAddr) -> bool {
    addr.is_ipv6() && addr.ip().to_canonical().is_ipv4()
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Whether it is a link-local address without an interface.
fn is_without_zone(addr: SocketAddr) -> bool {
    match (addr, addr.ip()) {
        (SocketAddr::V6(addr), IpAddr::V6(ip)) => ip.is_unicast_link_local() && addr.scope_id() == 0,
        _ => false,
    }
}
