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
use crate::results::figures::counted;
use crate::results::hlog::clock::Clock;
use crate::results::hlog::encoded;
use crate::results::hlog::input::{Budget, Lines};
use crate::results::hlog::line::{Fields, NO_LINE, Unit, quoted, time_of};
use crate::results::hlog::log::{
    Counts, Entry, FACTS_BEGIN, FIRST_FACTS_BEGIN, INSTANCE_BEGIN, INTERVAL_BEGIN, Log, Named, PART_BEGIN, TOTAL_BEGIN,
    WINDOW_BEGIN,
};
use crate::results::hlog::mark::{self, Kind, LEGEND_BEGIN};
use crate::results::hlog::parts::Parts;
use crate::results::model::Series;

/// Reads the logs in a file, or from stdin as `-`. `unit` overrides the one that they state.
pub(crate) fn read(path: &Path, unit: Option<Unit>) -> Result<Vec<Log>, Failure> {
    let (name, file) = open(path)?;
    parse_all(&name, file, unit).map_err(Failure::run)
}

/// Opens a file, or stdin as `-`; returns its name too.
pub(crate) fn open(path: &Path) -> Result<(String, Box<dyn Read>), Failure> {
    if path == Path::new("-") {
        return Ok(("stdin".into(), Box::new(io::stdin().lock())));
    }
    let refusal = |error| Failure::run(format_args!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(refusal)?;
    if file.metadata().map_err(refusal)?.is_dir() {
        return Err(refusal(io::ErrorKind::IsADirectory.into()));
    }
    Ok((path.display().to_string(), Box::new(file)))
}

/// Reads the log of one generator.
#[cfg(test)]
pub(crate) fn parse(name: &str, file: impl Read, unit: Option<Unit>) -> Result<Log, String> {
    let mut logs = parse_all(name, file, unit)?;
    assert_eq!(logs.len(), 1, "{name}");
    Ok(logs.remove(0))
}

/// Reads the logs of all generators in a file: one, or several whose marked lines are mixed. `unit` overrides the one that they state.
///
/// The error is one line, with the file's name.
pub(crate) fn parse_all(name: &str, file: impl Read, unit: Option<Unit>) -> Result<Vec<Log>, String> {
    let mut budget = Budget::default();
    let mut lines = Lines::of(file, &mut budget).map_err(|error| format!("{name}: {error}"))?;
    let mut readers = Readers { unmarked: Reader::of(unit), marked: Vec::new() };
    for number in 1_u64.. {
        let line = lines.next(&mut budget).map_err(|error| format!("{name}: line {number}: {error}"))?;
        let Some(line) = line else { break };
        let taken = readers.take(line.text, &mut budget);
        if line.is_cut && taken.is_err() && readers.all().any(Reader::is_partial) {
            // The run was killed, or its disk was full: the lines before are complete.
            break;
        }
        let is_json = number == 1 && line.text.starts_with(b"{");
        taken.map_err(|error| {
            if is_json {
                return format!("{name}: it is JSON, which only --baseline reads; give the log of load --hlog");
            }
            let cut = if line.is_cut { "; the file ends within this line" } else { "" };
            format!("{name}: line {number}: {error}{cut}")
        })?;
    }
    readers.logs(name)
}

/// A reader for each generator in a file.
struct Readers {
    /// Of the lines without a mark.
    unmarked: Reader,
    marked: Vec<(String, Reader)>,
}

impl Readers {
    fn take(&mut self, line: &[u8], budget: &mut Budget) -> Result<(), String> {
        let (instance, line) = match mark::kind(line) {
            Kind::Plain => return self.unmarked.take(line, budget),
            Kind::Head => return Ok(()),
            Kind::Marked(instance, line) => (instance, line),
        };
        let at = self.marked.iter().position(|(name, _)| name == instance).unwrap_or_else(|| {
            self.marked.push((instance.to_owned(), Reader::of(self.unmarked.given_unit)));
            self.marked.len() - 1
        });
        self.marked[at].1.take(&line, budget).map_err(|error| format!("{instance}: {error}"))
    }

    fn all(&self) -> impl Iterator<Item = &Reader> {
        self.marked.iter().map(|(_, reader)| reader).chain([&self.unmarked])
    }

    fn logs(self, name: &str) -> Result<Vec<Log>, String> {
        let has_one = self.marked.len() == 1 && !self.unmarked.has_begun();
        let mut logs = Vec::new();
        // One that has said no more than its name has no log.
        for (instance, reader) in self.marked.into_iter().filter(|(_, reader)| reader.has_begun()) {
            let name = if has_one { name.to_owned() } else { format!("{name} {instance}") };
            logs.push(reader.log(&name)?);
        }
        if logs.is_empty() || self.unmarked.has_begun() {
            logs.push(self.unmarked.log(name)?);
        }
        Ok(logs)
    }
}

/// What one generator has logged.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The unit that overrides the stated one.
    given_unit: Option<Unit>,
    stated_unit: Option<Unit>,
    instance: Option<String>,
    parts: Parts,
    /// The counts of the intervals that follow.
    counts: Option<Counts>,
    clock: Clock,
    entries: Vec<Entry>,
    /// Latencies in all entries.
    latencies: u64,
    /// Intervals with the tag service, and without a tag.
    tagged: u64,
    untagged: u64,
    others: OtherTags,
}

