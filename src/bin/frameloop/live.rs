//! How a run goes, while it goes: a line that changes on a terminal, else a line every few seconds; on stderr.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use frameloop::load::{Progress, Stage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::logging;
use crate::results::figures::{count, duration, latency};

/// Shows progress, on a thread of its own: a terminal that is stopped, or a reader that is, must not stop the load.
pub(crate) struct Live {
    /// Room for one: what is not shown in time is old.
    progress: Option<SyncSender<Progress>>,
    ended: Receiver<()>,
}

/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How long the terminal may take to be left as it was.
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

    /// Leaves the terminal as it was.
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
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, due: Instant::now() + PLAIN_INTERVAL }
    }

    fn show(&mut self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(progress));
            return bar.tick();
        }
        let now = Instant::now();
        if now >= self.due {
            self.due = now + PLAIN_INTERVAL;
            logging::say(&line(progress));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let stage = match progress.stage {
        Stage::Connecting => "connecting",
        Stage::WarmingUp => "warming up",
        Stage::Measuring => "measuring",
        _ => "ending",
    };
    let mut line = format!("{stage} {}", duration(progress.elapsed));
    if let Some(left) = progress.left {
        line += &format!(", {} left", duration(left));
    }
    line += &match progress.up == progress.asked {
        true => format!(" | {} up", count(progress.up)),
        false => format!(" | {} of {} up", count(progress.up), count(progress.asked)),
    };
    if let Some(last) = &progress.last {
        let seconds = last.length.as_secs_f64().max(1e-9);
        line += &format!(" | {}/s", count((last.frames as f64 / seconds) as u64));
        let latencies = if last.response.count() > 0 { &last.response } else { &last.service };
        let histogram = latencies.histogram();
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            line += &format!(" {name} {}", latency(histogram.value_at_quantile(quantile) as f64));
        }
    }
    if progress.errors + progress.not_connected > 0 {
        line += &format!(" | {} errors", count(progress.errors + progress.not_connected));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_stage_the_time_and_who_is_up() {
        let mut progress = Progress::default();
        progress.asked = 20_000;
        progress.up = 12_345;
        progress.elapsed = Duration::from_millis(1_500);
        assert_eq!(line(&progress), "connecting 1.50 s | 12,345 of 20,000 up");
        progress.stage = Stage::Measuring;
        progress.up = 20_000;
        progress.left = Some(Duration::from_secs(8));
        progress.errors = 2;
        assert_eq!(line(&progress), "measuring 1.50 s, 8.00 s left | 20,000 up | 2 errors");
    }
}
