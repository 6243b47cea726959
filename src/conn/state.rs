//! The states of a connection, and every transition between them.
//!
//! ```text
//!   Open -- FIN between frames --> HalfClosed
//!    |  \                              |
//!    |   \                             | close, drained
//!    |    \                            v
//!    |     +-- FIN inside a frame --> FlushingAfterFin
//!    |                                 ^       |
//!    | close, drained,                 | FIN   | output flushed
//!    | frame too long                  |       v
//!    +---------------------------> Flushing   Closed(reason)
//!                                      |           ^
//!           output flushed: our FIN is sent        | FIN, RST or deadline
//!                                      v           |
//!                                  Lingering ------+   (input is discarded)
//!
//!   Flushing, FlushingAfterFin -- output flushed, and the transport cannot send FIN yet --> ShuttingDown
//!   ShuttingDown -- our FIN is sent --> Lingering
//!
//!   any state -- RST, error, deadline, abort --> Closed(reason)
//!
//!   Open, HalfClosed -- detach --> Detaching -- end of the turn --> Closed(Detached)
//!
//!   the drain of an open connection:
//!   NotBegun -- drain begun --> Delivering -- all input delivered: on_drain --> at rest: drained
//!                                                                        \--> when closed: Awaiting
//!
//! the half-close of our side:
//!
//!   Open -- finish --> Finishing -- output flushed: our FIN is sent --> Finished
//!                         |                                                |
//!                         | close                                          | close
//!                         v                                                v
//!                      Flushing                                        Lingering
//!
//!   Finishing, Finished -- FIN --> FlushingAfterFin
//!   HalfClosed -- finish --> FlushingAfterFin
//! ```
//!
//! Paused reading is not a state: it follows from the pending output and from what the handler has asked for.

use crate::error::CloseReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// The handler sends no more. Pending output is sent, then FIN. Frames are delivered.
    Finishing,
    /// Our FIN is sent. Frames are delivered until the peer's FIN.
    Finished,
    /// The peer has sent FIN, and may still read.
    HalfClosed,
    /// The handler has asked for the socket. Nothing is read or delivered any more, until the turn has ended.
    Detaching,
    /// No frame is delivered any more. Pending output is sent, then FIN. The peer may still send.
    Flushing {
        reason: CloseReason,
    },
    /// The peer has sent FIN. Pending output is sent, then the socket is closed.
    FlushingAfterFin {
        reason: CloseReason,
    },
    /// The transport sends what it holds, then FIN. Input is discarded: the transport may have to receive something first.
    ShuttingDown {
        reason: CloseReason,
    },
    /// Our FIN is sent. Closing now, with input unread, would send RST and could destroy responses in flight.
    Lingering {
        reason: CloseReason,
        /// False until the end of the turn, if our FIN was sent before the handler closed.
        has_begun: bool,
    },
    Closed(CloseReason),
}

/// How far a drain has come with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainStage {
    NotBegun,
    /// Frames that have arrived are delivered. Then the handler's `on_drain` is called.
    Delivering,
    /// The handler closes it, because a reply is still to come.
    Awaiting,
    /// Nothing is to be asked any more.
    Done,
}

// The events.
impl State {
    /// The handler or the reactor closes the connection, once its pending output is flushed.
    pub(crate) fn close_requested(&mut self, reason: CloseReason) {
        *self = match *self {
            Self::Open | Self::Finishing => Self::Flushing { reason },
            Self::Finished => Self::Lingering { reason, has_begun: false },
            // In `on_half_close`, which is called last.
            Self::FlushingAfterFin { reason: CloseReason::PeerFinished } if reason == CloseReason::HandlerPanicked => {
                Self::FlushingAfterFin { reason }
            }
            Self::HalfClosed => {
                let is_after_peer = matches!(reason, CloseReason::ClosedByHandler | CloseReason::Drained);
                Self::FlushingAfterFin { reason: if is_after_peer { CloseReason::PeerFinished } else { reason } }
            }
            closing @ (Self::Detaching
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Lingering { .. }
            | Self::Closed(_)) => closing,
        }
    }

    /// The handler half-closes the connection. If the peer has done that before, it closes.
    pub(crate) fn finish_requested(&mut self) {
        *self = match *self {
            Self::Open => Self::Finishing,
            Self::HalfClosed => Self::FlushingAfterFin { reason: CloseReason::PeerFinished },
            other @ (Self::Finishing
            | Self::Finished
            | Self::Detaching
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Lingering { .. }
            | Self::Closed(_)) => other,
        }
    }

