//! Bytes are echoed as they come, wherever a frame begins or ends.
//!
//! People make it because an echo of bytes looks like an echo of frames, as long as a frame comes in one piece. The remote
//! console of fts took each receive for a message that way: <https://github.com/forrestthewoods/fts_remote_console/issues/13>.
//!
//! Clients that send whole frames see nothing. The server answers half a request, and has no limit: it never knows how
//! long a frame is.
//!
//! Caught by `half-frame`, `fin-in-header`, `fin-in-payload` and `length-over-limit`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<ByteEcho>(listener)
}

#[derive(Debug, Default)]
struct ByteEcho;

impl Behavior for ByteEcho {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        outbox.push(&std::mem::take(inbox)); // the mistake
        Ok(())
    }
}
