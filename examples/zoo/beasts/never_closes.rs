//! FIN is not noticed: a read of 0 bytes is taken for one that brought nothing this time.
//!
//! People make it because they look for errors only, and 0 is none. Thunder left connections in CLOSE_WAIT for ever that
//! way: <https://github.com/rdkcentral/Thunder/pull/1933>.
//!
//! A client that waits for the server's FIN waits for ever. `ss -t state close-wait` shows a line for each client that
//! ever came and went in order, and one day `accept` says EMFILE.
//!
//! Caught by `fin-after-frames`, `half-close-owed`, `fin-in-header`, `fin-in-payload`, and alone by `churn-descriptors`. With a
//! limit of 1,500 descriptors `churn-under-load` takes the last of them; then nothing else can be played.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::{Behavior, Next};
use crate::sound::edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<NeverCloses>(listener)
}

#[derive(Debug, Default)]
struct NeverCloses;

impl Behavior for NeverCloses {
    fn at_fin(&self) -> Option<Next> {
        Some(Next::Wait) // the mistake
    }
}
