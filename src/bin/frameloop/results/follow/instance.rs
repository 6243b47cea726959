//! A generator that is followed: what it has logged, and whether it still does.

use std::time::{Duration, Instant, SystemTime};

use crate::results::hlog::input::Budget;
use crate::results::hlog::line::Unit;
use crate::results::hlog::log::{INSTANCE_BEGIN, Log, STAGE_BEGIN};
use crate::results::hlog::read::Reader;
use crate::results::model::Series;

/// A generator that is followed.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    /// Its stream.
    pub(super) source: usize,
    /// Its lines are marked, and come also while it has no interval to report.
    is_marked: bool,
    reader: Reader,
    budget: Budget,
    pub(super) last_line: Instant,
    /// What it did last, of a generator that has not begun to measure.
    stage: Option<String>,
    /// Its name was taken twice, in words.
    pub(super) begun_twice: Option<String>,
    /// Its further lines are left out.
    pub(super) is_left_out: bool,
    /// Another one had its name before.
    pub(super) is_duplicate: bool,
    /// The first line that could not be read.
    damage: Option<String>,
    /// Its stream ended, and its log did not.
    pub(super) is_cut: bool,
    pub(super) is_silent: bool,
    /// The times without a line, in words.
    pub(super) silences: Vec<String>,
    /// The last second that it has reported.
    pub(super) last_second: Option<i64>,
    pub(super) is_late: bool,
}

/// What a line was.
#[derive(Debug, PartialEq)]
pub(super) enum Taken {
    /// A line of latencies that users of the server see, and whether it is the last one of its interval.
    Interval {
        is_last: bool,
    },
    Other,
    /// The first line of a generator that began before.
    SecondBegin,
}

/// Why the figures of a generator are not all that it has measured.
pub(super) struct Lack {
    pub(super) why: String,
    /// The result states it anyway, because the log does.
    pub(super) is_stated: bool,
}

impl Lack {
    fn of(why: String) -> Self {
        Self { why, is_stated: false }
    }
}

impl Instance {
    pub(super) fn new(name: String, source: usize, is_marked: bool, unit: Option<Unit>, now: Instant) -> Self {
        Self {
            name,
            source,
            is_marked,
            reader: Reader::of(unit),
            budget: Budget::default(),
            last_line: now,
            stage: None,
            begun_twice: None,
            is_left_out: false,
            is_duplicate: false,
            damage: None,
            is_cut: false,
            is_silent: false,
            silences: Vec::new(),
            last_second: None,
            is_late: false,
        }
    }

    /// Takes a line without its mark.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Taken, String> {
        if self.reader.instance().is_some() && self.is_marked && comment(line, INSTANCE_BEGIN).is_some() {
            return Ok(Taken::SecondBegin);
        }
        if let Some(stage) = comment(line, STAGE_BEGIN) {
            self.stage = serde_json::from_slice(stage).ok();
        }
        self.budget.credit(line.len());
        let before = self.reader.entries().len();
        self.reader.take(line, &mut self.budget)?;
        let Some(entry) = self.reader.entries().get(before) else { return Ok(Taken::Other) };
        let is_last = match entry.series {
            Series::Connect => return Ok(Taken::Other),
            Series::Service => !self.reader.is_open_loop(),
            Series::Response => true,
        };
        Ok(Taken::Interval { is_last })
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Notes a line that could not be read. Returns whether it is the first.
    pub(super) fn note_damage(&mut self, error: String) -> bool {
        let is_first = self.damage.is_none();
        self.damage.get_or_insert(error);
        is_first
    }

    /// Whether it has said anything; the lines without a mark in a stream may be none at all.
    pub(super) fn has_come(&self) -> bool {
        self.is_marked || self.reader.has_begun() || self.reader.instance().is_some()
    }

    /// Whether further lines of it are to come.
    pub(super) fn is_running(&self) -> bool {
        self.has_come() && !self.reader.has_ended() && !self.is_cut && !self.is_left_out
    }

    /// Whether an interval is under way or has been reported.
    pub(super) fn measures(&self) -> bool {
        let is_measuring = self.reader.has_begun() && !self.reader.is_between_parts();
        is_measuring || self.stage.as_deref() == Some("measuring")
    }

    /// How long it may have no line while others have.
    pub(super) fn patience(&self) -> Duration {
        if self.is_marked { SILENT_AFTER } else { UNMARKED_SILENT_AFTER }
    }

    /// When its last interval ended, in words.
    pub(super) fn last_seen(&self) -> String {
        let ended = self.reader.entries().last().map(|entry| entry.begin + entry.length);
        ended.map_or_else(
            || "it has reported no interval".into(),
            |ended| format!("its last interval ended at {}", time(ended)),
        )
    }

    /// What its figures lack; `None` if they are all that it has measured. A generator that runs is not complete either.
    pub(super) fn lack(&self) -> Option<Lack> {
        if let Some(why) = &self.begun_twice {
            return Some(Lack::of(why.clone()));
        }
        if let Some(error) = &self.damage {
            return Some(Lack::of(format!("a line of it could not be read: {error}")));
        }
        match (self.reader.has_ended(), self.reader.has_begun()) {
            (true, _) => None,
            (false, true) if self.is_silent => Some(Lack::of(format!("it fell silent; {}", self.last_seen()))),
            (false, true) => {
                let why = format!("it ended without its final record; {}", self.last_seen());
                Some(Lack { why, is_stated: true })
            }
            (false, false) => {
                let stage = self.stage.as_ref().map_or_else(String::new, |stage| format!(" (it was {stage})"));
                Some(Lack::of(format!("it came, and measured nothing{stage}")))
            }
        }
    }

    /// Its log under its name; `None` if it has measured nothing.
    pub(super) fn log(self) -> Option<Result<Log, String>> {
        self.reader.has_begun().then(|| self.reader.log(&self.name))
    }
}

/// The JSON of one of our comments.
fn comment<'a>(line: &'a [u8], begin: &str) -> Option<&'a [u8]> {
    line.strip_prefix(b"#")?.strip_prefix(begin.as_bytes())?.strip_suffix(b"]")
}

/// A time of day, as in the summary.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
}

/// Five intervals of a second. A marked log has a line every two seconds at least.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(5);
/// A log without marks has no line while its run waits for missing replies, up to five seconds.
const UNMARKED_SILENT_AFTER: Duration = Duration::from_secs(10);
