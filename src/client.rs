//! A small blocking client: one connection, on which frames are sent and received.
//!
//! It needs no reactor. [`Client`] is generic over its stream, so you can test without a socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use std::{error, fmt, mem};

use crate::address::connect_unix;
use crate::wire::{FrameError, HEADER_LEN, announced_len, encode_header};

/// Sends and receives frames on one blocking connection.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use frameloop::client::Client;
///
/// let mut client = Client::connect("127.0.0.1:7007", Some(Duration::from_secs(5)))?;
/// assert_eq!(client.call(b"hello")?, b"hello");
/// # Ok::<(), frameloop::client::ClientError>(())
/// ```
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    /// The bytes received so far of the current frame, header included; empty between two frames. They survive a timeout, so
    /// that the next [`receive`](Self::receive) continues where the last one stopped.
    inbox: Vec<u8>,
    /// Set while a frame is sent. If it is still set afterwards, the stream ends in the middle of a frame.
    is_inside_sent_frame: bool,
    max_payload: u32,
    /// For error messages: the stream enforces it.
    timeout: Option<Duration>,
}

impl Client<TcpStream> {
    /// Connects over TCP, to the first address of `addr` that accepts.
    ///
    /// `timeout` limits the time to connect to one address, and later the time without any progress: no byte of a reply
    /// arrives, or the server accepts no byte of a frame. A server that keeps making a little progress can take longer in
    /// total. `None` or zero means no limit.
    ///
    /// # Errors
    ///
    /// [`ClientError::Resolve`] if `addr` cannot be resolved or is empty; [`ClientError::Connect`] with the last address tried
    /// if none accepts.
    pub fn connect(addr: impl ToSocketAddrs, timeout: Option<Duration>) -> Result<Self, ClientError> {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let mut outcome = Err(ClientError::Resolve(io::ErrorKind::NotFound.into()));
        for addr in addr.to_socket_addrs().map_err(ClientError::Resolve)? {
            outcome = open_tcp(addr, timeout)
                .map(|stream| Self { timeout, ..Self::new(stream) })
                .map_err(|source| ClientError::Connect { addr: addr.to_string(), source });
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

impl Client<UnixStream> {
    /// Connects to the Unix stream socket at `path`; on Linux, `@name` is an abstract name.
    ///
    /// `timeout` is as for [`connect`](Client::connect), but does not limit the time to connect, which waits only while the
    /// server's listen queue is full.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`] if there is no such socket, or no server listens on it.
    pub fn connect_unix(path: impl AsRef<Path>, timeout: Option<Duration>) -> Result<Self, ClientError> {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        let path = path.as_ref();
        open_unix(path, timeout)
            .map(|stream| Self { timeout, ..Self::new(stream) })
            .map_err(|source| ClientError::Connect { addr: format!("unix:{}", path.display()), source })
    }
}

impl<S> Client<S> {
    /// Creates a client on a connected, blocking stream. Timeouts are those of the stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            is_inside_sent_frame: false,
            max_payload: PAYLOAD_LEN_MAX_DEFAULT,
            timeout: None,
        }
    }

    /// Sets the longest payload of a reply, in bytes. Default 1 GiB; from 0 to 4 GiB - 1.
    ///
    /// Memory grows with the bytes that arrive, not with the length that a header announces.
    pub fn set_payload_len_max(&mut self, max_payload: u32) {
        self.max_payload = max_payload;
    }

    /// Returns the stream, for example to set its options.
    pub fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a frame, and waits for the next frame of the server. Returns its payload.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send) and [`receive`](Self::receive); [`ClientError::Closed`] if the server closes instead.
    pub fn call(&mut self, payload: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.send(payload)?;
        self.receive()?.ok_or(ClientError::Closed)
    }

