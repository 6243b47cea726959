//! Opens the connections of a thread: some at a time, at a rate if there is one, and again with churn.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::address::PeerAddr;
use crate::handler::Context;
use crate::id::{ConnId, TimerId};
use crate::load::clock::Clock;
use crate::load::destination::Destination;
use crate::load::machine;
use crate::load::plan::Plan;
use crate::load::ramp::STAGES;
use crate::load::segment::Segment;
use crate::load::tally::Place;

#[derive(Debug)]
pub(crate) struct Dialer {
    destination: Destination,
    numbers: Numbers,
    /// How many links there are.
    links: usize,
    /// Nanoseconds between two dials of this thread, and when the next one is due, where there is a rate.
    pace: Option<(f64, f64)>,
    /// Links to dial.
    queue: VecDeque<u32>,
    queue_timer: Option<TimerId>,
    /// Links whose dial failed, to be dialed again when `retry_timer` fires.
    retries: Vec<u32>,
    retry_timer: Option<TimerId>,
    dialing: HashMap<ConnId, Dialing>,
    /// How many were dialed since `begun`.
    dialed: u64,
    begun: u64,
    /// Each link of the step has been dialed once, with or without success.
    is_settled: bool,
    /// After so many dials the kernel has to search for ports, and when that many had been dialed.
    fast_dials: Option<u64>,
    slow_since: Option<u64>,
}

/// The numbers that a thread's links have among those of all threads and segments.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    segment: Segment,
    thread: usize,
    threads: usize,
}

impl Numbers {
    fn of(self, link: u32) -> u32 {
        self.segment.number(link as usize * self.threads + self.thread)
    }
}

/// A link that is being dialed, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialing {
    pub(crate) link: u32,
    pub(crate) since: u64,
}

/// How long a connection took to open, on average and in nanoseconds, before and after half of the ports were used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DialPace {
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// Dialing has become slow if the connections after half of the ports took this many nanoseconds together, and this many times as
/// long on average as those before.
const SLOW: u64 = 1_000_000_000;
const SLOWER: f64 = 4.0;

/// The most dials of one turn. The latency of each counts from the first of them.
const BATCH: usize = 16;
/// The most that are in progress at a time: far fewer than a listen queue holds (`net.core.somaxconn` is 4,096).
const DIALING_MAX: usize = 512;
/// A dial that was due so long ago is made up for, in nanoseconds: timers are not exact.
const CATCH_UP: u64 = 50_000_000;
/// From a failed dial to the next attempt, in nanoseconds.
const RETRY: u64 = 20_000_000;

impl Dialer {
    pub(crate) fn new(plan: &Plan, thread: usize, links: usize, destination: Destination, begun: u64) -> Self {
        let threads = plan.threads;
        Self {
            fast_dials: destination.fast_dials(machine::ports()).map(|all| all / threads as u64),
            destination: destination.of_thread(thread, threads),
            links,
            numbers: Numbers { segment: plan.segment, thread, threads },
            pace: plan.connect_rate.map(|rate| (1e9 * threads as f64 / rate, begun as f64)),
            queue: VecDeque::new(),
            queue_timer: None,
            retries: Vec::new(),
            retry_timer: None,
            dialing: HashMap::new(),
            dialed: 0,
            begun,
            is_settled: false,
            slow_since: None,
        }
    }

    /// Dials some of the links in the queue, and sets a timer for the others.
    pub(crate) fn dial(&mut self, clock: &Clock, cx: &mut Context<'_>) {
        if self.queue_timer.is_some() {
            return;
        }
        let now = clock.now();
        for _ in 0..BATCH {
            if self.dialing.len() >= DIALING_MAX || self.queue.is_empty() {
                // The next one that opens or fails continues.
                return;
            }
            if let Some(due) = self.next_due(now).filter(|due| *due > now) {
                self.queue_timer = cx.set_timer(clock.instant(due)).ok();
                return;
            }
            let Some(link) = self.queue.pop_front() else { return };
            let Ok(id) = cx.dial(self.destination.dial(self.numbers.of(link))) else {
                // The reactor is stopping.
                return self.queue.push_front(link);
            };
            self.dialing.insert(id, Dialing { link, since: now });
            self.dialed += 1;
            if let Some((interval, due)) = &mut self.pace {
                *due += *interval;
            }
            if self.fast_dials == Some(self.dialed) {
                self.slow_since = Some(now);
            }
        }
        self.queue_timer = cx.set_timer(cx.now()).ok();
    }

