//! The connections of a thread: what is sent on each, and what has not been answered.

use std::sync::Arc;

use crate::conn::frame::Frame;
use crate::error::SendError;
use crate::id::ConnId;
use crate::load::clock::Clock;
use crate::load::fault::{Excerpt, Fault, FaultKind};
use crate::load::link::{Answered, Link, LinkState, Stamp};
use crate::load::outcome::Cohort;
use crate::load::plan::Plan;
use crate::load::request::Requests;
use crate::load::timeouts::Timeouts;

#[derive(Debug)]
pub(crate) struct Links {
    /// The active ones first, then those that are active in other steps.
    links: Vec<Link>,
    requests: Arc<Requests>,
    /// Room for a request that is not stored.
    scratch: Vec<u8>,
    /// Responses to each request.
    replies: u16,
    active: usize,
    /// How many may be active.
    active_max: usize,
    active_open: usize,
    open: u64,
    /// Frames that were sent, or are due and wait, and are neither answered nor expired.
    in_flight: u64,
    /// Frames that were sent on active links since the load began.
    sent: u64,
    timeouts: Option<Timeouts>,
    /// The active link whose turn it is to send a frame that is due.
    next: usize,
    /// A frame that is due belongs to that link, and to no other in its place.
    is_held: bool,
}

/// Which connection a frame that is due was queued on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    On(ConnId),
    /// The link whose turn it was is closed, so it has no frame.
    NotDue,
    NoneOpen,
}

/// A response, compared with the frame that it answers.
#[derive(Debug)]
pub(crate) enum Received {
    /// More responses to the same frame follow.
    Part(Option<Fault>),
    /// It is correct, and so were the others to the same frame.
    Answer(Stamp),
    /// The frame is answered, and a response to it was wrong: this one, or one before.
    Wrong(Stamp, Option<Fault>),
    /// It answers a frame that had expired, as its last response.
    Late(Option<Fault>),
    /// No frame is in flight.
    Unasked(Fault),
}

