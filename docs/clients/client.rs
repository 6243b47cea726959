//! A frame is a 4-byte big-endian length, then that many bytes of payload.
//!
//! As a program, `client HOST:PORT` sends each line of stdin as a frame, without
//! its newline, and writes the payload of each reply as a line.

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest reply that is accepted, in bytes.
const REPLY_MAX: u64 = 16 << 20;

/// One connection that sends and receives frames.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        // Send a frame at once, even while an earlier one is not acknowledged.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { stream })
    }

    /// Sends one frame. `write_all` continues until the socket has taken all of it.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let payload_len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let header = payload_len.to_be_bytes();
        self.stream.write_all(&[&header, payload].concat())
    }

    /// Returns the next frame's payload, or `None` after the server's FIN.
    ///
    /// TCP keeps no boundaries: one `read` may return a part of a header, or the
    /// end of one frame and the beginning of the next. `take` and `read_to_end`
    /// read exactly what is missing. Memory grows only with what has arrived.
    pub fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut header = Vec::with_capacity(4);
        (&self.stream).take(4).read_to_end(&mut header)?;
        let header: [u8; 4] = match header.try_into() {
            Ok(header) => header,
            Err(part) if part.is_empty() => return Ok(None),
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let payload_len = u64::from(u32::from_be_bytes(header));
        if payload_len > REPLY_MAX {
            return Err(io::Error::other(format!("a reply of {payload_len} bytes was announced")));
        }
        let mut payload = Vec::new();
        (&self.stream).take(payload_len).read_to_end(&mut payload)?;
        if (payload.len() as u64) < payload_len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(payload))
    }

    /// Sends FIN: no more frames. Pending replies can still be received.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: client HOST:PORT"))?;
    let mut client = Client::connect(addr)?;
    for line in io::stdin().lock().split(b'\n') {
        client.send(&line?)?;
        let reply = client.receive()?.ok_or(io::ErrorKind::ConnectionAborted)?;
        io::stdout().write_all(&[&reply[..], b"\n"].concat())?;
    }
    Ok(())
}
