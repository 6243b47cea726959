//! Reading continues whatever output is pending: the outbox has no bound.
//!
//! People make it because the socket takes what it can and the rest is queued, which is right; that the queue is memory, and
//! that only the peer can empty it, does not show while peers read. http-kit queued for a slow client until memory ran out:
//! <https://github.com/http-kit/http-kit/issues/180>.
//!
//! One client that pipelines and does not read makes the process grow as fast as it can send, until the kernel ends it.
//!
//! Caught by `never-reads-memory`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<UnboundedOutbox>(listener)
}

#[derive(Debug, Default)]
struct UnboundedOutbox;

impl Behavior for UnboundedOutbox {
    fn is_full(&self, _outbox: &Outbox) -> bool {
        false // the mistake
    }
}
