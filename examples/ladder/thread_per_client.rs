//! Rung 2: one thread per client.
//!
//! The code for a client is the same as on rung 1, but each client has its own thread to wait in. A client that is
//! silent, slow, or does not read delays no other.
//!
//! Its ceiling is the price of a thread, which a silent client costs too: 2 MiB of address space for the stack, and for
//! each of the first threads 64 MiB more for the heap. With stacks of 64 MiB and a limit of 1.39 GB, 300 clients are too many.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 2
//! listening on 127.0.0.1:7007
//! $ frameloop check --level nonblocking --pid "$(pidof ladder)"
//! …
//! All holds: 29 cases played, and none failed.
//! ^C
//! $ RUST_MIN_STACK=67108864 cargo run --quiet --example ladder -- 2
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --as=1390000000
//! $ frameloop load 127.0.0.1:7007 -c 300 -n 10000 --warmup 0s
//! …
//!              288 connections short: the server ended them before they had
//! …
//! error: 288 errors: see the summary
//! ```
//!
//! For each of them the server prints `no thread for 127.0.0.1:56872: Resource temporarily unavailable (os error 11)`.

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

/// Answers frames until the client sends FIN. Blocks only this client.
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
