//! One connection of the generator, and the connections that replace it: when its frames were due and when they were sent.

use std::collections::VecDeque;

use crate::id::ConnId;
use crate::load::outcome::Cohort;

/// When a frame was due, and when it was passed to its connection, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) sent: u64,
}

/// `Stamp::sent` of a frame that was due and not sent.
const NOT_SENT: u64 = u64::MAX;

impl Stamp {
    /// The stamp of a frame that is sent as soon as it is due.
    #[inline]
    pub(crate) fn sent_at(now: u64) -> Self {
        Self { due: now, sent: now }
    }

    /// The stamp of a frame that is due, and waits until its connection accepts it.
    pub(crate) fn waiting(due: u64) -> Self {
        Self { due, sent: NOT_SENT }
    }

    /// The stamp of a frame of which only the time is known when it was due.
    pub(crate) fn without_sent(self) -> Self {
        Self::waiting(self.due)
    }

    /// When the frame was sent, unless it waits.
    #[inline]
    pub(crate) fn sent(self) -> Option<u64> {
        (self.sent != NOT_SENT).then_some(self.sent)
    }
}

/// A frame that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    InTime(Stamp),
    /// It had expired.
    Late,
}

#[derive(Debug)]
pub(crate) struct Link {
    /// The number among all links of the run; it determines the payloads.
    pub(crate) number: u32,
    pub(crate) cohort: Cohort,
    pub(crate) state: LinkState,
    /// Frames sent on the current connection.
    pub(crate) sent: u32,
    /// Frames answered on the current connection.
    pub(crate) answered: u32,
    /// Responses to the frame that is answered next, and whether one of them was wrong.
    pub(crate) replies: u16,
    pub(crate) has_fault: bool,
    /// Whether the link has an entry among the deadlines of requests.
    pub(crate) is_timed: bool,
    /// The stamp of the frame that is answered next. The others are in `more`, because most links have one frame in flight.
    first: Stamp,
    /// When the first frame was due that the connection has not taken yet, or `NONE_DUE`.
    first_due: u64,
    more: Option<Box<Queues>>,
}

const NONE_DUE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    New,
    Open(ConnId),
    Closed,
}

#[derive(Debug, Default)]
struct Queues {
    in_flight: VecDeque<Stamp>,
    /// So many of the oldest frames in flight have expired: their responses will be late.
    expired: u32,
    /// When the other frames were due that the connection has not taken yet.
    waiting: VecDeque<u64>,
}

impl Link {
    pub(crate) fn new(number: u32, cohort: Cohort) -> Self {
        Self {
            number,
            cohort,
            state: LinkState::New,
            sent: 0,
            answered: 0,
            replies: 0,
            has_fault: false,
            is_timed: false,
            first: Stamp::default(),
            first_due: NONE_DUE,
            more: None,
        }
    }

    /// A connection is open for the link. Nothing of the last one is left.
    pub(crate) fn open(&mut self, id: ConnId) {
        self.state = LinkState::Open(id);
        (self.sent, self.answered) = (0, 0);
        (self.replies, self.has_fault) = (0, false);
        if let Some(queues) = &mut self.more {
            queues.in_flight.clear();
            queues.expired = 0;
        }
    }

    /// Frames whose responses have not come, expired ones included.
    pub(crate) fn in_flight(&self) -> u32 {
        self.sent - self.answered
    }

    /// Frames in flight that have not expired.
    pub(crate) fn awaited(&self) -> u32 {
        self.in_flight() - self.expired()
    }

    fn expired(&self) -> u32 {
        self.more.as_ref().map_or(0, |queues| queues.expired)
    }

    /// Notes that a frame was sent.
    #[inline]
    pub(crate) fn push(&mut self, stamp: Stamp) {
        if self.in_flight() == 0 {
            self.first = stamp;
        } else {
            self.more.get_or_insert_default().in_flight.push_back(stamp);
        }
        self.sent += 1;
    }

    /// When the frame that is answered next was passed to the connection, if one is in flight.
    #[inline]
    pub(crate) fn oldest_sent(&self) -> u64 {
        self.first.sent
    }

