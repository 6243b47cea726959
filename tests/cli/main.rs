//! The binary as a script sees it: its lines, its streams and its exit codes.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod admin;
mod admin_load;
mod admin_page;
mod admin_requests;
mod check;
mod check_framing;
mod compare;
mod connect;
mod connect_framing;
mod environment;
mod follow;
mod load;
#[cfg(feature = "tui")]
mod messages;
mod prompt;
mod report;
mod results;
mod serve;
mod steps;
mod streams;
#[cfg(feature = "tui")]
mod top;
mod usage;

/// A server on a port of its own, and its address.
fn serve(args: &[&str]) -> (support::Process, String) {
    let (server, addr) = support::Process::serve(args);
    (server, addr.to_string())
}

/// Tries all cases at once, as most of each is waiting.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, attempt: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| attempt(case));
        }
    });
}
