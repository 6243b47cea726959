//! A small blocking client: one connection, on which frames are sent and received.
//!
//! It needs no reactor. [`Client`] is generic over its stream, so you can test without a socket.

mod error;
mod reply;

use std::io::{self, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::address::connect_unix;
pub use crate::client::error::ClientError;
use crate::client::error::is_timeout;
pub use crate::client::reply::Part;
use crate::client::reply::Replies;
use crate::wire::{Enclosure, Framing, FramingError};

/// Sends and receives frames on one blocking connection.
///
/// It holds the bytes of the reply that is arriving, and 64 KiB to read into.
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
    replies: Replies,
    /// The payload received so far. It survives a timeout, so that the next [`receive`](Self::receive) continues where the last
    /// one stopped.
    payload: Vec<u8>,
    /// Set while a frame is sent. If it is still set afterwards, the stream ends in the middle of a frame.
    is_inside_sent_frame: bool,
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
            replies: Replies::new(PAYLOAD_LEN_MAX_DEFAULT),
            payload: Vec::new(),
            is_inside_sent_frame: false,
            timeout: None,
        }
    }

    /// Sets the longest payload of a reply, in bytes. Default 1 GiB; from 0 to 4 GiB - 1.
    ///
    /// Memory grows with the bytes that arrive, not with the length that a header announces.
    pub fn set_payload_len_max(&mut self, max_payload: u32) {
        self.replies.max_payload = max_payload;
    }

    /// Sets where a frame ends, in both directions. Default `u32be`.
    ///
    /// It applies to the next frame that is sent, and to the next reply that begins. Bytes that have arrived behind a reply
    /// belong to the next one.
    ///
    /// With [`Framing::Raw`], a reply is what one read returned, at most 64 KiB. Where a framing writes payloads unchanged, a
    /// payload must be a whole frame, or the server waits for the rest of it.
    ///
    /// # Errors
    ///
    /// [`FramingError`] for [`Exact(0)`](Framing::Exact); the framing stays as it is.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use frameloop::client::Client;
    /// use frameloop::wire::Framing;
    ///
    /// let mut redis = Client::connect("127.0.0.1:6379", None)?;
    /// redis.set_framing(Framing::crlf())?;
    /// assert_eq!(redis.call(b"PING")?, b"+PONG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_framing(&mut self, framing: impl Into<Framing>) -> Result<(), FramingError> {
        let framing = framing.into();
        framing.check()?;
        self.replies.framing = framing;
        Ok(())
    }

    /// Returns the stream, for example to set its options. Do not read from it: bytes behind a reply may be in the client already.
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
    /// [`ClientError::PayloadTooLong`] above 4 GiB - 1, and [`ClientError::LengthField`] if the framing's length field cannot
    /// hold the length; nothing was sent then. After [`ClientError::SendTimeout`] or [`ClientError::Lost`], part of the frame
    /// may have been sent: then no other frame can follow, and sending returns [`ClientError::InsideSentFrame`]. Replies can
    /// still be received.
    pub fn send(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        let payload_len = u32::try_from(payload.len()).map_err(|_| ClientError::PayloadTooLong(payload.len()))?;
        self.send_from(payload_len, payload)
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
        let enclosure = self.replies.framing.enclose(payload_len as usize).map_err(ClientError::LengthField)?;
        self.is_inside_sent_frame = true;
        self.send_enclosed(enclosure, payload_len as usize, payload)?;
        self.is_inside_sent_frame = false;
        Ok(())
    }

    /// Sends a header and the first bytes of a payload together, and the last bytes together with a delimiter.
    ///
    /// So a short frame is one system call. A vectored one would raise SIGPIPE where the plain one does not (send(2),
    /// MSG_NOSIGNAL, which the standard library sets for `write` only).
    fn send_enclosed(
        &mut self,
        enclosure: Enclosure,
        mut missing: usize,
        mut payload: impl Read,
    ) -> Result<(), ClientError> {
        let mut piece = Vec::with_capacity(enclosure.len() + missing.min(PIECE_BYTES_MAX));
        piece.extend_from_slice(enclosure.head());
        loop {
            let begin = piece.len();
            let len = missing.min(PIECE_BYTES_MAX);
            piece.resize(begin + len, 0);
            payload.read_exact(&mut piece[begin..]).map_err(ClientError::Payload)?;
            missing -= len;
            if missing == 0 {
                piece.extend_from_slice(enclosure.tail());
                return self
                    .stream
                    .write_all(&piece)
                    .and_then(|()| self.stream.flush())
                    .map_err(|error| self.not_sent(error));
            }
            self.stream.write_all(&piece).map_err(|error| self.not_sent(error))?;
            piece.clear();
        }
    }

    fn not_sent(&self, error: io::Error) -> ClientError {
        if is_timeout(&error) { ClientError::SendTimeout(self.timeout) } else { ClientError::Lost(error) }
    }
}

impl<S: Read> Client<S> {
    /// Waits for the next frame, and returns its payload; `None` if the server has closed between two frames.
    ///
    /// # Errors
    ///
    /// [`ClientError::ReplyTimeout`] keeps the bytes that have arrived: call it again to continue.
    /// [`ClientError::ReplyTooLong`], [`ClientError::InvalidLength`], [`ClientError::ClosedInsideReply`] and
    /// [`ClientError::Lost`] are final.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            match self.replies.next(&mut self.stream).map_err(|error| error.with_timeout(self.timeout))? {
                None => return Ok(None),
                Some(Part::Begun | Part::Announced(_)) => {}
                Some(Part::Bytes(bytes)) => self.payload.extend_from_slice(bytes),
                Some(Part::End) => return Ok(Some(mem::take(&mut self.payload))),
            }
        }
    }

    /// Waits for the next part of a reply; `None` if the server has closed between two frames.
    ///
    /// So a long reply needs no memory of its length. Call it up to [`Part::End`] before the next [`receive`](Self::receive).
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::client::{Client, Part};
    ///
    /// let mut replies = Client::new(&b"\0\0\0\x02hi"[..]);
    /// let mut payload = Vec::new();
    /// while let Some(part) = replies.receive_part()? {
    ///     if let Part::Bytes(bytes) = part {
    ///         payload.extend_from_slice(bytes);
    ///     }
    /// }
    /// assert_eq!(payload, b"hi");
    /// # Ok::<(), frameloop::client::ClientError>(())
    /// ```
    pub fn receive_part(&mut self) -> Result<Option<Part<'_>>, ClientError> {
        self.replies.next(&mut self.stream).map_err(|error| error.with_timeout(self.timeout))
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

/// How many bytes of a payload are read and sent at once.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// The text of another protocol reads as a length above this limit.
const PAYLOAD_LEN_MAX_DEFAULT: u32 = 1 << 30;

#[cfg(test)]
#[path = "tests/client.rs"]
mod tests;
