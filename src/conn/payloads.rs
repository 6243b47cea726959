//! Payloads that several connections send: held once, and counted once.
//!
//! Rule: a shared payload counts in the memory limit once, from when the first connection has queued it until the last has sent
//! it, has closed or was evicted. Each connection adds a small record to that. To find the connection that holds the most, each
//! is taken to hold the whole payload: eviction goes on until there is room, and the payload is freed with its last holder.

use std::num::NonZeroU8;

use bytes::Bytes;

use crate::conn::profile::{ProfileId, Profiles};

/// A payload of this length or less is copied, so that a backlog of them is sent by few writes. One that is deferred has no backlog before
/// it, and is not copied.
pub(crate) const COPY_LEN_MAX: usize = 512;

/// What a shared payload adds to each connection, in bytes: a piece for its header, for itself and for what follows it.
pub(crate) const RECORD_LEN: usize = 96;

/// A payload that is to be queued on any number of connections, during one call.
#[derive(Debug)]
pub(crate) struct SharedPayload<'a> {
    /// The payload if it was given as a slice, is short, and was not copied yet. Otherwise this is empty.
    short: &'a [u8],
    /// Otherwise the payload.
    bytes: Bytes,
    /// Its place among the payloads, once a connection has queued it.
    at: Option<u32>,
    /// Its number among those that are deferred, once a connection has deferred it.
    deferred: Option<Deferred>,
    /// The last profile that was asked for and whose framing can announce the length.
    fitting: Option<ProfileId>,
}

impl<'a> SharedPayload<'a> {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { short: &[], bytes, at: None, deferred: None, fitting: None }
    }

    /// Copies the payload, once, unless it is short: each connection may get a copy anyway.
    pub(crate) fn of_slice(payload: &'a [u8]) -> Self {
        match payload.len() {
            0..=COPY_LEN_MAX => Self { short: payload, ..Self::new(Bytes::new()) },
            _ => Self::new(Bytes::copy_from_slice(payload)),
        }
    }

    /// The payload as it is held. A short one is copied for that: it may be a slice of a large buffer, which does not count.
    fn hold(&mut self) -> Bytes {
        if self.is_copied() {
            (self.bytes, self.short) = (Bytes::copy_from_slice(self.as_slice()), &[]);
        }
        self.bytes.clone()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.short.is_empty() { &self.bytes } else { self.short }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether it is so short that a connection gets a copy, unless it defers the frame.
    #[inline]
    pub(crate) fn is_copied(&self) -> bool {
        self.bytes.len() <= COPY_LEN_MAX
    }

    /// The most that is needed to queue it, with so many bytes around it, where `room` is that of so many copied bytes.
    pub(crate) fn room_needed(&self, around: usize, room: impl FnOnce(usize) -> usize) -> usize {
        match self.is_copied() {
            true => room(around + self.len()),
            false => room(0).saturating_add(self.added_bytes()),
        }
    }

    /// Whether a framing can announce its length.
    #[inline]
    pub(crate) fn fits(&mut self, profile: ProfileId, profiles: &Profiles) -> bool {
        if self.fitting == Some(profile) {
            return true;
        }
        let fits = profiles.rules(profile).enclose(self.len()).is_ok();
        self.fitting = fits.then_some(profile);
        fits
    }

    /// How many bytes one more connection adds to those in use.
    #[inline]
    pub(crate) fn added_bytes(&self) -> usize {
        RECORD_LEN + if self.at.is_some() { 0 } else { self.len() }
    }
}

/// The unsent part of a shared payload, as one connection has it pending.
#[derive(Debug)]
pub(crate) struct Slice {
    at: u32,
    start: u32,
    // Invariant: the length of the payload.
    end: u32,
}

impl Slice {
    pub(crate) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.end as usize
    }

    /// Discards the first `len` bytes.
    pub(crate) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.len());
        self.start += len as u32;
    }
}

/// A whole shared payload that a connection has pending, in one byte: [`Payloads::take_deferred`] makes a slice of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deferred(NonZeroU8);

impl Deferred {
    fn of(number: usize) -> Option<Self> {
        u8::try_from(number + 1).ok().and_then(NonZeroU8::new).map(Self)
    }

