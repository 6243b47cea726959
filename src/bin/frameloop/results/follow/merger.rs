//! Lines of several streams, to the generators that wrote them.
//!
//! Rule: no line is attributed by guess. A line without a generator's mark belongs to the stream that it came in, and what is no line of a
//! log is counted and reported once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::results::figures::{counted, duration};
use crate::results::follow::instance::{Instance, SILENT_AFTER, Taken};
use crate::results::follow::slots::{Row, Slots};
use crate::results::follow::source::{LINE_BYTES_MAX, Line};
use crate::results::hlog::line::{NO_LINE, Unit, quoted};
use crate::results::hlog::mark::{self, Kind};
use crate::results::instances::{joined, missing, segment};

/// The generators whose streams are followed.
pub(super) struct Merger {
    unit: Option<Unit>,
    pub(super) sources: Vec<Source>,
    pub(super) instances: Vec<Instance>,
    /// Generators by stream and mark; without a mark, the lines of a stream that have none.
    by_mark: HashMap<(usize, Option<String>), usize>,
    slots: Slots,
    /// When the first interval came, and the last line of any generator.
    measuring_since: Option<Instant>,
    last_line: Option<Instant>,
    has_reported_missing: bool,
    /// How many generators there should be: those that came, and the segments that these imply.
    pub(super) expected: usize,
    messages: Vec<String>,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Lines that are no lines of a log, and the first of them.
    others: u64,
    first_other: Option<String>,
    pub(super) failure: Option<String>,
}

impl Source {
    /// The lines that were left out, in words.
    pub(super) fn left_out(&self) -> Option<String> {
        let first = self.first_other.as_ref()?;
        let others = counted(self.others, "line");
        Some(format!("{}: {others} left out, of no log; the first: {first}", self.name))
    }

    /// Why no generator has come in it.
    pub(super) fn why_nothing(&self) -> String {
        let first = || self.first_other.as_ref().map(|first| format!("no line of a log, but {first}"));
        self.failure.clone().or_else(first).unwrap_or_else(|| "no line at all".into())
    }
}

impl Merger {
    pub(super) fn new(names: Vec<String>, unit: Option<Unit>) -> Self {
        let source = |name| Source { name, others: 0, first_other: None, failure: None };
        Self {
            unit,
            sources: names.into_iter().map(source).collect(),
            instances: Vec::new(),
            by_mark: HashMap::new(),
            slots: Slots::default(),
            measuring_since: None,
            last_line: None,
            has_reported_missing: false,
            expected: 0,
            messages: Vec::new(),
        }
    }

    /// A stream has a line.
    pub(super) fn line(&mut self, source: usize, line: &Line<'_>, now: Instant) {
        let (line, is_cut) = match line {
            Line::Whole(line) => (line.trim_ascii(), false),
            Line::Cut(line) => (line.trim_ascii(), true),
            Line::TooLong => return self.note_other(source, &format!("it has more than {LINE_BYTES_MAX} bytes")),
        };
        if line.is_empty() {
            return;
        }
        match mark::kind(line) {
            Kind::Head => {}
            Kind::Marked(name, plain) => match self.marked(source, name, now) {
                Some(at) => self.take(at, &plain, is_cut, now),
                None => self.note_other(source, &shown(line)),
            },
            Kind::Plain => self.plain(source, line, is_cut, now),
        }
    }

    /// The generator with this mark in this stream; `None` if there are too many.
    fn marked(&mut self, source: usize, name: &str, now: Instant) -> Option<usize> {
        if let Some(at) = self.by_mark.get(&(source, Some(name.to_owned()))) {
            return Some(*at);
        }
        if self.instances.len() >= INSTANCES_MAX {
            return None;
        }
        let at = self.add(Instance::new(name.to_owned(), source, true, self.unit, now), Some(name.to_owned()));
        self.on_come(at);
        Some(at)
    }

    fn add(&mut self, instance: Instance, mark: Option<String>) -> usize {
        self.by_mark.insert((instance.source, mark), self.instances.len());
        self.instances.push(instance);
        self.instances.len() - 1
    }

