//! One connection to the server that is graded: blocking, with an end to every wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::check::finding::{Finding, bytes, described, excerpt};
use crate::check::patience::Patience;
use crate::check::wire::Wire;

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    patience: Patience,
    wire: Wire,
    sent: Sent,
    /// How many bytes came as expected.
    received: u64,
    /// How many bytes `fill` has sent.
    filled: u64,
}

/// How a connection may be ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By FIN, with all pending output sent before.
    Fin,
    /// By FIN or RST.
    Any,
}

impl Peer {
    /// Connects, with a receive buffer of the system's choice.
    pub(crate) fn connect(addr: SocketAddr, patience: Patience, wire: &Wire) -> Result<Self, Finding> {
        let connected = TcpStream::connect_timeout(&addr, patience.long());
        connected.and_then(|stream| Self::on(stream, patience, wire)).map_err(|error| not_connected(&error))
    }

    /// Connects with the smallest receive buffer, so that what is not read is soon in the server's way.
    pub(crate) fn connect_narrow(addr: SocketAddr, patience: Patience, wire: &Wire) -> Result<Self, Finding> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
            socket.set_recv_buffer_size(NARROW)?;
            socket.connect_timeout(&addr.into(), patience.long())?;
            Self::on(socket.into(), patience, wire)
        };
        connect().map_err(|error: io::Error| not_connected(&error))
    }

    fn on(stream: TcpStream, patience: Patience, wire: &Wire) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, patience, wire: wire.clone(), sent: Sent::default(), received: 0, filled: 0 })
    }

    /// The report omits what was sent before.
    pub(crate) fn begin_anew(&mut self) {
        (self.sent, self.received) = (Sent::default(), 0);
    }

    /// Sends bytes in one write, as far as the socket takes them.
    pub(crate) fn send(&mut self, data: &[u8]) -> Result<(), Finding> {
        self.sent.note(data);
        write_all(&self.stream, data, self.patience).map_err(|error| {
            let came = match is_timeout(&error) {
                true => format!("the server stopped reading for {:?}", self.patience.long()),
                false => format!("the connection was ended while this was sent: {error}"),
            };
            Finding::new(self.sent.text(), "the server reads what is sent", came)
        })
    }

    /// Sends bytes in one call, the last of which is urgent: it is not a part of the stream, and a read stops there (tcp(7)).
    pub(crate) fn send_urgent(&mut self, data: &[u8]) -> Result<(), Finding> {
        self.sent.note(data);
        let sent = SockRef::from(&self.stream).send_out_of_band(data);
        sent.map(drop).map_err(|error| Finding::new(self.sent.text(), "the connection stays open", error.to_string()))
    }

    /// Sends bytes from another thread while `read` runs.
    pub(crate) fn send_beside<T>(
        &mut self,
        data: &[u8],
        then_fin: bool,
        read: impl FnOnce(&mut Self) -> Result<T, Finding>,
    ) -> Result<T, Finding> {
        self.sent.note(data);
        let (stream, patience) = (self.cloned()?, self.patience);
        thread::scope(|scope| {
            scope.spawn(move || {
                // If it is not accepted, the next read shows why.
                if write_all(&stream, data, patience).is_ok() && then_fin {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            });
            let result = read(self);
            if result.is_err() {
                // Ends the other thread, if it still waits for the server to read.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            result
        })
    }

    /// Ends the sending side: FIN.
    pub(crate) fn finish_sending(&mut self) {
        self.sent.ends_with_fin = true;
        // If the connection is gone, the next read shows it.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection by RST, whatever was sent or not read (`SO_LINGER` of zero, socket(7)).
    pub(crate) fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Waits for just these bytes, as long as some come each `patience`.
    pub(crate) fn expect(&mut self, expected: &[u8]) -> Result<(), Finding> {
        self.expect_within(expected, self.patience.usual())
    }

    /// Waits for just these bytes, as long as some come each `wait`.
    pub(crate) fn expect_within(&mut self, expected: &[u8], wait: Duration) -> Result<(), Finding> {
        let mut came = Vec::with_capacity(expected.len());
        let mut buffer = vec![0; expected.len().clamp(1, READ_LEN)];
        while came.len() < expected.len() {
            let room = buffer.len().min(expected.len() - came.len());
            let end = match self.read(&mut buffer[..room], wait) {
                Ok(0) => "the server's FIN".into(),
                Ok(len) => {
                    came.extend_from_slice(&buffer[..len]);
                    if came[came.len() - len..] == expected[came.len() - len..came.len()] {
                        continue;
                    }
                    String::new()
                }
                Err(error) if is_timeout(&error) => format!("nothing for {wait:?}"),
                Err(error) => format!("the connection was lost: {error}"),
            };
            return Err(Finding::different(&self.wire, self.sent.text(), self.received, expected, &came, &end));
        }
        self.received += expected.len() as u64;
        Ok(())
    }

    /// Sends a frame and waits for the same.
    pub(crate) fn echo(&mut self, frame: &[u8]) -> Result<(), Finding> {
        self.send(frame)?;
        self.expect(frame)
    }

    /// Sees to it that nothing comes for a while.
    pub(crate) fn expect_nothing(&mut self, wait: Duration) -> Result<(), Finding> {
        let mut buffer = [0; 64];
        let came = match self.read(&mut buffer, wait) {
            Err(error) if is_timeout(&error) => return Ok(()),
            Ok(0) => "the server's FIN".into(),
            Ok(len) => described(&buffer[..len]),
            Err(error) => format!("the connection was lost: {error}"),
        };
        Err(Finding::new(self.sent.text(), format!("nothing for {wait:?}"), came))
    }

    /// Waits until the server ends the connection, without a byte before that.
    pub(crate) fn expect_end(&mut self, end: End, wait: Duration) -> Result<(), Finding> {
        let expected = match end {
            End::Fin => "the server's FIN, and nothing before it",
            End::Any => "the connection is ended, and nothing before that",
        };
        let mut buffer = [0; 64];
        let came = match self.read(&mut buffer, wait) {
            Ok(0) => return Ok(()),
            Ok(len) => format!("{}: {}", bytes(len), excerpt(&buffer[..len])),
            Err(error) if is_timeout(&error) => format!("nothing: it was still open after {wait:?}"),
            Err(_) if end == End::Any => return Ok(()),
            Err(error) => format!("RST: {error}"),
        };
        Err(Finding::new(self.sent.text(), expected, came))
    }

    /// Pipelines the same frame without reading, until nothing more is taken for a while or `max` bytes were. Returns how many
    /// that were; another call goes on inside the frame where this one has ended.
    ///
    /// The connection may be ended by the server meanwhile.
    pub(crate) fn fill(&mut self, frame: &[u8], max: u64) -> io::Result<u64> {
        self.stream.set_write_timeout(Some(FILL_QUIET))?;
        let begun = self.filled;
        while self.filled - begun < max && !self.patience.left().is_zero() {
            let rest = &frame[(self.filled % frame.len() as u64) as usize..];
            match self.stream.write(rest) {
                Ok(len) => {
                    self.sent.note(&rest[..len]);
                    self.filled += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        Ok(self.filled - begun)
    }

    /// Waits until the server has ended the connection, without reading: sends a byte now and then, until that fails.
    pub(crate) fn is_ended_within(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + self.patience.at_most(wait);
        let _ = self.stream.set_write_timeout(Some(FILL_QUIET / 10));
        while Instant::now() < until {
            match self.stream.write(&[0]) {
                Err(error) if !is_timeout(&error) && error.kind() != ErrorKind::Interrupted => return true,
                _ => thread::sleep(FILL_QUIET / 10),
            }
        }
        false
    }

    /// What was sent so far, to be shown.
    pub(crate) fn sent(&self) -> String {
        self.sent.text()
    }

    /// The same connection, for another thread.
    pub(crate) fn cloned(&self) -> Result<TcpStream, Finding> {
        self.stream
            .try_clone()
            .map_err(|error| Finding::new("nothing", "a descriptor for the grader", error.to_string()))
    }

    fn read(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        // A server that answers rightly, and a byte at a time, would be read for as long as it likes.
        if self.patience.left().is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        // None would wait for ever, and zero is refused.
        self.stream.set_read_timeout(Some(self.patience.at_most(wait).max(Duration::from_millis(1))))?;
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// What was sent on a connection, as the report shows it.
#[derive(Debug, Default)]
struct Sent {
    first: Vec<u8>,
    len: u64,
    writes: u64,
    ends_with_fin: bool,
}

impl Sent {
    fn note(&mut self, data: &[u8]) {
        self.first.extend(data.iter().take(FIRST_LEN - self.first.len().min(FIRST_LEN)));
        self.len += data.len() as u64;
        self.writes += 1;
    }

    fn text(&self) -> String {
        let fin = if self.ends_with_fin { ", then FIN" } else { "" };
        match (self.len, self.writes) {
            (0, _) => format!("nothing{fin}"),
            (len, 1) => format!("{} in one write: {}{fin}", bytes(len as usize), excerpt(&self.first)),
            (len, writes) => format!("{} in {writes} writes: {}{fin}", bytes(len as usize), excerpt(&self.first)),
        }
    }
}

/// Writes everything, as long as some is taken each `long` wait, and there is time at all.
fn write_all(mut stream: &TcpStream, mut data: &[u8], patience: Patience) -> io::Result<()> {
    while !data.is_empty() {
        if patience.left().is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(patience.long()))?;
        match stream.write(data) {
            Ok(len) => data = &data[len..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn not_connected(error: &io::Error) -> Finding {
    Finding::new("SYN", "a connection", format!("none: {error}"))
}

/// What a socket says when its timeout is over: one or the other, by platform.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// How much is read at a time.
const READ_LEN: usize = 256 << 10;
/// A receive buffer that is soon full.
const NARROW: usize = 16 << 10;
/// How long a peer that takes nothing is taken to be full.
const FILL_QUIET: Duration = Duration::from_millis(200);
/// How much is kept of what was sent.
const FIRST_LEN: usize = 16;
