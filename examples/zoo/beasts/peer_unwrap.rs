//! The server asks for the address of each accepted connection, and panics if the peer has already gone.
//!
//! People make it because a connection that was accepted has a peer. It had one: a client that resets before the loop comes
//! to it leaves a socket without (`getpeername` says ENOTCONN). gotham unwrapped it:
//! <https://github.com/gotham-rs/gotham/issues/461>. `accept` returns the address too, and that one is always there.
//!
//! The server runs for weeks, and then a port scan ends it, or a load balancer that looks whether it lives.
//!
//! Caught by `connect-storm`; then nothing else can be played.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Sound;
use crate::sound::{doors, edges};

#[expect(clippy::unwrap_used, reason = "the mistake")]
pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve(listener, doors::sound, |stream| {
        eprintln!("zoo: {} has come", stream.peer_addr().unwrap()); // the mistake
        <Sound>::default()
    })
}