impl Fault {
    #[cold]
    fn of(link: &Link, kind: FaultKind, response: &Frame<'_>) -> Self {
        let excerpt = Excerpt::of(response.payload_chunks());
        Self { connection: link.number, frame: link.answered, kind, excerpt }
    }
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
    pub(crate) fn new(plan: &Plan, thread: usize, requests: Arc<Requests>) -> Self {
        let cohorts = [(Cohort::Active, plan.connections), (Cohort::Idle, plan.idle), (Cohort::Deaf, plan.deaf)];
        let mut first = 0;
        let mut links = Vec::new();
        for (cohort, count) in cohorts {
            let numbers = (first..first + count).filter(|number| number % plan.threads == thread);
            links.extend(numbers.map(|number| Link::new(plan.segment.number(number), cohort)));
            first += count;
        }
        let active = links.iter().filter(|link| link.cohort == Cohort::Active).count();
        let replies = plan.replies;
        Self {
            links,
            requests,
            scratch: Vec::new(),
            replies,
            active,
            active_max: active,
            active_open: 0,
            open: 0,
            in_flight: 0,
            sent: 0,
            timeouts: plan.request_timeout.map(Timeouts::new),
            next: 0,
            is_held: plan.hold.is_some(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    /// Lets so many links be active. Returns the connections that are not needed; their links count as closed at once.
    pub(crate) fn set_active(&mut self, active: usize) -> Vec<ConnId> {
        self.active = active.min(self.active_max);
        self.next = 0;
        self.active_open = self.active().filter(|index| self.connection(*index).is_some()).count();
        let mut surplus = Vec::new();
        for link in &mut self.links[self.active..self.active_max] {
            if let LinkState::Open(id) = link.state {
                link.state = LinkState::Closed;
                surplus.push(id);
            }
        }
        self.open -= surplus.len() as u64;
        surplus
    }

    /// The indexes of the links that are open.
    pub(crate) fn all_open(&self) -> impl Iterator<Item = usize> {
        (0..self.links.len()).filter(|index| self.connection(*index).is_some())
    }

    /// Whether a link is active in other steps only.
    pub(crate) fn is_surplus(&self, index: usize) -> bool {
        (self.active..self.active_max).contains(&index)
    }

    /// The links to dial when a step begins: those that were never dialed, and the active ones that are closed.
    pub(crate) fn to_dial(&self) -> impl Iterator<Item = u32> {
        let is_to_dial = |index: &usize| match self.links[*index].state {
            LinkState::New => !self.is_surplus(*index),
            LinkState::Closed => *index < self.active,
            LinkState::Open(_) => false,
        };
        (0..self.links.len()).filter(is_to_dial).map(|index| index as u32)
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

    pub(crate) fn active_open(&self) -> u64 {
        self.active_open as u64
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The frames that were sent since the load began.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// A load begins.
    pub(crate) fn begin_load(&mut self) {
        self.sent = 0;
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
        link.open(id);
        self.open += 1;
        self.active_open += usize::from(index < self.active);
        link.cohort
    }

    /// A connection has closed. Returns the cohort of its link and whether it had a frame answered, or `None` if it is that of no link.
    pub(crate) fn on_close(&mut self, index: usize, id: ConnId) -> Option<(Cohort, bool)> {
        let link = self.links.get_mut(index).filter(|link| link.state == LinkState::Open(id))?;
        link.state = LinkState::Closed;
        self.open -= 1;
        self.active_open -= usize::from(index < self.active);
        Some((link.cohort, link.answered > 0))
    }

    /// Passes a link's next frame to `send`. Returns the length of the request, in bytes, if its connection took it.
    #[inline]
    pub(crate) fn send(
        &mut self,
        index: usize,
        stamp: Stamp,
        send: impl FnOnce(&[u8]) -> Result<(), SendError>,
    ) -> Option<usize> {
        let link = &mut self.links[index];
        let place = self.requests.place(link.number, link.sent, stamp.sent);
        let bytes = self.requests.bytes(place, &mut self.scratch);
        let len = bytes.len();
        if send(bytes).is_err() {
            return None;
        }
        link.push(stamp);
        self.in_flight += 1;
        self.sent += 1;
        if let Some(timeouts) = &mut self.timeouts {
            timeouts.watch(index, link);
        }
        Some(len)
    }

    /// Sends a frame that awaits no response. Returns its length, in bytes, if its connection took it.
    pub(crate) fn send_only(
        &mut self,
        index: usize,
        stamp: Stamp,
        send: impl FnOnce(&[u8]) -> Result<(), SendError>,
    ) -> Option<usize> {
        let len = self.send(index, stamp, send)?;
        self.expect_no_reply(index);
        Some(self.requests.frame_len(len))
    }

    /// Notes that the frame that was just sent awaits no response.
    fn expect_no_reply(&mut self, index: usize) {
        self.links[index].pop();
        self.in_flight -= 1;
    }

    /// Lets the next active link that is open send a frame that is due; its connection is to be woken. Where links are held, each has
    /// its own turns.
    pub(crate) fn enqueue(&mut self, due: u64) -> Queued {
        for _ in self.active() {
            let index = self.next;
            self.next = (index + 1) % self.active;
            if let Some(id) = self.connection(index) {
                let link = &mut self.links[index];
                link.push_waiting(due);
                self.in_flight += 1;
                if let Some(timeouts) = &mut self.timeouts {
                    timeouts.watch(index, link);
                }
                return Queued::On(id);
            } else if self.is_held {
                return Queued::NotDue;
            }
        }
        Queued::NoneOpen
    }

    /// Sends the frames that wait on a link until its connection accepts no more, and on one that never reads any number of them. Those
    /// that await no response are passed to `taken`, with their length.
    pub(crate) fn send_more(
        &mut self,
        index: usize,
        clock: &Clock,
        mut send: impl FnMut(&[u8]) -> Result<(), SendError>,
        mut taken: impl FnMut(Stamp, usize),
    ) {
        if self.links[index].cohort == Cohort::Deaf {
            let link = &mut self.links[index];
            let sent = clock.now();
            while send(self.requests.bytes(self.requests.place(link.number, link.sent, sent), &mut self.scratch))
                .is_ok()
            {
                link.sent = link.sent.wrapping_add(1);
            }
        }
        while let Some(due) = self.links[index].first_waiting() {
            let stamp = Stamp { due, sent: clock.now() };
            let Some(len) = self.send(index, stamp, &mut send) else { return };
            self.links[index].pop_waiting();
            // It was counted when it began to wait.
            self.in_flight -= 1;
            if self.replies == 0 {
                self.expect_no_reply(index);
                taken(stamp, self.requests.frame_len(len));
            }
        }
    }

    /// Compares a response with the oldest frame in flight, which it answers.
    #[inline]
    pub(crate) fn receive(&mut self, index: usize, response: &Frame<'_>) -> Received {
        let link = &mut self.links[index];
        if link.in_flight() == 0 {
            return Received::Unasked(Fault::of(link, FaultKind::Unasked, response));
        }
        let place = self.requests.place(link.number, link.answered, link.oldest_sent());
        let fault = match self.requests.check(place, response, &mut self.scratch) {
            Ok(()) => None,
            Err(kind) => Some(Fault::of(link, kind, response)),
        };
        link.replies += 1;
        link.has_fault |= fault.is_some();
        let is_over = link.replies >= self.replies || (fault.is_some() && self.requests.is_fault_final());
        if !is_over {
            return Received::Part(fault);
        }
        let is_correct = !link.has_fault;
        match link.pop() {
            Some(Answered::InTime(stamp)) => {
                self.in_flight -= 1;
                if is_correct { Received::Answer(stamp) } else { Received::Wrong(stamp, fault) }
            }
            Some(Answered::Late) => Received::Late(fault),
            None => Received::Part(fault),
        }
    }

    /// The next time at which a frame may expire; `None` without timeouts.
    pub(crate) fn next_expiry(&self, now: u64) -> Option<u64> {
        Some(self.timeouts.as_ref()?.next(now))
    }

    /// Lets the frames of a link expire that have waited for too long by `now`. Returns the link and their stamps; `None` if there
    /// are no more.
    pub(crate) fn take_expired(&mut self, now: u64) -> Option<(usize, Vec<Stamp>)> {
        let timeouts = self.timeouts.as_mut()?;
        loop {
            let (index, since) = timeouts.take(now)?;
            let link = &mut self.links[index];
            link.is_timed = false;
            let expired = link.take_overdue(since);
            timeouts.watch(index, link);
            if !expired.is_empty() {
                self.in_flight -= expired.len() as u64;
                return Some((index, expired));
            }
        }
    }

    /// Frames in flight on a link that have not expired.
    pub(crate) fn awaited(&self, index: usize) -> usize {
        self.links[index].awaited() as usize
    }

    /// Whether a wrong response leaves the connection without a known place in its stream.
    pub(crate) fn is_fault_final(&self) -> bool {
        self.requests.is_fault_final()
    }

    /// Gives up the frames of an active link: they were not answered by the end. Their responses would be late.
    pub(crate) fn give_up(&mut self, index: usize) -> Unanswered {
        let (had_sent, had_answers, next_len) = self.history(index);
        let stamps = self.links[index].take_overdue(u64::MAX);
        self.in_flight -= stamps.len() as u64;
        Unanswered { stamps, had_sent, had_answers, next_len }
    }

    /// Takes the frames of an active link whose connection has closed.
    pub(crate) fn take_unanswered(&mut self, index: usize) -> Unanswered {
        let (had_sent, had_answers, next_len) = self.history(index);
        let stamps = self.links[index].take_unanswered();
        self.in_flight -= stamps.len() as u64;
        Unanswered { stamps, had_sent, had_answers, next_len }
    }

    /// Whether a link's connection has sent and received frames, and the length of the one that would be answered next.
    fn history(&mut self, index: usize) -> (bool, bool, usize) {
        let link = &self.links[index];
        let (had_sent, had_answers) = (link.sent > 0, link.answered > 0);
        let place = self.requests.place(link.number, link.answered, link.oldest_sent());
        let next_len = self.requests.bytes(place, &mut self.scratch).len();
        (had_sent, had_answers, next_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_links() {
        let plan = Plan { connections: 10, idle: 3, deaf: 1, threads: 3, ..Plan::default() };
        let requests = Arc::new(plan.requests(0).unwrap());
        let links = (0..3).flat_map(|thread| Links::new(&plan, thread, Arc::clone(&requests)).links);
        let mut numbers: Vec<u32> = links.map(|link| link.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..14).collect::<Vec<u32>>());
    }
}
