//! The rungs of `examples/ladder` do what their documentation shows: its commands are run, and each rung passes what broke
//! the one before.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::{env, fs, thread};

use support::{Process, example};

/// The files of each rung, and its chapter.
const RUNGS: [(&str, &str); 8] = [
    ("one_client", "rung-1-one-client"),
    ("thread_per_client", "rung-2-thread-per-client"),
    ("busy_loop", "rung-3-busy-loop"),
    ("level_triggered", "rung-4-levels"),
    ("edge_triggered", "rung-5-edges"),
    ("framed", "rung-6-frames"),
    ("limited", "rung-7-limits"),
    ("library", "rung-8-library"),
];

#[test]
fn rung_1_answers_frames_and_a_silent_client_blocks_all() {
    climb(1);
}

#[test]
fn rung_2_runs_out_of_address_space() {
    climb(2);
}

#[test]
fn rung_3_uses_a_processor_while_all_clients_are_silent() {
    climb(3);
}

#[test]
fn rung_4_uses_a_processor_while_one_client_does_not_read() {
    climb(4);
}

#[test]
fn rung_5_sleeps_but_misreads_a_header_in_two_pieces() {
    climb(5);
}

#[test]
fn rung_6_collects_frames_without_limits() {
    climb(6);
}

#[test]
fn rung_7_limits_each_client_but_not_their_sum() {
    climb(7);
}

#[test]
fn rung_8_limits_the_sum() {
    climb(8);
}

#[test]
fn every_command_of_a_rung_is_in_its_chapter() {
    for (file, chapter) in RUNGS {
        let chapter = page(chapter);
        for command in console_lines(&documentation(file)).filter(|line| line.starts_with("$ ")) {
            assert!(console_lines(&chapter).any(|line| line == command), "{file}: {command}");
        }
    }
}

#[test]
fn every_excerpt_of_a_chapter_is_in_its_rung() {
    for (file, chapter) in RUNGS {
        let source = source(file);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let chapter = page(chapter);
        let mut count = 0;
        for block in chapter.split("```rust\n").skip(1) {
            let excerpt: Vec<&str> = block.split("```").next().unwrap().lines().map(str::trim).collect();
            assert!(lines.windows(excerpt.len()).any(|at| at == excerpt), "{file}: {excerpt:#?} is not there");
            count += 1;
        }
        assert!(count > 0, "{file}: its chapter shows nothing of it");
    }
}

#[test]
fn a_wrong_rung_or_address_is_reported_in_one_line() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "error: expected a rung from 1 to 8, and perhaps an address: ladder RUNG [ADDR]"),
        (
            &["1", "127.0.0.1:0", "more"],
            "error: expected a rung from 1 to 8, and perhaps an address: ladder RUNG [ADDR]",
        ),
        (&["9"], "error: the rung is 9 and must be 1 to 8"),
        (&["one"], "error: the rung is one and must be 1 to 8"),
        (&["1", "localhost"], "error: the address is localhost and must be like 127.0.0.1:7007"),
    ];
    for (args, line) in cases {
        let output = Command::new(example("ladder")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{line}\n"));
        assert_eq!(output.stdout, b"");
    }
}

/// Runs the commands that the rung's documentation shows. Those that break the rung run on the next rung too, under the
/// same limits. Each has a server of its own, and all run in parallel.
fn climb(rung: usize) {
    let scenes = scenes(&documentation(RUNGS[rung - 1].0));
    assert!(!scenes.is_empty());
    thread::scope(|scope| {
        for scene in &scenes {
            scope.spawn(|| play(rung, scene));
            if scene.must_fail() {
                scope.spawn(|| holds_on(rung + 1, scene));
            }
        }
    });
}

fn play(rung: usize, scene: &Scene) {
    let (code, output) = Server::start(rung, scene).run_all(scene);
    assert_eq!(code, Some(i32::from(scene.must_fail())), "rung {rung}: {}\n{output}", scene.command);
    if let Some(missing) = missing_line(&scene.shown, &output) {
        panic!("rung {rung}: {}: there is no line {missing:?} where it is shown in\n{output}", scene.command);
    }
}

fn holds_on(rung: usize, scene: &Scene) {
    let (code, output) = Server::start(rung, scene).run_all(scene);
    assert_eq!(code, Some(0), "rung {rung}: {}\n{output}", scene.command);
}

/// A rung on its own port, killed when it is dropped.
struct Server {
    process: Process,
    addr: String,
}

