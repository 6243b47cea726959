//! Opening the connections: some at a time, at a rate if there is one, and again in the case of churn.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;

use crate::error::DialError;
use crate::handler::{ConnId, Peers, TimerId};
use crate::load::course::Course;
use crate::load::generator::Generator;
use crate::load::lane::Life;
use crate::load::tally::record;

/// What is to be dialled, and what is.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    to_dial: VecDeque<u32>,
    /// Could not be dialled, and are tried again when `retry` fires.
    later: Vec<u32>,
    dialling: HashMap<ConnId, u32>,
    /// How many were dialled since `begun`; what a rate is kept by.
    dialled: u64,
    begun: u64,
    /// Goes on with `to_dial`.
    next: Option<TimerId>,
    retry: Option<TimerId>,
    is_settled: bool,
    /// After so many dials the kernel has to search for ports, and when that many had been dialled.
    fast_dials: Option<u64>,
    crossed: Option<u64>,
}

/// How long a connection took to make, on average and in nanoseconds, before and after half of the ports were used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DialPace {
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// It counts as slow from so long on, in nanoseconds, and so many times as slow as before.
const SLOW: u64 = 1_000_000_000;
const SLOWER: f64 = 4.0;

/// The most that are dialled in one turn: the last of them is dialled that much later than its latency counts from.
const BATCH: usize = 16;
/// The most that are on their way at a time: far fewer than a listen queue holds (`net.core.somaxconn` is 4,096).
const DIALLING_MAX: usize = 512;
/// After a dial failed that is to be tried again, in nanoseconds.
const RETRY: u64 = 20_000_000;

impl Ramp {
    /// `fast_dials` is how many this thread may dial before the kernel has to search for ports.
    pub(crate) fn new(lanes: usize, begun: u64, fast_dials: Option<u64>) -> Self {
        Self { to_dial: (0..lanes as u32).collect(), begun, fast_dials, ..Self::default() }
    }

    /// Whether connecting became slow when half of the ports were used up. The last connection was made at `last_made`.
    pub(crate) fn slow_pace(&self, last_made: u64) -> Option<DialPace> {
        let (fast_dials, crossed) = self.fast_dials.zip(self.crossed)?;
        let slow = last_made.saturating_sub(crossed);
        let before = (crossed - self.begun) as f64 / fast_dials.max(1) as f64;
        let after = slow as f64 / (self.dialled - fast_dials).max(1) as f64;
        (slow >= SLOW && after >= SLOWER * before).then_some(DialPace { before, after })
    }

    /// Whether each has been dialled once, with or without success.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Whether a connection is on its way.
    pub(crate) fn is_dialling(&self) -> bool {
        !self.dialling.is_empty()
    }

    /// Whether everybody was dialled, with or without success.
    fn is_done(&self) -> bool {
        self.to_dial.is_empty() && self.later.is_empty() && self.dialling.is_empty()
    }
}

/// What an error counts as: those that need different remedies have different names.
fn name_of(error: &DialError) -> &'static str {
    match error {
        DialError::Io(ErrorKind::NotFound | ErrorKind::NotADirectory) => "not found",
        DialError::Io(ErrorKind::PermissionDenied) => "not permitted",
        DialError::Io(ErrorKind::InvalidInput | ErrorKind::InvalidFilename) => "path too long",
        DialError::Io(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => "unreachable",
        DialError::Io(ErrorKind::TimedOut) => "timed out",
        other => other.name(),
    }
}

