//! A TCP server on one thread and one readiness loop, for frames with a 4-byte big-endian length.
//!
//! You implement a [`Handler`], and a [`Reactor`] calls it: it accepts and dials connections, collects the bytes of each frame,
//! calls [`Handler::on_frame`] with the whole frame, queues the reply, and writes it when the socket has room. It starts no
//! thread. Sockets are nonblocking, and readiness comes from epoll (Linux) or kqueue (the BSDs, macOS), by way of mio.
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
//! | task | items |
//! |---|---|
//! | handle frames, send to other connections, pause, close | [`Handler`], [`Connection`], [`Context`] |
//! | send one payload to many connections, send a frame on | [`Context::broadcast`], [`Context::forward`] |
//! | dial, set timers | [`Context::dial`], [`Context::set_timer`]; between turns, [`Reactor::cx`] |
//! | set limits, budgets, water marks and deadlines | [`Config`], [`ConfigBuilder`] |
//! | use sockets from elsewhere (socket activation, a parent process, another loop) | [`Reactor::adopt_listener`], [`Reactor::adopt_stream`] |
//! | hand a connection to other code | [`Connection::detach`] |
//! | drive the loop: until it has ended, turn by turn, or inside another loop | [`Reactor`] |
//! | send messages from other threads, drain, stop | [`Handle`] |
//! | count and measure | [`Stats`], [`Histogram`] |
//! | find mistakes of a handler | [`Lint`], [`LintMode`] |
//! | watch one connection: its state, its deadlines, its last events | [`Context::inspect`], [`Reactor::deadlines_of`], [`Reactor::record`] |
//! | find out why a connection ended | [`CloseReason`] |
//! | find out why a call failed | [`Error`], [`SendError`], [`DialError`], [`DialRefused`], [`AdoptError`], [`TimerRefused`], [`RecordRefused`], [`HandleError`] |
//! | encode and decode frames elsewhere | [`wire`], [`client`] |
//!
//! The guide is `docs/EMBEDDING.md`. It covers these topics, most of them with a complete program:
//!
//! - state for each connection, and sending to other connections
//! - backpressure
//! - requests to a backend
//! - timers
//! - work on other threads
//! - your own loop around the reactor
//! - sockets from elsewhere, and connections for other code
//! - the memory that a connection uses
//! - tests without sockets
//! - the reasons for which a connection ends
//!
//! The crate logs by way of the `log` crate: warnings and errors, and at the levels `debug` and `trace` each event, system call
//! and change of state. Your logger runs on the loop's thread. A logger that waits for a pipe or a disk stalls every
//! connection, so give it a queue and a thread of its own.
//!
//! # What a peer cannot do
//!
//! The figures are the defaults of [`Config`].
//!
//! - Allocate memory with a header: the input buffer of a connection is at most twice the bytes received, plus 4 KiB.
//! - Use more than `memory` (1 GiB): above it, the connection that holds the most bytes is closed as evicted.
//! - Pile up output: above the high-water mark (64 KiB), a send returns [`SendError::Full`], and input from an accepted
//!   connection pauses.
//! - Send a frame without end: it has to be complete within `frame_timeout` (30 s).
//! - Stop reading: `write_timeout` (30 s) and `write_rate_min` (4 KiB/s) close its connection.
//! - Monopolize the loop: bytes, frames and accepts have a budget per turn.
//! - Stop the reactor: an error on a connection closes that connection only.
//!
//! By default a peer *can* be silent between two frames for any time: `idle_timeout` is `None`. Set it to close silent
//! connections. A full server closes the connection that has been idle longest, if that is 30 s or more (`reclaim_idle`), for
//! each new client. `max_per_ip` limits the connections of one address; it is off by default.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `cli` (default) | the dependencies of the program `frameloop`; includes `load` |
//! | `load` | `frameloop::load`, the load generator |
//! | `sim` | `frameloop::sim`, a deterministic network and clock to test handlers on |
//!
//! With `default-features = false` the library depends on mio, slab, log, socket2, libc and bytes.
//!
//! # Platforms
//!
//! Linux is tested and measured. The crate compiles for other Unixes, where it differs by `cfg` as their kernels do; it has
//! not been run there. It does not compile for Windows.

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
mod histogram;
mod id;
mod info;
mod lint;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "micro")]
#[doc(hidden)]
pub mod micro;
pub mod net;
mod options;
mod reach;
mod reactor;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stats;
#[cfg(test)]
mod tests;
pub mod wire;

pub use crate::address::{Address, AddressError, Dial, PeerAddr};
pub use crate::config::{Config, ConfigBuilder, ConfigError};
pub use crate::conn::frame::Frame;
pub use crate::conn::part::FramePart;
pub use crate::conn::sink::Drain;
pub use crate::conn::snapshot::{ConnectionState, PausedBy};
pub use crate::error::{
    AdoptError, CausedBy, CloseKind, CloseReason, DialError, DialRefused, Error, RecordRefused, SendError, TimerRefused,
};
pub use crate::handler::{Connection, Context, Echo, Handler, NotForwarded};
pub use crate::histogram::Histogram;
pub use crate::id::{ConnId, ConnIdError, ListenerId, SourceId, TimerId};
pub use crate::info::{ConnectionCounters, ConnectionInfo, Listening};
pub use crate::lint::{Lint, LintMode};
pub use crate::net::{Detached, Interest, Readiness};
pub use crate::options::{Limits, ListenOptions};
pub use crate::reach::Broadcast;
pub use crate::reactor::deadline_kind::{Deadline, DeadlineKind};
pub use crate::reactor::drain_report::{CutConnection, DrainReport};
pub use crate::reactor::event::{CallError, ConnectionEvent};
pub use crate::reactor::handle::{Handle, HandleError, StatsError};
pub use crate::reactor::inspect::Scan;
pub use crate::reactor::recording::{RecordedEvent, Recording};
pub use crate::reactor::{Reactor, Turn};
pub use crate::stats::{Calls, Dropped, Refused, Stats};

/// The programs of the guide.
#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../docs/EMBEDDING.md")]
struct Embedding;
