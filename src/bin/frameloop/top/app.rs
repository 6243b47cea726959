//! What the view shows: the last answer, where the user is in it, and what to ask for next.

use std::time::Duration;

use crate::top::ask::{Answer, Ask, Content, Order};
use crate::top::model::{Conn, Run};

/// The state of the view.
#[derive(Debug, Default)]
pub(super) struct App {
    /// The endpoint, as it was typed.
    pub(super) name: String,
    pub(super) answer: Answer,
    /// Why the last request failed.
    pub(super) fault: Option<String>,
    /// The time from one request to the next.
    pub(super) interval: Duration,
    /// How long ago the last answer arrived.
    pub(super) silence: Duration,
    pub(super) order: Order,
    pub(super) filter: String,
    /// Whether keys are characters of the filter.
    pub(super) is_typing: bool,
    /// The selected row, and the id in it.
    pub(super) at: usize,
    pub(super) selected: Option<String>,
    pub(super) detail: Option<Detail>,
    pub(super) shows_help: bool,
    /// The last progress of a load.
    pub(super) run: Option<Run>,
}

/// The connection that is shown in detail.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) id: String,
    /// What the server said of it last.
    pub(super) conn: Option<Conn>,
    pub(super) fate: Fate,
    /// How many of the newest events are scrolled away.
    pub(super) scroll: usize,
}

/// What has become of that connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server has not answered yet.
    Unknown,
    Known,
    /// The server does not know the id, or not any more.
    Stale,
    /// The server has restarted: the id may name another connection now.
    Restarted,
}

impl App {
    /// The view of an endpoint that is asked every `interval`, and has answered for the first time.
    pub(super) fn new(name: String, interval: Duration, answer: Answer) -> Self {
        let mut app = Self { name, interval, answer, ..Self::default() };
        app.reselect();
        app
    }

    /// What to ask the server for.
    pub(super) fn ask(&self) -> Ask {
        let is_open = |detail: &&Detail| matches!(detail.fate, Fate::Unknown | Fate::Known);
        Ask { order: self.order, detail: self.detail.as_ref().filter(is_open).map(|detail| detail.id.clone()) }
    }

    /// The largest holders that the filter lets through.
    pub(super) fn rows(&self) -> Vec<&Conn> {
        let Content::Serve(connections) = &self.answer.content else { return Vec::new() };
        let filter = self.filter.to_lowercase();
        let is_wanted = |conn: &&Conn| {
            let texts = [Some(&conn.id), Some(&conn.peer), Some(&conn.state), conn.paused_by.as_ref()];
            filter.is_empty() || texts.iter().flatten().any(|text| text.as_str().to_lowercase().contains(&filter))
        };
        connections.top.iter().flatten().filter(is_wanted).collect()
    }

    /// Takes what the server has answered, or why it has not.
    pub(super) fn on_answer(&mut self, answer: Result<Answer, String>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.fault = Some(fault),
        };
        let (before, now) = (&self.answer.info, &answer.info);
        let has_restarted = before.pid != now.pid || now.uptime < before.uptime;
        if let Some(detail) = &mut self.detail {
            detail.on_answer(&answer, has_restarted);
        }
        if has_restarted {
            self.run = None;
        }
        (self.answer, self.fault, self.silence) = (answer, None, Duration::ZERO);
        self.reselect();
    }

    /// Selects the row at `at`, or the last one.
    pub(super) fn select(&mut self, at: usize) {
        let rows = self.rows();
        let at = at.min(rows.len().saturating_sub(1));
        let selected = rows.get(at).map(|conn| conn.id.to_string());
        (self.at, self.selected) = (at, selected);
    }

    /// Selects the same id as before, wherever it is now; without it, the row where it was.
    pub(super) fn reselect(&mut self) {
        let same = |conn: &&Conn| Some(conn.id.as_str()) == self.selected.as_deref();
        let at = self.rows().iter().position(same).unwrap_or(self.at);
        self.select(at);
    }
}

impl Detail {
    pub(super) fn new(id: String, conn: Option<Conn>) -> Self {
        Self { id, conn, fate: Fate::Unknown, scroll: 0 }
    }

    fn on_answer(&mut self, answer: &Answer, has_restarted: bool) {
        if has_restarted {
            self.fate = Fate::Restarted;
        }
        if self.fate == Fate::Restarted || answer.ask.detail.as_ref() != Some(&self.id) {
            return;
        }
        match &answer.detail {
            Some(Some(conn)) => (self.conn, self.fate) = (Some(conn.clone()), Fate::Known),
            Some(None) => self.fate = Fate::Stale,
            None => {}
        }
    }

    pub(super) fn events_len(&self) -> usize {
        self.conn.as_ref().and_then(|conn| conn.events.as_ref()).map_or(0, Vec::len)
    }
}
