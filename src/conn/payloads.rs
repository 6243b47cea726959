//! Payloads that several connections send: held once, and counted once.
//!
//! Rule: a shared payload counts in the memory limit once, from when the first connection has queued it until the last has sent
//! it, has closed or was evicted. Each connection adds a small record to that. To find the connection that holds the most, each
//! is taken to hold the whole payload: eviction goes on until there is room, and the payload is freed with its last holder.

use bytes::Bytes;

/// A payload of this length or less is copied behind other pending output, so that a backlog of them is sent by few writes. For a
/// single one a piece of its own costs less: `benches/micro.rs` measures both.
pub(crate) const COPY_LEN_MAX: usize = 512;

/// What a shared payload adds to each connection, in bytes: a piece for its header, for itself and for what follows it.
pub(crate) const RECORD_LEN: usize = 96;

/// A payload that is to be queued on any number of connections, during one call.
#[derive(Debug)]
pub(crate) struct SharedPayload<'a> {
    /// The payload if it was given as a slice and is short. Otherwise this is empty.
    short: &'a [u8],
    /// Otherwise the payload.
    bytes: Bytes,
    /// Its place among the payloads, once a connection has queued it.
    at: Option<u32>,
}

impl<'a> SharedPayload<'a> {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { short: &[], bytes, at: None }
    }

    /// Copies the payload, once, unless each connection gets a copy anyway.
    pub(crate) fn of_slice(payload: &'a [u8]) -> Self {
        match payload.len() {
            0..=COPY_LEN_MAX => Self { short: payload, bytes: Bytes::new(), at: None },
            _ => Self::new(Bytes::copy_from_slice(payload)),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.short.is_empty() { &self.bytes } else { self.short }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether it is so short that each connection gets a copy.
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

    /// How many bytes one more connection adds to those in use.
    pub(crate) fn added_bytes(&self) -> usize {
        RECORD_LEN + if self.at.is_some() { 0 } else { self.bytes.len() }
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

/// The shared payloads that are pending.
#[derive(Debug, Default)]
pub(crate) struct Payloads {
    places: Vec<Held>,
    // Invariant: the places without a slice.
    free: Vec<u32>,
}

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
    pub(crate) fn add(&mut self, payload: &mut SharedPayload<'_>) -> Slice {
        let end = payload.bytes.len() as u32;
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
        self.places[at as usize] = Held { bytes: payload.bytes.clone(), slices: 1 };
        payload.at = Some(at);
        Slice { at, start: 0, end }
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
