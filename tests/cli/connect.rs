//! `frameloop connect` without a terminal: lines, hexadecimal, files, and how it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::serve;
use crate::support::process::{Outcome, PATIENCE, Process, frameloop, outcome, outcome_with_input};

/// Runs `connect` with `args` against an echo server of its own.
fn echoed(args: &[&str], input: &[u8]) -> Outcome {
    let (_server, addr) = serve(&[]);
    outcome_with_input(&mut frameloop(&[&["connect", &addr], args].concat()), input)
}

#[track_caller]
fn assert_echoed(args: &[&str], input: &[u8], stdout: &str) {
    let echoed = echoed(args, input);
    assert_eq!((echoed.code, echoed.stdout.as_str(), echoed.stderr.as_str()), (Some(0), stdout, ""));
}

/// The address of a server that runs `serve` on its only connection.
pub(crate) fn server_that(act: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || act(listener.accept().unwrap().0));
    addr
}

#[track_caller]
pub(crate) fn assert_lost(lost: &Outcome, stderr: &str) {
    assert_eq!((lost.code, lost.stderr.as_str()), (Some(1), format!("error: {stderr}\n").as_str()));
}

#[test]
fn a_line_is_a_frame_and_a_reply_is_a_line() {
    assert_echoed(&[], b"hello\n\ngr\xc3\xbc\xc3\x9fe\tto you\nlast", "hello\n\ngrüße\tto you\nlast\n");
    assert_echoed(&[], b"", "");
}

#[test]
fn what_is_not_printable_is_escaped() {
    assert_echoed(&[], b"a\\b\nbell\x07\\\ncr\r\n\xff\n", "a\\b\nbell\\x07\\\\\ncr\\r\n\\xff\n");
}

#[test]
fn quit_and_exit_leave_before_the_rest_of_the_input() {
    assert_echoed(&[], b"one\nquit\ntwo\n", "one\n");
    assert_echoed(&["--hex"], b"6f6e65\nexit\n74776f\n", "6f6e65\n");
    assert_echoed(&[], b"quitter\n", "quitter\n");
}

#[test]
fn quit_word_may_end_with_crlf_and_stands_alone() {
    assert_echoed(&[], b"one\r\nquit\r\ntwo\r\n", "one\\r\n");
    assert_echoed(&["--hex"], b"6f\r\nexit\r\n6f\r\n", "6f\n");
    assert_echoed(&[], b"quit \n exit\nquit", "quit \n exit\n");
}

/// A frame as it is sent.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

#[track_caller]
fn assert_request(stream: &mut TcpStream, payload: &[u8]) {
    let mut request = vec![0; 4 + payload.len()];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(request, frame(payload));
}

