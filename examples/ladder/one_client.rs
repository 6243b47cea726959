//! Rung 1: one client to its end, and then the next.
//!
//! Two calls are the whole server: `read_exact` waits until so many bytes have come, whatever pieces they came in, and
//! `write_all` waits until all of an answer is taken. So every frame that is answered is answered rightly.
//!
//! Its ceiling is the second client: whoever connects and says nothing keeps everybody else waiting.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 1
//! listening on 127.0.0.1:7007
//! $ frameloop check --level basic
//! …
//! All holds: 13 cases played, and none failed.
//! $ frameloop check --case silent-beside
//! …
//!   FAILED  silent-beside                 2.13 s
//! …
//!   came      nothing for 2s
//!   likely    one client is served to its end before the next, or there is a
//! …
//! error: 1 of 1 case failed: see the score card
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept()?;
        if let Err(error) = serve_client(stream) {
            eprintln!("{peer}: {error}");
        }
    }
}

/// Answers frames until the client has sent FIN.
fn serve_client(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut header = [0; 4];
    while read_unless_ended(&mut stream, &mut header)? {
        let payload_len = u32::from_be_bytes(header) as usize;
        let mut frame = vec![0; header.len() + payload_len];
        frame[..header.len()].copy_from_slice(&header);
        stream.read_exact(&mut frame[header.len()..])?;
        stream.write_all(&frame)?;
    }
    Ok(())
}

/// Fills `header`; `false` if the client has sent FIN instead.
fn read_unless_ended(stream: &mut TcpStream, header: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
