//! The connections of a thread: what is sent on each, and what has not been answered.

use std::sync::Arc;

use crate::conn::frame::Frame;
use crate::error::SendError;
use crate::id::ConnId;
use crate::load::clock::Clock;
use crate::load::link::{Link, LinkState, Stamp};
use crate::load::outcome::{Cohort, Fault, FaultKind};
use crate::load::payload::Payloads;
use crate::load::plan::Plan;

#[derive(Debug)]
pub(crate) struct Links {
    /// The active ones first.
    links: Vec<Link>,
    payloads: Arc<Payloads>,
    active: usize,
    active_open: usize,
    open: u64,
    /// Frames that were sent, or are due and wait, and are not answered.
    in_flight: u64,
    /// The active link whose turn it is to send a frame that is due.
    next: usize,
}

/// Frames of an active link that will not be answered, and what its connection had done.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) stamps: Vec<Stamp>,
    pub(crate) had_sent: bool,
    pub(crate) had_answers: bool,
    /// The payload length of the frame that would have been answered next.
    pub(crate) next_len: usize,
}

impl Links {
    /// The links of one thread.
    pub(crate) fn new(plan: &Plan, thread: usize, payloads: Arc<Payloads>) -> Self {
        let cohorts = [(Cohort::Active, plan.connections), (Cohort::Idle, plan.idle), (Cohort::Deaf, plan.deaf)];
        let mut first = 0;
        let mut links = Vec::new();
        for (cohort, count) in cohorts {
            let numbers = (first..first + count).filter(|number| number % plan.threads == thread);
            links.extend(numbers.map(|number| Link::new(number as u32, cohort)));
            first += count;
        }
        let active = links.iter().filter(|link| link.cohort == Cohort::Active).count();
        Self { links, payloads, active, active_open: 0, open: 0, in_flight: 0, next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// How many links of all cohorts are open.
    pub(crate) fn open(&self) -> u64 {
        self.open
    }

    /// How many connections of a cohort have opened, and how many of them have closed.
    pub(crate) fn opened_and_closed(&self, cohort: Cohort) -> (Cohort, u64, u64) {
        let count = |is: fn(LinkState) -> bool| {
            self.links.iter().filter(|link| link.cohort == cohort && is(link.state)).count() as u64
        };
        let closed = count(|state| state == LinkState::Closed);
        (cohort, count(|state| matches!(state, LinkState::Open(_))) + closed, closed)
    }

    pub(crate) fn has_active_open(&self) -> bool {
        self.active_open > 0
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The indexes of the active links.
    pub(crate) fn active(&self) -> std::ops::Range<usize> {
        0..self.active
    }

    /// The connection of a link, if it is open.
    pub(crate) fn connection(&self, index: usize) -> Option<ConnId> {
        match self.links[index].state {
            LinkState::Open(id) => Some(id),
            LinkState::New | LinkState::Closed => None,
        }
    }

    /// A link has connected. Returns its cohort.
    pub(crate) fn on_open(&mut self, index: usize, id: ConnId) -> Cohort {
        let link = &mut self.links[index];
        (link.state, link.sent, link.answered) = (LinkState::Open(id), 0, 0);
        self.open += 1;
        self.active_open += usize::from(link.cohort == Cohort::Active);
        link.cohort
    }

    /// A link's connection has closed. Returns its cohort and whether it had a frame answered, or `None` if there is no
    /// such link.
    pub(crate) fn on_close(&mut self, index: usize) -> Option<(Cohort, bool)> {
        let link = self.links.get_mut(index)?;
        link.state = LinkState::Closed;
        self.open -= 1;
        self.active_open -= usize::from(link.cohort == Cohort::Active);
        Some((link.cohort, link.answered > 0))
    }

    /// Passes a link's next frame to `send`. Returns whether its connection took it.
    #[inline]
    pub(crate) fn send(
        &mut self,
        index: usize,
        stamp: Stamp,
        send: impl FnOnce(&[u8]) -> Result<(), SendError>,
    ) -> bool {
        let link = &mut self.links[index];
        let is_taken = send(self.payloads.payload(link.number, link.sent)).is_ok();
        if is_taken {
            link.push(stamp);
            self.in_flight += 1;
        }
        is_taken
    }

    /// Lets the next active link that is open send a frame that is due. Returns its connection, which is to be woken, or
    /// `None` if no link is open.
    pub(crate) fn enqueue(&mut self, due: u64) -> Option<ConnId> {
        for _ in self.active() {
            let index = self.next;
            self.next = (index + 1) % self.active;
            if let Some(id) = self.connection(index) {
                self.links[index].push_waiting(due);
                self.in_flight += 1;
                return Some(id);
            }
        }
        None
    }

    /// Sends the frames that wait on a link, and on one that never reads any number, until its connection accepts no more.
    pub(crate) fn send_more(
        &mut self,
        index: usize,
        clock: &Clock,
        mut send: impl FnMut(&[u8]) -> Result<(), SendError>,
    ) {
        if self.links[index].cohort == Cohort::Deaf {
            let link = &mut self.links[index];
            while send(self.payloads.payload(link.number, link.sent)).is_ok() {
                link.sent = link.sent.wrapping_add(1);
            }
        }
        while let Some(due) = self.links[index].first_waiting() {
            if !self.send(index, Stamp { due, sent: clock.now() }, &mut send) {
                return;
            }
            self.links[index].pop_waiting();
            // It was counted when it began to wait.
            self.in_flight -= 1;
        }
    }

    /// Compares a response with the oldest frame in flight, which it answers.
    #[inline]
    pub(crate) fn receive(&mut self, index: usize, response: &Frame<'_>) -> Result<Stamp, Fault> {
        let link = &mut self.links[index];
        let (connection, frame) = (link.number, link.answered);
        let checked = self.payloads.check(connection, frame, response);
        let answered = link.pop();
        self.in_flight -= u64::from(answered.is_some());
        match (checked, answered) {
            (Ok(()), Some(stamp)) => Ok(stamp),
            (Ok(()), None) => Err(Fault { connection, frame, kind: FaultKind::Unasked }),
            (Err(kind), _) => Err(Fault { connection, frame, kind }),
        }
    }

    /// Takes the frames of an active link that will not be answered.
    pub(crate) fn take_unanswered(&mut self, index: usize) -> Unanswered {
        let link = &mut self.links[index];
        let (had_sent, had_answers) = (link.sent > 0, link.answered > 0);
        let next_len = self.payloads.payload(link.number, link.answered).len();
        let stamps = link.take_unanswered();
        self.in_flight -= stamps.len() as u64;
        Unanswered { stamps, had_sent, had_answers, next_len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_links() {
        let plan = Plan { connections: 10, idle: 3, deaf: 1, threads: 3, ..Plan::default() };
        let payloads = Arc::new(Payloads::new(1..=1));
        let links = (0..3).flat_map(|thread| Links::new(&plan, thread, Arc::clone(&payloads)).links);
        let mut numbers: Vec<u32> = links.map(|link| link.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..14).collect::<Vec<u32>>());
    }
}
