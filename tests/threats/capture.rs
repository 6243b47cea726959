//! The log of one test: of what is logged on its thread, while it wants it.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// A log line, as a reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) at: Instant,
    pub(crate) text: String,
}

thread_local! {
    static LINES: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

struct Capture;

impl Log for Capture {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        LINES.with_borrow(Option::is_some)
    }

    fn log(&self, record: &Record<'_>) {
        let line = |lines: &mut Option<Vec<Line>>| {
            if let Some(lines) = lines {
                lines.push(Line { level: record.level(), at: Instant::now(), text: record.args().to_string() });
            }
        };
        LINES.with_borrow_mut(line);
    }

    fn flush(&self) {}
}

/// What is logged on this thread by `act`, at every level.
pub(crate) fn log_of(act: impl FnOnce()) -> Vec<Line> {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
    LINES.set(Some(Vec::new()));
    act();
    LINES.take().unwrap()
}

/// The sum of a value of each line that there is so far.
pub(crate) fn sum_so_far(value: impl Fn(&Line) -> u64) -> u64 {
    LINES.with_borrow(|lines| lines.iter().flatten().map(value).sum())
}
