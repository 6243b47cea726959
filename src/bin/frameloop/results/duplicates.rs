//! Logs that would be counted twice.
//!
//! Rule: a latency that was measured once is counted once. A log is identified by its content, not by its name: a copy, a
//! link, a compressed copy and the beginning of a log are the same log.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::results::hlog::log::{Entry, Log};

/// Checks that no two logs have the same intervals; the error names them.
///
/// Two machines can have the same interval by chance, if it has few frames. So two logs are the same if they share all
/// intervals of one, or more than chance explains.
pub(crate) fn check(logs: &[Log]) -> Result<(), String> {
    let hasher = RandomState::new();
    let key = |entry: &Entry| {
        let latencies = hasher.hash_one(entry.latencies.iter().collect::<Vec<_>>());
        (entry.series.name(), entry.begin, entry.length, latencies)
    };
    let weights: Vec<usize> = logs.iter().map(|log| log.all_entries().map(weight).sum()).collect();
    let mut first_seen = HashMap::new();
    for (later, log) in logs.iter().enumerate() {
        let mut common: HashMap<usize, usize> = HashMap::new();
        for entry in log.all_entries().filter(|entry| weight(entry) > 0) {
            let first = *first_seen.entry(key(entry)).or_insert(later);
            if first != later {
                *common.entry(first).or_default() += weight(entry);
            }
        }
        for (first, common) in common {
            if common >= weights[first].min(weights[later]).min(WEIGHT_OF_CHANCE) {
                return Err(format!(
                    "{} and {} hold the same latencies, which would be counted twice; leave one out, or give \
                     --allow-duplicates",
                    logs[first].name, log.name
                ));
            }
        }
    }
    Ok(())
}

/// The weight of an interval: the number of its different latencies.
fn weight(entry: &Entry) -> usize {
    entry.latencies.iter().count()
}

/// Two logs do not share this many different latencies, with the same counts at the same time, by chance.
const WEIGHT_OF_CHANCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::results::model::Series;

    /// A log with an interval a second from `begin` on, each with so many different latencies.
    fn log(name: &str, begin: u64, latencies: &[u64]) -> Log {
        let entries = latencies.iter().zip(0..).map(|(different, second)| Entry {
            series: Series::Service,
            begin: SystemTime::UNIX_EPOCH + Duration::from_secs(begin + second),
            length: Duration::from_secs(1),
            latencies: (0..*different).map(|at| (1_000 * (at + 1), 1)).collect(),
            counts: None,
        });
        Log { name: name.into(), entries: entries.collect(), ..Log::default() }
    }

    #[test]
    fn a_copy_a_beginning_and_a_large_overlap_are_the_same_log() {
        let whole = log("a", 0, &[20, 20, 20]);
        for (other, why) in [
            (log("b", 0, &[20, 20, 20]), "a copy"),
            (log("b", 0, &[20]), "a beginning"),
            (log("b", 1, &[20, 20, 20, 20]), "an overlap"),
        ] {
            for logs in [[whole.clone(), other.clone()], [other.clone(), whole.clone()]] {
                let error = check(&logs).err().unwrap_or_else(|| panic!("{why} is not found"));
                assert!(error.contains("a and b") || error.contains("b and a"), "{error}");
            }
        }
        assert!(check(&[log("a", 0, &[1]), log("c", 50, &[30]), log("b", 0, &[1])]).is_err(), "one frame is all of it");
    }

    #[test]
    fn different_logs_are_not() {
        for other in [log("b", 10, &[20, 20, 20]), log("b", 0, &[21, 19, 18]), log("b", 0, &[0, 0, 0])] {
            assert_eq!(check(&[log("a", 0, &[20, 20, 20]), other]), Ok(()));
        }
        // Few frames at the same time by chance, and others that differ.
        assert_eq!(check(&[log("a", 0, &[1, 2, 3, 4, 5]), log("b", 0, &[1, 3, 3, 5, 4])]), Ok(()));
        assert_eq!(check(&[log("a", 0, &[0]), log("b", 0, &[0])]), Ok(()));
    }
}
