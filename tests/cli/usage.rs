//! Help, version, completions, manual pages, and what is answered to arguments that cannot work.

use crate::support::process::{frameloop, outcome};

/// Asserts that the arguments are refused as usage, and that stderr says so with `needles` in it.
#[track_caller]
fn assert_usage_error(args: &[&str], needles: &[&str]) {
    let refused = outcome(&mut frameloop(args));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{args:?}: {refused:?}");
    let first = refused.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: "), "{args:?}: {first:?}");
    for needle in needles {
        assert!(first.contains(needle), "{args:?}: no {needle:?} in {first:?}");
    }
}

#[test]
fn help_names_every_flag_variable_and_default() {
    let help = outcome(&mut frameloop(&["serve", "--help"]));
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    let flags = [
        ("--listen <ADDR>", "[default: 127.0.0.1:7007]"),
        ("--max-payload <SIZE>", "[default: 16MiB]"),
        ("--max-connections <COUNT>", "[default: as many as open files allow]"),
        ("--reclaim-idle <DURATION>", "[default: 30s]"),
        ("--max-per-ip <COUNT>", "[default: 0]"),
        ("--ip-prefix <V4,V6>", "[default: 32,64]"),
        ("--memory <SIZE>", "[default: a quarter of the smallest memory limit]"),
        ("--output-high-water <SIZE>", "[default: 64KiB]"),
        ("--idle-timeout <DURATION>", "[default: 0]"),
        ("--frame-timeout <DURATION>", "[default: 30s]"),
        ("--write-timeout <DURATION>", "[default: 30s]"),
        ("--write-rate-min <SIZE>", "[default: 4KiB]"),
        ("--drain-timeout <DURATION>", "[default: 5s]"),
        ("--backlog <COUNT>", "[default: 4096]"),
        ("--reuse-port", ""),
        ("--keepalive <DURATION>", "[default: 0]"),
        ("--turn-budget <SIZE>", "[default: 1MiB]"),
        ("--spin <DURATION>", "[default: 0]"),
        ("--stats-interval <DURATION>", "[default: 0]"),
    ];
    // One line, so that where the text was wrapped does not matter.
    let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for (flag, default) in flags {
        let start = text.find(flag).unwrap_or_else(|| panic!("no {flag}"));
        let name = flag.trim_start_matches('-').split(' ').next().unwrap();
        let env = format!("[env: FRAMELOOP_{}]", name.to_uppercase().replace('-', "_"));
        let end = start + text[start..].find(&env).unwrap_or_else(|| panic!("no {env}")) + env.len();
        let end = (end + 1 + default.len()).min(text.len());
        assert!(text[start..end].contains(default), "{flag}: no {default} in {:?}", &text[start..end]);
    }
    assert!(help.stdout.contains("Examples:"));
}

#[test]
fn help_does_not_show_what_the_environment_holds() {
    let help = outcome(frameloop(&["serve", "--help"]).env("FRAMELOOP_LISTEN", "192.0.2.7:7"));
    assert!(!help.stdout.contains("192.0.2.7"));
}

