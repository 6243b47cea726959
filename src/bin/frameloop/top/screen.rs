//! The terminal while the view has it: raw, on its alternate screen, and restored on every way out.

use std::io::{self, Write};
use std::time::Duration;
use std::{panic, process};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::{style, terminal as raw};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::{logging, terminal};

/// Enters the alternate screen, clears it, and hides the cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[H\x1b[2J\x1b[?25l";

/// Resets styles, shows the cursor, and leaves the alternate screen.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The size of a terminal that does not know it, such as a serial console.
const USUAL: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Output>>,
}

impl Screen {
    /// Takes the terminal over, with colors or without.
    pub(super) fn enter(is_colored: bool) -> io::Result<Self> {
        style::force_color_output(is_colored);
        terminal::keep(LEAVE);
        end_on_panic();
        raw::enable_raw_mode()?;
        terminal::write(ENTER)?;
        let viewport = Viewport::Fixed(area()?);
        let backend = CrosstermBackend::new(Output::default());
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        Ok(Self { terminal })
    }

    /// Draws what has changed; everything, if the size has changed.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let area = area()?;
        if self.terminal.get_frame().area() != area {
            self.terminal.resize(area)?;
        }
        self.terminal.draw(render).map(drop)
    }

    /// Has the next [`draw`](Self::draw) draw everything.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.terminal.resize(area()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        terminal::restore();
    }
}

fn area() -> io::Result<Rect> {
    let (width, height) = raw::size()?;
    let is_known = width > 0 && height > 0;
    Ok(if is_known { Rect { x: 0, y: 0, width, height } } else { USUAL })
}

/// A report on the alternate screen would vanish with it. The panic of any thread ends the process: without one of them, the
/// view would stand still.
fn end_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        terminal::restore();
        report(info);
        logging::finish(REPORT_PATIENCE);
        process::exit(PANICKED);
    }));
}

/// How long the end waits for the report to be written.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// The exit code of a program that has panicked.
const PANICKED: i32 = 101;

/// Collects what is drawn, and writes it at once.
#[derive(Debug, Default)]
struct Output(Vec<u8>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = terminal::write(&self.0);
        self.0.clear();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::File;
    use std::io::Read;
    use std::process::Command;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    const CHILD: &str = "FRAMELOOP_TEST_PANIC_ON_SCREEN";

    /// Does nothing, except as a process that the test below starts.
    #[test]
    fn child_panics_on_the_screen() {
        if env::var_os(CHILD).is_some() {
            let _screen = Screen::enter(false).unwrap();
            panic!("on the alternate screen");
        }
    }

    #[test]
    fn panic_restores_the_terminal_before_its_report() {
        let pty = openpty(None, None).unwrap();
        // Other tests start processes at the same time.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let before = tcgetattr(&pty.slave).unwrap();
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "top::screen::tests::child_panics_on_the_screen", "--nocapture"]).env(CHILD, "1");
        let slave = || pty.slave.try_clone().unwrap();
        let status = child.stdin(slave()).stdout(slave()).stderr(slave()).status().unwrap();
        assert_eq!((status.code(), tcgetattr(&pty.slave).unwrap() == before), (Some(PANICKED), true));
        drop((child, pty.slave));
        let (mut shown, mut master) = (Vec::new(), File::from(pty.master));
        // Without its other end, a terminal is at its end, which is an error.
        let _ = master.read_to_end(&mut shown);
        let shown = String::from_utf8(shown).unwrap();
        let (screen, report) = shown.split_once(str::from_utf8(LEAVE).unwrap()).unwrap();
        assert!(
            screen.contains(str::from_utf8(ENTER).unwrap()) && report.contains("on the alternate screen"),
            "{shown}"
        );
    }
}
