//! The buffer is cleared once a frame was answered, and with it what lay behind the frame.
//!
//! People make it because a client that waits for each answer never has two frames under way. A game server of open-mt2 did
//! it: of thirty packets that came together one was handled: <https://github.com/willianmarquess/open-mt2/issues/76>.
//!
//! A client that pipelines gets the first answer and waits for the others; if half a frame was thrown away, the other half
//! is read as a header.
//!
//! Caught by `zero-length`, `every-split`, `coalesced`, `whole-then-part`, `fin-after-frames`, `slow-reader` and
//! `half-close-owed`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::whole_frame;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<ClearsTheBuffer>(listener)
}

#[derive(Debug, Default)]
struct ClearsTheBuffer;

impl Behavior for ClearsTheBuffer {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        if let Some(frame) = whole_frame(inbox)? {
            outbox.push(frame);
            *inbox = Vec::new(); // the mistake
        }
        Ok(())
    }
}
