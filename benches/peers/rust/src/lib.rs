//! What the three servers share: where they listen, and what a frame is.

use std::io::{Error, ErrorKind, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// The longest payload that is accepted.
pub const PAYLOAD_LEN_MAX: usize = 64 * 1024 * 1024;

/// Bytes before each payload: its length, big-endian.
pub const HEADER_LEN: usize = 4;

const BACKLOG: i32 = 4096;

/// A listener on the port that the command line names, or on any; its address
/// has been printed.
///
/// # Errors
///
/// Of an argument that is no port, and of the system.
pub fn listen() -> Result<TcpListener> {
    let port = match std::env::args().nth(1) {
        Some(text) => text.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, format!("not a port: {text}")))?,
        None => 0,
    };
    rlimit::increase_nofile_limit(u64::MAX)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    Ok(listener)
}

/// How many of these bytes are whole frames: a reply to all of them.
///
/// # Errors
///
/// When a header announces too long a payload.
pub fn whole_frames(bytes: &[u8]) -> Result<usize> {
    let mut end = 0;
    while let Some(header) = bytes[end..].first_chunk::<HEADER_LEN>() {
        let payload_len = u32::from_be_bytes(*header) as usize;
        if payload_len > PAYLOAD_LEN_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "the frame is too long"));
        }
        let next = end + HEADER_LEN + payload_len;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    Ok(end)
}
