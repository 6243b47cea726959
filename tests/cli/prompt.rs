//! `frameloop connect` on a terminal. The terminal is made by `script(1)`, in the form that Linux has.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{Outcome, Process};

/// A prompt on a terminal of its own.
struct Prompt {
    script: Process,
    prompt: String,
    /// What was shown before it was connected.
    before: String,
}

impl Prompt {
    /// `None`, and a line about it, where there is no `script`.
    fn open(addr: &str, args: &str) -> Option<Self> {
        Self::run(&format!("{} connect {addr} {args}", env!("CARGO_BIN_EXE_frameloop")), addr)
    }

    /// The same by a command of the shell that connects to `addr`.
    fn run(command: &str, addr: &str) -> Option<Self> {
        if Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("skipped: there is no script(1) to make a terminal with");
            return None;
        }
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", command, "/dev/null"]);
        script.env_remove("FRAMELOOP_TIMEOUT").env_remove("RUST_LOG").env("TERM", "xterm").stdin(Stdio::piped());
        let script = Process::start(&mut script);
        let before = script.stdout_up_to(&format!("connected to {addr}"));
        Some(Self { script, prompt: format!("{addr}> "), before })
    }

    /// Types, once the prompt is there: before, the keys would go to a terminal that is not the editor's yet.
    fn types(&mut self, keys: &str) {
        self.script.stdout_up_to(&self.prompt);
        self.script.stdin().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a line that, without the terminal's control sequences, is `text`.
    fn shows(&self, text: &str) {
        while self.script.stdout_line().trim_end_matches('\r') != text {}
    }

    fn outcome(self) -> Outcome {
        self.script.outcome()
    }
}

#[test]
fn a_line_is_answered_and_quit_leaves() {
    let (_server, addr) = Process::serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    prompt.types("hello\r");
    prompt.shows("hello");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn a_line_is_edited_and_the_history_brings_it_back() {
    let (_server, addr) = Process::serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    prompt.types("hallo\x02\x02\x02\x02\x04e\r");
    prompt.shows("hello");
    prompt.types("\x1b[A\r");
    prompt.shows("hello");
    prompt.types("exit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn the_end_of_input_and_an_interrupt_leave() {
    let (_server, addr) = Process::serve(&[]);
    for key in ["\x04", "\x03"] {
        let Some(mut prompt) = Prompt::open(&addr, "") else { return };
        prompt.types("hello\r");
        prompt.shows("hello");
        prompt.types(key);
        assert_eq!(prompt.outcome().code, Some(0), "{key:?}");
    }
}

#[test]
fn a_line_that_is_not_hexadecimal_can_be_typed_again() {
    let (_server, addr) = Process::serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "--hex") else { return };
    prompt.types("zz\r");
    prompt.shows("expected two hexadecimal digits a byte, and found zz");
    prompt.types("00FF\r");
    prompt.shows("00ff");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn a_lost_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    let mut stream = listener.accept().unwrap().0;
    prompt.types("hi\r");
    stream.read_exact(&mut [0; 6]).unwrap();
    drop(stream);
    prompt.script.stdout_up_to("error: the connection was lost: ");
    assert_eq!(prompt.outcome().code, Some(1));
}

#[test]
fn signal_at_the_prompt_leaves_the_terminal_as_it_was() {
    let (_server, addr) = Process::serve(&[]);
    let command = format!(
        "sh -c 'echo process $$; exec {} connect {addr}'; echo status $?; stty -a",
        env!("CARGO_BIN_EXE_frameloop")
    );
    let Some(mut prompt) = Prompt::run(&command, &addr) else { return };
    let pid: i32 = prompt.before.split("process ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    prompt.types("half a line");
    prompt.script.stdout_up_to("half a line");
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let shown = prompt.outcome().stdout;
    assert!(shown.contains("status 143"), "{shown}");
    assert!(shown.contains(" icanon") && shown.contains(" echo "), "{shown}");
}
