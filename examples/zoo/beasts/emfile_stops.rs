//! The accept loop ends at its first error.
//!
//! People make it because an error that is not understood is better not ignored, and `accept` never fails on the desk. It fails
//! when there are no descriptors left (EMFILE), which is over as soon as a client leaves. httpbeast stopped working then:
//! <https://github.com/dom96/httpbeast/pull/27>.
//!
//! Existing clients are served, no new client is ever accepted, and the process looks healthy.
//!
//! Caught by `descriptors-exhausted`; then nothing else can be played.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Sound;
use crate::sound::doors::Door;
use crate::sound::edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve(listener, stop, |_| <Sound>::default())
}

fn stop(error: &std::io::Error) -> Door {
    eprintln!("zoo: nobody is accepted any more: {error}");
    Door::Closed // the mistake
}
