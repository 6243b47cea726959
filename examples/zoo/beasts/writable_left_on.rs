//! Level-triggered, and writable readiness is asked for all the time.
//!
//! People make it because "readable and writable" is what one wants to hear of a socket, and with edges it would be right. As
//! a level a socket is writable almost always: the wait returns at once, for nothing. scaproust did it as soon as a client
//! was connected: <https://github.com/blabaere/scaproust/issues/12>.
//!
//! Everything is answered, and one processor is busy while no client sends anything.
//!
//! Caught by `idle-cpu`, `deaf-cpu` and `descriptors-exhausted-cpu`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::{Behavior, Interest, Sound};
use crate::sound::{doors, levels};

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    levels::serve(listener, doors::sound, |_| Ok(Sound::<WritableLeftOn>::default()))
}

#[derive(Debug, Default)]
struct WritableLeftOn;

impl Behavior for WritableLeftOn {
    fn interest(&self, sound: Interest) -> Interest {
        Interest { writable: true, ..sound } // the mistake
    }
}
