//! Four threads, and each serves one client to its end.
//!
//! People make it because a thread pool bounds the cost of a thread for each client, and short requests come and go. A
//! client that stays holds its thread while it says nothing. hyper did it before it was asynchronous: a few idle keep-alive
//! connections, such as a browser opens, and no other client was served: <https://github.com/hyperium/hyper/issues/368>.
//!
//! All is well with up to four clients. The fifth connects, since the kernel does that, and is never answered.
//!
//! Caught by all that need more than four at once: `silent-beside`, `idle-cpu`, `connect-burst`, `thousand-clients`,
//! `churn-under-load`, `announced-memory`, `idle-memory` and `four-gib`.

use std::io::{Result, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::sound::blocking::read_frame;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| work(&listener));
        }
    });
    Ok(())
}

fn work(listener: &TcpListener) {
    loop {
        match listener.accept() {
            // The mistake: the thread stays with this client. Its error is its own.
            Ok((stream, _)) => drop(serve_to_the_end(stream)),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn serve_to_the_end(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    while let Some(frame) = read_frame(&mut stream)? {
        stream.write_all(&frame)?;
    }
    Ok(())
}

const THREADS: usize = 4;
