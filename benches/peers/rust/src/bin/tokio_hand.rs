//! tokio by hand: one thread, one `BytesMut` a connection.
//!
//! What careful users write when a codec costs too much: a reply to an echo
//! is the request's own bytes, so all the whole frames that a read brought go
//! back in one write, from where they lie, and nothing is copied. While a
//! client does not read, its task waits in that write and so reads no more.

use std::io::Result;

use bytes::{Buf, BytesMut};
use peers::{listen, whole_frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Room that each read finds at least. What idles keeps this much.
const ROOM: usize = 4 * 1024;

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve())
}

async fn serve() -> Result<()> {
    let listener = listen()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        // Too many descriptors, or a client gone already: the next may do.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(async move {
            // The close is the client's error message.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        // Moves a partial frame to the front, or doubles the buffer.
        buffer.reserve(ROOM);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let whole = whole_frames(&buffer)?;
        if whole > 0 {
            stream.write_all(&buffer[..whole]).await?;
            buffer.advance(whole);
        }
    }
}
