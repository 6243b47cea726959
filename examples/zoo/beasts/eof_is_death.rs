//! FIN closes the connection at once, with output pending.
//!
//! People make it because they take a read of 0 bytes to mean that the peer is gone; it means that the peer sends no more. Envoy did it, and clients that shut down their sending side after the request got no answer:
//! <https://github.com/envoyproxy/envoy/issues/2066>.
//!
//! Small answers are in the socket before FIN is seen, so it works in small tests. A client that sends many requests,
//! shuts down its sending side and then reads (`nc -N` in a pipe) gets only the first replies.
//!
//! Caught by `half-close-owed`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::{Behavior, Next};
use crate::sound::edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<EofIsDeath>(listener)
}

#[derive(Debug, Default)]
struct EofIsDeath;

impl Behavior for EofIsDeath {
    fn at_fin(&self) -> Option<Next> {
        Some(Next::Close) // the mistake
    }
}
