//! The slots of connections, each with a generation that distinguishes its successive connections.

use crate::id::ConnId;
use crate::reactor::deadlines::{Kind, Kinds};
use crate::reactor::eviction::Entry;
use crate::reactor::token::Layout;

/// The most bytes, read and written, of a run that counts as short: some small requests.
const SHORT_RUN_BYTES: usize = 4 << 10;

/// How many short runs follow a long one before a connection goes first again. With only one, a small frame before each burst
/// would let every burst go first.
const LONG_RUN_MEMORY: u8 = 4;

/// The slots of all connections.
///
/// An event, an id or a queue entry can outlive the connection that it is about. It carries the generation, so that it finds
/// nothing once the slot is vacant or belongs to another connection.
#[derive(Debug)]
pub(crate) struct Slots<P> {
    list: Vec<Slot<P>>,
    growth: Growth<P>,
}

/// One slot.
#[derive(Debug)]
pub(crate) struct Slot<P> {
    /// 0 while the slot is vacant.
    generation: u32,
    origin: Origin,
    /// After a long run, the short runs until the connection goes first again.
    short_runs_due: u8,
    /// The deadlines that have passed since the connection ran last.
    expired: Kinds,
    /// The tick of the last frame or output, or of the connection's beginning.
    active_at: u32,
    pub(crate) eviction_entry: Entry,
    /// The default is a vacant slot.
    pub(crate) phase: P,
}

/// How a connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Accepted,
    /// Accepted by a listener with a limit of its own, apart from the others.
    Apart,
    Dialed,
}

/// What a slot has of its connection, besides the content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) id: ConnId,
    pub(crate) origin: Origin,
    /// The tick of the last byte.
    pub(crate) active_at: u32,
}

/// The fields that change when a slot is taken. They are apart from the list, so that slots can be taken while one is borrowed.
#[derive(Debug)]
struct Growth<P> {
    /// New slots, whose indices follow those of the list.
    added: Vec<Slot<P>>,
    /// Indices of vacant slots.
    vacant: Vec<u32>,
    occupied: usize,
    // Invariant: from 1 to `generation_max`; 0 marks tokens that name no connection.
    next_generation: u32,
    /// The highest generation that a token can carry.
    generation_max: u32,
    /// By slot, the generation of its last connection.
    #[cfg(debug_assertions)]
    last_generations: Vec<u32>,
}

/// All slots except a borrowed one.
#[derive(Debug)]
pub(crate) struct OtherSlots<'a, P> {
    before: &'a mut [Slot<P>],
    /// The index of the first slot in `after`.
    after_at: usize,
    after: &'a mut [Slot<P>],
    growth: &'a mut Growth<P>,
}

impl<P: Default> Slots<P> {
    pub(crate) fn new() -> Self {
        Self::with_generation_max(Layout::NATIVE.generation_max())
    }

    fn with_generation_max(generation_max: u32) -> Self {
        let growth = Growth {
            added: Vec::new(),
            vacant: Vec::new(),
            occupied: 0,
            next_generation: 1,
            generation_max,
            #[cfg(debug_assertions)]
            last_generations: Vec::new(),
        };
        Self { list: Vec::new(), growth }
    }

    /// How many slots are occupied.
    pub(crate) fn len(&self) -> usize {
        self.growth.occupied
    }

    /// One more than the highest index of a slot.
    pub(crate) fn end(&self) -> usize {
        self.list.len() + self.growth.added.len()
    }