    /// The connection ends immediately: a reset, an error, a deadline, or an abort. Pending output is lost.
    ///
    /// A lingering connection has sent all its output, and keeps its reason, unless the handler aborts it.
    pub(crate) fn failed(&mut self, reason: CloseReason) {
        *self = match *self {
            Self::Lingering { .. } if reason == CloseReason::AbortedByHandler => Self::Closed(reason),
            Self::Lingering { reason, .. } | Self::Closed(reason) => Self::Closed(reason),
            Self::Open
            | Self::Finishing
            | Self::Finished
            | Self::HalfClosed
            | Self::Detaching
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. } => Self::Closed(reason),
        }
    }

    /// The handler asks for the socket. It is too late for that once the connection closes or is half-closed by us.
    pub(crate) fn detach_requested(&mut self) {
        *self = match *self {
            Self::Open | Self::HalfClosed => Self::Detaching,
            other @ (Self::Finishing
            | Self::Finished
            | Self::Detaching
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Lingering { .. }
            | Self::Closed(_)) => other,
        }
    }

    /// The turn has ended, and with it the connection, if its socket was asked for.
    pub(crate) fn turn_ended(&mut self) {
        match self {
            Self::Detaching => *self = Self::Closed(CloseReason::Detached),
            Self::Lingering { has_begun, .. } => *has_begun = true,
            Self::Open
            | Self::Finishing
            | Self::Finished
            | Self::HalfClosed
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Closed(_) => {}
        }
    }

    /// The peer's FIN was read, after `partial` bytes of an incomplete frame.
    pub(crate) fn peer_finished(&mut self, partial: usize) {
        let reason = match partial {
            0 => CloseReason::PeerFinished,
            received => CloseReason::TruncatedFrame { received },
        };
        *self = match *self {
            Self::Open if partial == 0 => Self::HalfClosed,
            Self::Open | Self::Finishing | Self::Finished => Self::FlushingAfterFin { reason },
            Self::Flushing { reason } => Self::FlushingAfterFin { reason },
            Self::Lingering { reason, .. } => Self::Closed(reason),
            ended @ (Self::HalfClosed
            | Self::Detaching
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Closed(_)) => ended,
        }
    }

    /// No output is pending. Returns whether our FIN is to be sent now. After the peer's FIN that is not necessary, except if the
    /// transport `has_more` to send before it.
    #[must_use]
    pub(crate) fn output_flushed(&mut self, has_more: bool) -> bool {
        match *self {
            Self::Flushing { .. } | Self::Finishing | Self::ShuttingDown { .. } => return true,
            Self::FlushingAfterFin { .. } if has_more => return true,
            Self::FlushingAfterFin { reason } => *self = Self::Closed(reason),
            Self::Open
            | Self::Finished
            | Self::HalfClosed
            | Self::Detaching
            | Self::Lingering { .. }
            | Self::Closed(_) => {}
        }
        false
    }

    /// Our FIN was sent; if not, the socket is broken already, and there is nothing to wait for, but perhaps input.
    pub(crate) fn fin_sent(&mut self, is_sent: bool) {
        *self = match *self {
            Self::Flushing { reason } | Self::FlushingAfterFin { reason } | Self::ShuttingDown { reason } => {
                if is_sent { Self::Lingering { reason, has_begun: true } } else { Self::Closed(reason) }
            }
            Self::Finishing => Self::Finished,
            other @ (Self::Open
            | Self::Finished
            | Self::HalfClosed
            | Self::Detaching
            | Self::Lingering { .. }
            | Self::Closed(_)) => other,
        }
    }

    /// Our FIN cannot be sent yet: the transport has something to send before it, or to receive.
    pub(crate) fn fin_postponed(&mut self) {
        *self = match *self {
            Self::Flushing { reason } | Self::FlushingAfterFin { reason } => Self::ShuttingDown { reason },
            other @ (Self::Open
            | Self::Finishing
            | Self::Finished
            | Self::HalfClosed
            | Self::Detaching
            | Self::ShuttingDown { .. }
            | Self::Lingering { .. }
            | Self::Closed(_)) => other,
        }
    }
}

// What a state permits.
impl State {
    /// Whether frames are delivered.
    #[inline]
    pub(crate) fn takes_frames(&self) -> bool {
        matches!(self, Self::Open | Self::Finishing | Self::Finished)
    }

    /// Whether the handler may send.
    pub(crate) fn takes_output(&self) -> bool {
        matches!(self, Self::Open | Self::HalfClosed)
    }

    /// Whether nothing is read, so that no read reports a reset.
    pub(crate) fn reads_nothing(&self, is_paused: bool) -> bool {
        *self == Self::HalfClosed || self.takes_frames() && is_paused
    }

    /// Whether input is only discarded.
    pub(crate) fn discards_input(&self) -> bool {
        matches!(self, Self::ShuttingDown { .. } | Self::Lingering { .. })
    }

    /// Whether the connection waits for the transport before our FIN can be sent.
    pub(crate) fn is_shutting_down(&self) -> bool {
        matches!(self, Self::ShuttingDown { .. })
    }

    /// Whether the connection closes: no callback is called any more, but for its end.
    pub(crate) fn is_ending(&self) -> bool {
        !matches!(self, Self::Open | Self::Finishing | Self::Finished | Self::HalfClosed)
    }

    /// Whether the connection has ended and other code gets its socket.
    pub(crate) fn is_detached(&self) -> bool {
        matches!(self, Self::Closed(CloseReason::Detached))
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        match *self {
            Self::Closed(reason) => Some(reason),
            Self::Open
            | Self::Finishing
            | Self::Finished
            | Self::HalfClosed
            | Self::Detaching
            | Self::Flushing { .. }
            | Self::FlushingAfterFin { .. }
            | Self::ShuttingDown { .. }
            | Self::Lingering { .. } => None,
        }
    }

    /// Whether input is only discarded, after our FIN.
    pub(crate) fn is_lingering(&self) -> bool {
        matches!(self, Self::Lingering { has_begun: true, .. })
    }

    /// The name for a log line.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Finishing => "Finishing",
            Self::Finished => "Finished",
            Self::HalfClosed => "HalfClosed",
            Self::Detaching => "Detaching",
            Self::Flushing { .. } | Self::FlushingAfterFin { .. } => "Flushing",
            Self::ShuttingDown { .. } => "ShuttingDown",
            Self::Lingering { .. } => "Lingering",
            Self::Closed(_) => "Closed",
        }
    }
}
