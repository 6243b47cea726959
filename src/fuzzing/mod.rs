//! Entry points for fuzzers: any bytes are a script, and a connection keeps its promises whatever the script plays.
//!
//! This is not part of the crate's interface: it is here because a connection's internals are.
//!
//! | target | the bytes |
//! |---|---|
//! | [`decoder`] | a limit, a partition, and a stream that arrives in these parts |
//! | [`connection`] | settings, then the steps of the peer, the network, the handler and the reactor |

pub(crate) mod content;
pub(crate) mod driver;
mod scene;
mod script;
pub(crate) mod sink;
pub(crate) mod socket;
mod stream;
#[cfg(test)]
mod tests;

/// Splits a stream as the script determines, and compares the decoded and echoed bytes with the expected ones.
///
/// # Panics
///
/// If they differ.
pub fn decoder(data: &[u8]) {
    stream::play(data);
}

/// Plays a script on a connection with a scripted socket and handler.
///
/// # Panics
///
/// If an invariant breaks, other bytes are sent than were queued, the accounting is wrong, or work is left that could be done.
pub fn connection(data: &[u8]) {
    let (setup, steps) = script::of(data);
    scene::play(&setup, &steps);
}
