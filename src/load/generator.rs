//! The handler that puts load on: what it sends when, and what it makes of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::conn::decoder::Frame;
use crate::conn::outbox::Sent;
use crate::error::{CloseReason, DialError};
use crate::frame::HEADER_LEN;
use crate::handler::{ConnId, Context, Handler, Peers, SourceId, TimerId};
use crate::load::answers::{Ledger, Stamped};
use crate::load::clock::Clock;
use crate::load::course::{Course, EndCause, Order, Report};
use crate::load::destination::Destination;
use crate::load::lane::{Lane, Life, Stamp};
use crate::load::machine;
use crate::load::outcome::{Cohort, Fault, FaultKind};
use crate::load::payload::Table;
use crate::load::plan::{Plan, Stop};
use crate::load::pulse::Pulse;
use crate::load::ramp::Ramp;
use crate::load::schedule::Schedule;
use crate::load::tally::{Tally, histogram};

/// What a thread is given.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) plan: Arc<Plan>,
    pub(crate) destination: Destination,
    pub(crate) clock: Clock,
    pub(crate) table: Arc<Table>,
    pub(crate) thread: usize,
    pub(crate) reports: Sender<(usize, Report)>,
}

/// A thread's handler.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) plan: Arc<Plan>,
    pub(crate) destination: Destination,
    pub(crate) clock: Clock,
    pub(crate) thread: usize,
    pub(crate) table: Arc<Table>,
    // Those that carry load come first.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) active: usize,
    /// Connections that carry load and are open.
    pub(crate) active_up: usize,
    /// Connections that are open.
    pub(crate) up: u64,
    pub(crate) reported_up: u64,
    pub(crate) ramp: Ramp,
    pub(crate) course: Course,
    /// Goes on with the course.
    pub(crate) next_tick: Option<TimerId>,
    /// The window that is measured, from `measure` to before `until`.
    pub(crate) measure: u64,
    pub(crate) until: u64,
    /// Frames that are to be answered in the window, where that is what ends it.
    pub(crate) quota: Option<u64>,
    /// Of those, how many were.
    pub(crate) answered: u64,
    /// Frames that were sent, or are due and wait for room, and are not answered.
    pub(crate) in_flight: u64,
    /// The open loop's.
    pub(crate) schedule: Option<Schedule>,
    pub(crate) pulse: Pulse,
    next_lane: usize,
    /// Something was sent or answered since the schedule was looked at.
    pub(crate) is_busy: bool,
    pub(crate) stamp: Stamped,
    /// Of the interval under way.
    pub(crate) tally: Tally,
    /// Of connections made before the measuring began.
    pub(crate) connect: Histogram<u64>,
    pub(crate) failed: BTreeMap<&'static str, u64>,
    pub(crate) ended: BTreeMap<&'static str, u64>,
    pub(crate) ledger: Ledger,
    pub(crate) cohort_ends: [u64; 2],
    pub(crate) faults: Vec<Fault>,
    pub(crate) late: u64,
    pub(crate) late_max: u64,
    pub(crate) waits_for_port: u64,
    pub(crate) last_made: u64,
    pub(crate) reports: Sender<(usize, Report)>,
}

/// A frame that is handed over so much after it was due is late, in nanoseconds.
const LATE: u64 = 1_000_000;

impl Generator {
    pub(crate) fn new(share: Share) -> std::io::Result<Self> {
        let Share { plan, destination, clock, table, thread, reports } = share;
        let fast_dials = destination.fast_dials(machine::ports());
        let lanes = lanes_of(&plan, thread);
        let quota = match plan.stop {
            Stop::Frames(frames) => Some(share_of(frames, plan.threads as u64, thread as u64)),
            Stop::After(_) => None,
        };
        Ok(Self {
            ramp: Ramp::new(lanes.len(), clock.now(), fast_dials.map(|all| all / plan.threads as u64)),
            active: lanes.iter().filter(|lane| lane.cohort == Cohort::Active).count(),
            active_up: 0,
            up: 0,
            reported_up: 0,
            pulse: Pulse::new()?,
            plan,
            destination,
            clock,
            thread,
            table,
            lanes,
            course: Course::Connecting,
            next_tick: None,
            measure: u64::MAX,
            until: u64::MAX,
            quota,
            answered: 0,
            in_flight: 0,
            schedule: None,
            next_lane: 0,
            is_busy: false,
            stamp: Stamped::default(),
            tally: Tally::new(),
            connect: histogram(),
            failed: BTreeMap::new(),
            ended: BTreeMap::new(),
            ledger: Ledger::default(),
            cohort_ends: [0; 2],
            faults: Vec::new(),
            late: 0,
            late_max: 0,
            waits_for_port: 0,
            last_made: 0,
            reports,
        })
    }

