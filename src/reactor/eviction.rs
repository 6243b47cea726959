//! Selects the connection to evict at the memory limit, without a scan of all connections.
//!
//! Connections that have buffers are in lists, one for each size and 12.5 % above it, in the order in which they last moved a
//! frame or output. A node is linked into its list and lives as long as the connection has a buffer, so a change is O(1),
//! and one that has no buffer costs nothing.
//!
//! A connection is large if it holds more than it needs for frames that fit a chunk. The largest of these is evicted first. If
//! there is none, time counts too: of connections that hold about the same, the one that has moved nothing for longest is
//! evicted, so that many which hold a little do not evict one that is about to finish.
//!
//! Rule: of long frames that do not fit in the memory all together, one after another completes. If many large connections were
//! evicted while they made progress, and no large frame was completed in between, the largest is protected from eviction until
//! its frame is complete or it makes no progress.

use std::time::{Duration, Instant};

use slab::Slab;

use crate::config::Config;
use crate::histogram::{BUCKETS, bucket_of};

#[derive(Debug)]
pub(crate) struct Eviction {
    epoch: Instant,
    /// What a connection may need whose frames fit a chunk, in bytes.
    small_bytes_max: usize,
    lists: Box<[List; BUCKETS]>,
    nodes: Slab<Node>,
    /// Large connections that were evicted while they made progress, since the last large frame was completed.
    setbacks: u32,
    protected: Option<Protected>,
}

/// A large connection that is not evicted for other large ones.
#[derive(Debug, Clone, Copy)]
struct Protected {
    slot: u32,
    since: u64,
    progress_at: u64,
}

/// The place of a connection in the lists, if it has buffers. Its slot keeps it, and [`Eviction::set`] changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u32);

impl Default for Entry {
    fn default() -> Self {
        Self(NONE)
    }
}

/// Connections that hold about the same, in the order in which they last moved a frame or output.
#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    slot: u32,
    held: usize,
    /// Nanoseconds since the epoch.
    since: u64,
    /// When it last grew, or moved a frame or output; the same.
    progress_at: u64,
    prev: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

/// The most nodes of a list that are visited to find a place in it.
const STEPS_MAX: usize = 16;

/// The most nodes for which memory is kept while no connection has a buffer.
const NODES_KEPT: usize = 64;

/// How many large connections are evicted while they make progress before one is protected.
const SETBACKS_MAX: u32 = 16;

/// A protected connection that receives or sends nothing for this long is not protected any more.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection is protected at most.
const PROTECTED_MAX: Duration = Duration::from_secs(30);

/// Added to the time for which a buffer was held, so that size counts among new buffers.
const MOMENT: Duration = Duration::from_millis(1);

impl Eviction {
    pub(crate) fn new(config: &Config, epoch: Instant) -> Self {
        Self {
            epoch,
            small_bytes_max: config.small_bytes_max(),
            lists: Box::new([List { head: NONE, tail: NONE }; BUCKETS]),
            nodes: Slab::new(),
            setbacks: 0,
            protected: None,
        }
    }

    /// Notes how many bytes of buffers the connection in a slot holds, and whether it has moved a frame or output since the
    /// last call.
    pub(crate) fn set(&mut self, entry: &mut Entry, slot: u32, held: usize, has_moved: bool, now: Instant) {
        let now = self.nanos(now);
        let Some(before) = self.node(*entry).copied() else {
            if held > 0 {
                *entry = self.link(Node { slot, held, since: now, progress_at: now, prev: NONE, next: NONE });
            }
            return;
        };
        if bucket(before.held) > self.small_bucket() && bucket(held) <= self.small_bucket() {
            self.note_no_longer_large(slot, has_moved);
        }
        let progress_at = if has_moved || held > before.held { now } else { before.progress_at };
        if let Some(protected) = self.protected.as_mut().filter(|protected| protected.slot == slot) {
            protected.progress_at = progress_at;
        }
        if held > 0 && !has_moved && bucket(held) == bucket(before.held) {
            let node = &mut self.nodes[entry.0 as usize];
            (node.held, node.progress_at) = (held, progress_at);
            return;
        }
        let since = if has_moved { now } else { before.since };
        self.unlink(std::mem::take(entry));
        if held > 0 {
            *entry = self.link(Node { held, since, progress_at, ..before });
        }
    }

    fn note_no_longer_large(&mut self, slot: u32, is_done: bool) {
        if is_done {
            self.setbacks = 0;
        }
        self.protected = self.protected.filter(|protected| protected.slot != slot);
    }

