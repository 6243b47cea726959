//! Where connections live: a slab, and a generation for each tenant.

use slab::Slab;

use crate::handler::ConnId;

/// Connections by slot, each with the generation that tells the slot's tenants apart.
///
/// An event, an id or a queue entry can outlive the connection that it is about. It carries the generation, and if the slot
/// has another tenant by then, it finds nothing.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slab: Slab<Slot<T>>,
    // Invariant: from 1 to `generation_max`; 0 marks tokens that name no connection.
    next_generation: u32,
    /// The highest generation that a token can carry.
    generation_max: u32,
    /// By slot, the generation of its last tenant.
    #[cfg(debug_assertions)]
    last_generations: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenant: T,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self::with_generation_max(GENERATION_MAX)
    }

    fn with_generation_max(generation_max: u32) -> Self {
        Self {
            slab: Slab::new(),
            next_generation: 1,
            generation_max,
            #[cfg(debug_assertions)]
            last_generations: Vec::new(),
        }
    }

    /// The generations begin again after so many more.
    #[cfg(test)]
    pub(crate) fn wrap_after(&mut self, count: u32) {
        self.next_generation = self.generation_max - count;
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// One more than the highest index there may be.
    pub(crate) fn end(&self) -> usize {
        self.slab.capacity()
    }

    /// Moves a tenant in, and allocates its id together with the slot.
    ///
    /// Rule: an id is handed out only with the slot that it names, so no callback can be given an id that another
    /// connection has or will have.
    pub(crate) fn insert(&mut self, tenant: T) -> ConnId {
        let generation = self.next_generation;
        self.next_generation = if generation >= self.generation_max { 1 } else { generation + 1 };
        let index = self.slab.insert(Slot { generation, tenant });
        let id = ConnId { index: index as u32, generation };
        #[cfg(debug_assertions)]
        self.assert_new(id);
        id
    }

    /// No id is handed out twice before the generations begin again.
    #[cfg(debug_assertions)]
    fn assert_new(&mut self, id: ConnId) {
        let index = id.index as usize;
        if self.last_generations.len() <= index {
            self.last_generations.resize(index + 1, 0);
        }
        let last = std::mem::replace(&mut self.last_generations[index], id.generation);
        let has_wrapped = last > self.next_generation;
        debug_assert!(last < id.generation || has_wrapped, "the id {id} was handed out twice");
    }

    pub(crate) fn tenant(&self, id: ConnId) -> Option<&T> {
        self.slab.get(id.index as usize).filter(|slot| slot.generation == id.generation).map(|slot| &slot.tenant)
    }

    #[inline]
    pub(crate) fn tenant_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.slab.get_mut(id.index as usize) {
            Some(slot) if slot.generation == id.generation => Some(&mut slot.tenant),
            Some(_) | None => None,
        }
    }

    /// The id of a slot's present tenant.
    pub(crate) fn id_of(&self, index: u32) -> Option<ConnId> {
        self.slab.get(index as usize).map(|slot| ConnId { index, generation: slot.generation })
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<T> {
        self.tenant_mut(id)?;
        Some(self.slab.remove(id.index as usize).tenant)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slab
            .iter()
            .map(|(index, slot)| (ConnId { index: index as u32, generation: slot.generation }, &slot.tenant))
    }

    /// All tenants, in the order of their slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        self.slab
            .iter_mut()
            .map(|(index, slot)| (ConnId { index: index as u32, generation: slot.generation }, &mut slot.tenant))
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Conn(ConnId),
    Listener(usize),
    Source(u32),
    Waker,
}

/// How a token is divided: the lower half is the index, the upper half the generation. On 32 bits that leaves 16 for each.
///
/// Rule: a generation that is handed out fits in a token, so that a token names its connection exactly: generations wrap at
/// this mask and skip 0.
#[derive(Debug, Clone, Copy)]
struct Layout {
    half: u32,
}

const LAYOUT: Layout = Layout { half: usize::BITS / 2 };
const GENERATION_MAX: u32 = LAYOUT.mask() as u32;

