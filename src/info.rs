//! What a handler learns about a listener, and about a connection that it inspects.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::{Address, PeerAddr};
use crate::conn::snapshot::{ConnectionState, PausedBy, Snapshot};
use crate::id::{ConnId, ListenerId};
use crate::options::Limits;
use crate::wire::Framing;

/// Describes a new listener: [`Reactor::listen_with`](crate::Reactor::listen_with), [`Handler::on_listen`](crate::Handler::on_listen).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listening {
    /// The id, for [`Reactor::unlisten`](crate::Reactor::unlisten) and
    /// [`Connection::listener`](crate::Connection::listener).
    pub id: ListenerId,
    /// The bound address, with the port that the kernel chose if the port was 0.
    pub addr: Address,
}

/// What a callback sees of its own connection, or the reactor of any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) snapshot: Snapshot,
    pub(crate) peer: &'a PeerAddr,
    pub(crate) local: Option<SocketAddr>,
}

/// Describes a connection at the moment of the call: [`Context::inspect`](crate::Context::inspect).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its id.
    pub id: ConnId,
    /// The address of the peer.
    pub peer: PeerAddr,
    /// Our address; `None` for a Unix socket, and for a [transport](crate::net::Transport) that does not report it.
    pub local: Option<SocketAddr>,
    /// The listener that accepted it; `None` if it was dialed or adopted.
    pub listener: Option<ListenerId>,
    /// Whether this side has opened it.
    pub is_dialed: bool,
    /// Which of its directions are open.
    pub state: ConnectionState,
    /// The name of its detailed state, as the log at the level `trace` has it: `Open`, `Finishing`, `Finished`, `HalfClosed`,
    /// `Detaching`, `Flushing`, `ShuttingDown`, `Lingering` or `Closed`.
    pub state_name: &'static str,
    /// Why no frame is delivered, if so.
    pub paused_by: Option<PausedBy>,
    /// Received and not delivered, in bytes. In a callback about the connection itself, frames that were read together with the
    /// current one are not counted.
    pub pending_input: usize,
    /// Queued and not written, in bytes.
    pub pending_output: usize,
    /// The capacity of its buffers, and the whole of the shared payloads in them, in bytes.
    pub buffered_bytes: usize,
    /// How long ago the last byte moved in either direction, or the connection was opened, in steps of about 1 ms, as of the
    /// beginning of the turn. It wraps after 52 days.
    pub idle: Duration,
    /// Its framing.
    pub framing: Framing,
    /// Its limits.
    pub limits: Limits,
    /// Its age and its counters; `None` unless [`ConfigBuilder::connection_counters`](crate::ConfigBuilder::connection_counters) is on.
    pub counters: Option<ConnectionCounters>,
}

/// Counts what a connection has moved before its current turn, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounters {
    /// How long the connection has been open.
    pub age: Duration,
    /// Whole frames that were delivered to the handler.
    pub frames_in: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}