    /// Whether `held` is more than a connection needs whose frames fit a chunk.
    pub(crate) fn is_large(&self, held: usize) -> bool {
        held > self.small_bytes_max
    }

    fn small_bucket(&self) -> usize {
        bucket(self.small_bytes_max)
    }

    /// Bytes that a connection holds, as far as was noted.
    #[cfg(test)]
    pub(crate) fn held(&self, entry: Entry) -> usize {
        self.node(entry).map_or(0, |node| node.held)
    }

    fn node(&self, entry: Entry) -> Option<&Node> {
        self.nodes.get(entry.0 as usize)
    }

    /// Returns the slot of the connection to evict, so that the running one can hold `wanted` bytes; `None` if the running one
    /// would hold the most.
    pub(crate) fn victim(&mut self, running: u32, wanted: usize, now: Instant) -> Option<u32> {
        let now = self.nanos(now);
        let small_bucket = self.small_bucket();
        let is_small = bucket(wanted) <= small_bucket;
        let protected = self.update_protected(now);
        if let Some(&largest) =
            (small_bucket + 1..BUCKETS).rev().find_map(|bucket| self.first(bucket, running, protected))
        {
            let is_evicted = largest.held >= wanted || protected == Some(running);
            let is_setback = !is_evicted || makes_progress(largest.progress_at, now);
            self.setbacks = self.setbacks.saturating_add(u32::from(is_setback));
            return is_evicted.then_some(largest.slot);
        }
        if !is_small {
            self.setbacks = self.setbacks.saturating_add(1);
            return None;
        }
        let weight = |node: &&Node| {
            // Twice the size counts as much as four times the time.
            (node.held as u128).pow(2) * (u128::from(now.saturating_sub(node.since)) + MOMENT.as_nanos())
        };
        let of_small = || (0..=small_bucket).filter_map(|bucket| self.first(bucket, running, None)).max_by_key(weight);
        // It is protected only from other large connections.
        protected.filter(|slot| *slot != running).or_else(|| of_small().map(|node| node.slot))
    }

    /// The first of a list, but for two slots.
    fn first(&self, bucket: usize, running: u32, protected: Option<u32>) -> Option<&Node> {
        let mut node = self.nodes.get(self.lists[bucket].head as usize)?;
        while node.slot == running || protected == Some(node.slot) {
            node = self.nodes.get(node.next as usize)?;
        }
        Some(node)
    }

    /// Begins or ends the protection of a connection. Returns the slot of the protected connection.
    fn update_protected(&mut self, now: u64) -> Option<u32> {
        let largest =
            (self.small_bucket() + 1..BUCKETS).rev().find_map(|bucket| self.first(bucket, NONE, None)).copied();
        if let Some(protected) = self.protected {
            if now.saturating_sub(protected.since) > nanos(PROTECTED_MAX) {
                (self.protected, self.setbacks) = (None, 0);
            } else if !makes_progress(protected.progress_at, now) {
                self.protected = None;
            }
        }
        if self.protected.is_none() && self.setbacks >= SETBACKS_MAX {
            let protected = largest.filter(|node| makes_progress(node.progress_at, now));
            self.protected =
                protected.map(|node| Protected { slot: node.slot, since: now, progress_at: node.progress_at });
        }
        self.protected.map(|protected| protected.slot)
    }

    /// Whether the connection in this slot is protected.
    #[cfg(test)]
    pub(crate) fn is_protected(&self, slot: u32) -> bool {
        self.protected.is_some_and(|protected| protected.slot == slot)
    }

    /// Whether one that holds `more` bytes is evicted before one that holds `held`, however long they have.
    #[cfg(test)]
    pub(crate) fn goes_before(&self, more: usize, held: usize) -> bool {
        bucket(more) > bucket(held) && bucket(more) > bucket(self.small_bytes_max)
    }

    fn link(&mut self, node: Node) -> Entry {
        let Node { held, since, .. } = node;
        let (prev, next) = self.place_of(bucket(held), since);
        let at = self.nodes.insert(Node { prev, next, ..node }) as u32;
        let list = &mut self.lists[bucket(held)];
        match prev {
            NONE => list.head = at,
            prev => self.nodes[prev as usize].next = at,
        }
        match next {
            NONE => list.tail = at,
            next => self.nodes[next as usize].prev = at,
        }
        Entry(at)
    }

