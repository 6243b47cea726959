//! By how much two sets of figures differ, and how sure that is: Welch's t-test on their logarithms.
//!
//! The logarithm makes a difference a ratio, and the skewed spread of latencies more even. Welch's test assumes neither equal variances nor
//! equal numbers of runs.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The ratio of two sets of figures, as that of their geometric means, and its 99 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub(crate) ratio: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Whether the interval is beyond 1, and by more than figures are exact.
    pub(crate) exceeds_spread: bool,
}

impl Estimate {
    /// The ratio of `these` to `those`; `None` if there are fewer than [`RUNS_MIN`] of one, or if one is not a positive number.
    pub(crate) fn of(these: &[f64], those: &[f64]) -> Option<Self> {
        let (ours, theirs) = (Logs::of(these)?, Logs::of(those)?);
        let difference = ours.mean - theirs.mean;
        let variance = ours.variance_of_mean + theirs.variance_of_mean;
        let margin = if variance > 0.0 { quantile(&ours, &theirs)? * variance.sqrt() } else { 0.0 };
        let [ratio, low, high] = [difference, difference - margin, difference + margin].map(exp);
        let exceeds_spread = low > 1.0 + PRECISION || high < 1.0 / (1.0 + PRECISION);
        Some(Self { ratio, low, high, exceeds_spread })
    }
}

/// The logarithms of a set of figures.
struct Logs {
    mean: f64,
    /// Of the values divided by their number.
    variance_of_mean: f64,
    freedom: f64,
}

impl Logs {
    fn of(figures: &[f64]) -> Option<Self> {
        let is_positive = |figure: &f64| *figure > 0.0 && figure.is_finite();
        if figures.len() < RUNS_MIN || !figures.iter().all(is_positive) {
            return None;
        }
        let (count, freedom) = (figures.len() as f64, (figures.len() - 1) as f64);
        let logs = || figures.iter().map(|figure| figure.ln());
        let mean = logs().sum::<f64>() / count;
        let squares: f64 = logs().map(|log| (log - mean).powi(2)).sum();
        Some(Self { mean, variance_of_mean: squares / freedom / count, freedom })
    }
}

/// The quantile of Student's t that bounds 99 %, with the degrees of freedom by Welch and Satterthwaite.
fn quantile(ours: &Logs, theirs: &Logs) -> Option<f64> {
    let share = ours.variance_of_mean / (ours.variance_of_mean + theirs.variance_of_mean);
    let freedom = 1.0 / (share.powi(2) / ours.freedom + (1.0 - share).powi(2) / theirs.freedom);
    Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - LEVEL / 2.0))
}

/// The exponential function, finite for every number.
fn exp(log: f64) -> f64 {
    log.clamp(-LOG_MAX, LOG_MAX).exp()
}

