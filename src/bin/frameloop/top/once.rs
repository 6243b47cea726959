//! A summary as text, printed once.

use std::time::{Duration, Instant};

use crate::address::Endpoint;
use crate::failure::Failure;
use crate::top::ask::{Answer, Content};
use crate::top::events::Events;
use crate::top::model::{Conn, Run};
use crate::top::view::holders;
use crate::top::view::lines::{self, LABEL_LEN};
use crate::{output, page};

/// Prints the totals, and the largest holders or the run.
pub(super) fn print(endpoint: &Endpoint, answer: Answer, timeout: Duration) -> Result<(), Failure> {
    let run = answer.info.is_load().then(|| progress(endpoint, timeout)).flatten();
    output::bytes(summary(&endpoint.to_string(), &answer, run.as_ref()).as_bytes())
}

/// The present progress of a load; `None` if it does not run.
fn progress(endpoint: &Endpoint, timeout: Duration) -> Option<Run> {
    let until = Instant::now() + timeout.min(RUN_PATIENCE);
    let mut events = Events::open(endpoint, timeout.min(RUN_PATIENCE)).ok()?;
    while Instant::now() < until {
        let (name, data) = events.next().ok()?;
        if name == "run" {
            return serde_json::from_str(&data).ok();
        }
    }
    None
}

/// How long to wait for the progress of a load, which is sent ten times per second.
const RUN_PATIENCE: Duration = Duration::from_secs(1);

fn summary(name: &str, answer: &Answer, run: Option<&Run>) -> String {
    let header: String = lines::header(name, &answer.info, false).into_iter().map(|(_, text)| text).collect();
    let mut text = format!("{}\n", header.trim_end());
    let mut add = |line: &lines::Line| {
        text += format!("{:<LABEL_LEN$}{}", line.label, line.figures(usize::MAX)).trim_end();
        text.push('\n');
    };
    if let Content::Load { status } = &answer.content {
        lines::progress(answer, status, run).iter().for_each(&mut add);
    }
    lines::totals(answer).iter().for_each(&mut add);
    if let Content::Serve(connections) = &answer.content {
        let conns: Vec<&Conn> = connections.top.iter().flatten().collect();
        for row in page::aligned(&holders::table(&conns), &[0; holders::COLUMNS.len()]) {
            text += row.trim_end();
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;

    #[test]
    fn summary_has_every_figure_and_a_row_for_each_holder() {
        let text = summary("127.0.0.1:9100", &fixture::serve(), None);
        let lines: Vec<&str> = text.lines().collect();
        let head = "frameloop 0.1.0 serve  127.0.0.1:9100  listening on 127.0.0.1:7007  up 1h 2m 3s  running";
        assert_eq!(lines[0], head);
        let connections =
            "connections 10,000 of 20,000  accepted 5/s  closed 1/s  open 9,990, half-closed 8, closing 2  paused 3";
        assert_eq!(lines[1], connections);
        assert_eq!(lines.len(), 10, "{text}");
        let row: Vec<&str> = lines[8].split_whitespace().collect();
        let expected = "3.17 Open 64 B 64.0 KiB 64.0 KiB 1.50 s 10.0 s backpressure 7 700 B 800 B 127.0.0.1:5000";
        assert_eq!(row.join(" "), expected);
    }

    #[test]
    fn summary_of_absurd_figures_has_no_panic() {
        for number in [-1e300, 0.0, 1e19, 1e300] {
            let text = summary("127.0.0.1:9100", &fixture::absurd(number), None);
            assert!(!text.contains('\x1b') && text.lines().count() > 100);
        }
    }

    #[test]
    fn summary_of_a_load_has_its_run() {
        let text = summary("127.0.0.1:9100", &fixture::load(), Some(&fixture::run()));
        assert!(text.contains("\nlatency     p50 100 us  p99 1.00 ms") && text.contains("wrong reply 2"), "{text}");
    }
}
