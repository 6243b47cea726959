//! What a drain or a stop did, and which connections it cut.

use crate::address::PeerAddr;
use crate::error::CloseReason;
use crate::id::ConnId;

/// The most connections in [`DrainReport::cut_connections`].
const CUT_LISTED_MAX: usize = 1_000;

/// Reports how a drain or a stop ended the connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that closed after all their pending output was sent.
    pub drained: u64,
    /// Connections that ended otherwise: at the deadline, by the stop, or by an error of their own.
    ///
    /// Connections that waited in a listen queue when the drain began and could not be accepted are included. A queue that
    /// cannot be emptied counts as one.
    pub cut: u64,
    /// Output that was queued for the connections in [`cut`](Self::cut) and not sent, in bytes.
    pub unsent_bytes: u64,
    /// How many of the connections in [`cut`](Self::cut) had something to finish: pending output, input that was not delivered, or
    /// a handler for which the drain waited.
    pub cut_unfinished: u64,
    /// The first 1,000 of those connections.
    pub cut_connections: Vec<CutConnection>,
}

/// Describes a connection that ended during a drain or a stop with something to finish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutConnection {
    /// The id, which is stale.
    pub id: ConnId,
    /// The address of the peer.
    pub peer: PeerAddr,
    /// Why it ended.
    pub reason: CloseReason,
    /// Output that was queued and not sent, in bytes.
    pub unsent_bytes: u64,
    /// Input that was received and not delivered, in bytes: frames for which the handler had paused, or a part of a frame. What the
    /// kernel still held is not included.
    pub undelivered_bytes: u64,
    /// Whether the drain waited for the handler: it had paused the connection, or had returned
    /// [`Drain::WhenClosed`](crate::Drain::WhenClosed) and not closed it.
    pub is_awaited: bool,
}

impl CutConnection {
    pub(crate) fn is_unfinished(&self) -> bool {
        self.unsent_bytes > 0 || self.undelivered_bytes > 0 || self.is_awaited
    }
}

impl DrainReport {
    /// Counts a connection that has ended, and lists it if it was cut with something to finish.
    pub(crate) fn note_ended(&mut self, ended: &CutConnection) {
        match ended.reason {
            CloseReason::Drained | CloseReason::PeerFinished | CloseReason::ClosedByHandler | CloseReason::Detached => {
                self.drained += 1
            }
            _ => {
                self.cut += 1;
                self.unsent_bytes += ended.unsent_bytes;
                if ended.is_unfinished() {
                    self.cut_unfinished += 1;
                    if self.cut_connections.len() < CUT_LISTED_MAX {
                        self.cut_connections.push(ended.clone());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: CloseReason, [unsent_bytes, undelivered_bytes]: [u64; 2], is_awaited: bool) -> CutConnection {
        let id = ConnId { index: 1, generation: 1 };
        CutConnection { id, peer: PeerAddr::UNNAMED, reason, unsent_bytes, undelivered_bytes, is_awaited }
    }

    #[test]
    fn cut_connection_is_listed_if_it_had_something_to_finish() {
        let mut report = DrainReport::default();
        report.note_ended(&ended(CloseReason::Drained, [0, 0], false));
        report.note_ended(&ended(CloseReason::PeerFinished, [0, 0], true));
        report.note_ended(&ended(CloseReason::Cut, [0, 0], false));
        assert_eq!((report.drained, report.cut, report.cut_unfinished), (2, 1, 0));
        let unfinished = [
            ended(CloseReason::Cut, [7, 0], false),
            ended(CloseReason::WriteTimeout, [3, 1], false),
            ended(CloseReason::Cut, [0, 5], false),
            ended(CloseReason::Cut, [0, 0], true),
        ];
        unfinished.iter().for_each(|ended| report.note_ended(ended));
        assert_eq!((report.cut, report.cut_unfinished, report.unsent_bytes), (5, 4, 10));
        assert_eq!(report.cut_connections, unfinished);
    }

    #[test]
    fn list_of_cut_connections_is_bounded_and_their_count_is_not() {
        let mut report = DrainReport::default();
        (0..2_500).for_each(|_| report.note_ended(&ended(CloseReason::Cut, [1, 0], false)));
        assert_eq!((report.cut_unfinished, report.unsent_bytes), (2_500, 2_500));
        assert_eq!(report.cut_connections.len(), CUT_LISTED_MAX);
    }
}
