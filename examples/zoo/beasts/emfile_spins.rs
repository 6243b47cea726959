//! EMFILE is ignored, and the level-triggered listener is reported as readable again immediately.
//!
//! People make it because the error is temporary. But the connection stays in the listen queue, and the listener readable: the
//! loop asks again as fast as it can. eventcore did it:
//! <https://github.com/vibe-d/eventcore/issues/49>.
//!
//! Existing clients are served, more slowly; one processor is busy until a descriptor is free, which may be hours.
//!
//! Caught by `descriptors-exhausted-cpu`.

use std::io::{Error, Result};
use std::net::TcpListener;

use crate::sound::connection::Sound;
use crate::sound::doors::Door;
use crate::sound::levels;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    levels::serve(listener, go_on, |_| Ok(<Sound>::default()))
}

fn go_on(_: &Error) -> Door {
    Door::Open // the mistake
}
