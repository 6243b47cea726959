//! tokio with `LengthDelimitedCodec`: one thread, a stream of frames
//! forwarded into a sink of frames.
//!
//! The form that the codec's users reach for, at its best: the two halves are
//! borrowed from one socket, without a lock; `forward` feeds the sink as long
//! as frames are already decoded and flushes it only when the stream would
//! wait; and a sink over its mark takes no more until the socket did.

use std::io::Result;

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt};
use peers::{PAYLOAD_LEN_MAX, listen};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

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
    let codec = LengthDelimitedCodec::builder().max_frame_length(PAYLOAD_LEN_MAX).new_codec();
    let (reader, writer) = stream.split();
    let requests = FramedRead::new(reader, codec.clone());
    let replies = FramedWrite::new(writer, codec);
    requests.map_ok(BytesMut::freeze).forward(replies).await
}
