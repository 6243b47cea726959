//! Rung 2: a thread for each client.
//!
//! What a client does is what it was on rung 1. Now each waits in a thread of its own, so whoever is silent, slow or
//! deaf holds up nobody else.
//!
//! Its ceiling is what a thread costs, and it is paid for a client that does nothing: 2 MiB of address space for its
//! stack, and for the first of them 64 MiB more for its heap. With 420 MB, 300 clients are too many.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 2
//! listening on 127.0.0.1:7007
//! $ frameloop check --level nonblocking --pid "$(pidof ladder)"
//! …
//! All holds: 29 cases played, and none failed.
//! ^C
//! $ cargo run --quiet --example ladder -- 2
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --as=420000000
//! $ frameloop load 127.0.0.1:7007 -c 300 -n 10000 --warmup 0s
//! …
//!              267 connections short: the server ended them before they had
//! …
//! error: 267 errors: see the summary
//! ```
//!
//! The server says `no thread for 127.0.0.1:56872: Resource temporarily unavailable (os error 11)` for each of them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept()?;
        let client = thread::Builder::new().name(peer.to_string());
        // Without a thread the closure is dropped, and with it the connection.
        if let Err(error) = client.spawn(move || serve_client(stream)) {
            eprintln!("no thread for {peer}: {error}");
        }
    }
}

/// Answers frames until the client has sent FIN. Blocks: nobody but this client waits for it.
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
