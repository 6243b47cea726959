//! Which addresses the endpoint may listen on, and which requests it answers.
//!
//! Rule: a web page from elsewhere reads nothing and begins nothing. A browser sends requests to any address for any page, also to one that a name of the
//! page's own host resolves to (DNS rebinding). So the name in `Host` must be one that no other site can have, and `Origin` must be
//! the endpoint itself.

use std::net::{IpAddr, Ipv6Addr};

use frameloop::Address;

use crate::address::Endpoint;
use crate::admin::http::{Refusal, Request, Status};

/// Which hosts a request may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// On a Unix socket, file permissions decide.
    Unchecked,
    /// IP addresses, `localhost`, and the name that the flag was given.
    Hosts { name: Option<String> },
}

impl Access {
    pub(crate) fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Unix(_) => Self::Unchecked,
            Endpoint::Tcp(text) => {
                Self::Hosts { name: text.rsplit_once(':').map(|(name, _)| name.to_ascii_lowercase()) }
            }
        }
    }

    /// Checks the fields that a browser sets.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Refusal> {
        let Self::Hosts { name } = self else { return Ok(()) };
        let Some(host) = &request.host else { return Ok(()) };
        let host_name = without_port(host).to_ascii_lowercase();
        let is_known = is_ip(&host_name) || host_name == "localhost" || Some(&host_name) == name.as_ref();
        if !is_known {
            let reason = format_args!(
                "the host {host:?} is not this endpoint; use its IP address, or the name given to --admin"
            );
            return Err(Refusal::new(Status::Forbidden, reason));
        }
        if request.is_cross_site {
            return Err(Refusal::new(Status::Forbidden, "a page of another site asks for this"));
        }
        match &request.origin {
            Some(origin) if !origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host)) => {
                Err(Refusal::new(Status::Forbidden, format_args!("the origin {origin:?} is not this endpoint")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether an address needs no permission of its own: only this machine can connect to it, or the file's permissions protect it.
pub(crate) fn is_private(address: &Address) -> bool {
    match address {
        Address::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
        // An abstract name has no permissions.
        Address::Unix(path) => !path.as_os_str().as_encoded_bytes().starts_with(b"@"),
        _ => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_ip(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inside.map_or_else(|| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()), |ip| ip.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, origin: Option<&str>) -> Request {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        Request::parse(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn foreign_host_or_origin_is_refused_on_a_tcp_address() {
        let access = Access::of(&Endpoint::Tcp("Monitor.example:9100".into()));
        for (host, origin, is_admitted) in [
            ("127.0.0.1:9100", None, true),
            ("10.0.0.1", None, true),
            ("[::1]:9100", Some("http://[::1]:9100"), true),
            ("LOCALHOST:1", Some("http://localhost:1"), true),
            ("monitor.example:9100", None, true),
            ("evil.example:9100", None, false),
            ("127.0.0.1.evil.example", None, false),
            ("localhost.evil.example", None, false),
            ("::1", None, false),
            ("[::1", None, false),
            ("", None, false),
            ("127.0.0.1:9100", Some("http://evil.example"), false),
            ("127.0.0.1:9100", Some("http://127.0.0.1:9101"), false),
            ("127.0.0.1:9100", Some("https://127.0.0.1:9100"), false),
            ("127.0.0.1:9100", Some("null"), false),
        ] {
            let outcome = access.check(&request(host, origin));
            assert_eq!(outcome.is_ok(), is_admitted, "{host} {origin:?}: {outcome:?}");
            assert_eq!(Access::of(&Endpoint::Unix("/a".into())).check(&request(host, origin)), Ok(()));
        }
    }
}
