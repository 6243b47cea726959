//! A blocking client with its own code for the wire, which distinguishes how connections end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::PATIENCE;

/// One connection. Every call ends within [`PATIENCE`].
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// How a connection ended, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN, after whole frames.
    InOrder,
    /// FIN inside a frame, so many bytes into it.
    Truncated(usize),
    /// RST.
    Reset,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::of(TcpStream::connect(addr).unwrap())
    }

    /// Connects from an address of this machine's many.
    pub(crate) fn connect_from(ip: [u8; 4], addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::of(socket.into())
    }

    /// Connects with the smallest buffer and the smallest segments: of what the server writes and the client does not read, the
    /// kernel takes some tens of kilobytes, where it would take megabytes.
    pub(crate) fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.set_tcp_mss(536).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// A second owner of the same connection, for another thread.
    pub(crate) fn clone_for_thread(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.send_bytes(&frame(payload));
    }

    /// The next frame's payload, or how the connection ended.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Result<Vec<u8>, End> {
        let mut header = [0; 4];
        self.fill(&mut header, 0)?;
        let mut payload = vec![0; u32::from_be_bytes(header) as usize];
        self.fill(&mut payload, header.len())?;
        Ok(payload)
    }

    /// Receives a frame that must be this one.
    #[track_caller]
    pub(crate) fn expect(&mut self, payload: &[u8]) {
        let received = self.receive().unwrap();
        assert!(received == payload, "{} bytes came and {} were sent, or others", received.len(), payload.len());
    }

    /// Sends a frame and receives it.
    #[track_caller]
    pub(crate) fn call(&mut self, payload: &[u8]) {
        self.send(payload);
        self.expect(payload);
    }

    /// Sends FIN.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits for the end, before which nothing more may come.
    #[track_caller]
    pub(crate) fn end(&mut self) -> End {
        match self.receive() {
            Ok(payload) => panic!("another frame came, of {} bytes", payload.len()),
            Err(end) => end,
        }
    }

    /// Reads for at most `pace`. `None`: nothing came.
    #[track_caller]
    pub(crate) fn read_within(&mut self, pace: Duration, buf: &mut [u8]) -> Option<Result<usize, End>> {
        self.stream.set_read_timeout(Some(pace)).unwrap();
        let outcome = match self.stream.read(buf) {
            Ok(0) => Some(Err(End::InOrder)),
            Ok(len) => Some(Ok(len)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Err(End::Reset)),
            Err(error) => panic!("{error}"),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        outcome
    }

    /// Whether bytes, or the end, are waiting to be read.
    #[track_caller]
    pub(crate) fn has_input(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// Writes `bytes` over and over until the socket has taken nothing for `pause`, or the connection has ended.
    /// Returns how many it took, and whether it ended.
    pub(crate) fn stuff(&mut self, bytes: &[u8], pause: Duration) -> (usize, bool) {
        self.stream.set_write_timeout(Some(pause)).unwrap();
        let mut taken = 0;
        let has_ended = loop {
            match self.stream.write(&bytes[taken % bytes.len()..]) {
                Ok(len) => taken += len,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break false,
                Err(_) => break true,
            }
        };
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        (taken, has_ended)
    }

    fn fill(&mut self, buf: &mut [u8], came_before: usize) -> Result<(), End> {
        let begun = Instant::now();
        let mut len = 0;
        while len < buf.len() {
            assert!(begun.elapsed() < PATIENCE, "{len} of {} bytes came within {PATIENCE:?}", buf.len());
            match self.stream.read(&mut buf[len..]) {
                Ok(0) if came_before + len == 0 => return Err(End::InOrder),
                Ok(0) => return Err(End::Truncated(came_before + len)),
                Ok(more) => len += more,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(End::Reset),
                Err(error) => panic!("{len} of {} bytes came, then: {error}", buf.len()),
            }
        }
        Ok(())
    }
}

/// The header alone.
pub(crate) fn announcement(payload_len: u32) -> [u8; 4] {
    payload_len.to_be_bytes()
}

/// Header and payload.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    [&announcement(u32::try_from(payload.len()).unwrap())[..], payload].concat()
}

/// Bytes that are unlike any other seed's, and unlike themselves when they are shifted (xorshift64).
pub(crate) fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Sends bytes from one thread while another reads; returns all replies, and how the connection ended.
pub(crate) fn replies_and_end(client: &mut Client, bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut writer = client.clone_for_thread();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.send_bytes(bytes);
            writer.finish();
        });
        let mut replies = Vec::new();
        loop {
            match client.receive() {
                Ok(reply) => replies.push(reply),
                Err(end) => return (replies, end),
            }
        }
    })
}
