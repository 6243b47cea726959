//! A connection to an admin endpoint: requests, and the heads of responses, each until a deadline.
//!
//! Rule: whatever the server sends or fails to send, a call returns by its deadline, with memory bounded.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Response, Status};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::{self, Endpoint};
use crate::failure::Failure;
use crate::text::Form;

/// The longest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The most fields of a head.
const FIELDS_MAX: usize = 64;

/// How many bytes of what is not HTTP are shown.
const SHOWN_BYTES: usize = 40;

/// Bytes of one read.
const PIECE_BYTES: usize = 16 << 10;

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An open connection, and what has arrived on it and is not taken yet.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// The name of the endpoint, for messages.
    name: String,
    /// The `Host` of requests. The endpoint accepts IP literals and `localhost` only.
    host: String,
    pub(super) arrived: Vec<u8>,
}

/// The head of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) body_len: Option<u64>,
    /// Whether another request may follow on the same connection.
    pub(super) is_kept: bool,
    pub(super) is_event_stream: bool,
}

/// The moment until which a response must be there, and the time that it was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    given: Duration,
}

impl Deadline {
    pub(super) fn after(given: Duration) -> Self {
        Self { at: Instant::now() + given, given }
    }

    /// The time left; `None` once it has passed.
    fn left(&self) -> Option<Duration> {
        Some(self.at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl Connection {
    pub(super) fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, String> {
        let name = endpoint.to_string();
        let failure = |error: io::Error| format!("cannot connect to {name}: {error}");
        let (stream, host) = match endpoint {
            Endpoint::Unix(path) => (Stream::Unix(open_unix(path, timeout).map_err(failure)?), "localhost".to_owned()),
            Endpoint::Tcp(text) => {
                let addrs = address::resolve(text).map_err(|failure| match failure {
                    Failure::Run(message) => message,
                    other => format!("{other:?}"),
                })?;
                let (stream, addr) = open_tcp(&addrs, timeout).map_err(failure)?;
                (Stream::Tcp(stream), host(addr))
            }
        };
        Ok(Self { stream, name, host, arrived: Vec::new() })
    }

    /// Sends a request for `path`, and returns the head of the response.
    pub(super) fn request(&mut self, path: &str, accept: &str, deadline: Deadline) -> Result<Head, Fault> {
        let host = &self.host;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n");
        self.set_timeouts(deadline)?;
        let sent = match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(request.as_bytes()),
            Stream::Unix(stream) => stream.write_all(request.as_bytes()),
        };
        sent.map_err(|error| self.fault(&error, deadline))?;
        loop {
            if let Some(head) = self.take_head()? {
                return Ok(head);
            }
            if self.arrived.len() > HEAD_BYTES_MAX {
                return Err(self.other(format_args!("sent a head of more than {HEAD_BYTES_MAX} bytes")));
            }
            self.read(deadline)?;
        }
    }

    /// Waits for further bytes, and adds them to those that have arrived.
    pub(super) fn read(&mut self, deadline: Deadline) -> Result<(), Fault> {
        self.set_timeouts(deadline)?;
        let mut piece = [0; PIECE_BYTES];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut piece),
            Stream::Unix(stream) => stream.read(&mut piece),
        };
        match read {
            Ok(0) if self.arrived.is_empty() => Err(Fault::NoResponse(self.closed("without a response"))),
            Ok(0) => Err(Fault::Other(self.closed("within a response"))),
            Ok(len) => {
                self.arrived.extend_from_slice(&piece[..len]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.fault(&error, deadline)),
        }
    }

    /// Takes the head off what has arrived, once it is complete.
    fn take_head(&mut self) -> Result<Option<Head>, Fault> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut response = Response::new(&mut fields);
        let len = match response.parse(&self.arrived) {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) => return Ok(None),
            Err(error) => {
                let shown = Form::Text.line_of(&self.arrived[..self.arrived.len().min(SHOWN_BYTES)]);
                return Err(self.other(format_args!("does not speak HTTP ({error}): it sent {shown:?}; {EXPECTED}")));
            }
        };
        let head = head_of(&response);
        self.arrived.drain(..len);
        Ok(Some(head))
    }

    /// A fault of this server: its name, and what it did.
    pub(super) fn other(&self, what: impl std::fmt::Display) -> Fault {
        Fault::Other(format!("{} {what}", self.name))
    }

    fn closed(&self, when: &str) -> String {
        format!("{} closed the connection {when}; {EXPECTED}", self.name)
    }

    fn set_timeouts(&self, deadline: Deadline) -> Result<(), Fault> {
        let left = deadline.left();
        let Some(left) = left else { return Err(self.late(deadline)) };
        let (read, write) = match &self.stream {
            Stream::Tcp(stream) => (stream.set_read_timeout(Some(left)), stream.set_write_timeout(Some(left))),
            Stream::Unix(stream) => (stream.set_read_timeout(Some(left)), stream.set_write_timeout(Some(left))),
        };
        read.and(write).map_err(|error| self.fault(&error, deadline))
    }

    fn late(&self, deadline: Deadline) -> Fault {
        self.other(format_args!("did not respond within {}", humantime::format_duration(deadline.given)))
    }

    fn fault(&self, error: &io::Error, deadline: Deadline) -> Fault {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.late(deadline),
            _ if self.arrived.is_empty() => {
                Fault::NoResponse(format!("the connection to {} was lost: {error}", self.name))
            }
            _ => Fault::Other(format!("the connection to {} was lost: {error}", self.name)),
        }
    }
}

