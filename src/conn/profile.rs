//! What connections with the same framing and limits share: a [`Profile`], which each of them names by a number.

use std::collections::HashMap;

use crate::error::SendError;
use crate::id::ListenerId;
use crate::options::Limits;
use crate::wire::{Enclosure, Framing, PAYLOAD_LEN_MAX, encode_header};

/// The framing and the limits of connections, and the listener that they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Profile {
    pub(crate) framing: Framing,
    pub(crate) limits: Limits,
    pub(crate) listener: Option<ListenerId>,
}

/// Names a profile. A connection has 4 bytes of it instead of the profile itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ProfileId(u32);

impl ProfileId {
    /// The number in two bytes, if it fits them.
    #[inline]
    pub(crate) fn short(self) -> Option<u16> {
        u16::try_from(self.0).ok()
    }
}

/// What a turn reads of a profile, copied once per turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) profile: ProfileId,
    pub(crate) framing: Framing,
    /// The framing is the default one.
    pub(crate) is_u32_be: bool,
    /// The timeouts are not those of the configuration.
    pub(crate) has_own_timeouts: bool,
    /// Frames longer than a chunk are delivered in parts.
    pub(crate) in_parts: bool,
    pub(crate) max_payload: u32,
    pub(crate) output_high_water: usize,
    pub(crate) output_low_water: usize,
}

impl Rules {
    /// The bytes around the payload of a reply.
    #[inline]
    pub(crate) fn enclose(&self, payload_len: usize) -> Result<Enclosure, SendError> {
        let too_long = |max| SendError::TooLong { len: payload_len, max };
        let len = u32::try_from(payload_len).map_err(|_| too_long(PAYLOAD_LEN_MAX as usize))?;
        if self.is_u32_be {
            return Ok(Enclosure::of_head(&encode_header(len)));
        }
        let range = self.framing.payload_lens();
        if u64::from(len) > *range.end() {
            return Err(too_long(usize::try_from(*range.end()).unwrap_or(usize::MAX)));
        }
        self.framing
            .enclose(payload_len)
            .map_err(|_| SendError::TooShort { len: payload_len, min: *range.start() as usize })
    }

    /// The most bytes of a frame that ends with a delimiter; of others, any number.
    pub(crate) fn frame_len_max(&self) -> usize {
        match self.framing {
            Framing::Delimiter(delimiter) => delimiter.frame_len_max(self.max_payload),
            Framing::LengthPrefix(_) | Framing::Exact(_) | Framing::Raw => usize::MAX,
        }
    }

    /// The most bytes that [`enclose`](Self::enclose) returns.
    pub(crate) fn enclosure_len_max(&self) -> usize {
        self.framing.enclosure_len_max()
    }
}

/// The profiles in use. Equal ones are the same.
#[derive(Debug)]
pub(crate) struct Profiles {
    list: Vec<Entry>,
    by_value: HashMap<Profile, u32>,
    /// Of the listeners that have one.
    names: HashMap<ListenerId, String>,
    unused: Vec<u32>,
    /// The limits of the configuration.
    usual: Limits,
}

#[derive(Debug)]
struct Entry {
    profile: Profile,
    rules: Rules,
    // Invariant: the connections, listeners and dials that have it; 0 while it is in `unused`.
    users: usize,
}

impl Profiles {
    pub(crate) fn new(usual: Limits) -> Self {
        Self { list: Vec::new(), by_value: HashMap::new(), names: HashMap::new(), unused: Vec::new(), usual }
    }

    /// Adds a user to the profile of connections without one of their own.
    pub(crate) fn acquire_usual(&mut self) -> ProfileId {
        self.acquire(Profile { framing: Framing::default(), limits: self.usual, listener: None })
    }

    pub(crate) fn name_listener(&mut self, id: ListenerId, name: &str) {
        if !name.is_empty() {
            self.names.insert(id, name.to_owned());
        }
    }

    pub(crate) fn name_of(&self, id: ListenerId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The limits of the configuration.
    pub(crate) fn usual(&self) -> Limits {
        self.usual
    }

    /// Adds a user to a profile, which is stored if it is new.
    pub(crate) fn acquire(&mut self, profile: Profile) -> ProfileId {
        if let Some(index) = self.by_value.get(&profile) {
            let id = ProfileId(*index);
            self.share(id);
            return id;
        }
        let index = self.unused.pop().unwrap_or(self.list.len() as u32);
        let rules = Rules {
            profile: ProfileId(index),
            framing: profile.framing,
            is_u32_be: profile.framing == Framing::default(),
            has_own_timeouts: !profile.limits.has_timeouts_of(&self.usual),
            in_parts: profile.limits.frames_in_parts,
            max_payload: profile.limits.max_payload,
            output_high_water: profile.limits.output_high_water,
            output_low_water: profile.limits.output_low_water,
        };
        let entry = Entry { profile, rules, users: 1 };
        match self.list.get_mut(index as usize) {
            Some(unused) => *unused = entry,
            None => self.list.push(entry),
        }
        self.by_value.insert(profile, index);
        ProfileId(index)
    }

    /// Adds a user to a profile in use.
    pub(crate) fn share(&mut self, id: ProfileId) {
        self.list[id.0 as usize].users += 1;
    }

    /// Removes a user.
    pub(crate) fn release(&mut self, id: ProfileId) {
        let entry = &mut self.list[id.0 as usize];
        entry.users -= 1;
        if entry.users == 0 {
            self.by_value.remove(&entry.profile);
            self.unused.push(id.0);
        }
    }

    /// Gives one user of a profile a changed one. Returns what it has now.
    pub(crate) fn change(&mut self, id: ProfileId, change: impl FnOnce(&mut Profile)) -> Rules {
        let mut profile = *self.profile(id);
        change(&mut profile);
        let changed = self.acquire(profile);
        self.release(id);
        self.rules(changed)
    }

    pub(crate) fn profile(&self, id: ProfileId) -> &Profile {
        &self.list[id.0 as usize].profile
    }

    pub(crate) fn limits(&self, id: ProfileId) -> &Limits {
        &self.profile(id).limits
    }

    #[inline]
    pub(crate) fn rules(&self, id: ProfileId) -> Rules {
        self.list[id.0 as usize].rules
    }

    /// How many connections, listeners and dials have a profile.
    #[cfg(test)]
    pub(crate) fn users(&self) -> usize {
        self.list.iter().map(|entry| entry.users).sum()
    }
}
