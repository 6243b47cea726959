//! The numbers that the page plots: no more points than a screen has columns, regardless of the run's length.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::results::figures::Figures;
use crate::results::model::{Results, Series, Slice};
use crate::results::steps::{Dimension, StepFigures};
use crate::results::summary::Span;

/// The numbers of all plots.
#[derive(Debug, Serialize)]
pub(crate) struct Plots {
    curves: Curves,
    time: OverTime,
    heat: Heat,
    /// The baseline's throughput over time.
    baseline: Option<Throughput>,
    /// Begin and end of each outage, in seconds.
    outages: Vec<(f64, f64)>,
    /// Latency by load; `None` without steps.
    steps: Option<ByLoad>,
}

/// Figures of steps, in the order of their loads.
#[derive(Debug, Serialize)]
struct ByLoad {
    /// Whether the loads are frames per second.
    is_rate: bool,
    load: Vec<f64>,
    /// Nanoseconds.
    p50: Vec<Option<u64>>,
    p99: Vec<Option<u64>>,
    p99_9: Vec<Option<u64>>,
}

impl ByLoad {
    fn of(steps: &[StepFigures]) -> Option<Self> {
        let is_rate = steps.first()?.of == Dimension::Rate;
        let mut steps: Vec<&StepFigures> = steps.iter().collect();
        steps.sort_by(|one, other| one.load.total_cmp(&other.load));
        let each = |of: fn(&Figures) -> u64| {
            steps.iter().map(|step| step.latency.as_ref().map(|figures| of(figures).max(1))).collect()
        };
        Some(Self {
            is_rate,
            load: steps.iter().map(|step| step.load).collect(),
            p50: each(|figures| figures.p50),
            p99: each(|figures| figures.p99),
            p99_9: each(|figures| figures.p99_9),
        })
    }
}

/// Latency by percentile.
#[derive(Debug, Serialize)]
struct Curves {
    /// 1 / (1 - quantile), the same for all lines: 1 is the least, 100 is p99, and so on.
    x: Vec<f64>,
    lines: Vec<Curve>,
}

#[derive(Debug, Serialize)]
struct Curve {
    name: &'static str,
    is_baseline: bool,
    /// Nanoseconds; none beyond the number of latencies.
    values: Vec<Option<u64>>,
}

/// Frames per second over time, column by column.
#[derive(Debug, Serialize)]
struct Throughput {
    /// Seconds from the beginning.
    begin: Vec<f64>,
    length: Vec<f64>,
    rate: Vec<f64>,
}

/// Figures over time, column by column.
#[derive(Debug, Serialize)]
struct OverTime {
    /// Seconds from the beginning.
    begin: Vec<f64>,
    length: Vec<f64>,
    /// Frames per second.
    rate: Vec<f64>,
    errors: Vec<Option<u64>>,
    /// Nanoseconds, of the latency that a user sees.
    p50: Vec<Option<u64>>,
    p99: Vec<Option<u64>>,
    p99_9: Vec<Option<u64>>,
    max: Vec<Option<u64>>,
}

/// The number of latencies of each height in each column.
#[derive(Debug, Serialize)]
struct Heat {
    /// Nanoseconds; a cell lies between two neighbors.
    edges: Vec<f64>,
    /// The cells of each column that are not empty: their index and their count.
    columns: Vec<Vec<(usize, u64)>>,
}

impl Plots {
    pub(crate) fn of(results: &Results) -> Self {
        let columns = columns(&results.slices);
        let (series, _) = results.latency();
        Self {
            curves: Curves::of(results),
            heat: Heat::of(&columns, series),
            time: OverTime::of(&columns, series),
            baseline: results.baseline.as_deref().map(|baseline| Throughput::of(&baseline.intervals)),
            steps: ByLoad::of(&results.steps),
            outages: results
                .facts
                .outages
                .iter()
                .map(|outage| (outage.begin.as_secs_f64(), (outage.begin + outage.length).as_secs_f64()))
                .collect(),
        }
    }
}

/// The intervals, joined so that there are at most [`COLUMNS_MAX`].
pub(crate) fn columns(slices: &[Slice]) -> Vec<Slice> {
    let together = slices.len().div_ceil(COLUMNS_MAX).max(1);
    slices.chunks(together).map(Slice::joined).collect()
}

impl Curves {
    fn of(results: &Results) -> Self {
        let most = results.latencies().map(|(_, histogram)| histogram.len()).max().unwrap_or_default();
        let steps = (most.max(1) as f64).log10() * STEPS_A_DECADE;
        let mut x: Vec<f64> =
            (0..=steps.floor() as u32).map(|step| 10_f64.powf(f64::from(step) / STEPS_A_DECADE)).collect();
        x.extend((steps.fract() > 0.0).then_some(most as f64));
        let ours = results.latencies().map(|(series, histogram)| (series, histogram, false));
        let baseline = results.baseline.iter().flat_map(|baseline| &baseline.histograms);
        let all = ours.chain(baseline.map(|(series, histogram)| (*series, histogram, true)));
        let lines = all.filter(|(_, histogram, _)| !histogram.is_empty()).map(|(series, histogram, is_baseline)| {
            Curve { name: series.name(), is_baseline, values: curve(histogram, &x) }
        });
        let lines = lines.collect();
        Self { x, lines }
    }
}