    /// Fills every connection that carries load, for the closed loop.
    pub(crate) fn send_first(&mut self, peers: &mut Peers<'_>) {
        for lane in 0..self.active {
            let Life::Open(id) = self.lanes[lane].life else { continue };
            for _ in 0..self.plan.depth {
                if self.may_send() {
                    let now = self.clock.now();
                    self.send(lane, now, now, |payload| peers.send(id, payload));
                }
            }
        }
    }

    /// Wakes the connections for which a frame is due by now, and sees to it that this is looked at again: the open loop.
    ///
    /// A loop that is busy looks in its next turn, which does not sleep: a timer that interrupts it would cost as much as
    /// a frame. One that has nothing to do lets a timer wake it.
    pub(crate) fn send_due(&mut self, peers: &mut Peers<'_>) {
        let Some(mut schedule) = self.schedule else { return };
        let now = self.clock.now();
        while self.may_send() && schedule.due() < self.until {
            let Some(due) = schedule.take(now) else { break };
            self.late_max = self.late_max.max(now - due);
            self.late += u64::from(now - due > LATE);
            self.send_to_next(peers, due);
        }
        self.schedule = Some(schedule);
        if !self.is_loading() || schedule.due() >= self.until {
            return;
        }
        if std::mem::take(&mut self.is_busy) {
            let _ = peers.set_timer(peers.now());
        } else {
            let after = schedule.due().saturating_sub(self.clock.now());
            self.pulse.set(Duration::from_nanos(after), peers);
        }
    }

    /// Whether another frame may be sent without more being answered in the end than were asked for.
    #[inline]
    fn may_send(&self) -> bool {
        self.is_loading() && self.quota.is_none_or(|quota| self.answered + self.in_flight < quota)
    }

    /// Whether all frames are answered that were asked for.
    #[inline]
    pub(crate) fn has_enough(&self) -> bool {
        self.quota == Some(self.answered)
    }

    /// Hands a lane's next frame over. Returns whether its connection took it.
    #[inline]
    fn send(&mut self, lane: usize, due: u64, now: u64, over: impl FnOnce(&[u8]) -> Sent) -> bool {
        let lane = &mut self.lanes[lane];
        let is_taken = over(self.table.payload(lane.number, lane.sent)) == Sent::Queued;
        if is_taken {
            lane.push(Stamp { due, sent: now });
            self.in_flight += 1;
        }
        is_taken
    }

    /// Lets the next connection in turn that is there send a frame that is due.
    fn send_to_next(&mut self, peers: &mut Peers<'_>, due: u64) {
        self.is_busy = true;
        for _ in 0..self.active {
            let lane = &mut self.lanes[self.next_lane];
            self.next_lane = (self.next_lane + 1) % self.active;
            let Life::Open(id) = lane.life else { continue };
            lane.wait(due);
            peers.wake(id);
            self.in_flight += 1;
            return;
        }
        // None is open: the last of them has just ended.
        self.charge(&[Stamp::waiting(due)], self.clock.now());
    }

    /// Sends what is due on a connection, as far as there is room.
    fn send_waiting(&mut self, conn: &mut Context<'_>, lane: usize) {
        while let Some(due) = self.lanes[lane].first_waiting() {
            let now = self.clock.now();
            if !self.send(lane, due, now, |payload| conn.reply(payload)) {
                return;
            }
            self.lanes[lane].end_wait();
            // It was counted when it began to wait.
            self.in_flight -= 1;
        }
    }

    /// Sends as much as the connection takes, of which nothing will be read.
    fn send_deaf(&mut self, conn: &mut Context<'_>, lane: usize) {
        let lane = &mut self.lanes[lane];
        while conn.reply(self.table.payload(lane.number, lane.sent)) == Sent::Queued {
            lane.sent = lane.sent.wrapping_add(1);
        }
    }
}

impl Handler for Generator {
    /// The index of the lane.
    type State = u32;
    type Message = Order;

    fn on_open(&mut self, conn: &mut Context<'_>) -> u32 {
        let Some(index) = self.made(conn.id()) else {
            // Nobody else is dialled, and nobody is listened for.
            conn.abort();
            return u32::MAX;
        };
        self.destination.prefer(conn.peer_addr());
        let lane = index as usize;
        match self.lanes[lane].cohort {
            Cohort::Active => {
                self.active_up += 1;
                if self.plan.churn && self.may_send() {
                    let now = self.clock.now();
                    self.send(lane, now, now, |payload| conn.reply(payload));
                }
            }
            Cohort::Deaf => {
                conn.pause();
                self.send_deaf(conn, lane);
            }
            Cohort::Idle | Cohort::Drip => {}
        }
        self.go_on_dialling(&mut conn.peers());
        if self.is_ending() {
            // A connection of churn that was awaited.
            self.end_if_done(&mut conn.peers(), self.clock.now());
        }
        index
    }

