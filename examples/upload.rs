//! Receives frames of up to 4 GiB - 1, and sends them back in parts as they come. The memory does not depend on their length.
//!
//! ```text
//! cargo run --release --example upload -- 127.0.0.1:7013
//! frameloop connect 127.0.0.1:7013 --file video.mkv | cmp video.mkv
//! ```
//!
//! A real program would write the parts to a file, on another thread, and pause the connection while that thread is behind.
//!
//! When standard input is closed, the server drains: it completes the frames that have begun, and ends.

use std::{env, io, thread};

use frameloop::{Address, Config, Connection, Frame, FramePart, Handler, Limits, ListenOptions, Reactor};

struct Upload;

impl Handler for Upload {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _conn: &mut Connection<'_>) {}

    /// A frame of up to 68 KiB comes whole.
    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = conn.reply_frame(frame);
    }

    /// Each part is a part of the reply. While the client does not read, none is delivered.
    fn on_frame_part(&mut self, conn: &mut Connection<'_>, (): &mut (), part: FramePart<'_>) {
        let len = part.payload_len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let begun = if part.is_first() { conn.begin_reply(len) } else { Ok(()) };
        if let Err(error) = begun.and_then(|()| conn.reply_part(part.bytes())) {
            eprintln!("{}: no part of the reply can be sent: {error}", conn.peer_addr());
            conn.abort();
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    let config = Config::builder().memory(16 << 20).max_payload(1 << 20).build()?;
    // Without a frame timeout, an idle timeout ends an upload that makes no progress.
    let limits = Limits::of(&config)
        .frames_in_parts(true)
        .max_payload(u32::MAX)
        .frame_timeout(None)
        .idle_timeout(Some(std::time::Duration::from_secs(60)));
    let mut reactor = Reactor::new(config, Upload)?;
    println!("listening on {}", reactor.listen_with(&addr, ListenOptions::default().limits(limits))?.addr);
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });
    reactor.run()?;
    Ok(())
}