/// The latency at each x, up to the number of latencies.
fn curve(histogram: &Histogram<u64>, x: &[f64]) -> Vec<Option<u64>> {
    let most = histogram.len() as f64;
    let at = |x: &f64| (*x <= most * 1.001).then(|| histogram.value_at_quantile(1.0 - 1.0 / x).max(1));
    x.iter().map(at).collect()
}

impl Throughput {
    fn of(intervals: &[Span]) -> Self {
        let together = intervals.len().div_ceil(COLUMNS_MAX).max(1);
        let column = |spans: &[Span]| {
            let length: f64 = spans.iter().map(|span| span.length_s).sum();
            let frames = spans.iter().fold(0, |sum: u64, span| sum.saturating_add(span.frames));
            (spans[0].begin_s, length, frames as f64 / length.max(1e-9))
        };
        let columns: Vec<_> = intervals.chunks(together).map(column).collect();
        Self {
            begin: columns.iter().map(|column| column.0).collect(),
            length: columns.iter().map(|column| column.1).collect(),
            rate: columns.iter().map(|column| column.2).collect(),
        }
    }
}

impl OverTime {
    fn of(columns: &[Slice], series: Series) -> Self {
        let figures: Vec<Option<Figures>> =
            columns.iter().map(|column| Figures::of_recorded(column.recorded(series))).collect();
        let each = |of: fn(&Figures) -> u64| -> Vec<Option<u64>> {
            figures.iter().map(|figures| figures.as_ref().map(|figures| of(figures).max(1))).collect()
        };
        let seconds = |of: fn(&Slice) -> Duration| columns.iter().map(|column| of(column).as_secs_f64()).collect();
        Self {
            begin: seconds(|column| column.begin),
            length: seconds(|column| column.length),
            rate: columns.iter().map(Slice::rate).collect(),
            errors: columns.iter().map(|column| column.errors).collect(),
            p50: each(|figures| figures.p50),
            p99: each(|figures| figures.p99),
            p99_9: each(|figures| figures.p99_9),
            max: each(|figures| figures.max),
        }
    }
}

impl Heat {
    fn of(columns: &[Slice], series: Series) -> Self {
        let latencies = || columns.iter().flat_map(|column| column.recorded(series).iter());
        let least = latencies().map(|(nanos, _)| nanos).min().unwrap_or(1).max(1) as f64 * 0.95;
        let most = latencies().map(|(nanos, _)| nanos).max().unwrap_or(1).max(1) as f64 * 1.05;
        let ratio = (most / least).ln() / CELLS as f64;
        let edges = (0..=CELLS).map(|cell| least * (ratio * cell as f64).exp()).collect();
        let cell_of = |nanos: u64| ((nanos.max(1) as f64 / least).ln() / ratio).max(0.0) as usize;
        let columns = columns.iter().map(|column| {
            let mut counts = [0_u64; CELLS];
            for (nanos, count) in column.recorded(series).iter() {
                let count_of_cell = &mut counts[cell_of(nanos).min(CELLS - 1)];
                *count_of_cell = count_of_cell.saturating_add(count);
            }
            counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
        });
        Self { edges, columns: columns.collect() }
    }
}

/// More columns than a plot on a phone has pixels, and enough for a desktop screen.
const COLUMNS_MAX: usize = 600;
const STEPS_A_DECADE: f64 = 20.0;
/// Cells of a column of the heat map.
const CELLS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    #[test]
    fn columns_of_an_hour_are_bounded_and_lose_nothing() {
        let results = fixture::seconds(3_600);
        let columns = columns(&results.slices);
        assert_eq!(columns.len(), 600);
        assert_eq!(columns[1].begin, Duration::from_secs(6));
        assert_eq!(columns[1].length, Duration::from_secs(6));
        assert!((columns[1].rate() - 50.0).abs() < 1e-9);
        assert_eq!(columns.iter().map(|column| column.frames).sum::<u64>(), results.frames);
        assert_eq!(columns.iter().map(|column| column.response.count()).sum::<u64>(), results.frames);
        let plots = Plots::of(&results);
        assert_eq!(plots.heat.columns.iter().flatten().map(|(_, count)| count).sum::<u64>(), results.frames);
        assert_eq!(plots.time.errors.iter().flatten().sum::<u64>(), 1);
    }

    #[test]
    fn a_curve_ends_where_there_are_too_few_to_tell() {
        let Curves { x, lines } = Curves::of(&fixture::made());
        assert_eq!((x[0], *x.last().unwrap()), (1.0, 10_000.0));
        assert_eq!(lines.iter().map(|line| line.name).collect::<Vec<_>>(), ["connect", "service", "response"]);
        let last = |line: &Curve| line.values.iter().flatten().count();
        assert_eq!((last(&lines[0]), last(&lines[2])), (41, x.len()));
        assert!(lines.iter().all(|line| line.values.iter().flatten().is_sorted()));
    }

    #[test]
    fn nothing_at_all_has_plots_too() {
        let mut results = fixture::seconds(1);
        results.slices.clear();
        results.service.reset();
        results.connect.reset();
        results.response = None;
        let plots = Plots::of(&results);
        assert!(plots.curves.lines.is_empty() && plots.time.rate.is_empty() && plots.heat.columns.is_empty());
    }
}
