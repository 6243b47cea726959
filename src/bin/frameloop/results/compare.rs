//! Results compared with earlier ones.

use crate::results::figures::{self, COLUMNS, Figures};
use crate::results::series::Series;
use crate::results::summary::{Run, Summary};
use crate::results::verdict::Unit;
use crate::results::welch::{Estimate, LEVEL, RUNS_MIN};

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

/// Whether the runs of both results differ by more than they vary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Spread {
    /// There are too few runs: the number of each.
    Unknown(usize, usize),
    Known(Vec<Difference>),
}

/// A figure of the runs of both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) name: String,
    /// `None` if a run has no such figure, or if it is 0.
    pub(crate) estimate: Option<Estimate>,
}

impl Spread {
    pub(crate) fn of(this: &Summary, baseline: &Summary) -> Self {
        if !has_spread(this, baseline) {
            return Self::Unknown(this.runs.len(), baseline.runs.len());
        }
        let mut all = vec![Difference { name: "rate".into(), estimate: rate(this, baseline) }];
        for series in Series::ALL {
            if this.latency.get(series).and(baseline.latency.get(series)).is_none() {
                continue;
            }
            all.extend(PERCENTILES.iter().map(|percentile| Difference {
                name: format!("{} {}", series.name(), percentile.name),
                estimate: latency(this, baseline, series, percentile),
            }));
        }
        Self::Known(all)
    }

    /// The title of the differences.
    pub(crate) fn title(&self) -> String {
        format!("Differences, judged by the spread of the runs (level {} %)", 100.0 * LEVEL)
    }

    /// That the spread is not known, and how to measure it.
    pub(crate) fn unknown_text(&self) -> Option<String> {
        let Self::Unknown(ours, theirs) = self else { return None };
        let (ours, theirs) = (runs(*ours), runs(*theirs));
        Some(format!(
            "Whether these differences exceed the spread of the runs is not known: {ours}, and {theirs} in the baseline; it takes \
             {RUNS_MIN} of each, so load both with --repeat 5."
        ))
    }
}

impl Difference {
    /// What it comes to, with the interval of the change: `12 % more, beyond the spread of the runs (9.5 to 14 %)`.
    pub(crate) fn text(&self) -> String {
        let Some(Estimate { ratio, low, high, exceeds_spread }) = self.estimate else {
            return "not judged: too few latencies in a run, or a figure of 0".into();
        };
        let [change, least, most] = [ratio, low, high].map(|ratio| 100.0 * (ratio - 1.0));
        if !exceeds_spread && (least > 0.0 || most < 0.0) {
            return "less than the figures are exact to (0.1 %)".into();
        }
        if !exceeds_spread {
            return format!("within the spread of the runs ({} to {} %)", percent(least), percent(most));
        }
        let (word, near, far) = if ratio > 1.0 { ("more", least, most) } else { ("less", most, least) };
        let [change, near, far] = [change, near, far].map(|percents| percent(percents.abs()));
        format!("{change} % {word}, beyond the spread of the runs ({near} to {far} %)")
    }
}

/// Whether both have enough runs to know how much they vary.
pub(crate) fn has_spread(this: &Summary, baseline: &Summary) -> bool {
    this.runs.len().min(baseline.runs.len()) >= RUNS_MIN
}

/// The ratio of the runs' rates.
pub(crate) fn rate(this: &Summary, baseline: &Summary) -> Option<Estimate> {
    let rates = |of: &Summary| of.runs.iter().map(|run| run.frames_per_s).collect::<Vec<_>>();
    Estimate::of(&rates(this), &rates(baseline))
}

/// The ratio of a figure of the runs' latencies.
pub(crate) fn latency(this: &Summary, baseline: &Summary, series: Series, percentile: &Percentile) -> Option<Estimate> {
    let figure = |run: &Run| {
        let figures = run.latency.get(series).filter(|figures| figures.count >= percentile.count_min)?;
        Some((percentile.of)(figures) as f64)
    };
    let figures = |of: &Summary| of.runs.iter().map(figure).collect::<Option<Vec<f64>>>();
    Estimate::of(&figures(this)?, &figures(baseline)?)
}

/// Percents with two digits, from ten on without a fraction.
fn percent(percents: f64) -> String {
    let size = percents.abs();
    let digits = if size >= 9.95 { figures::count(size.round() as u64) } else { format!("{size:.1}") };
    if percents < 0.0 && digits != "0.0" { format!("-{digits}") } else { digits }
}

