//! Facts about a connection that take a bit each.

/// A fact that is true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flag {
    /// The handler wants no more frames for now.
    Paused = 1,
    /// Pending output pauses reading.
    ///
    /// Rule: only an accepted connection stops reading because of its own pending output. Two peers that both stop would
    /// wait for each other forever.
    PausesWhenFull = 2,
    /// A callback has changed the framing or the limits, and the bytes in the read buffer are to be decoded anew.
    Redecode = 4,
    /// The next turn calls the handler's `on_wake`.
    Woken = 8,
    /// The next turn looks for the peer's FIN or RST even if no frame may be delivered.
    Looking = 16,
    /// Its output is measured over a window of the write timeout.
    Watched = 32,
    /// A callback has changed the limits, and the reactor's deadlines have not followed yet.
    Relimited = 64,
}

/// The flags of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) fn of_new() -> Self {
        Self(Flag::PausesWhenFull as u8)
    }

    #[inline]
    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & flag as u8 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: Flag, is_set: bool) {
        self.0 = if is_set { self.0 | flag as u8 } else { self.0 & !(flag as u8) };
    }

    /// Clears a flag, and returns whether it was set.
    #[inline]
    pub(crate) fn take(&mut self, flag: Flag) -> bool {
        let was_set = self.has(flag);
        self.set(flag, false);
        was_set
    }

    /// Whether the loop over the frames of one read ends before its next frame.
    #[inline]
    pub(crate) fn ends_delivery(self) -> bool {
        self.0 & (Flag::Paused as u8 | Flag::Redecode as u8) != 0
    }
}
