//! The standard library alone: a thread a client, blocking.
//!
//! As a careful user writes it: a stack as small as the work (its memory is
//! only promised, but ten thousand promises are many), one buffer that holds
//! headers and payloads, and one write for all the whole frames that a read
//! brought. A client that does not read holds up its own thread alone.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use peers::{listen, whole_frames};

const STACK: usize = 64 * 1024;

/// Where a buffer begins; it doubles for as long as frames do not fit.
const ROOM: usize = 4 * 1024;

fn main() -> Result<()> {
    let listener = listen()?;
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // Most likely too many descriptors: some client will end.
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let client = thread::Builder::new().stack_size(STACK).spawn(move || {
            // The close is the client's error message.
            let _ = echo(stream);
        });
        if let Err(error) = client {
            eprintln!("no thread for a client: {error}");
        }
    }
}

fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; ROOM];
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
        let received = stream.read(&mut buffer[filled..])?;
        if received == 0 {
            return Ok(());
        }
        filled += received;
        let whole = whole_frames(&buffer[..filled])?;
        if whole > 0 {
            stream.write_all(&buffer[..whole])?;
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }
}
