//! Handles expired deadlines: the connection runs once more, and is closed if its peer is late.

use crate::conn::io::Transport;
use crate::conn::turn::Moved;
use crate::error::CloseReason;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::net::Net;
use crate::reactor::Reactor;
use crate::reactor::connections::Open;
use crate::reactor::deadlines::{Kind, Kinds};
use crate::reactor::event::ConnectionEvent;
use crate::reactor::write_progress::{Look, Shown};

/// The most deadlines of a kind that are handled in one turn, because each may close a connection.
const EXPIRY_BUDGET: usize = 32;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Queues the connections whose deadline has passed for one more run, as part of the turn's budget like any other run.
    ///
    /// Rule: a connection is closed at a deadline only after a run that began after the deadline.
    ///
    /// The socket may hold unread input or have room: the process was stopped, a poll was interrupted or returned only some
    /// events, or a budget was spent. And the kernel reports room only once a third of a send buffer is free.
    pub(super) fn queue_expired(&mut self) {
        let now = self.now();
        if !self.deadlines.has_expired(now) {
            return;
        }
        for kind in Kind::ALL {
            for _ in 0..EXPIRY_BUDGET {
                let Some(index) = self.deadlines.expired(kind, now) else { break };
                let Some(id) = self.connections.slots.id_of(index) else { continue };
                let timeout = self.deadlines.timeout(kind, index).unwrap_or_default();
                self.recordings.note(id, now, ConnectionEvent::Deadline { kind, timeout });
                match kind {
                    Kind::Linger => self.linger_expired(id),
                    Kind::Idle | Kind::Frame | Kind::Write | Kind::Connect => self.connections.note_expired(id, kind),
                }
            }
        }
    }

    /// Closes a connection whose peer has not finished in time after our FIN, or has not let the transport send it.
    fn linger_expired(&mut self, id: ConnId) {
        let open = self.connections.open_mut(id);
        let is_fin_sent = open.is_none_or(|open| !open.conn.state().is_shutting_down());
        let reason = if is_fin_sent { Kind::Linger.reason() } else { CloseReason::WriteTimeout };
        self.connections.abort(id, reason);
    }

    /// Closes a connection that has just run and is still late. The deadlines `expired` had passed before that run, which
    /// moved `moved`.
    pub(super) fn recheck(&mut self, id: ConnId, expired: Kinds, moved: Moved) {
        if expired.contains(Kind::Connect) {
            self.dial_timed_out(id);
        }
        for kind in [Kind::Idle, Kind::Frame, Kind::Write] {
            if expired.contains(kind) && self.is_late(id, kind, moved) {
                self.connections.abort(id, kind.reason());
            }
        }
    }

    /// Whether the peer is late, and not this reactor, after the connection has run.
    ///
    /// While the connection has work that needs no peer, the peer is not late. The exception is output, whose progress is
    /// measured.
    fn is_late(&mut self, id: ConnId, kind: Kind, moved: Moved) -> bool {
        let now = self.now();
        let is_queued = self.connections.is_queued(id);
        let Some(Open { conn, .. }) = self.connections.open_mut(id) else { return false };
        if kind == Kind::Idle && (!self.deadlines.is_on(kind, id.index) || self.deadlines.is_set(kind, id.index)) {
            // A callback has changed the timeout: there is none any more, or it has begun anew.
            return false;
        }
        let (since, is_in_time) = match kind {
            Kind::Idle => (Some(now), moved.has_any() || is_queued),
            Kind::Frame => {
                (conn.frame_since(), is_queued || !self.deadlines.is_over(kind, id.index, conn.frame_since(), now))
            }
            Kind::Write => return self.is_behind(id, moved),
            Kind::Linger | Kind::Connect => (None, false),
        };
        if is_in_time {
            self.deadlines.set(kind, id.index, since);
        }
        !is_in_time
    }

    /// Whether the peer has accepted too little of its output in the window that has ended. Otherwise another window begins
    /// while output is pending.
    fn is_behind(&mut self, id: ConnId, moved: Moved) -> bool {
        let now = self.now();
        let Self { connections, write_progress, deadlines, shared, .. } = self;
        let Some(Open { stream, conn, .. }) = connections.open_mut(id) else { return false };
        if !conn.is_watched() || deadlines.is_set(Kind::Write, id.index) {
            // A callback has changed the timeout, and this window does not count: none follows, or another has begun.
            return false;
        }
        let unsent = conn.unsent_bytes() as u64;
        let written = u64::from(conn.take_written());
        let finished_since = conn.finished_since();
        let shown = match stream.unacknowledged_bytes() {
            Ok(Some(unacknowledged)) => {
                let (unacknowledged, just_written) = (unacknowledged as u64, moved.bytes_out as u64);
                let look = Look { unacknowledged, unsent, written, just_written };
                write_progress.look(id.index, now, shared.profiles.limits(conn.profile()), look)
            }
            // The kernel does not report it, so only what the kernel has accepted counts.
            Ok(None) | Err(_) if deadlines.is_over(Kind::Write, id.index, conn.stalled_since(), now) => Shown::Behind,
            Ok(None) | Err(_) if unsent > 0 => Shown::Slow,
            Ok(None) | Err(_) => Shown::Done,
        };
        if shown == Shown::Behind {
            return true;
        }
        if shown != Shown::Early {
            stream.limit_unsent(shown == Shown::Slow);
        }
        let is_given_up = deadlines.is_over(Kind::Write, id.index, finished_since, now);
        if is_given_up {
            // The peer has finished, and the handler leaves the input before that unread.
            conn.close(CloseReason::PeerFinished);
        }
        let window = match shown {
            Shown::Early => write_progress.since(id.index),
            Shown::Fast | Shown::Slow => Some(now),
            Shown::Done | Shown::Behind => None,
        };
        let next = window.into_iter().chain(finished_since.filter(|_| !is_given_up)).min();
        if next.is_none() {
            write_progress.forget(id.index);
            conn.watch(false);
        }
        deadlines.set(Kind::Write, id.index, next);
        if is_given_up {
            connections.all().queue(id);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Config, ConfigBuilder};
    use crate::handler::Echo;
    use crate::reactor::Reactor;
    use crate::sim::Sim;
    use crate::wire::encode_header;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A peer has more pending output than its send buffer holds, and reads so little of it in time that the kernel reports no
    /// room: only the last run finds that. Whether it keeps its connection by reading as many bytes as `reads` says, one after another.
    fn assert_kept(config: ConfigBuilder, then_sends: &[u8], reads: [(usize, bool); 3]) {
        let sim = Sim::new(1);
        sim.set_send_buffer_bytes(300);
        let config = config.write_timeout(Some(TIMEOUT)).write_rate_min(0).frame_timeout(None).build().unwrap();
        let mut reactor = Reactor::with_net(sim.net(), config, Echo).unwrap();
        reactor.listen(&sim.addr(7007)).unwrap();
        let peer = sim.connect(7007).unwrap();
        peer.send(&[&encode_header(1_000)[..], &[7; 1_000]].concat());
        let _ = sim.settle(&mut reactor).unwrap();
        peer.send(then_sends);

        for (bytes, is_kept) in reads {
            assert_eq!(peer.receive_some(bytes).len(), bytes);
            sim.advance(TIMEOUT);
            let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
            reactor.check_invariants();
            assert_eq!(sim.open_sockets() == 1, is_kept, "having read {bytes} bytes: {}", reactor.stats());
        }
    }

    #[test]
    fn slow_reader_is_in_time_while_it_sends_a_lot() {
        let frame = [&encode_header(1_000_000)[..], &[7; 999_000]].concat();
        assert_kept(Config::builder().read_budget_bytes(64), &frame, [(50, true), (1, true), (0, false)]);
    }

    #[test]
    fn slow_reader_is_in_time_with_two_deadlines_at_once() {
        assert_kept(Config::builder().idle_timeout(Some(TIMEOUT)), &[], [(50, true), (1, true), (0, false)]);
    }
}
