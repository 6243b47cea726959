//! What a connection owns only while it has pending input or output.

use crate::conn::chunk::ChunkPool;
use crate::conn::handover::Handover;
use crate::conn::output::Output;
use crate::conn::pending::Input;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// After the last turn of a detached connection.
    pub(crate) handover: Option<Box<Handover>>,
}

impl Buffers {
    pub(crate) fn is_empty(&self) -> bool {
        let is_output_empty = self.output.is_empty() && self.output.unfinished().is_none();
        self.input.is_empty() && is_output_empty && !self.output.is_low_water_due()
    }

    /// The capacity of all chunks, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Discards everything.
    pub(crate) fn release(&mut self, pool: &mut ChunkPool) {
        self.input.release(pool);
        self.output.release(pool);
    }

    /// Empties them for another connection.
    pub(crate) fn reset(&mut self) {
        self.input.reset();
        self.output.reset();
        self.handover = None;
    }
}
