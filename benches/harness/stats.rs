//! Figures, and what is made of many of them.

/// One line of the load generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    /// From when a frame was sent; the others count from when it was due, if there is a schedule.
    pub(crate) sent_p50_us: f64,
    pub(crate) errors: u64,
    pub(crate) closed: u64,
}

impl Figures {
    /// The line is flat JSON of numbers, written by a program of ours.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        Some(Self {
            messages: number(line, "messages")? as u64,
            bytes: number(line, "bytes")? as u64,
            seconds: number(line, "seconds")?,
            p50_us: number(line, "p50_us")?,
            p99_us: number(line, "p99_us")?,
            max_us: number(line, "max_us")?,
            sent_p50_us: number(line, "sent_p50_us")?,
            errors: number(line, "errors")? as u64,
            closed: number(line, "closed")? as u64,
        })
    }
}

fn number(line: &str, name: &str) -> Option<f64> {
    let key = format!("\"{name}\":");
    let (_, rest) = line.split_once(&key)?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// Median, least and greatest of some samples, which it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) samples: Vec<f64>,
}

impl Spread {
    pub(crate) fn of(samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let upper = sorted.len() / 2;
        let lower = sorted.len().saturating_sub(1) / 2;
        Self { median: (at(lower) + at(upper)) / 2.0, min: at(0), max: at(sorted.len().saturating_sub(1)), samples }
    }
}
