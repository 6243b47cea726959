//! A TCP server on one thread and one readiness loop, for frames with a 4-byte big-endian length.
//!
//! Every connection is a state machine: collect the header, collect the payload, hand the whole frame to a [`Handler`],
//! queue the response, flush it when the socket takes it. No thread is spawned for a client.
//!
//! # A server in ten lines
//!
//! ```
//! use frameloop::{Address, Config, Connection, Frame, Handler, Reactor};
//!
//! struct Upper;
//!
//! impl Handler for Upper {
//!     type State = ();
//!     type Message = ();
//!
//!     fn on_open(&mut self, _conn: &mut Connection<'_>) {}
//!
//!     fn on_frame(&mut self, conn: &mut Connection<'_>, _state: &mut (), frame: Frame<'_>) {
//!         let _ = conn.reply(&frame.payload().to_ascii_uppercase());
//!     }
//! }
//!
//! let mut reactor = Reactor::new(Config::default(), Upper)?;
//! let bound = reactor.listen(&"127.0.0.1:0".parse()?)?;
//! let handle = reactor.handle();
//! let thread = std::thread::spawn(move || reactor.run());
//!
//! # let Address::Tcp(addr) = bound else { unreachable!() };
//! let mut client = frameloop::client::Client::connect(addr, Some(std::time::Duration::from_secs(5)))?;
//! assert_eq!(client.call(b"hello")?, b"HELLO");
//!
//! handle.drain()?;
//! # drop(client);
//! thread.join().map_err(|_| "the reactor's thread panicked")??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | answer frames, send to other connections, pause, close | [`Handler`], [`Connection`], [`Context`] |
//! | open connections, set timers | [`Context::dial`], [`Context::set_timer`]; from outside of callbacks, [`Reactor::cx`] |
//! | set limits, budgets, watermarks and deadlines | [`Config`] |
//! | drive the loop: to its end, turn by turn, or inside another loop | [`Reactor`] |
//! | talk to it from other threads | [`Handle`] |
//! | see what it does | [`Stats`], and the `log` crate's levels `debug` and `trace`. The loop's thread calls your logger: one that waits, for a pipe or a disk, stalls every connection, so give it a queue and a thread |
//! | know why a connection ended | [`CloseReason`] |
//! | speak the wire format | [`wire`], [`client`] |
//!
//! # What a peer cannot do
//!
//! - Make the server allocate on its word: a buffer is at most twice the bytes received plus 4 KiB, whatever a header says.
//! - Make output pile up: at the high watermark reading from that peer pauses, and a send is refused with
//!   [`SendError::Full`].
//! - Hold a connection by dripping, by not reading or by silence: each has a deadline.
//! - Keep the loop from others: bytes, frames and accepts have a budget a turn.
//! - End the loop: no peer's error is the reactor's.
//!
//! # Features
//!
//! `cli` (default) is the command line. With `default-features = false` the library needs mio, slab, log, socket2
//! and libc.
//! `sim` adds `frameloop::sim`, a deterministic network to test a handler on; `load`, which is a part of `cli`, adds
//! `frameloop::load`, the load generator.
//!
//! # Platforms
//!
//! Linux is tested and measured. Other Unixes differ by `cfg` where their kernels do, and have not been run.

#![cfg_attr(test, allow(clippy::unwrap_used))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[cfg(not(unix))]
compile_error!("frameloop needs a Unix: it waits on descriptors, and listens on Unix sockets");

mod address;
pub mod client;
mod config;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
mod conn;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod id;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "micro")]
#[doc(hidden)]
pub mod micro;
pub mod net;
mod reactor;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;
pub mod wire;

pub use crate::address::{Address, AddressError, Dial, PeerAddr};
pub use crate::config::{Config, ConfigBuilder, ConfigError};
pub use crate::conn::frame::Frame;
pub use crate::error::{CausedBy, CloseKind, CloseReason, DialError, DialRefused, Error, SendError, TimerRefused};
pub use crate::handler::{Broadcast, Connection, Context, Echo, Handler};
pub use crate::id::{ConnId, SourceId, TimerId};
pub use crate::reactor::handle::{Handle, HandleError, StatsError};
pub use crate::reactor::histogram::Histogram;
pub use crate::reactor::stats::{Calls, Refused, Stats};
pub use crate::reactor::{DrainReport, Reactor, Turn};

/// The programs of the guide.
#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../docs/EMBEDDING.md")]
struct Embedding;
