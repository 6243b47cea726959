//! Where the readiness lint observes a turn.

use std::time::Instant;

use crate::handler::Handler;
use crate::net::{Net, Readiness};
use crate::reactor::Reactor;
use crate::reactor::callbacks::About;
use crate::reactor::connections::{Open, Phase};
use crate::reactor::finding::Finding;
use crate::reactor::lint::{Lints, ROOM};
use crate::reactor::linted_run::is_half_closed;
use crate::reactor::token::Subject;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Notes the events of the poll, and what waits since an earlier turn.
    pub(super) fn begin_linted_turn(&mut self) {
        let Self { lints: Some(lints), net, connections, shared, .. } = self else { return };
        let now = shared.now;
        connections.work.stats.log_lines_left_out += lints.report_suppressed(now);
        lints.begin_turn(net, now);
        // Others have ended, or are dials.
        let is_open = |id| connections.slots.slot(id).is_some_and(|slot| matches!(slot.phase, Phase::Open(_)));
        connections.work.queue.visit_new(|id| !is_open(id) || lints.note_waiting(id));
        for ready in net.events() {
            if let Subject::Conn(id) = Subject::of_token(ready.token)
                && is_open(id)
            {
                lints.note_event(id, ready.readiness);
            }
        }
        while let Some(id) = lints.next_half_closed(now) {
            if let Some(Open { conn, peer, .. }) = connections.open_mut(id)
                && is_half_closed(conn)
            {
                let finding = Finding::StalledHalfClose { unsent: conn.unsent_bytes() };
                lints.found(finding, About::Conn(id, peer), now);
            }
        }
    }
}

/// When a callback outside of a run begins, if it is timed.
#[inline]
pub(super) fn begun(lints: Option<&Lints>, net: &impl Net) -> Option<Instant> {
    lints.map(|_| net.now())
}

/// Notes the end of a callback outside of a run.
#[inline]
pub(super) fn ended(
    lints: Option<&mut Lints>,
    net: &impl Net,
    callback: &'static str,
    about: About<'_>,
    begun: Option<Instant>,
) {
    if let (Some(lints), Some(begun)) = (lints, begun) {
        lints.note_callback(net, callback, about, begun);
        lints.note_long(net, begun);
    }
}

/// Notes that a watched descriptor was reported, after its callback.
pub(super) fn source_ended(lints: Option<&mut Lints>, net: &impl Net, token: usize, number: u32, ready: Readiness) {
    if let Some(lints) = lints {
        lints.note_source(number, ready == ROOM && net.has_room(token), net.now());
    }
}
