//! Servers that misbehave on purpose: plain sockets, a thread a client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What a server does with a client, given its number; the connection is closed when this returns.
pub(crate) type Manner = dyn Fn(usize, &mut TcpStream) + Send + Sync;

/// Serves until it is dropped.
pub(crate) struct Double {
    pub(crate) addr: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Double {
    pub(crate) fn start(manner: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let manner: Arc<Manner> = Arc::new(manner);
        let their_end = Arc::clone(&is_over);
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                if their_end.load(Ordering::Acquire) {
                    return;
                }
                let Ok(mut client) = client else { continue };
                let manner = Arc::clone(&manner);
                thread::spawn(move || manner(number, &mut client));
            }
        });
        Self { addr, is_over }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.addr);
    }
}

/// The next frame, header and payload. `None` when the client is at its end.
pub(crate) fn frame(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    client.read_exact(&mut frame).ok()?;
    let len = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frame.resize(4 + len, 0);
    client.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

/// Echoes `frames` frames.
pub(crate) fn echo(client: &mut TcpStream, frames: usize) {
    for _ in 0..frames {
        let Some(frame) = frame(client) else { return };
        if client.write_all(&frame).is_err() {
            return;
        }
    }
}

/// Reads until the client is at its end.
pub(crate) fn swallow(client: &mut TcpStream) {
    let mut buffer = [0; 4_096];
    while client.read(&mut buffer).is_ok_and(|len| len > 0) {}
    let _ = client.shutdown(Shutdown::Both);
}
