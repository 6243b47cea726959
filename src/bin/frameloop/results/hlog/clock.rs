//! The origin of the times in a log.

use std::time::{Duration, SystemTime};

use crate::results::hlog::line::{TIME_MAX, YEAR};

/// The headers of a log that set the origin of its times, since the epoch.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) start: Option<Duration>,
    pub(super) base: Option<Duration>,
}

impl Clock {
    /// The time at which an interval began.
    ///
    /// Times count from the base. Without a base they count from the epoch, unless that makes the interval more than a year
    /// older than the start: then they count from the start, as in HdrHistogram's own reader.
    pub(super) fn begin_of(&self, start_of_interval: Duration) -> Result<SystemTime, String> {
        let is_before_start = |time: Duration| {
            self.start.is_some_and(|start| time.checked_add(YEAR).is_some_and(|latest| latest < start))
        };
        let base = match (self.base, self.start) {
            (Some(base), _) => base,
            (None, Some(start)) if is_before_start(start_of_interval) => start,
            (None, _) => Duration::ZERO,
        };
        let since_epoch = base.checked_add(start_of_interval).filter(|time| *time < TIME_MAX).ok_or_else(|| {
            format!(
                "it begins {}.{:03} s after the base time, beyond the year 2500",
                start_of_interval.as_secs(),
                start_of_interval.subsec_millis()
            )
        })?;
        if let Some(start) = self.start.filter(|start| since_epoch.abs_diff(*start) > YEAR) {
            let origin = if self.base.is_some() { "BaseTime" } else { "the epoch" };
            return Err(format!(
                "counted from {origin}, the interval begins {} s after 1970, more than a year from StartTime, {} s",
                since_epoch.as_secs(),
                start.as_secs()
            ));
        }
        Ok(SystemTime::UNIX_EPOCH + since_epoch)
    }
}
