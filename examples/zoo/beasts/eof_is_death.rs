//! FIN closes the connection at once, whatever is still owed.
//!
//! People make it because a read of 0 bytes means that the peer is gone, they have learnt; it means that the peer sends no
//! more. Envoy did it, and clients that shut down their sending side after the request got no answer:
//! <https://github.com/envoyproxy/envoy/issues/2066>.
//!
//! Small answers are in the socket before FIN is seen, so that it works on the desk. Whoever asks for much, says that this
//! was all, and then reads (`nc -N` in a pipe) gets the beginning of it.
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