    /// Notes the response to the oldest frame in flight; `None` if none is in flight.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Answered> {
        if self.in_flight() == 0 {
            return None;
        }
        let stamp = self.first;
        let mut is_late = false;
        if let Some(queues) = &mut self.more {
            is_late = queues.expired > 0;
            queues.expired -= u32::from(is_late);
            self.first = queues.in_flight.pop_front().unwrap_or_default();
        }
        self.answered += 1;
        (self.replies, self.has_fault) = (0, false);
        Some(if is_late { Answered::Late } else { Answered::InTime(stamp) })
    }

    /// The oldest frame in flight that has not expired.
    fn oldest_awaited(&self) -> Option<Stamp> {
        match self.expired() {
            _ if self.awaited() == 0 => None,
            0 => Some(self.first),
            expired => self.more.as_ref()?.in_flight.get(expired as usize - 1).copied(),
        }
    }

    /// Since when the link has waited for a response, or for its connection to accept a frame; `None` if it does not.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        self.oldest_awaited().map(|stamp| stamp.sent).into_iter().chain(self.first_waiting()).min()
    }

    /// Takes the stamps of the frames that have waited since `since` or longer. Responses to those in flight will be late, and those
    /// that wait are not sent.
    pub(crate) fn take_overdue(&mut self, since: u64) -> Vec<Stamp> {
        let mut overdue = Vec::new();
        while let Some(stamp) = self.oldest_awaited().filter(|stamp| stamp.sent <= since) {
            self.more.get_or_insert_default().expired += 1;
            overdue.push(stamp);
        }
        while let Some(due) = self.first_waiting().filter(|due| *due <= since) {
            self.pop_waiting();
            overdue.push(Stamp::waiting(due));
        }
        overdue
    }

    /// Notes a frame that is due, and waits until the connection accepts it.
    pub(crate) fn push_waiting(&mut self, due: u64) {
        if self.first_waiting().is_some() {
            self.more.get_or_insert_default().waiting.push_back(due);
        } else {
            self.first_due = due;
        }
    }

    /// When the first frame was due that waits.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        (self.first_due != NONE_DUE).then_some(self.first_due)
    }

    /// The first frame that waited was sent, or never will be.
    pub(crate) fn pop_waiting(&mut self) {
        let next = self.more.as_mut().and_then(|queues| queues.waiting.pop_front());
        self.first_due = next.unwrap_or(NONE_DUE);
    }

    /// Takes the stamps of all frames that will not be answered, as the connection is closed.
    pub(crate) fn take_unanswered(&mut self) -> Vec<Stamp> {
        let unanswered = self.take_overdue(u64::MAX);
        while self.pop().is_some() {}
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_answered_in_the_order_in_which_they_were_sent() {
        let mut link = Link::new(0, Cohort::Active);
        assert_eq!(link.pop(), None);
        for at in 0..5 {
            link.push(Stamp::sent_at(at));
        }
        assert_eq!([link.pop(), link.pop()], [0, 1].map(|at| Some(Answered::InTime(Stamp::sent_at(at)))));
        link.push(Stamp::sent_at(5));
        let rest: Vec<Answered> = std::iter::from_fn(|| link.pop()).collect();
        assert_eq!(rest, [2, 3, 4, 5].map(|at| Answered::InTime(Stamp::sent_at(at))));
        assert_eq!((link.sent, link.answered), (6, 6));
    }

    #[test]
    fn one_frame_in_flight_takes_no_memory_of_its_own() {
        let mut link = Link::new(0, Cohort::Active);
        for at in 0..100 {
            link.push_waiting(at);
            assert_eq!(link.first_waiting(), Some(at));
            link.pop_waiting();
            link.push(Stamp::sent_at(at));
            assert_eq!(link.pop(), Some(Answered::InTime(Stamp::sent_at(at))));
        }
        assert!(link.more.is_none());
        assert!(size_of::<Link>() <= 64, "{}", size_of::<Link>());
    }

    #[test]
    fn unanswered_are_the_frames_in_flight_and_those_that_wait() {
        let mut link = Link::new(0, Cohort::Active);
        link.push(Stamp::sent_at(1));
        link.push(Stamp::sent_at(2));
        link.push_waiting(3);
        link.push_waiting(4);
        assert_eq!(
            link.take_unanswered(),
            [Stamp::sent_at(1), Stamp::sent_at(2), Stamp::waiting(3), Stamp::waiting(4)]
        );
        assert_eq!((Stamp::sent_at(2).sent(), Stamp::waiting(3).sent()), (Some(2), None));
        assert_eq!((link.in_flight(), link.first_waiting()), (0, None));
    }

    #[test]
    fn expired_frames_are_answered_late_and_never_unanswered() {
        let mut link = Link::new(0, Cohort::Active);
        (1..=3).for_each(|at| link.push(Stamp::sent_at(at)));
        link.push_waiting(4);
        assert_eq!((link.take_overdue(0), link.waits_since()), (vec![], Some(1)));
        assert_eq!(link.take_overdue(2), [1, 2].map(Stamp::sent_at));
        assert_eq!((link.in_flight(), link.awaited(), link.waits_since()), (3, 1, Some(3)));
        assert_eq!([link.pop(), link.pop()], [Some(Answered::Late); 2]);
        assert_eq!(link.pop(), Some(Answered::InTime(Stamp::sent_at(3))));
        assert_eq!((link.pop(), link.waits_since()), (None, Some(4)));
        assert_eq!((link.take_overdue(3), link.take_overdue(4)), (vec![], vec![Stamp::waiting(4)]));
        link.push(Stamp::sent_at(5));
        link.push(Stamp::sent_at(6));
        assert_eq!(link.take_overdue(5), [Stamp::sent_at(5)]);
        assert_eq!(link.take_unanswered(), [Stamp::sent_at(6)]);
        link.push(Stamp::sent_at(7));
        assert_eq!(link.pop(), Some(Answered::InTime(Stamp::sent_at(7))), "nothing of the last connection is left");
        // Nor of one that was closed with responses to come.
        (8..=9).for_each(|at| link.push(Stamp::sent_at(at)));
        assert_eq!(link.take_overdue(8), [Stamp::sent_at(8)]);
        link.open(ConnId { index: 0, generation: 0 });
        assert_eq!((link.in_flight(), link.awaited(), link.pop()), (0, 0, None));
        link.push(Stamp::sent_at(10));
        assert_eq!(link.pop(), Some(Answered::InTime(Stamp::sent_at(10))));
    }
}
