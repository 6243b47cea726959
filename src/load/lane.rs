//! One connection of the generator, over its lives.

use std::collections::VecDeque;

use crate::handler::ConnId;
use crate::load::outcome::Cohort;

/// When a frame was due, and when it was handed to its connection, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) sent: u64,
}

/// Of a frame that was due and not handed over.
const NOT_SENT: u64 = u64::MAX;

impl Stamp {
    /// Of a frame that was due, and waits for its connection to take it.
    pub(crate) fn waiting(due: u64) -> Self {
        Self { due, sent: NOT_SENT }
    }

    /// Whether it was handed over.
    pub(crate) fn was_sent(self) -> bool {
        self.sent != NOT_SENT
    }
}

#[derive(Debug)]
pub(crate) struct Lane {
    /// Its number among all of the run, which its payloads depend on.
    pub(crate) number: u32,
    pub(crate) cohort: Cohort,
    pub(crate) life: Life,
    /// Frames handed to the connection in its present life.
    pub(crate) sent: u32,
    /// Frames answered in its present life.
    pub(crate) answered: u32,
    /// Of the frame that is answered next. The others are behind it: most connections have one in flight.
    first: Stamp,
    /// When the first frame was due that the connection has not taken yet, or `NONE_DUE`.
    first_due: u64,
    more: Option<Box<Queues>>,
}

const NONE_DUE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Not dialled.
    Unborn,
    Dialling {
        since: u64,
    },
    Open(ConnId),
    Dead,
}

#[derive(Debug, Default)]
struct Queues {
    in_flight: VecDeque<Stamp>,
    /// When the others were due that the connection has not taken yet.
    waiting: VecDeque<u64>,
}

impl Lane {
    pub(crate) fn new(number: u32, cohort: Cohort) -> Self {
        Self {
            number,
            cohort,
            life: Life::Unborn,
            sent: 0,
            answered: 0,
            first: Stamp::default(),
            first_due: NONE_DUE,
            more: None,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.sent - self.answered
    }

    /// A frame was handed over.
    #[inline]
    pub(crate) fn push(&mut self, stamp: Stamp) {
        if self.in_flight() == 0 {
            self.first = stamp;
        } else {
            self.more.get_or_insert_default().in_flight.push_back(stamp);
        }
        self.sent += 1;
    }

    /// The oldest frame in flight was answered. `None` if there is none.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Stamp> {
        if self.in_flight() == 0 {
            return None;
        }
        let stamp = self.first;
        if let Some(next) = self.more.as_mut().and_then(|queues| queues.in_flight.pop_front()) {
            self.first = next;
        }
        self.answered += 1;
        Some(stamp)
    }

    /// A frame is due; it waits until the connection takes it.
    pub(crate) fn wait(&mut self, due: u64) {
        if self.has_waiting() {
            self.more.get_or_insert_default().waiting.push_back(due);
        } else {
            self.first_due = due;
        }
    }

    /// When the first frame was due that waits.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        self.has_waiting().then_some(self.first_due)
    }

    /// The first frame that waited does so no more.
    pub(crate) fn end_wait(&mut self) {
        let next = self.more.as_mut().and_then(|queues| queues.waiting.pop_front());
        self.first_due = next.unwrap_or(NONE_DUE);
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.first_due != NONE_DUE
    }

    /// The connection has ended. Gives what was due or in flight and will not be answered, and is ready for another life.
    pub(crate) fn bury(&mut self) -> Vec<Stamp> {
        let mut lost: Vec<Stamp> = std::iter::from_fn(|| self.pop()).collect();
        while let Some(due) = self.first_waiting() {
            lost.push(Stamp::waiting(due));
            self.end_wait();
        }
        self.sent = 0;
        self.answered = 0;
        self.life = Life::Dead;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(at: u64) -> Stamp {
        Stamp { due: at, sent: at }
    }

    #[test]
    fn frames_are_answered_in_the_order_in_which_they_were_sent() {
        let mut lane = Lane::new(0, Cohort::Active);
        assert_eq!(lane.pop(), None);
        for at in 0..5 {
            lane.push(stamp(at));
        }
        assert_eq!([lane.pop(), lane.pop()], [Some(stamp(0)), Some(stamp(1))]);
        lane.push(stamp(5));
        let rest: Vec<Stamp> = std::iter::from_fn(|| lane.pop()).collect();
        assert_eq!(rest, [stamp(2), stamp(3), stamp(4), stamp(5)]);
        assert_eq!((lane.sent, lane.answered), (6, 6));
    }

    #[test]
    fn one_frame_in_flight_takes_no_memory_of_its_own() {
        let mut lane = Lane::new(0, Cohort::Active);
        for at in 0..100 {
            lane.wait(at);
            assert_eq!(lane.first_waiting(), Some(at));
            lane.end_wait();
            lane.push(stamp(at));
            assert_eq!(lane.pop(), Some(stamp(at)));
        }
        assert!(lane.more.is_none());
        assert!(size_of::<Lane>() <= 64, "{}", size_of::<Lane>());
    }

    #[test]
    fn the_end_of_a_life_gives_all_that_will_not_be_answered() {
        let mut lane = Lane::new(0, Cohort::Active);
        lane.push(stamp(1));
        lane.push(stamp(2));
        lane.wait(3);
        lane.wait(4);
        assert!(lane.has_waiting());
        assert_eq!(lane.bury(), [stamp(1), stamp(2), Stamp::waiting(3), Stamp::waiting(4)]);
        assert!(stamp(2).was_sent() && !Stamp::waiting(3).was_sent());
        assert_eq!((lane.in_flight(), lane.has_waiting(), lane.life), (0, false, Life::Dead));
    }
}
