//! The cases, to choose from.

use serde::Serialize;

use crate::check::case::{Case, Level};
use crate::failure::Failure;
use crate::output;
use crate::page::{BOLD, Color, Page, styled};

/// Prints the cases.
pub(crate) fn show(cases: &[Case], as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::line(&serde_json::to_string(&List { cases }).map_err(Failure::run)?);
    }
    output::bytes(Color::of(&std::io::stdout()).apply(text(cases)).as_bytes())
}

fn text(cases: &[Case]) -> String {
    let mut page = Page::default();
    for level in Level::ALL {
        let mut of_level = cases.iter().filter(|case| case.level == level).peekable();
        if of_level.peek().is_some() {
            page.line(&format!("{}: {}", styled(BOLD, level.name()), level.subject()));
            page.line("");
        }
        for case in of_level {
            page.line(&format!("  {}", styled(BOLD, case.name)));
            page.wrapped("      ", case.does);
            page.wrapped("      ", &format!("why: {}", case.why));
            page.line(&format!("      read: docs/study/{}", case.chapter));
            page.line("");
        }
    }
    page.text
}

#[derive(Serialize)]
struct List<'a> {
    cases: &'a [Case],
}