/// The number of runs; none if they are not known.
fn runs(count: usize) -> String {
    if count == 0 { "runs that it does not list".into() } else { figures::counted(count as u64, "run") }
}

/// A percentile whose differences are judged.
pub(crate) struct Percentile {
    pub(crate) name: &'static str,
    /// Its name in JSON.
    pub(crate) member: &'static str,
    of: fn(&Figures) -> u64,
    /// With fewer latencies, it is the largest of them.
    count_min: u64,
}

pub(crate) const PERCENTILES: [Percentile; 3] = [
    Percentile { name: "p50", member: "p50", of: |figures| figures.p50, count_min: 2 },
    Percentile { name: "p99", member: "p99", of: |figures| figures.p99, count_min: 100 },
    Percentile { name: "p99.9", member: "p99_9", of: |figures| figures.p99_9, count_min: 1_000 },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::sequence::sequence;
    use crate::results::series::Latency;

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

    /// So many runs, whose measured times differ as given, in percent.
    fn runs(percents: &[u32]) -> Summary {
        let run = |percent: &u32| {
            let mut run = fixture::made();
            run.measured = run.measured * *percent / 100;
            run
        };
        sequence(percents.iter().map(run), "run").unwrap().summary()
    }

    fn texts(this: &Summary, baseline: &Summary) -> Vec<(String, String)> {
        let Spread::Known(all) = Spread::of(this, baseline) else { panic!("the spread is not known") };
        all.into_iter().map(|difference| (difference.name.clone(), difference.text())).collect()
    }

    #[test]
    fn difference_is_beyond_the_spread_or_within_it() {
        let (steady, slower) = (runs(&[100, 101, 99, 102, 98]), runs(&[112, 113, 111, 114, 110]));
        let compared = texts(&slower, &steady);
        let names: Vec<&str> = compared.iter().map(|(name, _)| name.as_str()).collect();
        let series = ["connect", "service", "response"];
        let percentiles = ["p50", "p99", "p99.9"];
        let expected = series.iter().flat_map(|series| percentiles.map(|figure| format!("{series} {figure}")));
        assert_eq!(names[1..], expected.collect::<Vec<_>>());
        assert_eq!(compared[0].1, "11 % less, beyond the spread of the runs (7.8 to 14 %)");
        assert_eq!(compared[4].1, "within the spread of the runs (0.0 to 0.0 %)");
        assert_eq!(texts(&steady, &slower)[0].1, "12 % more, beyond the spread of the runs (8.5 to 16 %)");
        let wide = runs(&[105, 98, 120]);
        assert_eq!(texts(&steady, &wide)[0].1, "within the spread of the runs (-39 to 89 %)");
    }

    #[test]
    fn one_run_or_unknown_runs_have_no_spread() {
        let (one, two) = (fixture::made().summary(), runs(&[100, 101]));
        let mut unlisted = two.clone();
        unlisted.runs.clear();
        let text = |this, baseline| Spread::of(this, baseline).unknown_text();
        let expected = "Whether these differences exceed the spread of the runs is not known: 1 run, and 2 runs in the \
                        baseline; it takes 2 of each, so load both with --repeat 5.";
        assert_eq!(text(&one, &two).as_deref(), Some(expected));
        assert!(text(&two, &unlisted).unwrap().contains("2 runs, and runs that it does not list in the baseline"));
        assert_eq!(text(&two, &two), None);
    }

    #[test]
    fn figures_of_zero_or_too_few_latencies_are_not_judged() {
        let three = runs(&[100, 101, 102]);
        let mut silent = three.clone();
        silent.runs[1].frames_per_s = 0.0;
        silent.runs[2].latency = Latency::of(|_| None);
        let compared = texts(&silent, &three);
        assert_eq!(compared.len(), 10);
        assert!(compared.iter().all(|(_, text)| text.starts_with("not judged: ")), "{compared:?}");
        // Of 100 connections, a p99.9 is the longest connect time.
        let compared = texts(&three, &three);
        let is_known = |name: &str| compared.iter().any(|(own, text)| own == name && text.starts_with("within"));
        assert_eq!(
            ["connect p99", "connect p99.9", "service p99.9"].map(is_known),
            [true, false, true],
            "{compared:?}"
        );
    }
}
