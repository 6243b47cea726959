//! The styles of the view: without colors where they are not wanted.

use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    is_colored: bool,
}

impl Theme {
    pub(crate) fn new(is_colored: bool) -> Self {
        Self { is_colored }
    }

    /// The header, and the heads of tables.
    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Names of figures.
    pub(super) fn label(self) -> Style {
        self.color(Color::Cyan)
    }

    pub(super) fn hint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn alarm(self) -> Style {
        self.color(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn chart(self) -> Style {
        self.color(Color::Green)
    }

    fn color(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }
}
