//! Deadlines of connections: setting one is O(1), and only connections whose deadline has passed are visited.
//!
//! All deadlines of a kind have the same timeout, so they expire in the order in which they were set: a kind is a list, which
//! grows at its tail and expires at its head. The lists are linked through arrays by slot. Slots with timeouts of their own are in
//! `own_deadlines.rs` instead.

use std::time::{Duration, Instant};

use crate::config::{Config, after};
use crate::conn::Conn;
use crate::options::Limits;
use crate::reactor::deadline_kind::{Deadline, NOT_SET, nanos};
pub(crate) use crate::reactor::deadline_kind::{DeadlineKind as Kind, Kinds};
use crate::reactor::own_deadlines::{OwnDeadlines, Timeouts};

/// The deadlines of all connections.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// Deadlines are stored as nanoseconds since then: half the size of an instant.
    epoch: Instant,
    lists: [List; Kind::ALL.len()],
    own: OwnDeadlines,
}

/// The deadlines of one kind, earliest first.
#[derive(Debug)]
struct List {
    /// `None`: this kind is off.
    timeout: Option<Duration>,
    /// The same, up to `NOT_SET`.
    timeout_nanos: u64,
    /// The earliest deadline; `NOT_SET` if there is none, or if it is too far away to be counted.
    due: u64,
    head: u32,
    tail: u32,
    /// By slot; grows to the highest slot that ever had a deadline of this kind.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    // Invariant: NOT_SET exactly if the slot is not in the list.
    since: u64,
    prev: u32,
    next: u32,
}

/// A connection before its run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeforeRun {
    pub(crate) had_buffers: bool,
    was_lingering: bool,
}

impl BeforeRun {
    pub(crate) fn of(conn: &Conn) -> Self {
        Self { had_buffers: conn.has_buffers(), was_lingering: conn.state().is_lingering() }
    }
}

const NONE: u32 = u32::MAX;
const EMPTY: Node = Node { since: NOT_SET, prev: NONE, next: NONE };

impl Deadlines {
    pub(crate) fn new(config: &Config, epoch: Instant) -> Self {
        let list = |timeout: Option<Duration>| {
            let timeout_nanos = timeout.map_or(NOT_SET, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(NOT_SET));
            List { timeout, timeout_nanos, due: NOT_SET, head: NONE, tail: NONE, nodes: Vec::new() }
        };
        Self {
            epoch,
            lists: [
                list(config.idle_timeout),
                list(config.frame_timeout),
                list(config.write_timeout),
                list(Some(config.linger_timeout)),
                list(Some(config.connect_timeout)),
            ],
            own: OwnDeadlines::default(),
        }
    }

    /// Gives a slot the timeouts of a connection's limits. Its deadlines have to be set anew if they are others than before, which
    /// is returned.
    pub(crate) fn set_limits(&mut self, slot: u32, limits: &Limits) -> bool {
        let mut timeouts = self.usual();
        for (kind, timeout) in [
            (Kind::Idle, limits.idle_timeout),
            (Kind::Frame, limits.frame_timeout),
            (Kind::Write, limits.write_timeout),
        ] {
            timeouts[kind as usize] = timeout;
        }
        self.set_timeouts(slot, timeouts)
    }

    /// Gives the slot of a dial its own connect timeout.
    pub(crate) fn set_connect_timeout(&mut self, slot: u32, timeout: Duration) {
        let mut timeouts = self.usual();
        timeouts[Kind::Connect as usize] = Some(timeout);
        self.set_timeouts(slot, timeouts);
    }

    fn set_timeouts(&mut self, slot: u32, timeouts: Timeouts) -> bool {
        let usual = self.usual();
        if *self.own.timeouts(slot).unwrap_or(&usual) == timeouts {
            return false;
        }
        self.clear(slot);
        if timeouts != usual {
            self.own.insert(slot, timeouts);
        }
        true
    }

    fn usual(&self) -> Timeouts {
        std::array::from_fn(|kind| self.lists[kind].timeout)
    }

    /// The timeout of a slot.
    pub(crate) fn timeout(&self, kind: Kind, slot: u32) -> Option<Duration> {
        self.own.timeouts(slot).map_or(self.lists[kind as usize].timeout, |timeouts| timeouts[kind as usize])
    }

