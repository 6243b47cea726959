//! docs/MESSAGES.md holds what the command line answers to input that cannot work, so that it can be read from top to bottom.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::support::process::outcome;

/// The cases by subject. Each is a shell command in a folder that holds `a.hlog`, `b.hlog`, `text` and `empty`;
/// $SERVER takes frames of at most 100 bytes, and nothing listens on $NONE.
const CASES: [(&str, &[&str]); 8] = [
    (
        "Every command",
        &[
            "frameloop sing",
            "frameloop serve --sing",
            "frameloop serve -q -v",
            "FRAMELOOP_MAX_PAYLOAD=big frameloop serve",
            "FRAMELOOP_RATE=5 FRAMELOOP_DEPTH=3 frameloop load $NONE",
            "frameloop man sing",
            "frameloop completions cmd",
            "frameloop man >/dev/full",
        ],
    ),
    (
        "Values",
        &[
            "frameloop serve --max-payload big",
            "frameloop serve --max-payload 4GiB",
            "frameloop serve --framing u31be",
            "frameloop serve --framing exact:9 --max-payload 8",
            "frameloop serve --max-connections many",
            "frameloop serve --max-connections 99999999999999999999999",
            "frameloop serve --idle-timeout 5",
            "frameloop serve --keepalive 1ms",
            "frameloop serve --ip-prefix 32,129",
            "frameloop load --size 4KiB..64B $NONE",
            "frameloop load --rate fast $NONE",
            "frameloop load --frames 0 $NONE",
            "frameloop load --expect p99 $NONE",
            "frameloop load --expect 'speed>5' $NONE",
            "frameloop load --expect 'p99<fast' $NONE",
            "frameloop load --source 127.0.0.0/40 $NONE",
            "frameloop load --source 10.0.0.1-10.0.0.0 $NONE",
            "frameloop check --level expert $NONE",
            "frameloop check --framing u31be $NONE",
            "frameloop check --case unknown $NONE",
        ],
    ),
    (
        "Addresses",
        &[
            "frameloop serve --listen here",
            "frameloop serve --listen 127.0.0.1",
            "frameloop serve --listen ::1:7007",
            "frameloop serve --listen 127.0.0.1:70000",
            "frameloop serve --listen unix:",
            "frameloop serve --listen unix:$(printf %0108d 0)",
            "frameloop serve --listen '[::ffff:127.0.0.1]:7007'",
            "frameloop serve --listen '[fe80::1]:7007'",
            "frameloop serve --listen 192.0.2.1:7007",
            "frameloop serve --listen $SERVER",
            "frameloop serve --listen unix:text",
            "frameloop serve --listen unix:absent/socket",
            "frameloop connect unix:absent",
            "frameloop connect unix:text",
            "frameloop connect $NONE </dev/null",
        ],
    ),
    (
        "`serve`",
        &[
            "frameloop serve --max-connections 0",
            "frameloop serve --memory 1MiB",
            "frameloop serve --output-high-water 0",
            "frameloop serve --turn-budget 1",
            "frameloop serve --backlog 0",
        ],
    ),
    (
        "`connect`",
        &[
            "printf '%0101d\\n' 0 | frameloop connect $SERVER",
            "echo 4g | frameloop connect --hex $SERVER",
            "frameloop connect --hex --file text $SERVER",
            "frameloop connect --file absent $SERVER",
            "frameloop connect --file . $SERVER",
            "frameloop connect --framing u31be $SERVER",
            "printf '%0256d\\n' 0 | frameloop connect --framing u8 $SERVER",
            "echo four | frameloop connect --framing exact:5 $SERVER",
            "echo a,b | frameloop connect --framing delim:2c $SERVER",
            "frameloop connect --framing lines --file text $SERVER",
        ],
    ),
    (
        "`load` and `check`",
        &[
            "frameloop load --connections 0 $NONE",
            "frameloop load --threads 51 $NONE",
            "frameloop load --rate 1 --churn $NONE",
            "frameloop load --rate 1 --depth 2 $NONE",
            "frameloop load --duration 1s --frames 5 $NONE",
            "frameloop load --source 127.0.0.2 unix:socket",
            "frameloop load --source ::1 $NONE",
            "frameloop load --source 192.0.2.1 $NONE",
            "frameloop load --frames 50 --hlog absent/out.hlog $NONE",
            "frameloop load --frames 50 --report text/out.html $NONE",
            "frameloop load --frames 50 $NONE",
            "frameloop load --repeat 0 $NONE",
            "frameloop check --pid 0 $NONE",
            "frameloop check --case echo-one $NONE",
            "frameloop check --framing exact:70000 $NONE",
            "frameloop check --framing u8,adjust=-300 $NONE",
        ],
    ),
    (
        "`report`",
        &[
            "frameloop report absent",
            "frameloop report .",
            "frameloop report empty",
            "frameloop report text",
            "printf '{\"format\": 3}' | frameloop report -",
            "frameloop report a.hlog a.hlog",
            "frameloop report a.hlog --baseline text",
            "frameloop report a.hlog --baseline empty",
            "printf '{\"format\": 9, \"program\": \"frameloop 9.0.0\"}' | frameloop report a.hlog --baseline -",
            "printf '{\"format\": 3, \"program\": \"frameloop 0.1.0\", ' | frameloop report a.hlog --baseline -",
            "printf '{\"format\": 1, \"program\": \"frameloop 0.1.0\", \"cases\": []}' | frameloop report a.hlog --baseline -",
            "printf '{\"status\": \"ok\"}' | frameloop report a.hlog --baseline -",
            "frameloop report a.hlog --html a.hlog",
            "frameloop report a.hlog --unit furlongs",
            "printf '#[Latencies in furlongs]\\nTag=service,1.0,1.0,1.0,x\\n' | frameloop report -",
            "printf 'Tag=service,1.0,1.0,1.0,x\\n' | frameloop report --unit us -",
            "printf 'Tag=service,soon,1.0,1.0,x\\n' | frameloop report --unit us -",
            "printf 'Tag=service,1.0,9e9,1.0,x\\n' | frameloop report --unit us -",
            "printf '\\037\\213' | frameloop report -",
            "frameloop report --follow absent",
            "gzip -kf text && frameloop report --follow text.gz",
            "frameloop report --follow - <text",
            "frameloop report --follow - </dev/null",
            "printf '#[frameloop@1/2 instance: {\"name\":\"1/2\"}]\\n' | frameloop report --follow -",
            "frameloop report --require majority a.hlog",
            "frameloop report --follow --require some a.hlog",
        ],
    ),
    (
        "`top`",
        &[
            "frameloop top $NONE",
            "frameloop top --once $NONE",
            "frameloop top --once unix:absent",
            "frameloop top --interval 1ms $NONE",
            "frameloop top --timeout 0 $NONE",
        ],
    ),
];