    /// A generator has said its name.
    fn on_come(&mut self, at: usize) {
        let name = self.instances[at].name.clone();
        if let Some(first_at) = self.instances[..at].iter().position(|first| first.name == name) {
            let first = self.instances[first_at].source;
            let (first, second) = (&self.sources[first].name, &self.sources[self.instances[at].source].name);
            let (message, why) = begun_twice(&name, &format!("in {first} and in {second}"));
            self.messages.push(message);
            // The two streams are distinct, so the first one goes on.
            self.instances[first_at].begun_twice.get_or_insert(why);
            let instance = &mut self.instances[at];
            (instance.is_left_out, instance.is_duplicate) = (true, true);
            return;
        }
        self.update_expected();
        let (come, expected) = (self.come().count(), self.expected);
        self.messages.push(format!("{name} has come: {come} of {expected}"));
    }

    /// Passes on a line without a mark.
    fn plain(&mut self, source: usize, line: &[u8], is_cut: bool, now: Instant) {
        let at = self.by_mark.get(&(source, None)).copied().unwrap_or_else(|| {
            let name = self.sources[source].name.clone();
            self.add(Instance::new(name, source, false, self.unit, now), None)
        });
        let instance = &mut self.instances[at];
        let (had_come, had_begun) = (instance.has_come(), instance.reader().has_begun());
        match instance.take(line) {
            Ok(taken) => self.note_taken(at, &taken, now),
            Err(error) if had_begun && (line.starts_with(b"#") || line.starts_with(b"Tag=")) => {
                self.note_damage(at, error, is_cut);
            }
            // A log that ends within a line.
            Err(_) if had_begun && is_cut => {}
            Err(error) => {
                let shown = if error == NO_LINE { shown(line) } else { error };
                self.note_other(source, &shown);
            }
        }
        let instance = &mut self.instances[at];
        if !had_come && instance.has_come() {
            instance.name = instance.reader().instance().unwrap_or(&instance.name).to_owned();
            self.on_come(at);
        }
    }

    /// Passes a line to its generator.
    fn take(&mut self, at: usize, line: &[u8], is_cut: bool, now: Instant) {
        let instance = &mut self.instances[at];
        if instance.is_left_out {
            return;
        }
        match instance.take(line) {
            Ok(taken) => self.note_taken(at, &taken, now),
            Err(error) => self.note_damage(at, error, is_cut),
        }
    }

    fn note_taken(&mut self, at: usize, taken: &Taken, now: Instant) {
        self.note_line(at, now);
        match taken {
            Taken::Interval { is_last } => self.note_interval(at, *is_last, now),
            Taken::Other => {}
            Taken::SecondBegin => {
                let instance = &mut self.instances[at];
                let (message, why) = begun_twice(&instance.name, "in one stream");
                (instance.begun_twice, instance.is_left_out) = (Some(why), true);
                self.messages.push(message);
            }
        }
    }

    fn note_damage(&mut self, at: usize, error: String, is_cut: bool) {
        let instance = &mut self.instances[at];
        // Of a line that is cut, its generator was killed while it wrote it, which is reported.
        if !is_cut && instance.note_damage(error.clone()) {
            self.messages.push(format!("{}: a line of it could not be read: {error}", instance.name));
        }
    }

    /// A generator has a line, so it is not silent.
    fn note_line(&mut self, at: usize, now: Instant) {
        let instance = &mut self.instances[at];
        if std::mem::take(&mut instance.is_silent) {
            let silence = format!("{} was silent for {}", instance.name, duration(now - instance.last_line));
            self.messages.push(format!("{} reports again after {}", instance.name, duration(now - instance.last_line)));
            instance.silences.push(silence);
        }
        instance.last_line = now;
        if instance.has_come() {
            self.last_line = Some(now);
        }
    }

    fn note_interval(&mut self, at: usize, is_last: bool, now: Instant) {
        self.measuring_since.get_or_insert(now);
        let instance = &mut self.instances[at];
        let Some(entry) = instance.reader().entries().last() else { return };
        match self.slots.add(at, entry) {
            Ok(second) if is_last => instance.last_second = Some(second),
            Ok(_) => {}
            // A run may begin in the second in which the one before has ended.
            Err(late) if instance.reader().has_parts() && late <= SECOND => {}
            Err(late) => {
                if !std::mem::replace(&mut instance.is_late, true) {
                    self.messages.push(format!(
                        "{}: its intervals come {} after those of the same time were shown, and count in the result only; check the \
                         machines' clocks (NTP), and that lines are passed on at once",
                        instance.name,
                        duration(late)
                    ));
                }
            }
        }
    }

    fn note_other(&mut self, source: usize, shown: &str) {
        let source = &mut self.sources[source];
        source.others += 1;
        if source.first_other.is_none() {
            source.first_other = Some(shown.to_owned());
            self.messages
                .push(format!("{}: lines that are not of a log are left out; the first: {shown}", source.name));
        }
    }

