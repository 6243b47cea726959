//! What a handler can do from its callbacks, on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod draining;
mod endings;
mod finishing;
mod panics;
mod pausing;
mod sending;
mod short_reads;
#[path = "../support/mod.rs"]
mod support;

use std::sync::mpsc::Receiver;

use frameloop::Config;
use support::stepped::{Hooks, Server};

fn server(hooks: Hooks) -> Server<Hooks> {
    Server::new(Config::default(), hooks)
}

/// All that came through a channel so far.
fn all<T>(receiver: &Receiver<T>) -> Vec<T> {
    receiver.try_iter().collect()
}