/// Why there is no document.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection ended before a byte of the response: on one that was kept, the request may be sent again.
    NoResponse(String),
    Other(String),
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoResponse(message) | Fault::Other(message) => message,
        }
    }
}

/// What to do about a server that is something else.
pub(super) const EXPECTED: &str = "use the address of --admin";

fn head_of(response: &Response<'_, '_>) -> Head {
    let field = |name: &str| response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let text = |name: &str| field(name).map(|field| String::from_utf8_lossy(field.value).trim().to_ascii_lowercase());
    let is_chunked = field("transfer-encoding").is_some();
    let closes = text("connection").is_some_and(|value| value.split(',').any(|part| part.trim() == "close"));
    Head {
        status: response.code.unwrap_or_default(),
        body_len: text("content-length").and_then(|len| len.parse().ok()).filter(|_| !is_chunked),
        is_kept: response.version == Some(1) && !closes,
        is_event_stream: text("content-type").is_some_and(|value| value.starts_with("text/event-stream")),
    }
}

/// Connects to the first address that accepts, with a part of the time for each.
fn open_tcp(addrs: &[SocketAddr], timeout: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let share = timeout / u32::try_from(addrs.len()).unwrap_or(u32::MAX).max(1);
    let mut outcome = Err(ErrorKind::NotFound.into());
    for addr in addrs {
        match TcpStream::connect_timeout(addr, share) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok((stream, *addr));
            }
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// The address without the number of an interface, which means something on this machine only.
fn host(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(v4) => v4.to_string(),
        SocketAddr::V6(v6) => format!("[{}]:{}", v6.ip(), v6.port()),
    }
}

/// Connects to a Unix socket. While its queue is full, connecting waits for as long as a write may (`unix(7)`).
fn open_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    let mut name = path.as_os_str().as_bytes().to_vec();
    if name.first() == Some(&b'@') {
        // An abstract name (Linux).
        name[0] = 0;
    }
    socket.connect(&SockAddr::unix(OsString::from_vec(name))?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut response = Response::new(&mut fields);
        assert!(response.parse(text.as_bytes()).unwrap().is_complete());
        head_of(&response)
    }

    #[test]
    fn head_has_length_kind_and_whether_it_is_kept() {
        let plain = head("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: application/json\r\n\r\n");
        assert_eq!(plain, Head { status: 200, body_len: Some(12), is_kept: true, is_event_stream: false });
        let stream =
            head("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n");
        assert_eq!(stream, Head { status: 200, body_len: None, is_kept: false, is_event_stream: true });
        let chunked = head("HTTP/1.0 404 no\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(chunked, Head { status: 404, body_len: None, is_kept: false, is_event_stream: false });
        assert_eq!(head("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n").body_len, None);
    }

    #[test]
    fn host_of_a_scoped_address_has_no_scope() {
        assert_eq!(host("[fe80::1%3]:9100".parse().unwrap()), "[fe80::1]:9100");
        assert_eq!(host("127.0.0.1:9100".parse().unwrap()), "127.0.0.1:9100");
    }
}