    /// The two nodes between which a new one is linked: the newest is the last. A connection that has grown is older than
    /// others of its new size; it is linked before those, within a few steps, so that this stays O(1).
    fn place_of(&self, bucket: usize, since: u64) -> (u32, u32) {
        let List { head, tail } = self.lists[bucket];
        if head != NONE && self.nodes[head as usize].since > since {
            return (NONE, head);
        }
        let (mut prev, mut next) = (tail, NONE);
        for _ in 0..STEPS_MAX {
            if prev == NONE || self.nodes[prev as usize].since <= since {
                break;
            }
            (prev, next) = (self.nodes[prev as usize].prev, prev);
        }
        (prev, next)
    }

    fn unlink(&mut self, entry: Entry) {
        let Some(Node { held, prev, next, .. }) = self.nodes.try_remove(entry.0 as usize) else { return };
        match prev {
            NONE => self.lists[bucket(held)].head = next,
            prev => self.nodes[prev as usize].next = next,
        }
        match next {
            NONE => self.lists[bucket(held)].tail = prev,
            next => self.nodes[next as usize].prev = prev,
        }
        if self.nodes.is_empty() && self.nodes.capacity() > NODES_KEPT {
            self.nodes = Slab::new();
        }
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

fn makes_progress(progress_at: u64, now: u64) -> bool {
    now.saturating_sub(progress_at) <= nanos(PROGRESS_TIMEOUT)
}

/// The number of nanoseconds, which is exact up to 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket(held: usize) -> usize {
    bucket_of(held as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const SECOND: Duration = Duration::from_secs(1);
    /// A slot that holds nothing.
    const OTHER: u32 = 9_999;

    /// With the entry of each slot.
    struct Scene {
        eviction: Eviction,
        entries: Vec<Entry>,
    }

    impl Scene {
        fn set(&mut self, slot: u32, held: usize, has_moved: bool, now: Instant) {
            self.eviction.set(&mut self.entries[slot as usize], slot, held, has_moved, now);
        }

        fn held(&self, slot: u32) -> usize {
            self.eviction.held(self.entries[slot as usize])
        }

        fn victim(&mut self, running: u32, wanted: usize, now: Instant) -> Option<u32> {
            self.eviction.victim(running, wanted, now)
        }
    }

    fn eviction() -> (Scene, Instant) {
        let epoch = Instant::now();
        let eviction = Eviction::new(&Config::default(), epoch);
        (Scene { eviction, entries: vec![Entry::default(); 1_001] }, epoch)
    }

    /// The slots in the order in which they would be evicted.
    fn order(eviction: &mut Scene, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| {
            let slot = eviction.victim(OTHER, 0, now)?;
            eviction.set(slot, 0, false, now);
            Some(slot)
        })
        .collect()
    }

    #[test]
    fn the_largest_goes_first_however_new_it_is() {
        let (mut eviction, epoch) = eviction();
        for (slot, held) in [(0, 3 * MIB), (1, MIB), (2, 15 * MIB), (3, 512), (4, 7 * MIB), (5, 16 * MIB + 1)] {
            eviction.set(slot, held, true, epoch + slot * SECOND);
        }
        assert_eq!(order(&mut eviction, epoch + 9 * SECOND), [5, 2, 4, 0, 1, 3]);
    }

    #[test]
    fn small_holder_idle_longest_is_evicted_first() {
        let (mut eviction, epoch) = eviction();
        eviction.set(0, 60_000, true, epoch + 10 * SECOND);
        (1..=1_000).for_each(|slot| eviction.set(slot, 30_000, true, epoch + slot * (SECOND / 1_000)));
        let order = order(&mut eviction, epoch + 10 * SECOND);
        assert_eq!(order.iter().position(|slot| *slot == 0), Some(1_000), "the new one is the last");
        assert_eq!(order[0], 1);
    }

    #[test]
    fn who_moves_something_is_new_again_and_who_only_grows_is_not() {
        let (mut eviction, epoch) = eviction();
        (0..4).for_each(|slot| eviction.set(slot, 10_000, true, epoch));
        eviction.set(4, 20_000, true, epoch + SECOND);
        eviction.set(0, 10_000, true, epoch + SECOND);
        eviction.set(1, 10_001, false, epoch + SECOND);
        eviction.set(2, 20_000, false, epoch + SECOND);
        assert_eq!(eviction.held(1), 10_001);
        assert_eq!(order(&mut eviction, epoch + 2 * SECOND), [2, 4, 1, 3, 0]);
    }

    #[test]
    fn no_other_is_chosen_if_the_one_in_need_would_hold_the_most() {
        let (mut eviction, epoch) = eviction();
        eviction.set(0, 3 * MIB, true, epoch);
        eviction.set(1, 512, true, epoch);
        assert_eq!(eviction.victim(OTHER, 3 * MIB, epoch), Some(0));
        assert_eq!(eviction.victim(OTHER, 3 * MIB + 1, epoch), None);
        assert_eq!(eviction.victim(0, 3 * MIB, epoch), None, "nor is it itself");
        eviction.set(0, 0, false, epoch);
        assert_eq!(
            eviction.victim(OTHER, 4 * MIB, epoch),
            None,
            "one that holds little is not closed for one that wants much"
        );
        assert_eq!(eviction.victim(OTHER, 100_000, epoch), Some(1), "of those that hold little, some other goes");
        assert_eq!(eviction.victim(1, 100_000, epoch), None);
    }

    #[test]
    fn links_hold_whatever_is_taken_out() {
        let (mut eviction, epoch) = eviction();
        for taken in 0..4 {
            (0..4).for_each(|slot| eviction.set(slot, 1_000, true, epoch));
            eviction.set(taken, 0, false, epoch);
            eviction.set(taken, 0, false, epoch);
            let rest: Vec<u32> = (0..4).filter(|slot| *slot != taken).collect();
            assert_eq!(order(&mut eviction, epoch), rest);
        }
    }

    #[test]
    fn unused_nodes_take_no_memory() {
        let (mut scene, epoch) = eviction();
        (0..1_000).for_each(|slot| scene.set(slot, 1_000, true, epoch));
        (0..1_000).for_each(|slot| scene.set(slot, 0, true, epoch));
        assert!(scene.eviction.nodes.capacity() <= NODES_KEPT);
    }

    /// Uploads of 16 MiB that all come at the same pace into 32 MiB, and begin again when they are evicted.
    #[test]
    fn long_frames_beyond_memory_complete_one_by_one() {
        let (mut scene, epoch) = eviction();
        let mut held = [0; 20];
        let (mut done, mut now) = (0, epoch);
        for _ in 0..100_000 {
            for slot in 0..20 {
                while held.iter().sum::<usize>() + (64 << 10) > 32 * MIB {
                    let victim = scene.victim(slot, held[slot as usize] + (64 << 10), now).unwrap_or(slot);
                    held[victim as usize] = 0;
                    scene.set(victim, 0, false, now);
                }
                held[slot as usize] += 64 << 10;
                let is_done = held[slot as usize] == 16 * MIB;
                held[slot as usize] *= usize::from(!is_done);
                scene.set(slot, held[slot as usize], is_done, now);
                done += u32::from(is_done);
            }
            now += SECOND / 1_000;
        }
        assert!(done > 20, "{done} were done");
    }

    #[test]
    fn a_hoarder_is_protected_no_longer_than_it_makes_progress() {
        let (mut scene, epoch) = eviction();
        scene.set(0, 15 * MIB, true, epoch);
        scene.eviction.setbacks = SETBACKS_MAX;
        scene.set(1, MIB, true, epoch);
        assert_eq!(scene.victim(OTHER, 100, epoch), Some(1), "the largest is protected");
        assert_eq!(scene.victim(0, 16 * MIB, epoch), Some(1), "and finds room by those that hold less");
        scene.set(1, 0, true, epoch);
        scene.set(2, 30_000, true, epoch);
        assert_eq!(scene.victim(0, 16 * MIB, epoch), None, "but not by those that hold little");
        assert_eq!(scene.victim(OTHER, 100, epoch), Some(0), "which go on");
        scene.set(1, MIB, true, epoch);
        assert_eq!(scene.victim(OTHER, 100, epoch + 2 * SECOND), Some(0));
        // With a chunk now and then, it is protected for a while only.
        scene.eviction.setbacks = SETBACKS_MAX;
        let last = epoch + 2 * SECOND;
        let protected = (0..100).take_while(|second| {
            scene.set(0, (15 << 20) + *second as usize + 1, false, last + *second * SECOND);
            scene.set(1, MIB, true, last + *second * SECOND);
            scene.victim(OTHER, 100, last + *second * SECOND) == Some(1)
        });
        assert_eq!(protected.count(), 31);
    }
}
