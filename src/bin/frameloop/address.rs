//! The ADDR of a flag: a name or an IP address with a port, or the path of a Unix socket.
//!
//! Rule: a value that no machine could use is a usage error, which says why and what to write instead.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use frameloop::{Address, Handler, ListenOptions, Listening, Reactor};
use nix::net::if_::if_nameindex;

use crate::failure::Failure;

/// Where to listen, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A name or an IP address, a colon, and a port.
    Tcp(String),
    /// The path of a Unix socket, or `@` and an abstract name.
    Unix(PathBuf),
}

/// An address to listen on.
pub(crate) fn to_listen_on(text: &str) -> Result<Endpoint, String> {
    let address = text.parse()?;
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.is_ipv6() && addr.ip().to_canonical().is_ipv4() => {
            let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
            Err(format!("an IPv4-mapped IPv6 address cannot be listened on: use {plain}"))
        }
        _ => Ok(address),
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return match addr {
                SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => Err(format!(
                    "{0} is a link-local address and needs its interface: write [{0}%INTERFACE]:{1}, such as \
                     [{0}%eth0]:{1} (ip address shows it)",
                    v6.ip(),
                    v6.port()
                )),
                _ => Ok(Self::Tcp(text.into())),
            };
        }
        if Zoned::parse(text).is_some() {
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => Address::Unix(path.clone()).fmt(f),
        }
    }
}

/// The socket addresses of a name or an IP address with a port, at least one, in the order in which they are to be tried.
///
/// Rule: a program that connects to a name tries all its addresses, in the order of RFC 8305, before it reports a failure.
pub(crate) fn resolve(text: &str) -> Result<Vec<SocketAddr>, Failure> {
    if let Some(zoned) = Zoned::parse(text) {
        return zoned.resolve().map(|addr| vec![addr]);
    }
    match text.to_socket_addrs().map(|addrs| interleaved(addrs.collect())) {
        Ok(addrs) if addrs.is_empty() => Err(Failure::run(format_args!("cannot resolve {text}: it has no address"))),
        Ok(addrs) => Ok(addrs),
        Err(error) => Err(Failure::run(format_args!("cannot resolve {text}: {error}"))),
    }
}

/// What an address to listen on may stand for.
pub(crate) fn candidates(endpoint: &Endpoint) -> Result<Vec<Address>, Failure> {
    match endpoint {
        Endpoint::Tcp(text) => Ok(resolve(text)?.into_iter().map(Address::Tcp).collect()),
        Endpoint::Unix(path) => Ok(vec![Address::Unix(path.clone())]),
    }
}

/// Listens on the first of an endpoint's candidates that can be listened on.
pub(crate) fn listen(
    reactor: &mut Reactor<impl Handler>,
    endpoint: &Endpoint,
    candidates: &[Address],
    options: &ListenOptions,
) -> Result<Listening, Failure> {
    let mut outcome = Err(Failure::run(format_args!("{endpoint} has no address to listen on")));
    for addr in candidates {
        outcome = reactor.listen_with(addr, options.clone()).map_err(Failure::from);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
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

/// An IPv6 address with its zone: `[fe80::1%eth0]:7007`, or `[fe80::1%2]:7007` by number (RFC 4007, section 11).
#[derive(Debug, Clone, Copy)]
struct Zoned<'a> {
    text: &'a str,
    ip: Ipv6Addr,
    zone: &'a str,
    port: u16,
}

impl<'a> Zoned<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (inside, port) = text.strip_prefix('[')?.split_once("]:")?;
        let (ip, zone) = inside.split_once('%')?;
        let is_name = !zone.is_empty() && !zone.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
        let has_digits_only = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        (is_name && has_digits_only).then_some(())?;
        Some(Self { text, ip: ip.parse().ok()?, zone, port: port.parse().ok()? })
    }

    /// The address with the number of its interface, on this machine.
    fn resolve(self) -> Result<SocketAddr, Failure> {
        let Self { text, ip, zone, port } = self;
        let failure = |why: &dyn fmt::Display| Failure::run(format_args!("cannot resolve {text}: {why}"));
        let interfaces = if_nameindex().map_err(|error| failure(&error))?;
        let mut names = Vec::new();
        for interface in &interfaces {
            let (name, index) = (interface.name().to_string_lossy(), interface.index());
            if name == zone || zone.parse() == Ok(index) {
                return Ok(SocketAddrV6::new(ip, port, 0, index).into());
            }
            names.push(name.into_owned());
        }
        Err(failure(&format_args!("this machine has no interface {zone}: it has {}", names.join(", "))))
    }
}

