//! Reading a log, a line at a time: what is wrong is told with its line.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::interval_log::{IntervalLogHistogram, IntervalLogIterator, LogEntry};

use crate::results::facts::Facts;
use crate::results::hlog::{Entry, FACTS_BEGIN, Log, Series, encoded};
use crate::results::printable;

/// Reads a log. Lines of other tags than ours are skipped.
///
/// The error is one line, with the file's name.
pub(crate) fn parse(name: &str, text: &[u8]) -> Result<Log, String> {
    let mut reader = Reader::default();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_cut = !line.ends_with(b"\n");
        reader.take(line.trim_ascii()).map_err(|error| {
            let cut = if is_cut { "; the file ends within this line" } else { "" };
            format!("{name}: line {}: {error}{cut}", index + 1)
        })?;
    }
    if reader.entries.iter().all(|entry| entry.series == Series::Connect) {
        let seen = if reader.entries.is_empty() && reader.others == 0 { "no line at all" } else { "none of them" };
        return Err(format!(
            "{name}: not a log of frameloop load: it should have lines with the tag service, and has {seen}"
        ));
    }
    Ok(Log { name: name.into(), facts: reader.facts, entries: reader.entries })
}

#[derive(Default)]
struct Reader {
    facts: Option<Facts>,
    start: Option<Duration>,
    base: Option<Duration>,
    entries: Vec<Entry>,
    /// Lines with other tags.
    others: usize,
}

impl Reader {
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let facts = line.strip_prefix(b"#").and_then(|line| line.strip_prefix(FACTS_BEGIN.as_bytes()));
        if let Some(facts) = facts {
            let json = facts.strip_suffix(b"]").ok_or("the comment with the run's facts is cut short")?;
            let facts = serde_json::from_slice(json);
            // The message may quote what it does not know.
            let refusal =
                |error: serde_json::Error| format!("the run's facts cannot be read: {}", printable(&error.to_string()));
            self.facts = Some(facts.map_err(refusal)?);
            return Ok(());
        }
        let line = [line, b"\n"].concat();
        match IntervalLogIterator::new(&line).next() {
            None => {}
            Some(Ok(LogEntry::StartTime(time))) => self.start = Some(time),
            Some(Ok(LogEntry::BaseTime(time))) => self.base = Some(time),
            Some(Ok(LogEntry::Interval(interval))) => self.interval(&interval)?,
            Some(Err(_)) => return Err("neither a comment nor an interval of a histogram log".into()),
        }
        Ok(())
    }

    fn interval(&mut self, interval: &IntervalLogHistogram<'_>) -> Result<(), String> {
        let tag = interval.tag();
        let Some(series) = Series::ALL.into_iter().find(|series| tag.is_some_and(|tag| tag.as_str() == series.name()))
        else {
            self.others += 1;
            return Ok(());
        };
        let since_epoch = self.base_of(interval.start_timestamp()).checked_add(interval.start_timestamp());
        let begin = since_epoch.filter(|time| *time < TIME_MAX).ok_or("a time beyond the year 2500")?;
        if interval.duration() > TIME_MAX {
            return Err("an interval of more than a century".into());
        }
        let latencies = encoded::latencies(interval.encoded_histogram())?;
        let begin = SystemTime::UNIX_EPOCH + begin;
        self.entries.push(Entry { series, begin, length: interval.duration(), latencies });
        Ok(())
    }

    /// What the time of an interval counts from. Without a base it is the epoch, unless that makes it more than a year
    /// older than the start: then it counts from the start (as HdrHistogram's own reader has it).
    fn base_of(&self, time: Duration) -> Duration {
        match (self.base, self.start) {
            (Some(base), _) => base,
            (None, Some(start)) if time + YEAR < start => start,
            (None, _) => Duration::ZERO,
        }
    }
}

const YEAR: Duration = Duration::from_secs(366 * 24 * 3_600);
const TIME_MAX: Duration = Duration::from_secs(530 * 366 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::results::{fixture, hlog};

    fn log() -> Vec<u8> {
        static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| hlog::text(&fixture::seconds(2)).unwrap());
        LOG.clone()
    }

    fn error(text: &[u8]) -> String {
        parse("a.hlog", text).unwrap_err()
    }

    #[test]
    fn what_is_no_log_is_said_with_its_line() {
        assert_eq!(error(b"#[a]\nhello\n"), "a.hlog: line 2: neither a comment nor an interval of a histogram log");
        assert_eq!(
            error(b"\xff\xfe"),
            "a.hlog: line 1: neither a comment nor an interval of a histogram log; the file ends within this line"
        );
        assert_eq!(
            error(b"#[frameloop: {}]\n").split(" at ").next(),
            Some("a.hlog: line 1: the run's facts cannot be read: missing field `configuration`")
        );
        let hostile = error(b"#[frameloop: {\"a\\n\\u001b[2J\": 1}]\n");
        assert!(hostile.lines().count() == 1 && !hostile.contains('\x1b'), "{hostile:?}");
        assert_eq!(error(b"Tag=service,1.000,1.000,2.000,AAAA\n"), "a.hlog: line 1: the histogram is cut short");
    }

    #[test]
    fn a_log_without_our_tags_is_refused() {
        assert!(error(b"").ends_with("and has no line at all"), "{}", error(b""));
        let foreign =
            String::from_utf8(log()).unwrap().replace("Tag=service", "Tag=a").replace("Tag=response", "Tag=b");
        assert!(error(foreign.as_bytes()).ends_with("the tag service, and has none of them"));
    }

    #[test]
    fn a_log_that_was_cut_says_where() {
        let log = log();
        let text = error(&log[..log.len() - 20]);
        let last = log.iter().filter(|byte| **byte == b'\n').count();
        assert!(text.starts_with(&format!("a.hlog: line {last}: ")), "{text}");
        assert!(text.ends_with("the file ends within this line") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn lines_of_others_and_blank_lines_are_skipped() {
        let text = String::from_utf8(log()).unwrap();
        let more = format!("{}\r\n\n#a comment\nTag=other,1.000,1.000,1.000,x\n", text.replace('\n', "\r\n"));
        assert_eq!(parse("a", more.as_bytes()).unwrap().entries, parse("a", text.as_bytes()).unwrap().entries);
    }

    proptest! {
        #[test]
        fn damaged_logs_are_read_or_refused_in_one_line(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            end in any::<prop::sample::Index>(),
        ) {
            let mut text = log();
            for (at, byte) in cuts {
                *at.get_mut(&mut text) = byte;
            }
            text.truncate(end.index(text.len()) + 1);
            match parse("a.hlog", &text) {
                Ok(log) => drop(crate::results::merged(&[log])),
                Err(error) => prop_assert!(error.starts_with("a.hlog: ") && error.lines().count() == 1, "{error}"),
            }
        }
    }
}