    /// When the next link may be dialed, where there is a rate.
    ///
    /// Rule: time in which there was nothing to dial, or no room, earns no burst of dials later.
    fn next_due(&mut self, now: u64) -> Option<u64> {
        let (_, due) = self.pace.as_mut()?;
        *due = due.max(now.saturating_sub(CATCH_UP) as f64);
        Some(*due as u64)
    }

    /// Where a link belongs.
    pub(crate) fn place(&self, link: u32) -> Place {
        let target = self.destination.target_of(self.numbers.of(link));
        Place { target, stage: link as usize * STAGES / self.links.max(1) }
    }

    /// Notes that a connection has opened.
    pub(crate) fn on_open(&mut self, id: ConnId, to: &PeerAddr) -> Option<Dialing> {
        let dialing = self.dialing.remove(&id)?;
        self.destination.prefer(self.numbers.of(dialing.link), to);
        Some(dialing)
    }

    /// Notes that a dial has failed.
    pub(crate) fn on_failed(&mut self, id: ConnId) -> Option<Dialing> {
        self.dialing.remove(&id)
    }

    /// Dials a link again, after a pause.
    pub(crate) fn retry(&mut self, link: u32, clock: &Clock, cx: &mut Context<'_>) {
        self.retries.push(link);
        if self.retry_timer.is_none() {
            self.retry_timer = cx.set_timer(clock.instant(clock.now() + RETRY)).ok();
        }
    }

    /// Lets these links be dialed, each once, apart from those that already are.
    pub(crate) fn begin(&mut self, links: impl Iterator<Item = u32>, now: u64) {
        self.is_settled = false;
        if let Some((_, due)) = &mut self.pace {
            *due = due.max(now as f64);
        }
        self.retries.clear();
        let dialing: HashSet<u32> = self.dialing().map(|dialing| dialing.link).collect();
        self.queue = links.filter(|link| !dialing.contains(link)).collect();
    }

    /// Puts a link into the queue again.
    pub(crate) fn enqueue(&mut self, link: u32) {
        self.queue.push_back(link);
    }

    /// Handles a timer. Returns whether it was the dialer's, and so the queue is to be dialed.
    pub(crate) fn on_timer(&mut self, timer: TimerId) -> bool {
        if self.queue_timer == Some(timer) {
            self.queue_timer = None;
        } else if self.retry_timer == Some(timer) {
            self.retry_timer = None;
            self.queue.extend(std::mem::take(&mut self.retries));
        } else {
            return false;
        }
        true
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Updates and returns whether each link has been dialed once, with or without success.
    pub(crate) fn settle(&mut self) -> bool {
        self.is_settled = self.queue.is_empty() && self.retries.is_empty() && self.dialing.is_empty();
        if self.is_settled {
            // It had room for all links.
            self.queue.shrink_to_fit();
        }
        self.is_settled
    }

    pub(crate) fn dialing(&self) -> impl ExactSizeIterator<Item = &Dialing> {
        self.dialing.values()
    }

    /// The pace of dialing, if it became slow when half of the ports were used up. The last connection opened at `last`.
    pub(crate) fn slow_pace(&self, last: u64) -> Option<DialPace> {
        let (fast_dials, slow_since) = self.fast_dials.zip(self.slow_since)?;
        let slow = last.saturating_sub(slow_since);
        let before = (slow_since - self.begun) as f64 / fast_dials.max(1) as f64;
        let after = slow as f64 / (self.dialed - fast_dials).max(1) as f64;
        (slow >= SLOW && after >= SLOWER * before).then_some(DialPace { before, after })
    }
}
