//! Rung 2: a thread for each client.

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