/// A single run has no spread.
pub(crate) const RUNS_MIN: usize = 2;
/// The part of comparisons of equal loads in which a figure is found to differ.
pub(crate) const LEVEL: f64 = 0.01;
/// Latencies are exact to 0.1 %, so equal runs may differ by this.
const PRECISION: f64 = 0.001;
const LOG_MAX: f64 = 700.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{RngAlgorithm, TestRng};
    use statrs::distribution::Normal;

    use super::*;

    /// The expected numbers are those of `scipy.stats.ttest_ind(numpy.log(a), numpy.log(b), equal_var=False)`, scipy 1.17.1, and of its
    /// `confidence_interval(0.99)`.
    #[test]
    fn intervals_are_those_of_scipy() {
        let steady = [100.0, 101.0, 99.0, 102.0, 98.0].as_slice();
        let few = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9].as_slice();
        let many = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 90.0].as_slice();
        let cases = [
            (
                &[112.0, 113.0, 111.0, 114.0, 110.0][..],
                steady,
                [1.1200227214583178, 1.0848263025902285, 1.1563610631376258],
                true,
            ),
            (&[105.0, 98.0, 120.0], steady, [1.072940512280494, 0.6084375092111816, 1.8920617573108034], false),
            (&[10.0, 11.0], &[20.0, 21.0], [0.5117663157191591, 0.1941890122188581, 1.3487105110230737], false),
            (&[10.0, 10.1], &[20.0, 20.1, 20.2], [0.49999793732351216, 0.46210713582574586, 0.5409956218941347], true),
            (few, many, [0.8167835251977615, 0.5703182104587355, 1.1697598196941177], false),
        ];
        for (these, those, expected, exceeds) in cases {
            let Estimate { ratio, low, high, exceeds_spread } = Estimate::of(these, those).unwrap();
            for (number, expected) in [ratio, low, high].into_iter().zip(expected) {
                assert!((number / expected - 1.0).abs() < 1e-9, "{number} and {expected}");
            }
            assert_eq!(exceeds_spread, exceeds);
        }
    }

    #[test]
    fn equal_figures_have_an_interval_without_width() {
        let of = |ours: f64, theirs: f64| Estimate::of(&[ours; 3], &[theirs; 4]).unwrap();
        let same = of(7.0, 7.0);
        assert!((same.ratio - 1.0).abs() < 1e-12 && !same.exceeds_spread, "{same:?}");
        let more = of(14.0, 7.0);
        assert!((more.low - 2.0).abs() < 1e-9 && (more.high - 2.0).abs() < 1e-9 && more.exceeds_spread, "{more:?}");
        assert!(!of(1_000.5, 1_000.0).exceeds_spread, "less than figures are exact");
        assert!(of(1_002.0, 1_000.0).exceeds_spread && of(1_000.0, 1_002.0).exceeds_spread);
    }

    /// So many runs whose figures vary by chance, by some 5 % around `mean`.
    fn runs_by_chance(mean: f64, count: usize, rng: &mut TestRng) -> Vec<f64> {
        let spread = Normal::new(mean.ln(), 0.05).unwrap();
        let of_chance = |_| {
            // Within 0 and 1, and neither of them.
            let uniform = (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0);
            spread.inverse_cdf(uniform).exp()
        };
        (0..count).map(of_chance).collect()
    }

    /// The number of comparisons that find a difference, of a ratio of means, between five runs and five others.
    fn found(comparisons: usize, ratio: f64) -> usize {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut finds = || {
            let [these, those] = [ratio, 1.0].map(|mean| runs_by_chance(1_000.0 * mean, 5, &mut rng));
            Estimate::of(&these, &those).unwrap().exceeds_spread
        };
        (0..comparisons).filter(|_| finds()).count()
    }

    #[test]
    fn equal_loads_are_found_to_differ_as_often_as_stated() {
        let found = found(10_000, 1.0);
        println!("{found} of 10,000 comparisons of equal loads find a difference");
        // Of five runs each, Welch's test finds 0.77 % at a level of 1 % (scipy, a million comparisons); the standard deviation is 9.
        assert!((50..=100).contains(&found), "{found} of 10,000");
    }

    #[test]
    fn difference_of_four_spreads_is_found_in_most_comparisons() {
        let found = found(1_000, 1.2);
        println!("{found} of 1,000 comparisons find a difference of 20 %");
        assert!(found > 900, "{found} of 1,000");
    }

    #[test]
    fn too_few_or_impossible_figures_have_no_interval() {
        let three = [1.0, 2.0, 3.0].as_slice();
        for other in
            [&[][..], &[1.0], &[1.0, 0.0, 2.0], &[1.0, -1.0, 2.0], &[1.0, f64::NAN, 2.0], &[1.0, f64::INFINITY, 2.0]]
        {
            assert_eq!((Estimate::of(three, other), Estimate::of(other, three)), (None, None), "{other:?}");
        }
        assert!(Estimate::of(three, three).is_some());
    }

    proptest! {
        #[test]
        fn every_interval_is_finite_and_holds_its_ratio(
            these in prop::collection::vec(prop::num::f64::POSITIVE, 2..8),
            those in prop::collection::vec(prop::num::f64::POSITIVE, 2..8),
        ) {
            if let Some(Estimate { ratio, low, high, .. }) = Estimate::of(&these, &those) {
                prop_assert!(high.is_finite() && low > 0.0 && low <= ratio && ratio <= high, "{low} {ratio} {high}");
            }
        }
    }
}