#[test]
fn version_is_the_name_and_the_number() {
    for flag in ["-V", "--version"] {
        let version = outcome(&mut frameloop(&[flag]));
        assert_eq!(version.code, Some(0));
        assert_eq!(version.stdout, format!("frameloop {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn without_a_command_the_help_is_printed_and_the_exit_code_is_2() {
    let bare = outcome(&mut frameloop(&[]));
    assert_eq!((bare.code, bare.stdout.as_str()), (Some(2), ""));
    assert!(bare.stderr.contains("Usage: frameloop"), "{bare:?}");
    assert_usage_error(&["sing"], &["sing"]);
    assert_usage_error(&["serve", "--sing"], &["--sing"]);
}

#[test]
fn a_size_that_cannot_work_is_shown_with_its_flag_and_the_form() {
    for flag in ["--max-payload", "--memory", "--output-high-water"] {
        assert_usage_error(&["serve", flag, "big"], &["'big'", flag, "64KiB"]);
    }
    assert_usage_error(&["serve", "--max-payload", "4GiB"], &["--max-payload", "4294967296", "4294967295"]);
}

#[test]
fn a_count_that_cannot_work_is_shown_with_its_flag_and_the_form() {
    for flag in ["--max-connections", "--max-per-ip", "--backlog"] {
        assert_usage_error(&["serve", flag, "many"], &["'many'", flag, "10k"]);
    }
}

#[test]
fn invalid_prefix_length_error_names_flag_and_form() {
    for value in ["32", "0,64", "32,129", "24,56,1"] {
        assert_usage_error(&["serve", "--ip-prefix", value], &[&format!("'{value}'"), "--ip-prefix", "32,64"]);
    }
}

#[test]
fn invalid_framing_error_names_flag_and_form() {
    for value in ["u31be", "delim:0g", "exact:0", "lines,header", ""] {
        for command in ["serve", "connect"] {
            assert_usage_error(
                &[command, "--framing", value],
                &[&format!("'{value}'"), "--framing", "is not a framing"],
            );
        }
    }
    assert_usage_error(&["serve", "--framing", "exact:9", "--max-payload", "8"], &["exact:9", "at most exact:8"]);
}

#[test]
fn invalid_duration_error_names_flag_and_form() {
    let flags = [
        "--idle-timeout",
        "--frame-timeout",
        "--write-timeout",
        "--drain-timeout",
        "--keepalive",
        "--spin",
        "--stats-interval",
    ];
    for flag in flags {
        assert_usage_error(&["serve", flag, "5"], &["'5'", flag, "250ms"]);
    }
    assert_usage_error(&["connect", "--timeout", "soon"], &["'soon'", "--timeout", "250ms"]);
}

#[test]
fn an_address_that_cannot_work_is_shown_with_its_form() {
    for addr in ["here", "127.0.0.1", "::1:7007", "127.0.0.1:70000", "unix:"] {
        assert_usage_error(&["serve", "--listen", addr], &["--listen", addr]);
        assert_usage_error(&["connect", addr], &[addr]);
    }
}

#[test]
fn conflicting_values_are_reported_by_their_flags() {
    assert_usage_error(
        &["serve", "--memory", "1MiB"],
        &[
            "--memory is 1048576 and must be at least 16846852, for a frame of --max-payload (16777216) and a chunk of 69632; \
             raise it or lower --max-payload",
        ],
    );
    assert_usage_error(&["serve", "--max-connections", "0"], &["--max-connections is 0 and must be at least 1"]);
    assert_usage_error(&["serve", "--output-high-water", "0"], &["--output-high-water is 0 and must be at least 1"]);
    assert_usage_error(&["serve", "--turn-budget", "0"], &["--turn-budget is 0 and must be at least 16384"]);
    assert_usage_error(&["serve", "--backlog", "0"], &["--backlog is 0 and must be at least 1"]);
    assert_usage_error(&["serve", "--keepalive", "1ms"], &["--keepalive is"]);
    assert_usage_error(&["serve", "-v", "-q"], &["--verbose", "--quiet"]);
    assert_usage_error(&["connect", "--hex", "--file", "x"], &["--hex", "--file"]);
}

#[test]
fn every_shell_has_a_completion_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = outcome(&mut frameloop(&["completions", shell]));
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(script.stdout.contains("max-payload"), "{shell}");
    }
    assert_usage_error(&["completions", "abacus"], &["abacus", "SHELL"]);
}

#[test]
fn the_manual_has_a_page_for_the_whole_and_for_each_command() {
    let whole = outcome(&mut frameloop(&["man"]));
    assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""));
    assert!(whole.stdout.contains(".TH frameloop 1"), "{}", whole.stdout);

    for command in ["serve", "connect", "report", "completions", "man"] {
        let page = outcome(&mut frameloop(&["man", command]));
        assert!(page.stdout.contains(&format!(".TH frameloop-{command} 1")), "{}", page.stdout);
    }
    let serve = outcome(frameloop(&["man", "serve"]).env("FRAMELOOP_LISTEN", "192.0.2.7:7")).stdout;
    assert!(serve.contains("FRAMELOOP_BACKLOG") && !serve.contains("192.0.2.7"), "{serve}");
    assert_usage_error(&["man", "sing"], &["sing"]);
}