#[test]
fn unsolicited_frame_is_marked_and_not_a_reply() {
    let addr = server_that(|mut stream| {
        stream.write_all(&frame(b"welcome")).unwrap();
        assert_request(&mut stream, b"one");
        stream
            .write_all(&[frame(b"ONE"), frame(b"news\n"), frame(b""), frame(&[b'x'; 5_000])[..9].to_vec()].concat())
            .unwrap();
        // This one has begun before the request, and ends after it.
        assert_request(&mut stream, b"two");
        stream.write_all(&[&[b'x'; 4_995], frame(b"TWO").as_slice(), &frame(b"bye")].concat()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut connect = Process::start(frameloop(&["connect", &addr]).stdin(Stdio::piped()));
    assert_eq!(connect.stderr_line_with("unsolicited"), "unsolicited: welcome");
    connect.stdin().write_all(b"one\n").unwrap();
    assert_eq!(connect.stdout_line(), "ONE");
    assert_eq!(connect.stderr_line_with("unsolicited"), r"unsolicited: news\n");
    assert_eq!(connect.stderr_line_with("unsolicited"), "unsolicited: ");
    connect.stdin().write_all(b"two\n").unwrap();
    assert_eq!(connect.stdout_line(), "TWO");
    assert_eq!(connect.stderr_line_with("unsolicited"), format!("unsolicited: {}... (5000 bytes)", "x".repeat(4_096)));
    assert_eq!(connect.stderr_line_with("unsolicited"), "unsolicited: bye");
    connect.close_stdin();
    let ended = connect.outcome();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn unsolicited_frames_are_shown_before_next_line() {
    let addr = server_that(|mut stream| {
        for number in 0..50 {
            assert_request(&mut stream, format!("{number}").as_bytes());
            let reply = frame(format!("reply {number}").as_bytes());
            stream.write_all(&[reply, frame(b"news"), frame(b"more")].concat()).unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let lines: String = (0..50).map(|number| format!("{number}\n")).collect();
    let done = outcome_with_input(&mut frameloop(&["connect", &addr]), lines.as_bytes());
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.stdout, (0..50).map(|number| format!("reply {number}\n")).collect::<String>());
    assert_eq!(done.stderr, "unsolicited: news\nunsolicited: more\n".repeat(50));
}

#[test]
fn server_that_sends_forever_is_left_after_timeout() {
    for input in [b"".as_slice(), b"hi\n"] {
        let addr = server_that(|mut stream| while stream.write_all(&frame(b"news").repeat(1_000)).is_ok() {});
        let begun = Instant::now();
        let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--timeout", "200ms"]), input);
        assert!(begun.elapsed() < PATIENCE / 2);
        assert_eq!(done.code, Some(i32::from(!input.is_empty())), "{input:?}");
        let complaint = "error: the server has sent unsolicited frames for 200ms without a pause: no reply could be told from them\n";
        assert_eq!(done.stderr.ends_with(complaint), !input.is_empty());
    }
}

/// Runs a command whose stdout is read here, and asserts that its memory is bounded. Returns how much came, and all of it
/// added up.
#[cfg(target_os = "linux")]
fn read_in_bounded_memory(command: &mut Command, expected_len: usize) -> (usize, u64) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut process = Process::start_onto(writer, command);
    // The last clones of the pipe's end are in the command.
    command.stdout(Stdio::null());
    process.close_stdin();
    let (mut len, mut sum, mut peak) = (0, 0_u64, None);
    let mut chunk = vec![0; 64 << 10];
    loop {
        // There is more than the pipe holds, so it runs still.
        if len + (1 << 20) > expected_len && peak.is_none() {
            peak = Some(process.proc_status().vmhwm.unwrap() >> 10);
        }
        match reader.read(&mut chunk).unwrap() {
            0 => break,
            read => {
                sum += chunk[..read].iter().map(|byte| u64::from(*byte)).sum::<u64>();
                len += read;
            }
        }
    }
    let ended = process.outcome();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(peak.unwrap() <= 24, "{peak:?} MiB");
    (len, sum)
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_reply_is_shown_in_bounded_memory() {
    const LEN: usize = 16 << 20;
    let head = u32::try_from(LEN).unwrap().to_be_bytes();
    for (args, shown, request_len, head, tail) in [
        (&[][..], r"\x00", 4, &head[..], ""),
        (&["--hex"], "00", 4, &head, ""),
        (&["--framing", "lines"], r"\x00", 1, b"", "\n"),
    ] {
        let head = head.to_vec();
        let addr = server_that(move |mut stream| {
            stream.read_exact(&mut vec![0; request_len]).unwrap();
            stream.write_all(&head).unwrap();
            stream.write_all(&[0; LEN]).unwrap();
            stream.write_all(tail.as_bytes()).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let path = env::temp_dir().join(format!("frameloop-cli-{}-line", std::process::id()));
        fs::write(&path, b"\n").unwrap();
        let mut command = frameloop(&[&["connect", &addr], args].concat());
        let (len, sum) = read_in_bounded_memory(command.stdin(fs::File::open(&path).unwrap()), shown.len() * LEN);
        fs::remove_file(&path).unwrap();
        let sum_of_one: u64 = shown.bytes().map(u64::from).sum();
        assert_eq!((len, sum), (shown.len() * LEN + 1, sum_of_one * LEN as u64 + u64::from(b'\n')));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn long_file_is_streamed_in_bounded_memory() {
    let path = env::temp_dir().join(format!("frameloop-cli-{}-long-file", std::process::id()));
    let bytes: Vec<u8> = (0..64 << 20).map(|at: u32| (at % 251) as u8).collect();
    let sum = bytes.iter().map(|byte| u64::from(*byte)).sum();
    fs::write(&path, &bytes).unwrap();
    // Sends back what it has, and reads no more until that is taken.
    let echo = |mut stream: TcpStream| {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut chunk) {
            stream.write_all(&chunk[..len]).unwrap();
        }
    };
    // A file whose length is known, and a pipe.
    for (from_pipe, framing) in [(false, "u32be"), (true, "u32be"), (false, "delim:ffff"), (true, "raw")] {
        let addr = server_that(echo);
        let file = if from_pipe { "/dev/stdin" } else { path.to_str().unwrap() };
        let mut command = frameloop(&["connect", &addr, "--framing", framing, "--file", file]);
        let mut cat = from_pipe.then(|| Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().unwrap());
        if let Some(cat) = &mut cat {
            command.stdin(cat.stdout.take().unwrap());
        }
        assert_eq!(read_in_bounded_memory(&mut command, bytes.len()), (bytes.len(), sum));
        let _ = cat.map(|mut cat| cat.wait());
    }
    fs::remove_file(&path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_length_is_not_what_it_says_is_sent_as_it_is() {
    let expected = fs::read("/proc/version").unwrap();
    let (_server, addr) = serve(&[]);
    let output = frameloop(&["connect", &addr, "--file", "/proc/version"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), expected));
}

#[test]
fn hexadecimal_is_read_and_printed() {
    assert_echoed(&["--hex"], b"00 FF\n\n71756974\n", "00ff\n\n71756974\n");
    let refused = echoed(&["--hex"], b"00\nxyz\n01\n");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), "00\n"));
    assert_eq!(refused.stderr, "error: line 2: expected two hexadecimal digits per byte, found xyz\n");
}

#[test]
fn a_file_is_one_frame_and_its_reply_is_raw() {
    let path = env::temp_dir().join(format!("frameloop-cli-{}-file", std::process::id()));
    let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    fs::write(&path, &bytes).unwrap();
    let (_server, addr) = serve(&[]);
    let output = frameloop(&["connect", &addr, "--file", path.to_str().unwrap()]).output().unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
    assert!(output.stdout == bytes, "{} bytes came back of {}", output.stdout.len(), bytes.len());
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_in_one_line() {
    let missing = outcome(&mut frameloop(&["connect", "127.0.0.1:1", "--file", "/nonexistent"]));
    assert_lost(&missing, "cannot send /nonexistent: No such file or directory (os error 2)");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_too_long_for_a_frame_is_not_read() {
    let path = env::temp_dir().join(format!("frameloop-cli-{}-long", std::process::id()));
    fs::File::create(&path).unwrap().set_len(1 << 32).unwrap();
    let refused = outcome(&mut frameloop(&["connect", "127.0.0.1:1", "--file", path.to_str().unwrap()]));
    fs::remove_file(&path).unwrap();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("4294967296 bytes") && refused.stderr.contains("4294967295"), "{refused:?}");
}

#[test]
fn a_frame_over_the_servers_limit_loses_the_connection() {
    let (_server, addr) = serve(&["--max-payload", "8"]);
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"short\nmuch too long\nshort\n");
    assert_eq!((lost.code, lost.stdout.as_str()), (Some(1), "short\n"));
    assert!(lost.stderr.starts_with("error: the connection was lost: "), "{lost:?}");
}

#[test]
fn a_server_that_closes_is_a_lost_connection() {
    let addr = server_that(|mut stream| {
        let mut frame = [0; 6];
        stream.read_exact(&mut frame).unwrap();
    });
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_lost(&lost, "the connection was lost: the server closed it");
}

#[test]
fn a_server_that_closes_inside_a_reply_is_a_lost_connection() {
    let addr = server_that(|mut stream| {
        let mut frame = [0; 6];
        stream.read_exact(&mut frame).unwrap();
        stream.write_all(b"\0\0\0\x02h").unwrap();
    });
    let lost = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_lost(&lost, "the connection was lost: the server closed it 5 bytes into a reply with a payload of 2");
    assert_eq!(lost.stdout, "");
}

#[test]
fn a_reply_that_announces_too_much_is_refused() {
    let addr = server_that(|mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let refused = outcome_with_input(&mut frameloop(&["connect", &addr]), b"hi\n");
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("exceeds the limit of 1073741824 (looks like SSH)"), "{refused:?}");
}

#[test]
fn a_reply_that_does_not_come_is_a_failure_after_the_timeout() {
    let addr = server_that(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let timeout = outcome_with_input(&mut frameloop(&["connect", &addr, "--timeout", "50ms"]), b"hi\n");
    assert_lost(&timeout, "no reply within 50ms");

    let addr = server_that(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut command = frameloop(&["connect", &addr]);
    let timeout = outcome_with_input(command.env("FRAMELOOP_TIMEOUT", "20ms"), b"hi\n");
    assert_lost(&timeout, "no reply within 20ms");
}

#[test]
fn refused_connect_is_an_error_in_one_line() {
    let refused = outcome(&mut frameloop(&["connect", "127.0.0.1:1"]));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.starts_with("error: cannot connect to 127.0.0.1:1: "), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");

    let missing = outcome(&mut frameloop(&["connect", "unix:/nonexistent.sock"]));
    let expected =
        "cannot connect to unix:/nonexistent.sock: there is no such file: start the server, or correct the path";
    assert_lost(&missing, expected);

    // RFC 6761: no name below .invalid resolves.
    let unknown = outcome(&mut frameloop(&["connect", "nowhere.invalid:7007"]));
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.starts_with("error: cannot resolve nowhere.invalid:7007: "), "{unknown:?}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (_server, addr) = serve(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut process = Process::start_onto(writer, frameloop(&["connect", &addr]).stdin(Stdio::piped()));
    process.stdin().write_all(b"hello\n").unwrap();
    let ended = process.outcome();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

/// Sends the first bytes, and then others one at a time, until the client is gone.
fn drip(mut stream: TcpStream, first: &[u8], pause: Duration) {
    let mut is_there = stream.write_all(first).is_ok();
    while is_there {
        thread::sleep(pause);
        is_there = stream.write_all(&[0]).is_ok();
    }
}

#[test]
fn server_that_drips_ends_it_after_the_timeout() {
    let pause = Duration::from_millis(20);
    // A reply of which something comes all the time, a frame that began before the request, and a header.
    let reply = server_that(move |mut stream| {
        assert_request(&mut stream, b"hi");
        drip(stream, &[0, 0, 255, 255], pause);
    });
    let unsolicited = server_that(move |stream| drip(stream, &[0, 0, 255, 255], pause));
    let header = server_that(move |mut stream| {
        assert_request(&mut stream, b"hi");
        drip(stream, &[], Duration::from_millis(150));
    });
    for (addr, expected) in [
        (
            reply,
            "bytes of the reply are missing, and less than 4096 came in 200ms: a slow server needs a longer --timeout",
        ),
        (unsolicited, "no reply within 200ms"),
        (header, "no reply within 200ms"),
    ] {
        let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--timeout", "200ms"]), b"hi\n");
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.trim_end().ends_with(expected), "{done:?}");
    }
}

#[test]
fn reply_that_comes_slowly_and_steadily_is_waited_for() {
    let (parts, part) = (12, [b'x'; 4 << 10]);
    let addr = server_that(move |mut stream| {
        assert_request(&mut stream, b"hi");
        stream.write_all(&(parts * part.len() as u32).to_be_bytes()).unwrap();
        for _ in 0..parts {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&part).unwrap();
        }
        let _ = stream.read(&mut [0]);
    });
    let done = outcome_with_input(&mut frameloop(&["connect", &addr, "--timeout", "1s"]), b"hi\n");
    assert_eq!((done.code, done.stdout.len()), (Some(0), parts as usize * part.len() + 1), "{}", done.stderr);
}

#[test]
fn server_that_accepts_nothing_ends_it_after_the_timeout() {
    // The system connects for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for args in [&["--timeout", "50ms"][..], &["--timeout", "50ms", "--file", env!("CARGO_BIN_EXE_frameloop")]] {
        let done = outcome_with_input(&mut frameloop(&[&["connect", &addr], args].concat()), b"hi\n");
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{}", done.stderr);
        assert!(done.stderr.contains("within 50ms"), "{}", done.stderr);
    }
}
