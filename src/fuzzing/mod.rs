//! Entry points for fuzzers: any bytes are a script, and whatever it plays, a connection keeps its promises.
//!
//! Not part of the crate's interface: it is here because a connection's internals are.
//!
//! | target | what the bytes are |
//! |---|---|
//! | [`decoder`] | a limit, a partition, and a stream that arrives so cut |
//! | [`connection`] | settings, then what peer, network, handler and reactor do, step by step |

pub(crate) mod content;
pub(crate) mod driver;
mod scene;
mod script;
pub(crate) mod sink;
pub(crate) mod socket;
mod stream;
#[cfg(test)]
mod tests;

/// Cuts a stream as the script says, and compares what is decoded and echoed with what must be.
///
/// # Panics
///
/// If it is not the same.
pub fn decoder(data: &[u8]) {
    stream::play(data);
}

/// Plays a script on a connection with a scripted socket and handler.
///
/// # Panics
///
/// If an invariant breaks, other bytes come out than were queued, the accounting is wrong, or something is left undone that
/// could be done.
pub fn connection(data: &[u8]) {
    let (setup, steps) = script::of(data);
    scene::play(&setup, &steps);
}