#[test]
fn messages_of_the_command_line_are_in_the_document() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folder = tempfile::tempdir().unwrap();
    for (name, from) in [("a.hlog", "machine-a.hlog"), ("b.hlog", "machine-b.hlog")] {
        fs::copy(data.join(from), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("text"), "a line\n").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let (_server, server) = crate::serve(&["--max-payload", "100"]);
    // A port that is bound and not listened on refuses, and cannot be taken by others meanwhile.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let none = bound.local_addr().unwrap().as_socket().unwrap().to_string();

    let binaries = Path::new(env!("CARGO_BIN_EXE_frameloop")).parent().unwrap();
    let mut section = String::new();
    for (subject, commands) in CASES {
        section += &format!("\n### {subject}\n\n```text\n");
        for command in commands {
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(&folder).stdin(Stdio::null());
            shell.env("PATH", env::join_paths([binaries, Path::new("/usr/bin"), Path::new("/bin")]).unwrap());
            let done = outcome(shell.env("SERVER", &server).env("NONE", &none));
            assert!(done.code.is_some_and(|code| code != 0), "{command}: {done:?}");
            let mut lines = done.stderr.lines().filter(|line| line.starts_with("error: "));
            let line = lines.next().unwrap_or_else(|| panic!("{command}: {done:?}"));
            let line = line.replace(&server, "$SERVER").replace(&none, "$NONE");
            section += &format!("$ {command}\n{line} (exit code {})\n", done.code.unwrap_or_default());
        }
        section += "```\n";
    }
    section.push('\n');
    crate::support::document::check("MESSAGES.md", "cli", &section);
}
