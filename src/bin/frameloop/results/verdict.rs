//! Whether an expectation holds.

use serde::Serialize;

use crate::results::figures;

/// An expectation, compared with results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) expression: String,
    /// `None` if the results do not state it; then the expectation does not hold.
    pub(crate) observed: Option<f64>,
    pub(crate) wanted: f64,
    pub(crate) unit: Unit,
    pub(crate) holds: bool,
    #[serde(skip)]
    pub(crate) relation: Relation,
    /// Whether it is about the generator itself, and not about the server.
    #[serde(skip)]
    pub(crate) is_about_generator: bool,
}

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Ns,
    FramesPerS,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

impl Verdict {
    /// The observed value, for a reader.
    pub(crate) fn observed(&self) -> String {
        self.observed.map_or_else(|| "nothing to judge by".into(), |observed| self.unit.show(observed))
    }

    /// The wanted value, for a reader: `< 5.00 ms`.
    pub(crate) fn wanted(&self) -> String {
        let sign = RELATIONS.iter().find(|(_, relation)| *relation == self.relation).map_or("", |(sign, _)| *sign);
        format!("{sign} {}", self.unit.show(self.wanted))
    }
}

impl Unit {
    /// A number in this unit, for a reader.
    pub(crate) fn show(self, number: f64) -> String {
        match self {
            Self::Ns => figures::latency(number),
            Self::FramesPerS => format!("{}/s", figures::number(number)),
            Self::Count => figures::count(number.round() as u64),
        }
    }
}

impl Relation {
    #[allow(clippy::float_cmp)]
    pub(crate) fn holds(self, observed: f64, wanted: f64) -> bool {
        match self {
            Self::Less => observed < wanted,
            Self::AtMost => observed <= wanted,
            Self::More => observed > wanted,
            Self::AtLeast => observed >= wanted,
            Self::Equal => observed == wanted,
            Self::Unequal => observed != wanted,
        }
    }
}

/// The longer signs first, as they begin with the shorter ones.
pub(crate) const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    ("<", Relation::Less),
    (">", Relation::More),
];
