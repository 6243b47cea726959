//! A TCP server on one thread and one readiness loop, for frames with a 4-byte big-endian length.

#[cfg(not(unix))]
compile_error!("frameloop needs a Unix: it waits on descriptors, and its tests are of Unix sockets");

mod addr;
mod config;
mod conn;
mod error;
pub mod frame;
mod handler;
mod reactor;

pub use crate::addr::{ListenAddr, PeerAddr};
pub use crate::config::{Config, ConfigBuilder, ConfigError};
pub use crate::conn::decoder::Frame;
pub use crate::conn::outbox::Sent;
pub use crate::error::{CausedBy, CloseReason, Error};
pub use crate::handler::{Broadcast, ConnId, Context, Echo, Handler, Peers, SourceId};
pub use crate::reactor::handle::{Gone, Handle};
pub use crate::reactor::stats::{Calls, Histogram, Refused, Stats};
pub use crate::reactor::{DrainReport, Reactor, Turn};

/// What a reactor needs of the world: see [`Net`](net::Net).
pub mod net {
    pub use crate::conn::Transport;
    pub use crate::reactor::net::{Listener, Mio, Net, Ready, Stream};
}
