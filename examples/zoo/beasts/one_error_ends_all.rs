//! The error of one connection leaves the loop, and closes all connections.
//!
//! People make it because `?` is one character, and right almost everywhere else. A GELF server for Seq did it: one failed
//! connection ended the process: <https://github.com/datalust/seq-input-gelf/pull/88>.
//!
//! One client crashes, or a phone leaves its network: the kernel says ECONNRESET, and all others are cut off.
//!
//! Caught by `rst-in-header`, and alone by `rst-in-payload` and `rst-with-output-owed`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::{Next, Sound};
use crate::sound::doors;
use crate::sound::edges::Edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let mut edges = Edges::<Sound>::new(listener)?;
    loop {
        let batch = edges.wait()?;
        for slot in batch.slots {
            // The mistake: an error here is this connection's own.
            if edges.turn(slot)? == Next::Close {
                edges.end(slot);
            }
        }
        if batch.is_door {
            edges.accept_all(doors::sound, |_| Sound::default())?;
        }
    }
}
