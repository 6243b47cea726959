//! The keys, explained.

use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use crate::top::view::theme::Theme;

const KEYS: [(&str, &str); 9] = [
    ("q, Ctrl-C", "quit"),
    ("arrows, j, k", "select a connection; scroll its events"),
    ("PgUp, PgDn", "move by ten; Home, End or g, G to the ends"),
    ("Enter", "show the selected connection"),
    ("Esc", "go back; clear the filter"),
    ("b, a, i", "sort by bytes, age or idle time"),
    ("/", "filter by peer, id or state"),
    ("Ctrl-L", "draw everything again"),
    ("?", "show or leave this help"),
];

const NOTES: [&str; 2] = [
    "Rates are those of the last second. The table has the first 100",
    "connections; type / and an id to open any other.",
];

pub(super) fn page(theme: Theme) -> Paragraph<'static> {
    let keys = KEYS.iter().map(|(key, what)| format!("{key:<14}{what}"));
    let head = [Line::styled("keys", theme.head())];
    let lines = head.into_iter().chain(keys.map(Line::from)).chain(NOTES.iter().map(|note| Line::from(*note)));
    Paragraph::new(lines.collect::<Vec<_>>())
}
