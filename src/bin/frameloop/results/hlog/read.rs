//! Reading a log, line by line; every error names its line.
//!
//! Rule: what a log does not state is not guessed. A missing unit, an invalid time and an interval that is not read are
//! reported.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::page::printable;
use crate::results::facts::Facts;
use crate::results::figures::counted;
use crate::results::hlog::encoded;
use crate::results::hlog::input::{Budget, Lines};
use crate::results::hlog::line::{Fields, NO_LINE, TIME_MAX, Unit, YEAR, quoted, time_of};
use crate::results::hlog::log::{
    Counts, Entry, FACTS_BEGIN, FIRST_FACTS_BEGIN, INTERVAL_BEGIN, Log, WINDOW_BEGIN, Window,
};
use crate::results::model::Series;

/// Reads a log from a file, or from stdin as `-`. `unit` overrides the one that it states.
pub(crate) fn read(path: &Path, unit: Option<Unit>) -> Result<Log, Failure> {
    if path == Path::new("-") {
        return parse("stdin", io::stdin().lock(), unit).map_err(Failure::run);
    }
    let refusal = |error| Failure::run(format_args!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(refusal)?;
    if file.metadata().map_err(refusal)?.is_dir() {
        return Err(refusal(io::ErrorKind::IsADirectory.into()));
    }
    parse(&path.display().to_string(), file, unit).map_err(Failure::run)
}

/// Reads a log. `unit` overrides the one that it states.
///
/// The error is one line, with the file's name.
pub(crate) fn parse(name: &str, file: impl Read, unit: Option<Unit>) -> Result<Log, String> {
    let mut budget = Budget::default();
    let mut lines = Lines::of(file, &mut budget).map_err(|error| format!("{name}: {error}"))?;
    let mut reader = Reader { given_unit: unit, ..Reader::default() };
    for number in 1_u64.. {
        let line = lines.next(&mut budget).map_err(|error| format!("{name}: line {number}: {error}"))?;
        let Some(line) = line else { break };
        let taken = reader.take(line.text, &mut budget);
        if line.is_cut && taken.is_err() && reader.is_partial() {
            // The run was killed, or its disk was full: the lines before are complete.
            break;
        }
        taken.map_err(|error| {
            let cut = if line.is_cut { "; the file ends within this line" } else { "" };
            format!("{name}: line {number}: {error}{cut}")
        })?;
    }
    reader.log(name)
}

#[derive(Default)]
struct Reader {
    /// The unit that overrides the stated one.
    given_unit: Option<Unit>,
    stated_unit: Option<Unit>,
    facts: Option<Facts>,
    /// The facts that were known when the run began.
    first_facts: Option<Facts>,
    window: Option<Window>,
    /// The counts of the intervals that follow.
    counts: Option<Counts>,
    start: Option<Duration>,
    base: Option<Duration>,
    entries: Vec<Entry>,
    /// Latencies in all entries.
    latencies: u64,
    /// Intervals with the tag service, and without a tag.
    tagged: u64,
    untagged: u64,
    others: OtherTags,
}

/// Intervals with tags that are not read.
#[derive(Default)]
struct OtherTags {
    intervals: u64,
    /// The first few tags; the last is `...` if there were more.
    named: Vec<String>,
}

impl Reader {
    fn take(&mut self, line: &[u8], budget: &mut Budget) -> Result<(), String> {
        if line.is_empty() || line.starts_with(LEGEND_BEGIN) {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix(b"#") {
            return self.comment(comment);
        }
        let text = str::from_utf8(line).map_err(|_| NO_LINE)?;
        self.interval(&Fields::of(text)?, budget)
    }

    fn comment(&mut self, comment: &[u8]) -> Result<(), String> {
        if let Some(facts) = comment.strip_prefix(FACTS_BEGIN.as_bytes()) {
            return self.facts(facts);
        }
        if let Some(facts) = comment.strip_prefix(FIRST_FACTS_BEGIN.as_bytes()) {
            self.first_facts = Some(json_of(facts)?);
            return Ok(());
        }
        if let Some(window) = comment.strip_prefix(WINDOW_BEGIN.as_bytes()) {
            self.window = Some(json_of(window)?);
            return Ok(());
        }
        if let Some(interval) = comment.strip_prefix(INTERVAL_BEGIN.as_bytes()) {
            self.counts = Some(json_of(interval)?);
            return Ok(());
        }
        let comment = String::from_utf8_lossy(comment);
        let value = |name: &str| comment.strip_prefix(name).map(|rest| rest.trim_start_matches(':').trim_start());
        if let Some(rest) = value("[StartTime") {
            self.is_header("StartTime")?;
            self.start = Some(time_of("StartTime", rest)?);
        } else if let Some(rest) = value("[BaseTime") {
            self.is_header("BaseTime")?;
            self.base = Some(time_of("BaseTime", rest)?);
        } else if let (Some(rest), false) = (value("[Latencies in "), self.given_unit.is_some()) {
            self.is_header("unit")?;
            let name = rest.split([',', ']', ' ']).next().unwrap_or_default();
            let unknown = || {
                format!(
                    "its latencies are in `{}`, which is not known; give their unit with --unit ns, us or ms",
                    quoted(name)
                )
            };
            self.stated_unit = Some(Unit::of(name).ok_or_else(unknown)?);
        }
        Ok(())
    }

    /// Checks that a header comes before all intervals.
    fn is_header(&self, what: &str) -> Result<(), String> {
        let has_begun = !self.entries.is_empty() || self.others.intervals > 0;
        let refusal = || format!("a {what} after intervals: a second log begins here; give each log as its own file");
        if has_begun { Err(refusal()) } else { Ok(()) }
    }

    fn facts(&mut self, facts: &[u8]) -> Result<(), String> {
        if self.facts.is_some() {
            return Err("the facts of a second run: give each log as its own file".into());
        }
        self.facts = Some(json_of(facts)?);
        self.stated_unit = Some(Unit::Ns);
        Ok(())
    }

    fn interval(&mut self, interval: &Fields<'_>, budget: &mut Budget) -> Result<(), String> {
        // Other tools measure one latency and give it no tag.
        let tag = interval.tag.unwrap_or(Series::Service.name());
        let Some(series) = Series::ALL.into_iter().find(|series| tag == series.name()) else {
            self.others.add(quoted(tag));
            return Ok(());
        };
        match interval.tag {
            None => self.untagged += 1,
            Some(_) => self.tagged += u64::from(series == Series::Service),
        }
        let begin = self.begin_of(interval.start)?;
        let unit = self.given_unit.or(self.stated_unit).ok_or(
            "the log does not state the unit of its latencies; give it with --unit ns, us or ms (nanoseconds, \
             microseconds, milliseconds)",
        )?;
        let latencies = encoded::latencies(interval.histogram, unit.nanos(), budget)?;
        let counts = latencies.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(count));
        self.latencies = self.latencies.saturating_add(counts);
        if self.latencies > COUNT_MAX {
            return Err(format!("{} latencies so far: more than {COUNT_MAX}, which cannot be", self.latencies));
        }
        let entry = match self.counts {
            Some(counts) => {
                let begin = SystemTime::UNIX_EPOCH + Duration::from_nanos(counts.begin_ns);
                let length = Duration::from_nanos(counts.length_ns);
                let counts = (series == Series::Service).then_some(counts);
                Entry { series, begin, length, latencies, counts }
            }
            None => Entry { series, begin, length: interval.length, latencies, counts: None },
        };
        self.entries.push(entry);
        Ok(())
    }

    /// The time at which an interval began.
    ///
    /// Times count from the base. Without a base they count from the epoch, unless that makes the interval more than a year
    /// older than the start: then they count from the start, as in HdrHistogram's own reader.
    fn begin_of(&self, start_of_interval: Duration) -> Result<SystemTime, String> {
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

    /// Whether the log ends before its run did.
    fn is_partial(&self) -> bool {
        self.first_facts.is_some() && self.facts.is_none()
    }

    /// The log, if it has latencies.
    fn log(self, name: &str) -> Result<Log, String> {
        let tags = self.others.named.join(", ");
        if self.tagged > 0 && self.untagged > 0 {
            return Err(format!(
                "{name}: {} intervals have the tag service and {} have no tag: which are the latencies of frames is not \
                 known",
                self.tagged, self.untagged
            ));
        }
        // A run that ended before the measured time has none.
        let is_ours = self.first_facts.is_some() && self.others.intervals == 0;
        if !is_ours && self.entries.iter().all(|entry| entry.series == Series::Connect) {
            let seen = match (self.entries.is_empty(), self.others.intervals) {
                (true, 0) => "no line at all".into(),
                (false, 0) => "none of them".into(),
                _ => format!("none of them, but {tags}"),
            };
            return Err(format!(
                "{name}: not a log of frameloop load: it should have lines with the tag service, and has {seen}"
            ));
        }
        let skipped = (self.others.intervals > 0).then(|| {
            let others = counted(self.others.intervals, "interval");
            format!("{others} left out, whose tags are not read: {tags}")
        });
        let facts = self.facts.or_else(|| self.first_facts.map(|facts| with_counts(facts, &self.entries)));
        Ok(Log { name: name.into(), facts, window: self.window, entries: self.entries, skipped })
    }
}

impl OtherTags {
    fn add(&mut self, tag: String) {
        self.intervals += 1;
        if self.named.len() <= TAGS_NAMED && !self.named.contains(&tag) {
            self.named.push(if self.named.len() < TAGS_NAMED { tag } else { "...".into() });
        }
    }
}

/// The facts of a run that was killed: those of its begin, and the counts of its intervals.
fn with_counts(mut facts: Facts, entries: &[Entry]) -> Facts {
    for counts in entries.iter().filter_map(|entry| entry.counts) {
        facts.bytes = facts.bytes.map(|bytes| bytes.saturating_add(counts.bytes));
        facts.errors.iter_mut().for_each(|errors| errors.add(&counts.errors));
    }
    facts
}

/// Parses the JSON of one of our own comments, which ends with a bracket.
fn json_of<T: DeserializeOwned>(comment: &[u8]) -> Result<T, String> {
    let json = comment.strip_suffix(b"]").ok_or("the comment with the run's facts is cut short")?;
    // The message may quote the comment.
    let refusal =
        |error: serde_json::Error| format!("the run's facts cannot be read: {}", printable(&error.to_string()));
    serde_json::from_slice(json).map_err(refusal)
}

const LEGEND_BEGIN: &[u8] = b"\"StartTimestamp\"";
const COUNT_MAX: u64 = 1 << 48;
/// The most unread tags that are named.
const TAGS_NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;
    use crate::results::fixture;
    use crate::results::merge::merged;

    fn log() -> Vec<u8> {
        static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| fixture::log_of(&fixture::seconds(2)));
        LOG.clone()
    }

    fn error(text: &[u8]) -> String {
        parse("a.hlog", text, None).unwrap_err()
    }

    fn read_log(text: &[u8]) -> Log {
        parse("a.hlog", text, None).unwrap()
    }

    fn with_header(lines: &str) -> Vec<u8> {
        format!("#[Latencies in nanoseconds]\n{lines}").into_bytes()
    }

    /// A histogram of one latency.
    fn histogram(value: u64, count: u64) -> String {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record_n(value, count).unwrap();
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        STANDARD.encode(bytes)
    }

    #[test]
    fn what_is_no_log_is_said_with_its_line() {
        assert_eq!(error(b"#[a]\nhello\n"), "a.hlog: line 2: neither a comment nor an interval of a histogram log");
        assert_eq!(
            error(b"\xff"),
            "a.hlog: line 1: neither a comment nor an interval of a histogram log; the file ends within this line"
        );
        assert_eq!(
            error(b"#[frameloop: {}]\n").split(" at ").next(),
            Some("a.hlog: line 1: the run's facts cannot be read: missing field `configuration`")
        );
        let hostile = error(b"#[frameloop: {\"a\\n\\u001b[2J\": 1}]\n");
        assert!(hostile.lines().count() == 1 && !hostile.contains('\x1b'), "{hostile:?}");
        assert_eq!(
            error(&with_header("Tag=service,1.000,1.000,2.000,AAAA\n")),
            "a.hlog: line 2: the histogram is cut short"
        );
    }

    #[test]
    fn a_log_without_our_tags_is_refused() {
        assert!(error(b"").ends_with("and has no line at all"), "{}", error(b""));
        let foreign =
            String::from_utf8(log()).unwrap().replace("Tag=service", "Tag=a").replace("Tag=response", "Tag=b");
        let error = error(foreign.as_bytes());
        assert!(error.contains("the tag service, and has none of them, but ") && error.contains("b"), "{error}");
    }

    #[test]
    fn a_log_that_was_cut_says_where() {
        // Of one that its program wrote at the end of its run; what ours leave when they are killed is read.
        let whole = log();
        let lines = whole.split_inclusive(|byte| *byte == b'\n');
        let log: Vec<u8> = lines.filter(|line| !line.starts_with(b"#[frameloop")).flatten().copied().collect();
        let text = error(&log[..log.len() - 20]);
        let last = log.iter().filter(|byte| **byte == b'\n').count();
        assert!(text.starts_with(&format!("a.hlog: line {last}: ")), "{text}");
        assert!(text.ends_with("the file ends within this line") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn lines_of_others_and_blank_lines_are_skipped() {
        let text = String::from_utf8(log()).unwrap();
        let more = format!("{}\r\n\n#a comment\nTag=other,1.000,1.000,1.000,x\n", text.replace('\n', "\r\n"));
        assert_eq!(read_log(more.as_bytes()).entries, read_log(text.as_bytes()).entries);
    }

    #[test]
    fn unit_is_given_or_stated_and_never_guessed() {
        let line = format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, 1));
        let max = |text: &str, unit| -> Result<u64, String> {
            let log = parse("a.hlog", text.as_bytes(), unit)?;
            Ok(log.entries[0].latencies.iter().last().unwrap().0)
        };
        for (name, nanos) in
            [("nanoseconds, x", 7), ("us", 7_003), ("microseconds", 7_003), ("milliseconds", 7_000_063)]
        {
            assert_eq!(max(&format!("#[Latencies in {name}]\n{line}"), None), Ok(nanos), "{name}");
        }
        let unknown = max(&format!("#[Latencies in furlongs]\n{line}"), None).unwrap_err();
        assert!(unknown.contains("`furlongs`") && unknown.contains("--unit"), "{unknown}");
        let unstated = max(&line, None).unwrap_err();
        assert!(unstated.contains("does not state the unit") && unstated.contains("--unit"), "{unstated}");
        for stated in ["", "#[Latencies in furlongs]\n", "#[Latencies in nanoseconds]\n"] {
            assert_eq!(max(&format!("{stated}{line}"), Some(Unit::Us)), Ok(7_003), "{stated}");
        }
    }

    #[test]
    fn a_time_that_is_no_time_is_reported_and_never_left_out() {
        for time in
            ["", "x", "-5.0", "NaN", "inf", "1e300", "1.5.5", "1_000", "99999999999999999999999", "1795315208948", "."]
        {
            for what in ["BaseTime", "StartTime"] {
                for form in [
                    format!("#[{what}: {time} (seconds since epoch)]\n"),
                    format!("#[{what}: {time}]\n"),
                    format!("#[{what} {time}\n"),
                ] {
                    let error = error(form.as_bytes());
                    assert!(error.starts_with(&format!("a.hlog: line 1: {what}, `")), "{form} {error}");
                }
            }
            let fields = [
                ("start", format!("Tag=service,{time},1.000,2.000,{}\n", histogram(7, 1))),
                ("length", format!("Tag=service,1.000,{time},2.000,{}\n", histogram(7, 1))),
            ];
            for (what, line) in fields.iter().filter(|_| time != "1795315208948") {
                let error = error(&with_header(line));
                assert!(error.starts_with(&format!("a.hlog: line 2: the interval's {what}, `")), "{error}");
            }
        }
        let fine = format!("#[BaseTime: 1795315208 (seconds)]\nTag=service,1,1,2,{}\n", histogram(7, 1));
        assert_eq!(
            read_log(&with_header(&fine)).entries[0].begin,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_315_209)
        );
    }

    #[test]
    fn times_that_contradict_each_other_are_reported() {
        let line = |start: &str| format!("Tag=service,{start},1.000,2.000,{}\n", histogram(7, 1));
        let start = "#[StartTime: 1795315208.000 (seconds since epoch)]\n";
        let cases = [
            // Relative times and a base of zero; absolute times and a base; a base of another day.
            (
                format!("{start}#[BaseTime: 0.0 (s)]\n{}", line("1.000")),
                "counted from BaseTime, the interval begins 1 s",
            ),
            (format!("{start}#[BaseTime: 1795315208.0 (s)]\n{}", line("1795315209.0")), "begins 3590630417 s"),
            (format!("{start}{}", line("1895315209.0")), "counted from the epoch"),
            (line("18446744073709551615.9"), "beyond the year 2500"),
            (format!("{start}{}", line("18446744073709551615.9")), "beyond the year 2500"),
            (format!("#[BaseTime: 1.0 (s)]\n{}", line("18446744073709551615.9")), "beyond the year 2500"),
            (line("1.000").replace("1.000,2.000", "40000000.0,2.000"), "more than a year"),
        ];
        for (text, expected) in cases {
            let error = error(&with_header(&text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_second_log_in_a_file_is_reported() {
        let one = log();
        assert!(error(&[one.clone(), one].concat()).contains("a second log begins here"));
        let line = format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, 1));
        for header in ["#[BaseTime: 5.000 (s)]\n", "#[StartTime: 5.000 (s)]\n", "#[Latencies in nanoseconds]\n"] {
            let error = error(&with_header(&format!("{line}{header}{line}")));
            assert!(error.contains("a second log begins here"), "{error}");
        }
    }

    #[test]
    fn tags_that_are_not_read_are_named() {
        let h = histogram(7, 1);
        let service = format!("Tag=service,1.000,1.000,2.000,{h}\n");
        let others: String = (0..20_000).map(|at| format!("Tag=t{at},1.000,1.000,2.000,x\n")).collect();
        let log = read_log(&with_header(&format!("{others}{service}")));
        assert_eq!(log.entries.len(), 1);
        assert_eq!(log.skipped.unwrap(), "20,000 intervals left out, whose tags are not read: t0, t1, t2, t3, t4, ...");
        let log = read_log(&with_header(&format!("Tag=\x1b[2J,1.000,1.000,2.000,x\n{service}")));
        assert_eq!(log.skipped.unwrap(), "1 interval left out, whose tags are not read: \u{fffd}[2J");
        // Other tools give one latency no tag.
        let untagged = format!("1.000,1.000,2.000,{h}\n");
        assert_eq!(read_log(&with_header(&untagged)).entries, read_log(&with_header(&service)).entries);
        assert!(error(&with_header(&format!("{untagged}{service}"))).contains("have no tag"));
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let line = |count| format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, count));
        for text in [line(1 << 49), line(i64::MAX as u64), line(1 << 47).repeat(3)] {
            assert!(error(&with_header(&text)).contains("latencies so far: more than"));
        }
        assert_eq!(read_log(&with_header(&line(1 << 48))).entries[0].latencies.count(), 1 << 48);
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
            match parse("a.hlog", text.as_slice(), None) {
                Ok(log) => drop(merged(&[log])),
                Err(error) => prop_assert!(error.starts_with("a.hlog: ") && error.lines().count() == 1, "{error}"),
            }
        }
    }
}