    /// All slots.
    pub(crate) fn all(&mut self) -> OtherSlots<'_, P> {
        self.append_added();
        OtherSlots { after_at: self.list.len(), before: &mut self.list, after: &mut [], growth: &mut self.growth }
    }

    /// A connection's slot, and all others.
    #[inline]
    pub(crate) fn split(&mut self, id: ConnId) -> Option<(&mut Slot<P>, OtherSlots<'_, P>)> {
        self.append_added();
        let (before, rest) = self.list.split_at_mut_checked(id.index as usize)?;
        let (slot, after) = rest.split_first_mut()?;
        let others = OtherSlots { after_at: before.len() + 1, before, after, growth: &mut self.growth };
        (slot.generation == id.generation).then_some((slot, others))
    }

    #[inline]
    fn append_added(&mut self) {
        if !self.growth.added.is_empty() {
            self.list.append(&mut self.growth.added);
        }
    }

    /// Lets the generations wrap after so many more connections.
    #[cfg(test)]
    pub(crate) fn wrap_after(&mut self, count: u32) {
        self.growth.next_generation = self.growth.generation_max - count;
    }

    fn at(&self, index: u32) -> Option<&Slot<P>> {
        let index = index as usize;
        self.list.get(index).or_else(|| self.growth.added.get(index - self.list.len()))
    }

    pub(crate) fn slot(&self, id: ConnId) -> Option<&Slot<P>> {
        self.at(id.index).filter(|slot| slot.generation == id.generation)
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, id: ConnId) -> Option<&mut Slot<P>> {
        self.append_added();
        match self.list.get_mut(id.index as usize) {
            Some(slot) if slot.generation == id.generation => Some(slot),
            Some(_) | None => None,
        }
    }

    /// The id of a slot's current connection.
    pub(crate) fn id_of(&self, index: u32) -> Option<ConnId> {
        let slot = self.at(index).filter(|slot| slot.generation != 0)?;
        Some(ConnId { index, generation: slot.generation })
    }

    /// Vacates a slot.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<P> {
        let slot = self.slot_mut(id)?;
        slot.generation = 0;
        let phase = std::mem::take(&mut slot.phase);
        self.growth.vacant.push(id.index);
        self.growth.occupied -= 1;
        Some(phase)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Slot<P>)> {
        let all = self.list.iter().chain(&self.growth.added).zip(0..);
        all.filter(|(slot, _)| slot.generation != 0).map(|(slot, index)| (slot.id(index), slot))
    }
}

impl<P> Slot<P> {
    fn id(&self, index: u32) -> ConnId {
        ConnId { index, generation: self.generation }
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the deadlines that have passed since the last call.
    pub(crate) fn take_expired(&mut self) -> Kinds {
        std::mem::take(&mut self.expired)
    }

    pub(crate) fn note_expired(&mut self, kind: Kind) {
        self.expired.insert(kind);
    }

    #[cfg(test)]
    pub(crate) fn has_expired(&self, kind: Kind) -> bool {
        self.expired.contains(kind)
    }

    /// Whether the connection had only short runs recently.
    #[inline]
    pub(crate) fn goes_first(&self) -> bool {
        self.short_runs_due == 0
    }

    /// Notes how many bytes a run has read and written.
    #[inline]
    pub(crate) fn note_run_len(&mut self, bytes: usize) {
        self.short_runs_due = match bytes {
            0..=SHORT_RUN_BYTES => self.short_runs_due.saturating_sub(1),
            _ => LONG_RUN_MEMORY,
        };
    }

    pub(crate) fn active_at(&self) -> u32 {
        self.active_at
    }

    pub(crate) fn note_active(&mut self, tick: u32) {
        self.active_at = tick;
    }
}

impl<P: Default> OtherSlots<'_, P> {
    /// One more than the highest index of a slot.
    pub(crate) fn end(&self) -> usize {
        self.after_at + self.after.len() + self.growth.added.len()
    }

    /// How many slots are occupied, the borrowed one included.
    pub(crate) fn occupied(&self) -> usize {
        self.growth.occupied
    }

    /// Occupies a slot, and allocates its id together with it.
    ///
    /// Rule: an id is allocated only together with the slot that it names, so no callback gets an id that another connection
    /// has or will have.
    pub(crate) fn insert(&mut self, origin: Origin, active_at: u32, phase: P) -> ConnId {
        let generation = self.growth.take_generation();
        let slot = Slot {
            generation,
            origin,
            short_runs_due: 0,
            expired: Kinds::default(),
            active_at,
            eviction_entry: Entry::default(),
            phase,
        };
        let vacant = self.growth.vacant.pop();
        let index = vacant.unwrap_or(self.end() as u32);
        match self.at_mut(index) {
            Some(vacant) => *vacant = slot,
            None => self.growth.added.push(slot),
        }
        self.growth.occupied += 1;
        let id = ConnId { index, generation };
        #[cfg(debug_assertions)]
        self.growth.assert_new(id);
        id
    }

    #[inline]
    fn at_mut(&mut self, index: u32) -> Option<&mut Slot<P>> {
        let index = index as usize;
        if index < self.after_at {
            return self.before.get_mut(index);
        }
        let index = index - self.after_at;
        let after_len = self.after.len();
        self.after.get_mut(index).or_else(|| self.growth.added.get_mut(index - after_len))
    }

    #[inline]
    pub(crate) fn slot_mut(&mut self, id: ConnId) -> Option<&mut Slot<P>> {
        self.at_mut(id.index).filter(|slot| slot.generation == id.generation)
    }

    /// The id of a slot's current connection.
    pub(crate) fn id_of(&mut self, index: u32) -> Option<ConnId> {
        self.at_mut(index).filter(|slot| slot.generation != 0).map(|slot| slot.id(index))
    }

