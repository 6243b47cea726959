//! What a key does to the view.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::top::app::{App, Detail};
use crate::top::ask::{Order, is_id};

/// What has to follow a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Ask the server at once: something else is shown.
    Ask,
    /// Draw everything again.
    Redraw,
    Quit,
}

/// Rows of a page up or down.
const PAGE: usize = 10;

/// The longest filter.
const FILTER_LEN_MAX: usize = 60;

pub(super) fn on_key(app: &mut App, key: KeyEvent) -> Effect {
    if key.kind == KeyEventKind::Release {
        return Effect::None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Effect::Quit,
            KeyCode::Char('l') => Effect::Redraw,
            _ => Effect::None,
        };
    }
    if app.is_typing {
        return on_typed(app, key.code);
    }
    match key.code {
        KeyCode::Char('q') => Effect::Quit,
        KeyCode::Char('?') => {
            app.shows_help = !app.shows_help;
            Effect::None
        }
        _ if app.shows_help => {
            app.shows_help = false;
            Effect::None
        }
        code if app.detail.is_some() => on_detail(app, code),
        code => on_list(app, code),
    }
}

/// A key while the filter is typed.
fn on_typed(app: &mut App, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char(c) if app.filter.chars().count() < FILTER_LEN_MAX => app.filter.push(c),
        KeyCode::Backspace => {
            app.filter.pop();
        }
        KeyCode::Esc => {
            app.filter.clear();
            app.is_typing = false;
        }
        KeyCode::Enter => {
            app.is_typing = false;
            // The id of a connection that is none of the largest.
            if app.rows().is_empty() && is_id(&app.filter) {
                return open(app, app.filter.clone());
            }
        }
        _ => {}
    }
    app.reselect();
    Effect::None
}

fn on_list(app: &mut App, code: KeyCode) -> Effect {
    match code {
        KeyCode::Char('b') => return sort(app, Order::Bytes),
        KeyCode::Char('a') => return sort(app, Order::Age),
        KeyCode::Char('i') => return sort(app, Order::Idle),
        KeyCode::Char('/') => app.is_typing = true,
        KeyCode::Esc => {
            app.filter.clear();
            app.reselect();
        }
        KeyCode::Enter => {
            let id = app.rows().get(app.at).map(|conn| conn.id.to_string());
            if let Some(id) = id.filter(|id| is_id(id)) {
                return open(app, id);
            }
        }
        code => {
            if let Some(at) = moved(app.at, code) {
                app.select(at);
            }
        }
    }
    Effect::None
}

fn on_detail(app: &mut App, code: KeyCode) -> Effect {
    let Some(detail) = &mut app.detail else { return Effect::None };
    match code {
        KeyCode::Esc | KeyCode::Backspace => {
            app.detail = None;
            return Effect::Ask;
        }
        code => {
            // Up is toward older events.
            let last = detail.events_len().saturating_sub(1);
            let from_oldest = last.saturating_sub(detail.scroll);
            if let Some(at) = moved(from_oldest, code) {
                detail.scroll = last.saturating_sub(at);
            }
        }
    }
    Effect::None
}

/// Where a key moves from row `at`.
fn moved(at: usize, code: KeyCode) -> Option<usize> {
    match code {
        KeyCode::Up | KeyCode::Char('k') => Some(at.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => Some(at + 1),
        KeyCode::PageUp => Some(at.saturating_sub(PAGE)),
        KeyCode::PageDown => Some(at + PAGE),
        KeyCode::Home | KeyCode::Char('g') => Some(0),
        KeyCode::End | KeyCode::Char('G') => Some(usize::MAX),
        _ => None,
    }
}

fn sort(app: &mut App, order: Order) -> Effect {
    app.order = order;
    app.select(0);
    Effect::Ask
}

fn open(app: &mut App, id: String) -> Effect {
    let conn = app.rows().into_iter().find(|conn| conn.id.as_str() == id).cloned();
    app.detail = Some(Detail::new(id, conn));
    Effect::Ask
}