    #[inline]
    fn on_frame(&mut self, conn: &mut Context<'_>, lane: &mut u32, frame: Frame<'_>) {
        let now = self.stamp(conn);
        let index = *lane as usize;
        let lane = &mut self.lanes[index];
        if let Err(kind) = self.table.check(lane.number, lane.answered, &frame) {
            return self.fault(conn, index, kind);
        }
        let Some(stamp) = lane.pop() else {
            return self.fault(conn, index, FaultKind::Unasked);
        };
        self.count(stamp, now, HEADER_LEN + frame.payload_len());
        if self.plan.churn {
            conn.close();
        } else if self.schedule.is_none() && self.may_send() {
            self.send(index, now, now, |payload| conn.reply(payload));
        }
        if self.in_flight == 0 || self.has_enough() {
            self.end_if_done(&mut conn.peers(), now + 1);
        }
    }

    fn on_wake(&mut self, conn: &mut Context<'_>, lane: &mut u32) {
        self.send_waiting(conn, *lane as usize);
    }

    fn on_low_water(&mut self, conn: &mut Context<'_>, lane: &mut u32) {
        let lane = *lane as usize;
        match self.lanes[lane].cohort {
            Cohort::Deaf => self.send_deaf(conn, lane),
            Cohort::Active | Cohort::Idle | Cohort::Drip => self.send_waiting(conn, lane),
        }
    }

    fn on_close(&mut self, peers: &mut Peers<'_>, _: ConnId, lane: u32, reason: &CloseReason) {
        let index = lane as usize;
        let Some(Lane { cohort, answered, .. }) = self.lanes.get(index) else { return };
        let has_churned = self.plan.churn && *answered > 0;
        self.up -= 1;
        self.active_up -= usize::from(*cohort == Cohort::Active);
        if self.course == Course::Over {
            return;
        }
        if has_churned {
            self.lanes[index].bury();
        } else {
            self.lose(index, reason);
        }
        if self.is_ending() {
            return self.end_if_done(peers, self.clock.now());
        }
        if self.plan.churn && self.is_loading() && self.lanes[index].cohort == Cohort::Active {
            self.dial_again(peers, lane);
        }
        if self.active_up == 0 && self.is_loading() && !self.plan.churn {
            // Nobody is left to put load on.
            self.end(peers, self.clock.now(), EndCause::AllLost);
        }
    }

    fn on_dial_failed(&mut self, peers: &mut Peers<'_>, id: ConnId, error: &DialError) {
        self.not_made(peers, id, error);
    }

    fn on_timer(&mut self, peers: &mut Peers<'_>, timer: TimerId) {
        if self.next_tick == Some(timer) {
            self.tick(peers);
        } else if !self.dial_on_timer(peers, timer) {
            self.send_due(peers);
        }
    }

    fn on_source(&mut self, peers: &mut Peers<'_>, _: SourceId) {
        // Timers come after all events of a turn: the schedule is looked at once in a turn, and by them.
        let _ = peers.set_timer(peers.now());
    }

    fn on_message(&mut self, peers: &mut Peers<'_>, order: Order) {
        match order {
            Order::Connect => self.go_on_dialling(peers),
            Order::Begin { load, measure } => self.begin(peers, load, measure),
            Order::End => self.end(peers, self.clock.now(), EndCause::Ordered),
        }
    }
}

/// The lanes of a thread: those that carry load first.
fn lanes_of(plan: &Plan, thread: usize) -> Vec<Lane> {
    let cohorts = [(Cohort::Active, plan.connections), (Cohort::Idle, plan.idle), (Cohort::Deaf, plan.deaf)];
    let mut first = 0;
    let mut lanes = Vec::new();
    for (cohort, count) in cohorts {
        let numbers = (first..first + count).filter(|number| number % plan.threads == thread);
        lanes.extend(numbers.map(|number| Lane::new(number as u32, cohort)));
        first += count;
    }
    lanes
}

/// One of `parts` parts of `whole`, the first ones one larger where it does not divide.
fn share_of(whole: u64, parts: u64, nth: u64) -> u64 {
    whole / parts + u64::from(nth < whole % parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_connections_and_the_frames() {
        let plan = Plan { connections: 10, idle: 3, deaf: 1, threads: 3, ..Plan::default() };
        let mut numbers: Vec<u32> = (0..3).flat_map(|thread| lanes_of(&plan, thread)).map(|lane| lane.number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..14).collect::<Vec<u32>>());
        assert_eq!((0..3).map(|nth| share_of(11, 3, nth)).collect::<Vec<_>>(), [4, 4, 3]);
    }
}