    /// Sends a frame. Returns when the kernel has accepted all of it.
    ///
    /// # Errors
    ///
    /// [`ClientError::PayloadTooLong`] if no header can announce the payload; nothing was sent then. After
    /// [`ClientError::SendTimeout`] or [`ClientError::Lost`], part of the frame may have been sent: then no other frame can
    /// follow, and sending returns [`ClientError::InsideSentFrame`]. Replies can still be received.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        if self.is_inside_sent_frame {
            return Err(ClientError::InsideSentFrame);
        }
        let payload_len = u32::try_from(payload.len()).map_err(|_| ClientError::PayloadTooLong(payload.len()))?;

        self.is_inside_sent_frame = true;
        // A short frame is one system call; a vectored one would raise SIGPIPE where the plain one does not (send(2),
        // MSG_NOSIGNAL, which the standard library sets for `write` only).
        let (first, rest) = payload.split_at(payload.len().min(FIRST_BYTES_MAX));
        let mut opening = encode_header(payload_len).to_vec();
        opening.extend_from_slice(first);
        self.stream
            .write_all(&opening)
            .and_then(|()| self.stream.write_all(rest))
            .and_then(|()| self.stream.flush())
            .map_err(|error| self.not_sent(error))?;
        self.is_inside_sent_frame = false;
        Ok(())
    }

    /// Sends a frame of `payload_len` bytes, which are read from `payload` in pieces of at most 64 KiB.
    ///
    /// Nothing is received meanwhile. If the server replies before it has received the whole frame, read the replies on
    /// another thread.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); [`ClientError::Payload`] if `payload` cannot be read, or ends before `payload_len` bytes.
    /// Then part of the frame has been sent.
    pub fn send_from(&mut self, payload_len: u32, payload: impl Read) -> Result<(), ClientError> {
        if self.is_inside_sent_frame {
            return Err(ClientError::InsideSentFrame);
        }
        self.is_inside_sent_frame = true;
        let mut payload = payload.take(u64::from(payload_len));
        let mut missing = payload_len as usize;
        let mut piece = vec![0; HEADER_LEN + missing.min(FIRST_BYTES_MAX)];
        piece[..HEADER_LEN].copy_from_slice(&encode_header(payload_len));
        let mut filled = HEADER_LEN;
        loop {
            let end = piece.len().min(filled + missing);
            payload.read_exact(&mut piece[filled..end]).map_err(ClientError::Payload)?;
            missing -= end - filled;
            self.stream.write_all(&piece[..end]).map_err(|error| self.not_sent(error))?;
            if missing == 0 {
                break;
            }
            filled = 0;
        }
        self.stream.flush().map_err(|error| self.not_sent(error))?;
        self.is_inside_sent_frame = false;
        Ok(())
    }

    fn not_sent(&self, error: io::Error) -> ClientError {
        if is_timeout(&error) { ClientError::SendTimeout(self.timeout) } else { ClientError::Lost(error) }
    }

    /// Waits for the next frame, and returns its payload; `None` if the server has closed between two frames.
    ///
    /// # Errors
    ///
    /// [`ClientError::ReplyTimeout`] keeps the bytes that have arrived: call it again to continue.
    /// [`ClientError::ReplyTooLong`], [`ClientError::ClosedInsideReply`] and [`ClientError::Lost`] are final.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            let announced = announced_len(&self.inbox, self.max_payload).map_err(ClientError::ReplyTooLong)?;
            let frame_len = HEADER_LEN + announced.map_or(0, |payload_len| payload_len as usize);
            let missing = frame_len - self.inbox.len();
            if announced.is_some() && missing == 0 {
                let mut payload = mem::take(&mut self.inbox);
                payload.drain(..HEADER_LEN);
                return Ok(Some(payload));
            }
            if self.fill(missing)? < missing {
                return self.ended(announced);
            }
        }
    }

    /// Reads until `missing` more bytes have arrived or the stream has ended, and returns how many arrived.
    ///
    /// `read_to_end` grows the buffer with the bytes that arrive, and repeats a read that a signal interrupts. The bytes
    /// reserved before let it read a short payload in one call.
    fn fill(&mut self, missing: usize) -> Result<usize, ClientError> {
        self.inbox.reserve(missing.min(ROOM_BYTES_MAX));
        let mut rest = (&mut self.stream).take(missing as u64);
        rest.read_to_end(&mut self.inbox).map_err(|error| {
            if is_timeout(&error) { ClientError::ReplyTimeout(self.timeout) } else { ClientError::Lost(error) }
        })
    }

    fn ended(&self, announced: Option<u32>) -> Result<Option<Vec<u8>>, ClientError> {
        match self.inbox.len() {
            0 => Ok(None),
            received => Err(ClientError::ClosedInsideReply { received, announced }),
        }
    }
}