    /// Sets a slot's deadline to the timeout after `since`; `None` removes it.
    #[inline]
    pub(crate) fn set(&mut self, kind: Kind, slot: u32, since: Option<Instant>) {
        if self.lists[kind as usize].timeout.is_some() || !self.own.is_empty() {
            let since = since.map_or(NOT_SET, |since| nanos(since.saturating_duration_since(self.epoch)));
            self.set_since(kind, slot, since);
        }
    }

    fn set_since(&mut self, kind: Kind, slot: u32, since: u64) {
        let list = &mut self.lists[kind as usize];
        if self.own.set(kind, slot, since) || list.timeout.is_none() || list.since(slot) == since {
            return;
        }
        list.unlink(slot);
        if since != NOT_SET {
            list.link(slot, since);
        }
    }

    /// Sets the deadlines of a connection after its run, except that of its output.
    ///
    /// Rule: a frame in progress is activity. Each of its bytes postpones the idle timeout; the frame timeout limits the whole
    /// frame.
    pub(crate) fn follow(&mut self, slot: u32, conn: &Conn, before: BeforeRun, has_moved: bool, now: Instant) {
        if has_moved {
            self.set(Kind::Idle, slot, Some(now));
        }
        // Without buffers, before and after, it is not in the list.
        if before.had_buffers || conn.has_buffers() {
            self.set(Kind::Frame, slot, conn.frame_since());
        }
        let begins_to_linger = conn.state().is_lingering() && !before.was_lingering;
        if begins_to_linger || conn.state().is_shutting_down() && !self.is_set(Kind::Linger, slot) {
            self.set(Kind::Linger, slot, Some(now));
        }
    }

    /// Removes all deadlines of a slot.
    pub(crate) fn clear(&mut self, slot: u32) {
        self.own.remove(slot);
        self.lists.iter_mut().for_each(|list| list.unlink(slot));
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.instant(self.earliest())
    }

    fn instant(&self, due: u64) -> Option<Instant> {
        if due == NOT_SET { None } else { after(self.epoch, Duration::from_nanos(due)) }
    }

    /// The running deadlines of a slot, by kind.
    pub(crate) fn running(&self, slot: u32) -> impl Iterator<Item = Deadline> {
        Kind::ALL.into_iter().filter_map(move |kind| {
            let timeout = self.timeout(kind, slot)?;
            let due = self.own.due(kind, slot).min(self.lists[kind as usize].due_of(slot));
            Some(Deadline { kind, at: self.instant(due)?, timeout })
        })
    }

    /// Whether any deadline has passed.
    #[inline]
    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.earliest() <= nanos(now.saturating_duration_since(self.epoch))
    }

    #[inline]
    fn earliest(&self) -> u64 {
        self.lists.iter().fold(self.own.earliest(), |earliest, list| earliest.min(list.due))
    }

    #[inline]
    pub(crate) fn is_on(&self, kind: Kind, slot: u32) -> bool {
        self.timeout(kind, slot).is_some()
    }

    pub(crate) fn is_set(&self, kind: Kind, slot: u32) -> bool {
        self.own.is_set(kind, slot) || self.lists[kind as usize].since(slot) != NOT_SET
    }

    /// Whether the timeout of this kind has passed since `since`.
    pub(crate) fn is_over(&self, kind: Kind, slot: u32, since: Option<Instant>, now: Instant) -> bool {
        let timeout = self.timeout(kind, slot);
        since.zip(timeout).is_some_and(|(since, timeout)| now.saturating_duration_since(since) >= timeout)
    }

    /// Removes an expired deadline of this kind, and returns its slot.
    pub(crate) fn expired(&mut self, kind: Kind, now: Instant) -> Option<u32> {
        let now = nanos(now.saturating_duration_since(self.epoch));
        let list = &mut self.lists[kind as usize];
        if list.due > now {
            return self.own.expired(kind, now);
        }
        let slot = list.head;
        list.unlink(slot);
        Some(slot)
    }
}

impl List {
    fn since(&self, slot: u32) -> u64 {
        self.nodes.get(slot as usize).map_or(NOT_SET, |node| node.since)
    }

    /// The deadline of a slot; `NOT_SET` if there is none, or if it is too far away to be counted.
    fn due_of(&self, slot: u32) -> u64 {
        self.since(slot).saturating_add(self.timeout_nanos)
    }

    fn set_head(&mut self, slot: u32) {
        self.head = slot;
        self.due = self.due_of(slot);
    }

