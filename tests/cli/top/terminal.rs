//! A pseudo-terminal that a program runs on, and what it shows.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use rustix::termios::tcsetwinsize;
use vt100::Parser;

use crate::support::process::{PATIENCE, Process};

/// A program on a terminal of its own, in a session of its own (`setsid(1)`).
pub(super) struct Terminal {
    _shell: Process,
    master: File,
    /// The program's end: the terminal stays while this is open.
    slave: OwnedFd,
    /// The settings before anything ran on it.
    pub(super) before: Termios,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

struct Shown {
    parser: Parser,
    /// Everything that was written.
    bytes: Vec<u8>,
    /// Whether nothing more is read for now.
    is_paused: bool,
}

impl Terminal {
    /// Starts `frameloop` with these arguments on a terminal of this size.
    pub(super) fn start(args: &[&str], columns: u16, rows: u16) -> Self {
        Self::start_with(args, columns, rows, &[("TERM", "xterm")])
    }

    /// The same with these variables.
    pub(super) fn start_with(args: &[&str], columns: u16, rows: u16, variables: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Only the shell inherits them, as its streams.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let before = tcgetattr(&pty.slave).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", SHELL, env!("CARGO_BIN_EXE_frameloop")]).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("INNER", INNER).envs(variables.iter().copied());
        let shell = Process::spawn(command.stdin(slave()).stdout(slave()).stderr(slave())).unwrap();
        let shown =
            Shown { parser: Parser::new(nonzero(rows), nonzero(columns), 0), bytes: Vec::new(), is_paused: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let (master, reader) = (File::from(pty.master.try_clone().unwrap()), File::from(pty.master));
        let theirs = Arc::clone(&shown);
        thread::spawn(move || read(reader, &theirs));
        Self { _shell: shell, master, slave: pty.slave, before, shown }
    }

    /// Sends a signal, named without `SIG`, to the program.
    #[track_caller]
    pub(super) fn signal(&self, name: &str) {
        kill(self.pid(), Signal::from_str(&format!("SIG{name}")).unwrap()).unwrap();
    }

    /// The process id of the program.
    #[track_caller]
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.number_behind("process "))
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size, as the user does: the kernel signals it to the program.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        self.shown.0.lock().unwrap().parser.screen_mut().set_size(nonzero(rows), nonzero(columns));
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Stops reading what the program writes, or continues.
    pub(super) fn pause(&self, is_paused: bool) {
        self.shown.0.lock().unwrap().is_paused = is_paused;
        self.shown.1.notify_all();
    }

    /// Whether it takes anything.
    pub(super) fn has_room(&self) -> bool {
        poll(&mut [PollFd::new(self.slave.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).unwrap() > 0
    }

    /// Waits until a screen has all these texts.
    #[track_caller]
    pub(super) fn shows(&self, texts: &[&str]) {
        self.shows_when(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)));
    }

    /// Waits until `is_so` holds for the text of the screen; `what` describes it.
    #[track_caller]
    pub(super) fn shows_when(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let shown = self.shown.0.lock().unwrap();
        let is_missing = |shown: &mut Shown| !is_so(&shown.parser.screen().contents());
        let (shown, timeout) = self.shown.1.wait_timeout_while(shown, PATIENCE, is_missing).unwrap();
        assert!(!timeout.timed_out(), "no {what} in:\n{}", shown.parser.screen().contents());
    }

    /// Waits until something written contains `bytes`.
    #[track_caller]
    pub(super) fn writes(&self, bytes: &[u8]) {
        let is_missing = |shown: &mut Shown| !shown.bytes.windows(bytes.len()).any(|window| window == bytes);
        let (shown, timeout) =
            self.shown.1.wait_timeout_while(self.shown.0.lock().unwrap(), PATIENCE, is_missing).unwrap();
        assert!(!timeout.timed_out(), "no {:?} in {:?}", bytes.escape_ascii(), shown.bytes.escape_ascii().to_string());
    }

    /// Everything that was written by now.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.shown.0.lock().unwrap().bytes.clone()
    }

    pub(super) fn is_on_alternate_screen(&self) -> bool {
        self.shown.0.lock().unwrap().parser.screen().alternate_screen()
    }

    pub(super) fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Waits for the end of the program; returns its exit code, as a shell has it.
    #[track_caller]
    pub(super) fn code(&self) -> i32 {
        self.number_behind("status ")
    }

    /// Waits for a line that begins with `text` and has a number behind it.
    #[track_caller]
    fn number_behind(&self, text: &str) -> i32 {
        let number = |shown: &Shown| -> Option<i32> {
            let written = String::from_utf8_lossy(&shown.bytes);
            let (number, _) = written.rsplit_once(text)?.1.split_once('\r')?;
            number.parse().ok()
        };
        let shown = self.shown.0.lock().unwrap();
        let (shown, _) = self.shown.1.wait_timeout_while(shown, PATIENCE, |shown| number(shown).is_none()).unwrap();
        let contents = || shown.parser.screen().contents();
        number(&shown).unwrap_or_else(|| panic!("no {text:?} and a number in:\n{}", contents()))
    }
}

/// A shell that stays when the program has ended: the end of a session would reset its terminal.
const SHELL: &str = r#"sh -c "$INNER" "$0" "$@"; echo "status $?"; read -r line"#;

/// Shows the process id that the program will have.
const INNER: &str = r#"echo "process $$"; exec "$0" "$@""#;

fn nonzero(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn read(mut reader: File, shown: &(Mutex<Shown>, Condvar)) {
    let mut piece = [0; 4096];
    loop {
        drop(shown.1.wait_while(shown.0.lock().unwrap(), |shown| shown.is_paused).unwrap());
        let len = reader.read(&mut piece).unwrap_or(0);
        let mut now = shown.0.lock().unwrap();
        now.parser.process(&piece[..len]);
        now.bytes.extend_from_slice(&piece[..len]);
        shown.1.notify_all();
        if len == 0 {
            return;
        }
    }
}