/// Reports why a call of a [`Client`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be resolved.
    Resolve(io::Error),
    /// No server accepts at the address.
    Connect {
        /// The address that was tried.
        addr: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The payload is longer than a header can announce. Its length, in bytes.
    PayloadTooLong(usize),
    /// The payload to send could not be read.
    Payload(io::Error),
    /// The server accepted no byte of a frame for this long.
    SendTimeout(Option<Duration>),
    /// An earlier frame was sent only in part, so no other frame can follow.
    InsideSentFrame,
    /// No byte of the reply arrived for this long.
    ReplyTimeout(Option<Duration>),
    /// The reply's header announces more than the limit.
    ReplyTooLong(FrameError),
    /// The server closed the connection between two frames, and a reply was expected.
    Closed,
    /// The server closed the connection inside a reply.
    ClosedInsideReply {
        /// Bytes of the reply's frame that had arrived, including its header.
        received: usize,
        /// The payload length that the header announced, in bytes; `None` if the header was incomplete.
        announced: Option<u32>,
    },
    /// The connection failed.
    Lost(io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(source) => write!(f, "cannot resolve the address: {source}"),
            Self::Connect { addr, source } => write!(f, "cannot connect to {addr}: {source}"),
            Self::PayloadTooLong(len) => {
                write!(f, "a frame of {len} bytes cannot be sent: a header announces at most {} bytes", u32::MAX)
            }
            Self::Payload(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the payload ended before the length that its header announces")
            }
            Self::Payload(source) => write!(f, "the payload cannot be read: {source}"),
            Self::SendTimeout(Some(waited)) => write!(f, "the server accepted nothing of a frame within {waited:?}"),
            Self::SendTimeout(None) => f.write_str("the server accepted nothing of a frame in time"),
            Self::InsideSentFrame => f.write_str("an earlier frame was sent only in part, so no frame can follow it"),
            Self::ReplyTimeout(Some(waited)) => write!(f, "no reply within {waited:?}"),
            Self::ReplyTimeout(None) => f.write_str("no reply in time"),
            Self::ReplyTooLong(error) => write!(f, "the reply is too long: {error}"),
            Self::Closed => f.write_str("the connection was lost: the server closed it"),
            Self::ClosedInsideReply { received, announced: Some(payload_len) } => {
                let frame_len = HEADER_LEN as u64 + u64::from(*payload_len);
                write!(f, "the connection was lost: the server closed it {received} bytes into a reply of {frame_len}")
            }
            Self::ClosedInsideReply { received, announced: None } => {
                write!(f, "the connection was lost: the server closed it {received} bytes into a reply's header")
            }
            Self::Lost(source) => write!(f, "the connection was lost: {source}"),
        }
    }
}

impl error::Error for ClientError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Resolve(source) | Self::Connect { source, .. } | Self::Payload(source) | Self::Lost(source) => {
                Some(source)
            }
            Self::ReplyTooLong(source) => Some(source),
            Self::PayloadTooLong(_)
            | Self::SendTimeout(_)
            | Self::InsideSentFrame
            | Self::ReplyTimeout(_)
            | Self::Closed
            | Self::ClosedInsideReply { .. } => None,
        }
    }
}

fn open_tcp(addr: SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let stream = match timeout {
        Some(timeout) => TcpStream::connect_timeout(&addr, timeout)?,
        None => TcpStream::connect(addr)?,
    };
    // A request's last segment must not wait for the acknowledgment of the one before (RFC 1122, section 4.2.3.4).
    stream.set_nodelay(true)?;
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)?;
    Ok(stream)
}

fn open_unix(path: &Path, timeout: Option<Duration>) -> io::Result<UnixStream> {
    let stream = connect_unix(path)?;
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)?;
    Ok(stream)
}

/// Whether the timeout of the blocking socket ended the call: Unix returns `WouldBlock`, Windows `TimedOut`.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// How many bytes of a payload are copied and sent in one call with the header.
const FIRST_BYTES_MAX: usize = 64 << 10;

/// How many bytes are reserved at most for a payload before any of it has arrived.
const ROOM_BYTES_MAX: usize = 4 << 10;

/// The text of another protocol reads as a length above this limit.
const PAYLOAD_LEN_MAX_DEFAULT: u32 = 1 << 30;

#[cfg(test)]
#[path = "tests/client.rs"]
mod tests;