/// Intervals with tags that are not read.
#[derive(Debug, Default)]
struct OtherTags {
    intervals: u64,
    /// The first few tags; the last is `...` if there were more.
    named: Vec<String>,
}

impl Reader {
    pub(crate) fn of(unit: Option<Unit>) -> Self {
        Self { given_unit: unit, ..Self::default() }
    }

    /// The next line, without its mark.
    pub(crate) fn take(&mut self, line: &[u8], budget: &mut Budget) -> Result<(), String> {
        if line.is_empty() || line.starts_with(LEGEND_BEGIN) {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix(b"#") {
            return if comment.starts_with(b"[frameloop") { self.own(comment) } else { self.header(comment) };
        }
        let text = str::from_utf8(line).map_err(|_| NO_LINE)?;
        self.interval(&Fields::of(text)?, budget)
    }

    /// One of our own comments; others of them say nothing that a result has.
    fn own(&mut self, comment: &[u8]) -> Result<(), String> {
        let value_of = |begin: &str| comment.strip_prefix(begin.as_bytes());
        if let Some(facts) = value_of(FACTS_BEGIN) {
            return self.facts(facts);
        }
        if let Some(facts) = value_of(FIRST_FACTS_BEGIN) {
            self.parts.open.first_facts = Some(json_of(facts)?);
            self.stated_unit = Some(Unit::Ns);
        } else if let Some(instance) = value_of(INSTANCE_BEGIN) {
            let Named { name } = json_of(instance)?;
            if let Some(first) = self.instance.replace(name.clone()) {
                return Err(format!("{name} begins, and {first} began before: give each log as its own file"));
            }
        } else if let Some(part) = value_of(PART_BEGIN) {
            self.parts.begin(json_of(part)?, self.entries.len())?;
            self.counts = None;
        } else if let Some(total) = value_of(TOTAL_BEGIN) {
            self.parts.end(json_of(total)?)?;
        } else if let Some(window) = value_of(WINDOW_BEGIN) {
            self.parts.open.window = Some(json_of(window)?);
        } else if let Some(interval) = value_of(INTERVAL_BEGIN) {
            self.counts = Some(json_of(interval)?);
        }
        Ok(())
    }

    fn header(&mut self, comment: &[u8]) -> Result<(), String> {
        let comment = String::from_utf8_lossy(comment);
        let value = |name: &str| comment.strip_prefix(name).map(|rest| rest.trim_start_matches(':').trim_start());
        if let Some(rest) = value("[StartTime") {
            self.is_header("StartTime")?;
            self.clock.start = Some(time_of("StartTime", rest)?);
        } else if let Some(rest) = value("[BaseTime") {
            self.is_header("BaseTime")?;
            self.clock.base = Some(time_of("BaseTime", rest)?);
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
        if self.parts.open.facts.is_some() {
            return Err("the facts of a second run: give each log as its own file".into());
        }
        self.parts.open.facts = Some(json_of(facts)?);
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
        let begin = self.clock.begin_of(interval.start)?;
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

    /// Whether its run has begun to measure.
    pub(crate) fn has_begun(&self) -> bool {
        self.parts.has_begun() || !self.entries.is_empty() || self.others.intervals > 0
    }

    /// Whether the log ends before its run did.
    pub(crate) fn is_partial(&self) -> bool {
        self.parts.has_begun() && !self.has_ended()
    }

    /// Whether the log has the end of its run.
    pub(crate) fn has_ended(&self) -> bool {
        self.parts.has_ended()
    }

    /// Whether it has several runs or steps.
    pub(crate) fn has_parts(&self) -> bool {
        self.parts.are_marked()
    }

    /// Whether one run or step has ended, and no other has begun to measure.
    pub(crate) fn is_between_parts(&self) -> bool {
        self.parts.are_between()
    }

    /// Whether each interval has a line of response latency.
    pub(crate) fn is_open_loop(&self) -> bool {
        let rows = self.parts.open.first_facts.iter().flat_map(|facts| facts.configuration.rows());
        rows.into_iter().any(|(name, _)| name == "rate")
    }

    pub(crate) fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The log, if it has latencies.
    pub(crate) fn log(self, name: &str) -> Result<Log, String> {
        let tags = self.others.named.join(", ");
        if self.tagged > 0 && self.untagged > 0 {
            return Err(format!(
                "{name}: {} intervals have the tag service and {} have no tag: which are the latencies of frames is not \
                 known",
                self.tagged, self.untagged
            ));
        }
        // A run that ended before the measured time has none.
        let is_ours = self.parts.has_begun() && self.others.intervals == 0;
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
        let log = Log { name: name.into(), instance: self.instance, skipped, ..Log::default() };
        Ok(self.parts.complete(log, self.entries))
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

/// Parses the JSON of one of our own comments, which ends with a bracket.
fn json_of<T: DeserializeOwned>(comment: &[u8]) -> Result<T, String> {
    let json = comment.strip_suffix(b"]").ok_or("the comment with the run's facts is cut short")?;
    // The message may quote the comment.
    let refusal =
        |error: serde_json::Error| format!("the run's facts cannot be read: {}", printable(&error.to_string()));
    serde_json::from_slice(json).map_err(refusal)
}

const COUNT_MAX: u64 = 1 << 48;
/// The most unread tags that are named.
const TAGS_NAMED: usize = 5;

#[cfg(test)]
mod tests;