    fn link(&mut self, slot: u32, since: u64) {
        let index = slot as usize;
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, EMPTY);
        }
        let (prev, next) = self.place_of(since);
        self.nodes[index] = Node { since, prev, next };
        match prev {
            NONE => self.set_head(slot),
            prev => self.nodes[prev as usize].next = slot,
        }
        match next {
            NONE => self.tail = slot,
            next => self.nodes[next as usize].prev = slot,
        }
    }

    /// The two slots between which a deadline is linked.
    ///
    /// A deadline that begins now is the latest. One that has expired and is set again with its old beginning is among the
    /// earliest, behind others of the same sort.
    fn place_of(&self, since: u64) -> (u32, u32) {
        if self.tail == NONE || self.since(self.tail) <= since {
            return (self.tail, NONE);
        }
        let (mut prev, mut next) = (NONE, self.head);
        while next != NONE && self.since(next) <= since {
            (prev, next) = (next, self.nodes[next as usize].next);
        }
        (prev, next)
    }

    fn unlink(&mut self, slot: u32) {
        if self.since(slot) == NOT_SET {
            return;
        }
        let Node { prev, next, .. } = std::mem::replace(&mut self.nodes[slot as usize], EMPTY);
        match prev {
            NONE => self.set_head(next),
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn deadlines() -> (Deadlines, Instant) {
        let epoch = Instant::now();
        let config = Config::builder().frame_timeout(Some(10 * SECOND)).idle_timeout(None).build().unwrap();
        (Deadlines::new(&config, epoch), epoch)
    }

    fn all_expired(deadlines: &mut Deadlines, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| deadlines.expired(Kind::Frame, now)).collect()
    }

    #[test]
    fn they_come_due_in_the_order_in_which_they_were_last_set() {
        let (mut deadlines, epoch) = deadlines();
        for (second, slot) in [(0, 5), (1, 0), (2, 9), (3, 5)] {
            deadlines.set(Kind::Frame, slot, Some(epoch + second * SECOND));
        }
        assert_eq!(deadlines.next(), Some(epoch + 11 * SECOND));
        assert_eq!(all_expired(&mut deadlines, epoch + 11 * SECOND), [0]);
        assert_eq!(all_expired(&mut deadlines, epoch + 60 * SECOND), [9, 5]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_deadline_taken_away_does_not_come() {
        let (mut deadlines, epoch) = deadlines();
        for slot in 0..4 {
            deadlines.set(Kind::Frame, slot, Some(epoch));
        }
        deadlines.set(Kind::Frame, 0, None);
        deadlines.clear(2);
        deadlines.clear(2);
        deadlines.set(Kind::Frame, 77, None);
        assert_eq!(all_expired(&mut deadlines, epoch + 10 * SECOND), [1, 3]);
    }

    #[test]
    fn expired_deadlines_set_again_are_the_earliest() {
        let (mut deadlines, epoch) = deadlines();
        let since = |slot: u32| Some(epoch + slot * SECOND);
        for slot in 0..5 {
            deadlines.set(Kind::Frame, slot, since(slot));
        }
        assert_eq!(all_expired(&mut deadlines, epoch + 12 * SECOND), [0, 1, 2]);
        for slot in [1, 2, 0] {
            deadlines.set(Kind::Frame, slot, since(slot));
        }
        assert_eq!(all_expired(&mut deadlines, epoch + 60 * SECOND), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nothing_is_due_a_nanosecond_early() {
        let (mut deadlines, epoch) = deadlines();
        deadlines.set(Kind::Frame, 1, Some(epoch));
        let due = epoch + 10 * SECOND;
        assert_eq!(deadlines.expired(Kind::Frame, due - Duration::from_nanos(1)), None);
        assert_eq!(deadlines.expired(Kind::Frame, due), Some(1));
    }

    #[test]
    fn a_kind_that_is_off_takes_no_memory_and_never_comes() {
        let (mut deadlines, epoch) = deadlines();
        deadlines.set(Kind::Idle, 1_000, Some(epoch));
        assert_eq!(deadlines.lists[Kind::Idle as usize].nodes.capacity(), 0);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_clock_that_steps_by_25_days_brings_all_due_and_none_twice() {
        let (mut deadlines, epoch) = deadlines();
        for slot in 0..100 {
            deadlines.set(Kind::Frame, slot, Some(epoch));
        }
        assert_eq!(all_expired(&mut deadlines, epoch + 25 * 24 * 3_600 * SECOND).len(), 100);
        assert_eq!(deadlines.next(), None);
    }
}