#[test]
fn a_load_that_cannot_work_is_refused_with_what_is_allowed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (empty, lines) = (path("empty", b""), path("lines", b"a\n{b}\n"));
    let long = path("long", &[b'a'; 300]);
    let cases: [(&[&str], &str); 38] = [
        (&["-c", "0"], "connections is 0 and must be at least 1"),
        (&["--threads", "51"], "threads is 51 and must be at most the 50 connections"),
        (&["-s", "2..1"], "the smaller comes first"),
        (&["-s", "5GiB"], "5368709120 bytes are more than 4294967295"),
        (&["-d", "0"], "duration is 0 s and must be more"),
        (&["-n", "0"], "frames is 0 and must be at least 1"),
        (&["-n", "1", "-d", "1s"], "cannot be used with"),
        (&["-r", "0"], "a rate is more than 0"),
        (&["-r", "1", "--churn"], "cannot be used with"),
        (&["-r", "1", "--depth", "2"], "cannot be used with"),
        (&["--source", "localhost"], "expected addresses or networks such as 127.0.0.0/8"),
        (&["--expect", "p99"], "--expect"),
        (&["--framing", "u40be"], "\"u40be\" is not a framing: write u8, u16be"),
        (&["--framing", "exact:8"], "size is 64..64 and must be that of exact:8"),
        (&["--framing", "u8", "-s", "1KiB"], "size is 1024..1024 and must be from 0 to 255 with u8"),
        (&["--framing", "raw", "-s", "1..2"], "raw has no boundaries between responses"),
        (
            &["--framing", "raw", "--check", "any", "--depth", "2"],
            "raw has no boundaries between responses: without echo or len, give no depth, rate or replies",
        ),
        (
            &["--payload", "{rand:0}"],
            "--payload: {rand:0} is no placeholder: write {conn}, {seq}, {rand:N} with N from 1 to 4096",
        ),
        (&["--payload-hex", "0g"], "--payload-hex: expected two hexadecimal digits per byte, found 0g"),
        (&["--payload-hex", ""], "--payload-hex is empty: expected two hexadecimal digits per byte"),
        (&["--payload-file", "/there/is/none"], "--payload-file: /there/is/none: No such file or directory"),
        (&["--payload-file", "/"], "--payload-file: /: Is a directory"),
        (&["--payload-file", &empty], "it is empty, and must have at least a byte"),
        (&["--payload-lines", &lines], "--payload-lines, line 2: {b} is no placeholder"),
        (&["--payload", "a", "--payload-hex", "00"], "cannot be used with"),
        (&["--payload", "a", "-s", "3"], "cannot be used with"),
        (
            &["--payload", "a\nb", "--framing", "lines"],
            "payload 1 is not one frame of lines: its first frame ends after 2 of 4 bytes",
        ),
        (&["--framing", "u8,offset=1", "-s", "300"], "size is 300..300 and must be from 0 to 255 with u8,offset=1"),
        (
            &["--framing", "u8", "--payload-file", &long, "--check", "any"],
            "payload 1 is not one frame of u8: a payload of 300",
        ),
        (&["--framing", "u8", "-s", "9", "--hello", &long], "hello 1 is no frame of u8: a payload of 300 bytes"),
        (
            &["--framing", "delim:31", "--payload", "k{seq}"],
            "payload 1 is not one frame of delim:31: a placeholder may become",
        ),
        (&["--churn", "--replies", "0"], "churn waits for a response: replies is 0 and must be at least 1"),
        (&["--shuffle", "1"], "required arguments were not provided"),
        (&["--hello", "/there/is/none"], "--hello: /there/is/none: No such file or directory"),
        (&["--replies", "2"], "replies is 2, and the echo of a request is 1: give another check"),
        (&["--replies", "65536"], "65536"),
        (
            &["--check", "exactly"],
            "--check is \"exactly\": expected echo, len, any, equals:FILE, prefix:HEX or regex:RE",
        ),
        (&["--check", "regex:("], "--check regex: unclosed group"),
    ];
    for (args, needle) in cases {
        assert_usage_error(&[&["load"], args].concat(), &[needle]);
    }
}
