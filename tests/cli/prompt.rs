//! `frameloop connect` on a terminal. The terminal is made by `script(1)`, in the form that Linux has.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::serve;
use crate::support::process::{Outcome, Process};

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
        let mut prompt = Self::run_before(command, &format!("connected to {addr}"))?;
        prompt.prompt = format!("{addr}> ");
        Some(prompt)
    }

    /// The same by a command that shows a text before anything is typed.
    fn run_before(command: &str, text: &str) -> Option<Self> {
        if Command::new("script").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("skipped: there is no script(1) to make a terminal with");
            return None;
        }
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", command, "/dev/null"]);
        script.env_remove("FRAMELOOP_TIMEOUT").env_remove("RUST_LOG").env("TERM", "xterm").stdin(Stdio::piped());
        let script = Process::start(&mut script);
        let before = script.stdout_up_to(text);
        Some(Self { script, prompt: String::new(), before })
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
    let (_server, addr) = serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    prompt.types("hello\r");
    prompt.shows("hello");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn a_line_is_edited_and_the_history_brings_it_back() {
    let (_server, addr) = serve(&[]);
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
    let (_server, addr) = serve(&[]);
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
    let (_server, addr) = serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "--hex") else { return };
    prompt.types("zz\r");
    prompt.shows("expected two hexadecimal digits per byte, found zz");
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
    let (_server, addr) = serve(&[]);
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

#[test]
fn lines_typed_ahead_and_pasted_are_frames_of_their_own() {
    let (_server, addr) = serve(&[]);
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    // Two lines and a half at once; the rest later.
    prompt.types("one\rtwo\rthr");
    prompt.shows("one");
    prompt.shows("two");
    prompt.types("ee\r");
    prompt.shows("three");
    // A paste, in brackets as a terminal puts them, with and without a newline at its end.
    prompt.types("\x1b[200~four\rfive\n\x1b[201~\r\x1b[200~six\nseven\x1b[201~");
    for line in ["four", "five"] {
        prompt.shows(line);
    }
    prompt.types("ty\r");
    for line in ["six", "seventy"] {
        prompt.shows(line);
    }
    // Each is in the history.
    prompt.types("\x1b[A\x1b[A\r");
    prompt.shows("six");
    prompt.types("\x1b[200~eight\nquit\nnine\x1b[201~\r");
    prompt.shows("eight");
    let ended = prompt.outcome();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stdout.contains("nine"), "{}", ended.stdout);
}

#[test]
fn lines_typed_before_it_is_connected_are_frames() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    // The last is Ctrl-D.
    for end in ["quit\r", "\x04"] {
        // The terminal is there, and the prompt is not, as long as the pipe gives nothing.
        let command = format!("sh -c 'echo ready; read line; exec {} connect {addr}'", env!("CARGO_BIN_EXE_frameloop"));
        let Some(mut prompt) = Prompt::run_before(&command, "ready") else { return };
        prompt.script.stdin().write_all(format!("go\rone\rtwo\r{end}").as_bytes()).unwrap();
        let mut stream = listener.accept().unwrap().0;
        for word in [b"one", b"two"] {
            let mut frame = [0; 7];
            stream.read_exact(&mut frame).unwrap();
            assert_eq!(frame[4..], *word);
            stream.write_all(&frame).unwrap();
        }
        assert_eq!(prompt.outcome().code, Some(0), "{end:?}");
    }
}

#[test]
fn unsolicited_frame_is_shown_above_the_prompt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let Some(mut prompt) = Prompt::open(&addr, "") else { return };
    let mut stream = listener.accept().unwrap().0;
    prompt.types("half ");
    prompt.script.stdout_up_to("half ");
    stream.write_all(b"\0\0\0\x04news").unwrap();
    prompt.script.stdout_up_to("unsolicited: news");
    prompt.script.stdin().write_all(b"a line\r").unwrap();
    let mut frame = [0; 15];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\0\0\0\x0bhalf a line");
    stream.write_all(b"\0\0\0\x05reply").unwrap();
    prompt.shows("reply");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn raw_bytes_are_shown_above_the_prompt_unmarked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let Some(mut prompt) = Prompt::open(&addr, "--framing raw") else { return };
    let mut stream = listener.accept().unwrap().0;
    prompt.types("half ");
    prompt.script.stdout_up_to("half ");
    stream.write_all(b"news").unwrap();
    let shown = prompt.script.stdout_up_to("news");
    assert!(!shown.contains("unsolicited"), "{shown}");
    prompt.script.stdin().write_all(b"a line\r").unwrap();
    let mut request = [0; 11];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"half a line");
    stream.write_all(b"reply").unwrap();
    prompt.shows("reply");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn line_that_is_not_one_frame_can_be_typed_again() {
    let (_server, addr) = serve(&["--framing", "exact:3"]);
    let Some(mut prompt) = Prompt::open(&addr, "--framing exact:3") else { return };
    prompt.types("four\r");
    prompt.shows("a payload of 4 bytes is more than one frame (--framing exact:3)");
    prompt.types("\r");
    prompt.types("one\r");
    prompt.shows("one");
    prompt.types("quit\r");
    assert_eq!(prompt.outcome().code, Some(0));
}

#[test]
fn lost_connection_at_prompt_restores_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let command = format!("sh -c '{} connect {addr}'; echo status $?; stty -a", env!("CARGO_BIN_EXE_frameloop"));
    let Some(mut prompt) = Prompt::run(&command, &addr) else { return };
    let stream = listener.accept().unwrap().0;
    prompt.types("half a line");
    prompt.script.stdout_up_to("half a line");
    drop(stream);
    let shown = prompt.outcome().stdout;
    assert!(shown.contains("error: the connection was lost: the server closed it"), "{shown}");
    assert!(shown.contains("status 1") && shown.contains(" icanon") && shown.contains(" echo "), "{shown}");
}
