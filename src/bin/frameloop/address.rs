//! The ADDR of a flag: a name or an IP address with a port, or the path of a Unix socket.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use crate::failure::Failure;

/// Where to listen, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name or an IP address, a colon, and a port.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(Self::Tcp(text.into()));
        }
        let (name, port) = text.rsplit_once(':').ok_or(FORM)?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/".contains(c)) {
            return Err(FORM.into());
        }
        if name.contains(':') {
            return Err("an IPv6 address and its port are written as in [::1]:7007".into());
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM.into());
        }
        port.parse::<u16>().map_err(|_| "a port is at most 65535".to_owned())?;
        Ok(Self::Tcp(text.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The socket addresses of a name or an IP address with a port, at least one, in the order in which they are to be tried.
///
/// Rule: a program that connects to a name tries all its addresses, in the order of RFC 8305, before it reports a failure.
pub(crate) fn resolve(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    match text.to_socket_addrs().map(|addrs| interleaved(addrs.collect())) {
        Ok(addrs) if addrs.is_empty() => Err(Failure::run(format_args!("cannot resolve {text}: it has no address"))),
        Ok(addrs) => Ok(addrs),
        Err(error) => Err(Failure::run(format_args!("cannot resolve {text}: {error}"))),
    }
}

/// The order of RFC 8305, section 4: the system resolver's (RFC 6724), with the address families taking turns, so that a
/// family that does not work costs one attempt before the other is tried.
fn interleaved(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addrs.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|addr| addr.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

fn unix(path: &str) -> Result<Address, String> {
    if path.is_empty() {
        return Err(FORM.into());
    }
    Ok(Address::Unix(path.into()))
}

const FORM: &str = "expected an address such as 127.0.0.1:7007, [::1]:7007, localhost:7007 or unix:/run/frameloop.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_given() {
        for text in ["127.0.0.1:7007", "[::1]:0", "localhost:7007", "a-b.example:65535", "unix:/run/a:b.sock", "unix:a"]
        {
            assert_eq!(text.parse::<Address>().map(|addr| addr.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_answered_with_the_form() {
        for text in [
            "",
            "7007",
            ":7007",
            "localhost",
            "localhost:",
            "localhost:http",
            "local host:1",
            "[::1",
            "http://a:1",
            "unix:",
        ] {
            assert_eq!(text.parse::<Address>(), Err(FORM.into()), "{text}");
        }
        for text in ["::1", "::1:7007", "fe80::1:7007"] {
            assert!(text.parse::<Address>().is_err_and(|error| error.contains("[::1]:7007")), "{text}");
        }
        assert_eq!("localhost:65536".parse::<Address>(), Err("a port is at most 65535".into()));
        assert_eq!("127.0.0.1:70000".parse::<Address>(), Err("a port is at most 65535".into()));
    }

    #[test]
    fn addresses_of_a_name_take_turns_between_the_families() {
        let addrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let resolved = addrs(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let expected = addrs(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleaved(resolved), expected);
        let v4 = addrs(&["127.0.0.2:1", "127.0.0.1:1"]);
        assert_eq!(interleaved(v4.clone()), v4);
        assert_eq!(interleaved(addrs(&["127.0.0.1:1", "[::1]:1"])), addrs(&["127.0.0.1:1", "[::1]:1"]));
    }

    #[test]
    fn an_ip_address_resolves_to_itself() {
        for text in ["127.0.0.1:7007", "[::1]:7007"] {
            assert_eq!(resolve(text).unwrap(), [text.parse().unwrap()]);
        }
    }
}
