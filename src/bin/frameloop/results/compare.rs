//! Results compared with earlier ones.

use crate::results::figures::{self, COLUMNS};
use crate::results::series::Series;
use crate::results::summary::Summary;
use crate::results::verdict::Unit;

/// A figure of both results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) this: f64,
    pub(crate) baseline: f64,
}

impl Row {
    /// The ratio for a reader: `x1.09`.
    pub(crate) fn ratio_text(&self) -> String {
        ratio(self.this, self.baseline).map_or_else(
            || "-".into(),
            |ratio| match ratio {
                // Neither 0.00 nor a long row of digits.
                0.005..999.5 => format!("x{ratio:.2}"),
                _ => format!("x{}", figures::number(ratio)),
            },
        )
    }
}

/// A figure relative to the earlier one; `None` if that is 0.
pub(crate) fn ratio(this: f64, baseline: f64) -> Option<f64> {
    (baseline > 0.0).then(|| this / baseline)
}

/// Compares the rates, and the latencies that both results have.
pub(crate) fn rows(this: &Summary, baseline: &Summary) -> Vec<Row> {
    let (unit, ours, theirs) = (Unit::FramesPerS, this.frames_per_s, baseline.frames_per_s);
    let mut rows = vec![Row { name: "rate".into(), unit, this: ours, baseline: theirs }];
    for series in Series::ALL {
        let Some((ours, theirs)) = this.latency.get(series).zip(baseline.latency.get(series)) else { continue };
        let pairs = COLUMNS.iter().zip(ours.columns().into_iter().zip(theirs.columns()));
        rows.extend(pairs.map(|(column, (this, baseline))| Row {
            name: format!("{} {column}", series.name()),
            unit: Unit::Ns,
            this: this as f64,
            baseline: baseline as f64,
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    #[test]
    fn rate_and_every_percentile_of_both_are_compared() {
        let this = fixture::made();
        let mut earlier = fixture::made();
        earlier.measured *= 2;
        let rows = rows(&this.summary(), &earlier.summary());
        assert_eq!(rows.len(), 1 + 3 * COLUMNS.len());
        assert_eq!((rows[0].name.as_str(), rows[0].ratio_text().as_str()), ("rate", "x2.00"));
        assert!(rows[1..].iter().all(|row| ratio(row.this, row.baseline) == Some(1.0)));
        earlier.response = None;
        assert_eq!(super::rows(&this.summary(), &earlier.summary()).len(), 1 + 2 * COLUMNS.len());
    }
}
