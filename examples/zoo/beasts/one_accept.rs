//! The listener is edge-triggered, and one connection is accepted for an event.
//!
//! People make it because one event is one connection as long as they come one by one. Two that come before the loop is
//! back are one edge; the second stays in the listen queue until a third comes, and then the third stays. It was asked of
//! mio with twenty clients: <https://github.com/tokio-rs/mio/issues/845>.
//!
//! After the first burst the server is behind for ever: each newcomer lets in the one before, and waits itself.
//!
//! Caught by `connect-burst`; then nothing else can be played. Before that, chance decides wherever two come at once.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Sound;
use crate::sound::edges::Edges;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let mut edges = Edges::<Sound>::new(listener)?;
    loop {
        let batch = edges.wait()?;
        edges.turns(batch.slots);
        if batch.is_door {
            // The mistake: others may wait behind this one. (If there is no descriptor for it, it waits too.)
            let _ = edges.accept(|_| Sound::default());
        }
    }
}
