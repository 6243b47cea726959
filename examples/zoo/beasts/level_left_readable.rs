//! Level-triggered; reading is paused by not reading, and readable readiness is asked for all the same.
//!
//! People make it because the pause is in their own code: a full outbox, and an early return. The kernel does not know, and
//! reports again and again that there is something to read. crun kept asking for input while its output was blocked, and
//! woke up all the time: <https://github.com/containers/crun/pull/2041>.
//!
//! All clients are served, and memory is bounded. One client that does not read keeps a processor busy until it goes.
//!
//! Caught by `deaf-cpu`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::{Behavior, Interest, Sound};
use crate::sound::{doors, levels};

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    levels::serve(listener, doors::sound, |_| Ok(Sound::<LevelLeftReadable>::default()))
}

#[derive(Debug, Default)]
struct LevelLeftReadable;

impl Behavior for LevelLeftReadable {
    fn interest(&self, sound: Interest) -> Interest {
        Interest { readable: true, ..sound } // the mistake
    }
}