    /// All occupied slots, in their order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Slot<P>)> {
        let behind = self.after.iter_mut().chain(&mut self.growth.added).zip(self.after_at as u32..);
        let all = self.before.iter_mut().zip(0..).chain(behind);
        all.filter(|(slot, _)| slot.generation != 0).map(|(slot, index)| (slot.id(index), slot))
    }
}

impl<P> Growth<P> {
    fn take_generation(&mut self) -> u32 {
        let generation = self.next_generation;
        self.next_generation = if generation >= self.generation_max { 1 } else { generation + 1 };
        generation
    }

    /// Panics if an id is allocated twice before the generations begin again.
    #[cfg(debug_assertions)]
    fn assert_new(&mut self, id: ConnId) {
        let index = id.index as usize;
        if self.last_generations.len() <= index {
            self.last_generations.resize(index + 1, 0);
        }
        let last = std::mem::replace(&mut self.last_generations[index], id.generation);
        let has_wrapped = last > self.next_generation;
        debug_assert!(last < id.generation || has_wrapped, "the id {id} was allocated twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::token::Subject;

    fn insert<P: Default>(slots: &mut Slots<P>, phase: P) -> ConnId {
        slots.all().insert(Origin::Accepted, 0, phase)
    }

    fn phase_of(slots: &mut Slots<char>, id: ConnId) -> Option<char> {
        slots.slot_mut(id).map(|slot| slot.phase)
    }

    #[test]
    fn stale_id_does_not_find_the_next_connection_of_its_slot() {
        let mut slots = Slots::new();
        let a = insert(&mut slots, 'a');
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!((phase_of(&mut slots, a), slots.id_of(a.index), slots.len()), (None, None, 0));
        let b = insert(&mut slots, 'b');
        assert_eq!(a.index, b.index);
        assert_eq!(phase_of(&mut slots, a), None);
        assert_eq!(slots.remove(a), None);
        assert_eq!(phase_of(&mut slots, b), Some('b'));
    }

    #[test]
    fn slots_taken_while_one_is_borrowed_are_found_then_and_later() {
        let mut slots = Slots::new();
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|phase| insert(&mut slots, phase));
        slots.remove(d);
        let (slot, mut others) = slots.split(b).unwrap();
        let ids = ['d', 'e', 'f'].map(|phase| others.insert(Origin::Dialed, 0, phase));
        assert_eq!(ids.map(|id| id.index), [3, 4, 5]);
        assert!(others.slot_mut(b).is_none() && others.slot_mut(d).is_none());
        let all: String = others.iter_mut().map(|(_, slot)| slot.phase).collect();
        assert_eq!((slot.phase, all.as_str()), ('b', "acdef"));
        for (id, phase) in [(a, 'a'), (c, 'c'), (ids[0], 'd'), (ids[2], 'f')] {
            assert_eq!(others.slot_mut(id).map(|slot| slot.phase), Some(phase));
            assert_eq!(others.id_of(id.index), Some(id));
        }
        assert_eq!((slots.len(), slots.end(), slots.slot(ids[2]).map(|slot| slot.phase)), (6, 6, Some('f')));
        assert_eq!(phase_of(&mut slots, ids[2]), Some('f'));
        assert!(slots.split(d).is_none());
    }

    /// As on a target of 32 bits, and as on this one: a token finds its connection before, at and after the mask.
    #[test]
    fn generation_at_the_mask_wraps_to_one_and_tokens_match() {
        for layout in [Layout::OF_32_BITS, Layout::NATIVE] {
            let mask = layout.generation_max();
            let mut slots = Slots::with_generation_max(mask);
            slots.wrap_after(1);
            let mut generations = Vec::new();
            for _ in 0..4 {
                let id = insert(&mut slots, 'a');
                let subject = layout.subject(layout.token(Subject::Conn(id)));
                let Subject::Conn(of_event) = subject else { panic!("{id} became {subject:?}") };
                assert_eq!(of_event, id);
                assert_eq!(phase_of(&mut slots, of_event), Some('a'));
                generations.push(id.generation);
                slots.remove(id);
                assert_eq!(phase_of(&mut slots, of_event), None);
            }
            assert_eq!(generations, [mask - 1, mask, 1, 2]);
        }
    }

    /// Every generation of 16 bits, twice over.
    #[test]
    fn more_connections_than_generations_are_all_found() {
        let layout = Layout::OF_32_BITS;
        let mut slots = Slots::with_generation_max(layout.generation_max());
        for _ in 0..2 * layout.generation_max() {
            let id = insert(&mut slots, ());
            assert_eq!(layout.subject(layout.token(Subject::Conn(id))), Subject::Conn(id));
            assert_eq!(slots.remove(id), Some(()));
        }
    }
}
