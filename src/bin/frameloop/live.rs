//! The progress of a load run on stderr: on a terminal a line that is updated, else a line every few seconds.
//!
//! Rule: the line fits the present width of the terminal, with whole figures, and counts everything once.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use console::Term;
use frameloop::load::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::logging;
use crate::results::figures::{count, duration, latency};

/// Shows progress from its own thread, so that a stopped terminal or reader does not stop the load.
pub(crate) struct Live {
    /// Its capacity is 1: progress that is not shown in time is dropped.
    progress: Option<SyncSender<Progress>>,
    ended: Receiver<()>,
}

/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait until the terminal is restored.
const PATIENCE: Duration = Duration::from_secs(1);

impl Live {
    pub(crate) fn start() -> Result<Self, Failure> {
        let (progress, shown) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel();
        let showing = thread::Builder::new().name("live".into()).spawn(move || {
            let mut display = Display::new();
            shown.iter().for_each(|progress| display.show(&progress));
            display.end();
            drop(end);
        });
        showing.map_err(|error| Failure::run(format_args!("cannot start a thread: {error}")))?;
        Ok(Self { progress: Some(progress), ended })
    }

    pub(crate) fn show(&self, progress: &Progress) {
        if let Some(sender) = &self.progress {
            let _ = sender.try_send(progress.clone());
        }
    }

    /// Restores the terminal.
    pub(crate) fn end(&mut self) {
        self.progress = None;
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

struct Display {
    bar: Option<ProgressBar>,
    /// When the next plain line is due.
    due: Instant,
}

impl Display {
    fn new() -> Self {
        Self { bar: bar(), due: Instant::now() + PLAIN_INTERVAL }
    }

    fn show(&mut self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(progress, columns()));
            return bar.tick();
        }
        let now = Instant::now();
        if now >= self.due {
            self.due = now + PLAIN_INTERVAL;
            logging::say(&line(progress, usize::MAX));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on stderr that is updated, if that is a terminal.
pub(crate) fn bar() -> Option<ProgressBar> {
    io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar
    })
}

/// The columns of that line: without the spinner, a blank, and the last column, where a terminal may begin another line.
pub(crate) fn columns() -> usize {
    usize::from(Term::stderr().size().1).saturating_sub(3)
}

/// A part of the line, and its rank: where the line is too long, the highest ranks are left out first.
pub(crate) type Part = (usize, String);

fn parts(progress: &Progress) -> Vec<Part> {
    let mut parts = vec![(0, progress.stage.name().to_owned()), (1, format!(" {}", duration(progress.elapsed)))];
    if let Some(left) = progress.left {
        parts.push((6, format!(", {} left", duration(left))));
    }
    let up = match progress.up == progress.asked {
        true => format!(" | {} up", count(progress.up)),
        false => format!(" | {} of {} up", count(progress.up), count(progress.asked)),
    };
    parts.push((5, up));
    if let Some(last) = &progress.last {
        let seconds = last.length.as_secs_f64().max(1e-9);
        parts.push((3, format!(" | {}/s", count((last.frames as f64 / seconds) as u64))));
        let latencies = if last.response.count() > 0 { &last.response } else { &last.service };
        let histogram = latencies.histogram();
        let quantiles = [(7, "p50", 0.5), (4, "p99", 0.99), (8, "max", 1.0)];
        for (rank, name, quantile) in quantiles.into_iter().filter(|_| !histogram.is_empty()) {
            parts.push((rank, format!(" {name} {}", latency(histogram.value_at_quantile(quantile) as f64))));
        }
    }
    let errors = progress.errors + progress.not_connected;
    if errors > 0 {
        parts.push((2, format!(" | {} errors", count(errors))));
    }
    parts
}

fn line(progress: &Progress, columns: usize) -> String {
    fitted(&parts(progress), columns)
}

/// The parts that fit into so many columns. They are whole, because a number that is cut is another number.
pub(crate) fn fitted(parts: &[Part], columns: usize) -> String {
    let len_up_to = |rank: usize| -> usize {
        parts.iter().filter(|(other, _)| *other <= rank).map(|(_, text)| text.chars().count()).sum()
    };
    let rank = (0..RANKS).rev().find(|rank| len_up_to(*rank) <= columns).unwrap_or_default();
    let line: String = parts.iter().filter(|(other, _)| *other <= rank).map(|(_, text)| text.as_str()).collect();
    // If not even the first part fits, its beginning.
    line.chars().take(columns).collect()
}

const RANKS: usize = 9;

#[cfg(test)]
mod tests {
    use frameloop::load::{Interval, Stage};

    use super::*;

    #[test]
    fn progress_line_shows_stage_time_and_connections() {
        let mut progress = Progress::default();
        progress.asked = 20_000;
        progress.up = 12_345;
        progress.elapsed = Duration::from_millis(1_500);
        assert_eq!(line(&progress, 80), "connecting 1.50 s | 12,345 of 20,000 up");
        progress.stage = Stage::Measuring;
        progress.up = 20_000;
        progress.left = Some(Duration::from_secs(8));
        progress.errors = 2;
        assert_eq!(line(&progress, 80), "measuring 1.50 s, 8.00 s left | 20,000 up | 2 errors");
    }

    #[test]
    fn line_in_any_width_has_whole_figures_and_keeps_what_matters() {
        let mut progress = Progress::default();
        progress.stage = Stage::Measuring;
        (progress.asked, progress.up) = (1_000_000, 999_999);
        progress.elapsed = Duration::from_millis(1_500);
        progress.left = Some(Duration::from_secs(8));
        (progress.errors, progress.not_connected) = (2, 1);
        let mut interval = Interval::default();
        interval.length = Duration::from_secs(1);
        interval.frames = 1_234_567;
        interval.service = [(97_700, 90), (4_630_000, 10)].into_iter().collect();
        progress.last = Some(interval);
        let whole = line(&progress, usize::MAX);
        assert_eq!(
            whole,
            "measuring 1.50 s, 8.00 s left | 999,999 of 1,000,000 up | 1,234,567/s p50 97.7 us p99 4.63 ms max 4.63 ms \
             | 3 errors"
        );
        let pieces = parts(&progress);
        for columns in 0..=whole.len() {
            let shown = line(&progress, columns);
            assert!(shown.len() <= columns, "{columns}: {shown}");
            if columns >= pieces[0].1.len() {
                let mut rest = shown.as_str();
                for (_, piece) in &pieces {
                    rest = rest.strip_prefix(piece.as_str()).unwrap_or(rest);
                }
                assert_eq!(rest, "", "{columns}: {shown}");
            }
        }
        assert_eq!(line(&progress, 17), "measuring 1.50 s");
        assert_eq!(line(&progress, 30), "measuring 1.50 s | 3 errors");
        assert_eq!(line(&progress, 60), "measuring 1.50 s | 1,234,567/s p99 4.63 ms | 3 errors");
        assert_eq!((line(&progress, 15), line(&progress, 5)), ("measuring".into(), "measu".into()));
    }
}
