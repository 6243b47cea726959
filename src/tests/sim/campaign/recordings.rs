//! Recordings of some connections, and the promises about them.

use std::time::Instant;

use crate::id::ConnId;
use crate::info::ConnectionCounters;
use crate::sim::Rng;
use crate::tests::sim::campaign::heard::Life;
use crate::tests::sim::campaign::steps::Campaign;
use crate::{CloseReason, ConnectionEvent, RecordedEvent};

/// Fewer than the reactor allows, and enough that several exist at a time.
const FOLLOWED_MAX: usize = 4;

/// The connections that are recorded. What is chosen here has a seed of its own: the seeds of campaigns mean what they meant before.
#[derive(Debug)]
pub(super) struct Followers {
    rng: Rng,
    followed: Vec<Followed>,
    /// How often connections were opened, or failed in `on_open`, before the last look.
    opened: u64,
    /// How many recordings were followed to the end of their connections without a gap, with bytes that were compared.
    pub(super) whole: usize,
}

/// A recording, with what was read of it.
#[derive(Debug)]
struct Followed {
    id: ConnId,
    /// That of the peer.
    number: usize,
    events_max: usize,
    /// The counters of the connection when the recording began.
    begun: ConnectionCounters,
    last_seq: u64,
    last_at: Option<Instant>,
    /// Some events were dropped before they were read.
    has_gap: bool,
    bytes_in: u64,
    bytes_out: u64,
    has_ended: bool,
}

impl Followers {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(!seed), followed: Vec::new(), opened: 0, whole: 0 }
    }
}

impl Campaign {
    /// Between two turns, sometimes begins a recording, or stops one.
    pub(super) fn record_some(&mut self) {
        let followers = &mut self.followers;
        if !followers.followed.is_empty() && followers.rng.chance(10) {
            let stopped = followers.followed.swap_remove(followers.rng.below(followers.followed.len()));
            assert!(self.reactor.stop_recording(stopped.id), "[{}] is not recorded", stopped.id);
            assert!(self.reactor.recording(stopped.id).is_none(), "[{}] is still recorded", stopped.id);
        }
        if self.actors.is_empty() || followers.followed.len() == FOLLOWED_MAX || !followers.rng.chance(50) {
            return;
        }
        let number = self.actors[followers.rng.below(self.actors.len())].number;
        let Some(id) = self.reactor.handler().records[number].open_id() else { return };
        if followers.followed.iter().any(|followed| followed.id == id) {
            return;
        }
        let events_max = [0, 1, 7, usize::MAX, usize::MAX, usize::MAX][followers.rng.below(6)];
        assert_eq!(self.reactor.record(id, events_max), Ok(()), "[{id}] is open");
        let Some(begun) = self.reactor.counters_of(id) else { panic!("[{id}] is open, and is not counted") };
        self.followers.followed.push(Followed {
            id,
            number,
            events_max,
            begun,
            last_seq: 0,
            last_at: None,
            has_gap: false,
            bytes_in: 0,
            bytes_out: 0,
            has_ended: false,
        });
    }

    /// After every turn: reads what is new.
    pub(super) fn check_recordings(&mut self) {
        let stats = self.reactor.stats();
        let opened = stats.accepted + stats.refused.failed;
        let has_opened = std::mem::replace(&mut self.followers.opened, opened) != opened;
        for at in 0..self.followers.followed.len() {
            self.check_recording(at, has_opened);
        }
    }

    fn check_recording(&mut self, at: usize, has_opened: bool) {
        let Self { reactor, followers, sim, .. } = self;
        let followed = &mut followers.followed[at];
        let id = followed.id;
        let Some(recording) = reactor.recording(id) else { panic!("[{id}] is not recorded") };
        let last_before = followed.last_seq;
        let new: Vec<&RecordedEvent> = recording.events_after(last_before).collect();
        followed.read(&new, recording.last_seq());
        assert!(followed.last_at <= Some(sim.now()), "[{id}] an event is from the future");

        let life = reactor.handler().records[followed.number].life;
        let expected = match life {
            Life::Ended { reason, .. } => Some(reason),
            Life::Open(_) | Life::Waiting | Life::Stillborn => None,
        };
        assert_eq!(recording.closed(), expected, "[{id}] has the reason of on_close");
        if followed.has_ended {
            assert_eq!(followed.last_seq, last_before, "[{id}] nothing follows the end");
            return;
        }
        let Some(counters) = reactor.counters_of(id) else { panic!("[{id}] is not counted") };
        // The slot of one that has ended may be another's in the same turn.
        if !followed.has_gap && (expected.is_none() || !has_opened) {
            let begun = followed.begun;
            let moved = (counters.bytes_in - begun.bytes_in, counters.bytes_out - begun.bytes_out);
            assert_eq!((followed.bytes_in, followed.bytes_out), moved, "[{id}] {followed:?}");
            followers.whole += usize::from(expected.is_some());
        }
        let last = recording.events().next_back();
        match (expected, reactor.inspect(id)) {
            (Some(reason), _) => {
                followed.has_ended = true;
                followed.check_end(last, reason);
            }
            // What it has queued since then runs in the next turn.
            (None, Some(glimpse)) if !glimpse.is_queued => {
                let is_known = last.is_none_or(|last| last.pending_output == glimpse.unsent_bytes);
                assert!(is_known, "[{id}] has {} unsent bytes after {last:?}", glimpse.unsent_bytes);
            }
            (None, _) => {}
        }
    }
}

impl Followed {
    /// Adds the events that are new, of which the last has this number.
    fn read(&mut self, new: &[&RecordedEvent], last_seq: u64) {
        let id = self.id;
        let count = last_seq - self.last_seq;
        assert_eq!(new.len(), usize::try_from(count).map_or(0, |count| count.min(self.events_max)), "[{id}] events");
        let numbers = new.iter().map(|event| event.seq);
        assert!(numbers.eq(last_seq + 1 - new.len() as u64..=last_seq), "[{id}] numbers have a gap: {new:?}");
        self.has_gap |= new.len() as u64 != count;
        self.last_seq = last_seq;
        for event in new {
            assert!(self.last_at <= Some(event.at), "[{id}] an event is older than the one before");
            self.last_at = Some(event.at);
            match event.event {
                ConnectionEvent::Read { outcome: Ok(len), asked, .. } => {
                    assert!(len <= asked, "[{id}] {event:?}");
                    self.bytes_in += len as u64;
                }
                ConnectionEvent::Write { outcome: Ok(written), len, .. } => {
                    assert!(written <= len, "[{id}] {event:?}");
                    self.bytes_out += written as u64;
                }
                _ => {}
            }
        }
    }

    fn check_end(&self, last: Option<&RecordedEvent>, reason: CloseReason) {
        if self.events_max > 0 {
            let end = last.map(|last| (last.seq, &last.event, last.state));
            let expected = (self.last_seq, &ConnectionEvent::Closed(reason), "Closed");
            assert_eq!(end, Some(expected), "[{}] the last event is the end", self.id);
        }
    }
}