impl Server {
    fn start(rung: usize, scene: &Scene) -> Self {
        let mut command = Command::new(example("ladder"));
        let process = Process::start(command.args([&rung.to_string(), "127.0.0.1:0"]).envs(scene.variables.clone()));
        let addr = process.stdout_line_with("listening on ").strip_prefix("listening on ").unwrap().to_owned();
        Self { process, addr }
    }

    /// Runs the commands before a scene, and then its own. Returns the exit code and the output of the last.
    fn run_all(&self, scene: &Scene) -> (Option<i32>, String) {
        for command in &scene.before {
            let (code, output) = self.run(command);
            assert_eq!(code, Some(0), "{command}: {output}");
        }
        self.run(&scene.command)
    }

    /// Runs a command of the documentation against the port of this server.
    fn run(&self, command: &str) -> (Option<i32>, String) {
        let command = command
            .replace("127.0.0.1:7007", &self.addr)
            .replace("frameloop check", &format!("frameloop check {}", self.addr))
            .replace("\"$(pidof ladder)\"", &self.process.id().to_string());
        let binary = Path::new(env!("CARGO_BIN_EXE_frameloop")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), env::var("PATH").unwrap());
        let script = format!("exec 2>&1\n{command}");
        let output = Command::new("bash").args(["-c", &script]).env_clear().env("PATH", path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

/// A `frameloop` command of a documentation, and the output that is shown for it.
struct Scene {
    /// The environment variables with which the server starts.
    variables: Vec<(String, String)>,
    /// The commands since the start of the server that are not `frameloop`: limits.
    before: Vec<String>,
    command: String,
    shown: Vec<String>,
}

impl Scene {
    fn must_fail(&self) -> bool {
        self.shown.iter().any(|line| line.starts_with("error: "))
    }
}

/// The scenes in the `console` blocks of a text.
fn scenes(text: &str) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    let (mut variables, mut before) = (Vec::new(), Vec::new());
    for line in console_lines(text) {
        match line.strip_prefix("$ ") {
            Some(command) if command.contains("cargo run ") => {
                let words = command.split(' ').map_while(|word| word.split_once('='));
                variables = words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                before.clear();
            }
            Some(command) if !command.starts_with("frameloop ") => before.push(command.to_owned()),
            Some(command) => {
                let (variables, before) = (variables.clone(), before.clone());
                scenes.push(Scene { variables, before, command: command.to_owned(), shown: Vec::new() });
            }
            None if line.starts_with("listening on ") || line == "^C" => {}
            None => scenes.last_mut().expect("a line that a command prints").shown.push(line.to_owned()),
        }
    }
    scenes
}

fn console_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split("```console\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines)
}

/// The first shown line that is missing in the output, in this order.
fn missing_line<'a>(shown: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines();
    let mut shown = shown.iter().filter(|line| *line != "…");
    shown.find(|line| !lines.any(|came| is_like(line, came))).map(String::as_str)
}

/// Whether a line matches the shown one, in which `…` stands for any text and a number for any number.
fn is_like(shown: &str, came: &str) -> bool {
    let came = without_figures(came);
    let shown = without_figures(shown);
    let (first, parts) = shown.split_once('…').map_or((shown.as_str(), None), |(first, rest)| (first, Some(rest)));
    let Some(parts) = parts else { return came == first };
    let Some(mut rest) = came.strip_prefix(first) else { return false };
    let (middle, last) = parts.rsplit_once('…').unwrap_or(("", parts));
    for part in middle.split('…') {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Replaces each number with 0, each unit of time with s, and several blanks with one.
fn without_figures(line: &str) -> String {
    let words = line.split_ascii_whitespace().map(|word| {
        let is_unit = matches!(word, "us" | "ms" | "s");
        if is_unit { "s".to_owned() } else { without_digits(word) }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn without_digits(word: &str) -> String {
    let is_number =
        word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_number { "0".to_owned() } else { word.to_owned() }
}

/// The documentation at the top of a rung's file.
fn documentation(file: &str) -> String {
    let lines = source(file);
    let lines = lines.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).map(|line| format!("{line}\n")).collect()
}

fn source(file: &str) -> String {
    fs::read_to_string(root().join("examples/ladder").join(file).with_extension("rs")).unwrap()
}

fn page(chapter: &str) -> String {
    fs::read_to_string(root().join("docs/study").join(chapter).with_extension("md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