    fn number(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// The shared payloads that are pending.
#[derive(Debug, Default)]
pub(crate) struct Payloads {
    places: Vec<Held>,
    // Invariant: the places without a slice.
    free: Vec<u32>,
    /// By number. At most `DEFERRALS_MAX`.
    deferrals: Vec<Deferral>,
}

/// A payload that is deferred.
#[derive(Debug)]
struct Deferral {
    /// Its place.
    at: u32,
    // Invariant: how many connections defer it. Without one, the number is free.
    connections: u32,
}

/// The most payloads that are deferred at a time: their numbers fit a byte.
const DEFERRALS_MAX: usize = u8::MAX as usize;

#[derive(Debug, Default)]
struct Held {
    bytes: Bytes,
    // Invariant: how many slices of it there are. Without one, `bytes` is empty.
    slices: usize,
}

/// The most places that are kept while no payload is pending.
const PLACES_KEPT: usize = 64;

impl Payloads {
    /// Adds a slice of the payload, which is at most 4 GiB - 1 long.
    #[inline]
    pub(crate) fn add(&mut self, payload: &mut SharedPayload<'_>) -> Slice {
        let end = payload.len() as u32;
        if let Some(at) = payload.at
            && let Some(held) = self.places.get_mut(at as usize)
        {
            debug_assert_eq!(held.bytes.as_ptr(), payload.bytes.as_ptr());
            held.slices += 1;
            return Slice { at, start: 0, end };
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Held::default());
            (self.places.len() - 1) as u32
        });
        self.places[at as usize] = Held { bytes: payload.hold(), slices: 1 };
        payload.at = Some(at);
        Slice { at, start: 0, end }
    }

    /// Adds a slice that is the whole payload, without making it. Returns `None` if too many payloads are deferred.
    pub(crate) fn defer(&mut self, payload: &mut SharedPayload<'_>) -> Option<Deferred> {
        if let Some((deferred, _)) = self.deferred(payload) {
            self.defer_more(deferred, 1);
            return Some(deferred);
        }
        let free = self.deferrals.iter().position(|deferral| deferral.connections == 0);
        let number = free.unwrap_or(self.deferrals.len());
        if number >= DEFERRALS_MAX {
            return None;
        }
        let deferral = Deferral { at: self.add(payload).at, connections: 1 };
        match self.deferrals.get_mut(number) {
            Some(free) => *free = deferral,
            None => self.deferrals.push(deferral),
        }
        payload.deferred = Deferred::of(number);
        payload.deferred
    }

    /// The number of a payload while a connection defers it, and the last profile that was asked for and fits it.
    pub(crate) fn deferred(&self, payload: &SharedPayload<'_>) -> Option<(Deferred, ProfileId)> {
        // All that have deferred it may have a slice of it by now: then its number is free.
        let deferral = |deferred: Deferred| self.deferrals.get(deferred.number());
        let is_deferred = |deferred: &Deferred| deferral(*deferred).is_some_and(|deferral| deferral.connections > 0);
        payload.deferred.filter(is_deferred).zip(payload.fitting)
    }

    /// Adds slices that are the whole payload, without making them.
    pub(crate) fn defer_more(&mut self, deferred: Deferred, connections: usize) {
        let deferral = &mut self.deferrals[deferred.number()];
        deferral.connections += connections as u32;
        self.places[deferral.at as usize].slices += connections;
    }

    /// Makes a slice that was deferred.
    pub(crate) fn take_deferred(&mut self, deferred: Deferred) -> Slice {
        let deferral = &mut self.deferrals[deferred.number()];
        deferral.connections -= 1;
        Slice { at: deferral.at, start: 0, end: self.places[deferral.at as usize].bytes.len() as u32 }
    }

    /// Whether a connection has deferred a payload.
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferrals.iter().any(|deferral| deferral.connections > 0)
    }

    /// The length of a payload that was deferred.
    #[cfg(test)]
    pub(crate) fn deferred_len(&self, deferred: Deferred) -> usize {
        self.places[self.deferrals[deferred.number()].at as usize].bytes.len()
    }

    pub(crate) fn bytes(&self, slice: &Slice) -> &[u8] {
        &self.places[slice.at as usize].bytes[slice.start as usize..]
    }

    /// Removes a slice. Returns how many bytes are freed with it: those of the payload if this was the last of its slices.
    pub(crate) fn remove(&mut self, slice: &Slice) -> usize {
        let held = &mut self.places[slice.at as usize];
        held.slices -= 1;
        if held.slices > 0 {
            return 0;
        }
        held.bytes = Bytes::new();
        self.free.push(slice.at);
        if self.free.len() == self.places.len() && self.places.len() > PLACES_KEPT {
            *self = Self::default();
        }
        slice.payload_len()
    }

    /// How many slices there are, and how many bytes their payloads have together.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.places.iter().fold((0, 0), |(slices, bytes), held| (slices + held.slices, bytes + held.bytes.len()))
    }
}
