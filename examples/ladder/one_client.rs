//! Rung 1: serve one client until it ends its stream, then the next.
//!
//! Two blocking calls do all the work. `read_exact` waits for a number of bytes, in however many pieces they arrive.
//! `write_all` waits until the whole reply is taken. So every reply is correct.
//!
//! Its ceiling is the second client: while one client is silent, all others wait.
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

/// Answers frames until the client sends FIN.
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

/// Fills `header`. Returns `false` if the client has sent FIN instead.
fn read_unless_ended(stream: &mut TcpStream, header: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
