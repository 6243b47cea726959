//! The invariants of a connection between two turns, and right after one.

use crate::conn::Conn;
use crate::conn::buffers::Buffers;
use crate::conn::io::Readiness;
use crate::conn::shared::Shared;

impl Conn {
    /// How many pieces of shared payloads are pending, and the whole of those payloads, in bytes.
    #[cfg(test)]
    pub(crate) fn shared_counts(&self) -> (usize, usize) {
        self.buffers.as_ref().map_or((0, 0), |buffers| buffers.output.shared_counts())
    }

    /// What must be true between two turns.
    pub(crate) fn check(&self, shared: &Shared) {
        let rules = shared.profiles.rules(self.profile);
        let Some(Buffers { input, output, .. }) = self.buffers.as_deref() else { return };
        // One that was aborted outside a turn is released when its slot is freed.
        let is_empty = self.buffers.as_ref().is_some_and(|buffers| buffers.is_empty());
        assert!(self.closed().is_some() || !is_empty, "an idle connection owns no buffer: {self:?}");
        let (capacity, len) = (input.capacity(), input.len());
        assert!(capacity <= 2 * len + 4_096, "{capacity} bytes are held for {len} received");
        output.check(rules.output_high_water, rules.output_low_water);
    }

    /// What must be true right after a turn.
    pub(crate) fn check_after_turn(&self, shared: &Shared) {
        self.check(shared);
        let rules = shared.profiles.rules(self.profile);
        let Some(Buffers { input, output, .. }) = self.buffers.as_deref() else { return };
        assert!(self.state.takes_frames() || input.is_empty());
        if self.closed().is_none() {
            input.check_after_turn(self.is_input_paused() && self.readiness.readable, &rules);
            assert_eq!(output.stalled_since().is_some(), !output.is_empty());
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness
    }
}