fn unix(path: &str) -> Result<Endpoint, String> {
    let (what, name) = match path.strip_prefix('@') {
        Some(_) if !cfg!(any(target_os = "linux", target_os = "android")) => {
            return Err("abstract names (@) exist on Linux only: use a path, or ./@ for a file of such a name".into());
        }
        Some(name) => (ABSTRACT, name),
        None => ("a path", path),
    };
    match name.len() {
        0 if what == ABSTRACT => {
            Err("the abstract name behind unix:@ is empty: expected one such as unix:@frameloop".into())
        }
        0 => Err(FORM.into()),
        len if len > Address::UNIX_LEN_MAX => Err(format!(
            "{what} of a Unix socket has at most {} bytes, and this one has {len}: use a shorter one",
            Address::UNIX_LEN_MAX
        )),
        _ => Ok(Endpoint::Unix(path.into())),
    }
}

const ABSTRACT: &str = "an abstract name";
const FORM: &str = "expected an address such as 127.0.0.1:7007, [::1]:7007, localhost:7007 or unix:/run/frameloop.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_given() {
        for text in [
            "127.0.0.1:7007",
            "[::1]:0",
            "localhost:7007",
            "a-b.example:65535",
            "unix:/run/a:b.sock",
            "unix:a",
            "unix:@a",
            "unix:./@a",
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|addr| addr.to_string()), Ok(text.to_owned()));
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
            assert_eq!(text.parse::<Endpoint>(), Err(FORM.into()), "{text}");
        }
        for text in ["::1", "::1:7007", "fe80::1:7007"] {
            assert!(text.parse::<Endpoint>().is_err_and(|error| error.contains("[::1]:7007")), "{text}");
        }
        assert_eq!("localhost:65536".parse::<Endpoint>(), Err("a port is at most 65535".into()));
        assert_eq!("127.0.0.1:70000".parse::<Endpoint>(), Err("a port is at most 65535".into()));
    }

    #[test]
    fn a_unix_path_has_at_most_107_bytes() {
        assert_eq!(Address::UNIX_LEN_MAX, 107);
        for (prefix, what) in [("", "a path"), ("@", "an abstract name")] {
            for len in [1, 106, 107] {
                let text = format!("unix:{prefix}{}", "a".repeat(len));
                assert_eq!(text.parse::<Endpoint>().map(|addr| addr.to_string()), Ok(text));
            }
            for len in [108, 109, 4_096] {
                let text = format!("unix:{prefix}{}", "a".repeat(len));
                let problem =
                    format!("{what} of a Unix socket has at most 107 bytes, and this one has {len}: use a shorter one");
                assert_eq!(text.parse::<Endpoint>(), Err(problem));
            }
        }
        // Bytes, not characters.
        assert!(format!("unix:{}", "ä".repeat(54)).parse::<Endpoint>().is_err());
        assert!(
            "unix:@".parse::<Endpoint>().is_err_and(|error| error.contains("is empty: expected one such as unix:@"))
        );
    }

    #[test]
    fn a_zone_is_the_name_or_the_number_of_an_interface() {
        let loopback = if_nameindex().unwrap().iter().find(|interface| interface.name() == c"lo").unwrap().index();
        for text in ["[fe80::1%lo]:7007".to_owned(), format!("[fe80::1%{loopback}]:7007")] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
            let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 7007, 0, loopback);
            assert_eq!(resolve(&text).unwrap(), [expected.into()]);
        }
        for text in ["[fe80::1%no-such]:7007", "[fe80::1%4294967295]:7007"] {
            assert!(text.parse::<Endpoint>().is_ok(), "{text}");
            let failure = resolve(text).unwrap_err();
            let Failure::Run(message) = failure else { panic!("{failure:?}") };
            assert!(
                message.starts_with(&format!("cannot resolve {text}: this machine has no interface ")),
                "{message}"
            );
            assert!(message.contains("it has lo"), "{message}");
        }
        for text in ["[fe80::1%]:7007", "[fe80::1%a b]:7007", "[fe80::1%lo]:", "[fe80::1%lo]", "[1.2.3.4%lo]:1"] {
            assert_eq!(text.parse::<Endpoint>(), Err(FORM.into()), "{text}");
        }
        assert!("[fe80::1%lo]:65536".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_link_local_address_needs_its_interface() {
        for text in ["[fe80::1]:7007", "[febf::1]:7007"] {
            let problem = text.parse::<Endpoint>().unwrap_err();
            assert!(problem.contains("%INTERFACE]:7007"), "{problem}");
        }
        assert!("[fec0::1]:7007".parse::<Endpoint>().is_ok());
    }

    #[test]
    fn a_mapped_address_can_be_connected_to_and_not_listened_on() {
        for (text, plain) in [("[::ffff:127.0.0.1]:0", "127.0.0.1:0"), ("[::ffff:0:0]:7007", "0.0.0.0:7007")] {
            assert!(text.parse::<Endpoint>().is_ok());
            let problem = format!("an IPv4-mapped IPv6 address cannot be listened on: use {plain}");
            assert_eq!(to_listen_on(text), Err(problem));
        }
        for text in ["[::]:7007", "[::1]:7007", "127.0.0.1:7007", "[64:ff9b::1]:7007", "unix:a", "localhost:1"] {
            assert_eq!(to_listen_on(text).map_err(|_| ()), text.parse().map_err(|_| ()));
        }
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