impl Generator {
    /// Dials some, and sees to it that the others follow.
    pub(crate) fn dial_some(&mut self, peers: &mut Peers<'_>) {
        if self.ramp.next.is_some() {
            return;
        }
        let now = self.clock.now();
        for _ in 0..BATCH {
            if self.ramp.dialling.len() >= DIALLING_MAX || self.ramp.to_dial.is_empty() {
                // Whoever is done next goes on.
                return;
            }
            if let Some(due) = self.next_dial().filter(|due| *due > now) {
                self.ramp.next = peers.set_timer(self.clock.instant(due)).ok();
                return;
            }
            let Some(lane) = self.ramp.to_dial.pop_front() else { return };
            let nth = self.ramp.dialled as usize * self.plan.threads + self.thread;
            let Ok(id) = peers.dial(self.destination.dial(nth)) else {
                // The run ends.
                return self.ramp.to_dial.push_front(lane);
            };
            self.lanes[lane as usize].life = Life::Dialling { since: now };
            self.ramp.dialling.insert(id, lane);
            self.ramp.dialled += 1;
            if self.ramp.fast_dials == Some(self.ramp.dialled) {
                self.ramp.crossed = Some(now);
            }
        }
        self.ramp.next = peers.set_timer(peers.now()).ok();
    }

    /// When the next one may be dialled, where there is a rate.
    fn next_dial(&self) -> Option<u64> {
        let apart = 1e9 * self.plan.threads as f64 / self.plan.connect_rate?;
        Some(self.ramp.begun + (apart * self.ramp.dialled as f64) as u64)
    }

    /// Which lane it is that was dialled with this id. Its latency is recorded.
    pub(crate) fn made(&mut self, id: ConnId) -> Option<u32> {
        let index = self.ramp.dialling.remove(&id)?;
        let now = self.clock.now();
        let lane = &mut self.lanes[index as usize];
        if let Life::Dialling { since } = lane.life {
            let connect = if now < self.measure { &mut self.connect } else { &mut self.tally.connect };
            record(connect, now - since);
        }
        lane.life = Life::Open(id);
        self.up += 1;
        self.last_made = now;
        Some(index)
    }

    pub(crate) fn not_made(&mut self, peers: &mut Peers<'_>, id: ConnId, error: &DialError) {
        let Some(lane) = self.ramp.dialling.remove(&id) else { return };
        self.lanes[lane as usize].life = Life::Dead;
        if self.course == Course::Over || (self.is_ending() && !self.plan.churn) {
            return;
        }
        let is_churning = self.plan.churn && self.is_loading();
        let is_transient = match error {
            DialError::QueueFull => true,
            // Ports come back when the kernel has forgotten the connections that had them.
            DialError::NoPort => is_churning,
            _ => false,
        };
        if is_transient {
            self.waits_for_port += u64::from(*error == DialError::NoPort);
        } else {
            self.tally.errors.not_connected += 1;
            *self.failed.entry(name_of(error)).or_default() += 1;
        }
        if self.is_ending() {
            return self.end_if_done(peers, self.clock.now());
        }
        if is_transient || is_churning {
            self.ramp.later.push(lane);
            if self.ramp.retry.is_none() {
                self.ramp.retry = peers.set_timer(self.clock.instant(self.clock.now() + RETRY)).ok();
            }
        }
        self.go_on_dialling(peers);
    }

    /// Dials a lane for its next life.
    pub(crate) fn dial_again(&mut self, peers: &mut Peers<'_>, lane: u32) {
        self.ramp.to_dial.push_back(lane);
        self.dial_some(peers);
    }

    /// A timer has come. Returns whether it was one of these.
    pub(crate) fn dial_on_timer(&mut self, peers: &mut Peers<'_>, timer: TimerId) -> bool {
        if self.ramp.next == Some(timer) {
            self.ramp.next = None;
        } else if self.ramp.retry == Some(timer) {
            self.ramp.retry = None;
            let later = std::mem::take(&mut self.ramp.later);
            self.ramp.to_dial.extend(later);
        } else {
            return false;
        }
        if !self.is_ending() {
            self.dial_some(peers);
        }
        true
    }

    /// One that was dialled is done: others may follow, or it was the last.
    pub(crate) fn go_on_dialling(&mut self, peers: &mut Peers<'_>) {
        self.dial_some(peers);
        if self.ramp.is_settled {
            return;
        }
        self.report_up_sometimes();
        if self.ramp.is_done() {
            self.ramp.is_settled = true;
            self.report_settled();
        }
    }
}
