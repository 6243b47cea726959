//! Windows in turn: A B C, C B A, A B C. What drifts through a row, like the
//! speed of a shared machine, then favors no server, and a ratio taken within a
//! round is one of neighbors.

use crate::failure::Result;
use crate::results::{Outcome, Sample};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) counted: usize,
    /// Rounds before them, which warm caches, pools and the kernel.
    pub(crate) uncounted: usize,
}

impl Rounds {
    pub(crate) const ONE: Self = Self { counted: 1, uncounted: 0 };
}

/// One that takes part, under the name that it has in the results.
pub(crate) struct Contender<C> {
    name: String,
    it: Result<C>,
    samples: Vec<Sample>,
}

impl<C> Contender<C> {
    /// What could not be started takes part as a failure that says why.
    pub(crate) fn new(name: &str, it: Result<C>) -> Self {
        Self { name: name.to_owned(), it, samples: Vec::new() }
    }
}

/// All rounds. One that fails takes no further part, and has no figures: those of a part of the rounds would not be of
/// the same minutes as the others'.
pub(crate) fn in_turn<C>(
    mut contenders: Vec<Contender<C>>,
    rounds: Rounds,
    mut window: impl FnMut(&mut C) -> Result<Sample>,
) -> Vec<(String, Outcome)> {
    for round in 0..rounds.uncounted + rounds.counted {
        let mut take = |contender: &mut Contender<C>| {
            let Ok(it) = &mut contender.it else { return };
            match window(it) {
                Ok(sample) if round >= rounds.uncounted => contender.samples.push(sample),
                Ok(_) => {}
                Err(error) => contender.it = Err(error),
            }
        };
        if round % 2 == 0 {
            contenders.iter_mut().for_each(&mut take);
        } else {
            contenders.iter_mut().rev().for_each(&mut take);
        }
    }
    let outcome = |it: Result<C>, samples| match it {
        Ok(_) => Outcome::Measured(crate::results::columns(samples)),
        Err(error) => Outcome::Failed(error.to_string()),
    };
    contenders.into_iter().map(|it| (it.name, outcome(it.it, it.samples))).collect()
}