impl Layout {
    const fn mask(self) -> usize {
        (1 << self.half) - 1
    }

    /// The waker has the highest token without a generation. Sources count down from below it, listeners up from 0.
    const fn waker(self) -> usize {
        self.mask()
    }

    #[allow(clippy::cast_possible_truncation)]
    fn subject(self, token: usize) -> Subject {
        let (source_0, sources_min) = (self.waker() - 1, self.mask() / 2);
        match (token >> self.half, token & self.mask()) {
            (0, low) if low == self.waker() => Subject::Waker,
            (0, low) if low > sources_min => Subject::Source((source_0 - low) as u32),
            (0, index) => Subject::Listener(index),
            (generation, index) => Subject::Conn(ConnId { index: index as u32, generation: generation as u32 }),
        }
    }

    fn token(self, subject: Subject) -> usize {
        match subject {
            Subject::Conn(id) => {
                debug_assert!(id.generation != 0 && id.generation as usize <= self.mask(), "{id} does not fit");
                ((id.generation as usize) << self.half) | id.index as usize
            }
            Subject::Listener(index) => index,
            Subject::Source(number) => self.waker() - 1 - number as usize,
            Subject::Waker => self.waker(),
        }
    }
}

impl Subject {
    pub(crate) fn of_token(token: usize) -> Self {
        LAYOUT.subject(token)
    }

    pub(crate) fn token(self) -> usize {
        LAYOUT.token(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_does_not_find_the_next_tenant() {
        let mut slots = Slots::new();
        let a = slots.insert('a');
        assert_eq!(slots.remove(a), Some('a'));
        let b = slots.insert('b');
        assert_eq!(a.index, b.index);
        assert_eq!(slots.tenant_mut(a), None);
        assert_eq!(slots.remove(a), None);
        assert_eq!(slots.tenant_mut(b), Some(&mut 'b'));
    }

    /// As on a target of 32 bits, and as on this one: a token finds its connection before, at and after the mask.
    #[test]
    fn generation_at_the_mask_wraps_to_one_and_tokens_match() {
        for layout in [Layout { half: 16 }, LAYOUT] {
            let mask = layout.mask() as u32;
            let mut slots = Slots::with_generation_max(mask);
            slots.next_generation = mask - 1;
            let mut generations = Vec::new();
            for _ in 0..4 {
                let id = slots.insert('a');
                let subject = layout.subject(layout.token(Subject::Conn(id)));
                let Subject::Conn(of_event) = subject else { panic!("{id} became {subject:?}") };
                assert_eq!(of_event, id);
                assert_eq!(slots.tenant_mut(of_event), Some(&mut 'a'));
                generations.push(id.generation);
                slots.remove(id);
                assert_eq!(slots.tenant_mut(of_event), None);
            }
            assert_eq!(generations, [mask - 1, mask, 1, 2]);
        }
    }

    /// Every generation of 16 bits, twice over.
    #[test]
    fn more_connections_than_generations_are_all_found() {
        let layout = Layout { half: 16 };
        let mut slots = Slots::with_generation_max(layout.mask() as u32);
        for _ in 0..2 * layout.mask() {
            let id = slots.insert(());
            assert_eq!(layout.subject(layout.token(Subject::Conn(id))), Subject::Conn(id));
            assert_eq!(slots.remove(id), Some(()));
        }
    }

    #[test]
    fn a_token_tells_what_it_is_about() {
        let subjects = [
            Subject::Conn(ConnId { index: 0, generation: 1 }),
            Subject::Conn(ConnId { index: 20_000, generation: 7 }),
            Subject::Listener(0),
            Subject::Listener(3),
            Subject::Source(0),
            Subject::Source(9),
            Subject::Waker,
        ];
        for layout in [Layout { half: 16 }, LAYOUT] {
            for subject in subjects {
                assert_eq!(layout.subject(layout.token(subject)), subject);
            }
        }
    }
}