    /// A stream has ended, or cannot be read.
    pub(super) fn end(&mut self, source: usize, failure: Option<String>) {
        if let Some(error) = failure {
            let message = format!("cannot read {}: {error}", self.sources[source].name);
            self.sources[source].failure = Some(message);
        }
        for instance in self.instances.iter_mut().filter(|instance| instance.source == source) {
            if instance.is_running() {
                instance.is_cut = true;
                instance.is_silent = false;
                let lack = instance.lack().map(|lack| format!("{}: {}", instance.name, lack.why));
                self.messages.extend(lack);
            }
        }
    }

    /// Names the generators that have fallen silent, and those that have not come.
    pub(super) fn tick(&mut self, now: Instant) {
        let Some(last_line) = self.last_line else { return };
        for instance in self.instances.iter_mut().filter(|instance| instance.is_running() && !instance.is_silent) {
            // Where all are silent, it is the way to here that is.
            let silent_for = last_line.saturating_duration_since(instance.last_line);
            if silent_for >= instance.patience() {
                instance.is_silent = true;
                let (name, last_seen) = (&instance.name, instance.last_seen());
                let silent_for = duration(now - instance.last_line);
                self.messages.push(format!("{name} has fallen silent: no line for {silent_for}; {last_seen}"));
            }
        }
        let is_due = self.measuring_since.is_some_and(|since| now - since >= SILENT_AFTER);
        if is_due && !std::mem::replace(&mut self.has_reported_missing, is_due) {
            let missing = missing(self.come().map(|instance| instance.name.as_str()));
            if !missing.is_empty() {
                self.messages.push(format!("still to come, while others measure: {}", joined(&missing)));
            }
        }
    }

    /// The generators that have come, each name once.
    pub(super) fn come(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.has_come() && !instance.is_duplicate)
    }

    fn update_expected(&mut self) {
        let names = || self.come().map(|instance| instance.name.as_str());
        self.expected = missing(names()).len() + names().count();
    }

    /// Takes the next second that can be shown.
    pub(super) fn next_row(&mut self) -> Option<Row> {
        let running = self.instances.iter().filter(|instance| instance.is_running() && !instance.is_silent);
        // One that is connecting is not waited for.
        let seconds = running.filter(|instance| instance.measures());
        let seconds: Vec<i64> = seconds.map(|instance| instance.last_second.unwrap_or(i64::MIN)).collect();
        self.slots.next(seconds.into_iter(), self.expected)
    }

    pub(super) fn take_messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.messages)
    }

    /// Whether all generators in a stream have ended.
    pub(super) fn is_complete(&self, source: usize) -> bool {
        let mut of_source = self.instances.iter().filter(|instance| instance.source == source && instance.has_come());
        let has_one = of_source.clone().next().is_some();
        has_one && of_source.all(|instance| !instance.is_running())
    }

    /// Whether no generator has said anything for so long that nothing more is to come. `since` is when the first one was awaited, unless
    /// it may come at any time.
    pub(super) fn is_abandoned(&self, since: Option<Instant>, now: Instant) -> bool {
        self.last_line.or(since).is_some_and(|last| now - last >= ABANDONED_AFTER)
    }

    /// Names the generators that were given up.
    pub(super) fn abandon(&mut self) {
        for instance in self.instances.iter_mut().filter(|instance| instance.is_running()) {
            instance.is_silent = true;
        }
        self.messages
            .push(format!("no generator has said anything for {}: no more is waited for", duration(ABANDONED_AFTER)));
    }

    /// The generators by number and name.
    pub(super) fn sort(&mut self) {
        self.by_mark.clear();
        self.instances.sort_by_cached_key(|instance| (segment(&instance.name), instance.name.clone()));
    }
}

/// The line that is shown, and the reason in the result.
fn begun_twice(name: &str, place: &str) -> (String, String) {
    let why = format!(
        "it began twice, {place}: two generators have this name, or it was started again; what came after is left out"
    );
    (format!("{name}: {why}; give each generator a --segment of its own"), why)
}

fn shown(line: &[u8]) -> String {
    format!("`{}`", quoted(&String::from_utf8_lossy(line)))
}

const SECOND: Duration = Duration::from_secs(1);
/// More than any load has.
const INSTANCES_MAX: usize = 10_000;
/// Longer than any generator that runs says nothing.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(60);
