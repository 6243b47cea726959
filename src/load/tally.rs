//! What is counted by target and by stage of the ramp.

use crate::load::outcome::Errors;

/// Where a connection belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The index of its target.
    pub(crate) target: usize,
    /// The index of its stage of the ramp.
    pub(crate) stage: usize,
}

/// What became of the connections of one target.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TargetTally {
    /// Connections that opened while all were first dialed.
    pub(crate) up: u64,
    /// Connections that the server closed before it had answered a frame.
    pub(crate) turned_away: u64,
    pub(crate) errors: Errors,
}

/// The tally of a place's target.
pub(crate) fn of_target(tallies: &mut Vec<TargetTally>, place: Place) -> &mut TargetTally {
    if tallies.len() <= place.target {
        tallies.resize(place.target + 1, TargetTally::default());
    }
    &mut tallies[place.target]
}
