//! Where connections live: a slab, and a generation for each tenant.

use slab::Slab;

use crate::handler::ConnId;
use crate::planted::{Bug, planted};

/// Connections by slot, each with the generation that tells the slot's tenants apart.
///
/// An event, an id or a queue entry can outlive the connection that it is about. It carries the generation, and if the slot
/// has another tenant by then, it finds nothing.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slab: Slab<Slot<T>>,
    // Invariant: never 0, which marks tokens that name no connection.
    next_generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenant: T,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), next_generation: 1 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The id that the next tenant will have.
    pub(crate) fn next_id(&self) -> ConnId {
        ConnId { index: self.slab.vacant_key() as u32, generation: self.next_generation }
    }

    /// Gives the next id up: a handler has seen it, and its connection did not come to be.
    pub(crate) fn skip_id(&mut self) {
        self.next_generation = self.next_generation.checked_add(1).unwrap_or(1);
    }

    /// Moves a tenant in; its id is what [`next_id`](Self::next_id) said.
    pub(crate) fn insert(&mut self, tenant: T) -> ConnId {
        let id = self.next_id();
        self.slab.insert(Slot { generation: id.generation, tenant });
        self.skip_id();
        id
    }

    pub(crate) fn tenant(&self, id: ConnId) -> Option<&T> {
        self.slab.get(id.index as usize).filter(|slot| slot.generation == id.generation).map(|slot| &slot.tenant)
    }

    #[inline]
    pub(crate) fn tenant_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.slab.get_mut(id.index as usize) {
            Some(slot) if slot.generation == id.generation || planted(Bug::GenerationIgnored) => Some(&mut slot.tenant),
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

/// Half of a token is the generation, the other half the index. On 32 bits that leaves 16 for each.
const HALF: u32 = usize::BITS / 2;
const MASK: usize = (1 << HALF) - 1;
const WAKER: usize = MASK;
/// Sources count down from here, listeners up from 0.
const SOURCE_0: usize = MASK - 1;
const SOURCES_MIN: usize = MASK / 2;

impl Subject {
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn of_token(token: usize) -> Self {
        match (token >> HALF, token & MASK) {
            (0, WAKER) => Self::Waker,
            (0, low) if low > SOURCES_MIN => Self::Source((SOURCE_0 - low) as u32),
            (0, index) => Self::Listener(index),
            (generation, index) => Self::Conn(ConnId { index: index as u32, generation: generation as u32 }),
        }
    }

    pub(crate) fn token(self) -> usize {
        match self {
            Self::Conn(id) => ((id.generation as usize & MASK) << HALF) | id.index as usize,
            Self::Listener(index) => index,
            Self::Source(number) => SOURCE_0 - number as usize,
            Self::Waker => WAKER,
        }
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

    #[test]
    fn generations_begin_again_at_one() {
        let mut slots = Slots::new();
        slots.next_generation = u32::MAX;
        assert_eq!(slots.insert('a').generation, u32::MAX);
        assert_eq!(slots.insert('b').generation, 1);
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
        for subject in subjects {
            assert_eq!(Subject::of_token(subject.token()), subject);
        }
    }
}
