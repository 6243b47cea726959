//! What is said about an address that a command cannot use: the cause, the value and what to do, in one line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Process, frameloop, outcome};

const USAGE: i32 = 2;
const FAILURE: i32 = 1;

/// Asserts how a command ends, and that the first line of its stderr has `needles` in it.
#[track_caller]
fn assert_error(command: &mut Command, code: i32, needles: &[&str]) {
    let ended = outcome(command);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let first = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(needles.iter().all(|needle| first.contains(needle)), "no {needles:?} in {first:?}, {ended:?}");
    if code == FAILURE {
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

/// A directory that is gone at the end of its test.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn addr(&self, name: &str) -> String {
        format!("unix:{}", self.0.path().join(name).display())
    }
}

#[test]
fn impossible_address_is_a_usage_error_everywhere() {
    let long = format!("unix:/tmp/{}", "a".repeat(200));
    let cases: [(&str, &[&str]); 4] = [
        (&long, &["a path of a Unix socket has at most 107 bytes", "this one has 205", "use a shorter one"]),
        ("[fe80::1]:7007", &["fe80::1 is a link-local address and needs its interface", "[fe80::1%eth0]:7007"]),
        ("[fe80::1%]:7007", &["[fe80::1%]:7007", "expected an address such as"]),
        ("unix:@", &["the abstract name behind unix:@ is empty", "expected one such as unix:@frameloop"]),
    ];
    for (addr, needles) in cases {
        assert_error(&mut frameloop(&["serve", "--listen", addr]), USAGE, needles);
        assert_error(&mut frameloop(&["connect", addr]), USAGE, needles);
        assert_error(&mut frameloop(&["load", addr, "-n", "1"]), USAGE, needles);
        assert_error(&mut frameloop(&["check", addr]), USAGE, needles);
    }
    assert_error(
        &mut frameloop(&["serve", "--listen", "[::ffff:127.0.0.1]:0"]),
        USAGE,
        &["--listen", "[::ffff:127.0.0.1]:0", "an IPv4-mapped IPv6 address cannot be listened on: use 127.0.0.1:0"],
    );
}

#[test]
fn unknown_zone_error_lists_the_interfaces() {
    let addr = "[fe80::1%no-such]:7007";
    let needles = ["cannot resolve [fe80::1%no-such]:7007: this machine has no interface no-such: it has ", "lo"];
    assert_error(&mut frameloop(&["serve", "--listen", addr]), FAILURE, &needles);
    assert_error(&mut frameloop(&["connect", addr]), FAILURE, &needles);
    assert_error(&mut frameloop(&["load", addr, "-n", "1"]), FAILURE, &needles);
    assert_error(&mut frameloop(&["check", addr]), FAILURE, &needles);
}

#[test]
fn a_zone_by_name_is_listened_on_and_connected_to() {
    let server = Process::start(&mut frameloop(&["serve", "--listen", "[::1%lo]:0"]));
    let addr = server.listening_on();
    let port = addr.rsplit(':').next().unwrap();
    let called =
        crate::support::process::outcome_with_input(&mut frameloop(&["connect", &format!("[::1%lo]:{port}")]), b"hi\n");
    assert_eq!((called.code, called.stdout.as_str()), (Some(0), "hi\n"), "{called:?}");
}

#[test]
fn socket_file_is_reported_as_live_or_left_behind() {
    let directory = Directory::new();
    let addr = directory.addr("a.sock");
    let serve = || frameloop(&["serve", "--listen", &addr]);
    let first = Process::start(&mut serve());
    first.listening_on();
    let what = format!("cannot listen on {addr}: ");
    assert_error(&mut serve(), FAILURE, &[&what, "another server listens on it: stop that, or use another path"]);

    first.signal("KILL");
    first.outcome();
    assert_error(&mut serve(), FAILURE, &[&what, "nothing listens on it", "remove it (rm "]);
    let connect = format!("cannot connect to {addr}: nothing listens on it, its server has ended");
    assert_error(&mut frameloop(&["connect", &addr]), FAILURE, &[&connect]);

    fs::remove_file(directory.0.path().join("a.sock")).unwrap();
    assert_error(&mut frameloop(&["connect", &addr]), FAILURE, &["there is no such file: start the server"]);
    let missing = directory.addr("no/a.sock");
    for command in [&["serve", "--listen", &missing][..], &["connect", &missing]] {
        assert_error(&mut frameloop(command), FAILURE, &["/no does not exist"]);
    }
}

#[test]
fn a_load_names_what_is_wrong_with_a_unix_path() {
    let directory = Directory::new();
    fs::write(directory.0.path().join("file"), "").unwrap();
    for name in ["a.sock", "no/a.sock", "file/a.sock"] {
        let ended = outcome(&mut frameloop(&["load", &directory.addr(name), "-n", "1", "-c", "1"]));
        let text = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("there is no such socket file"), "{name}: {ended:?}");
    }
}

/// As a user that may not write to a directory of another's: root may write everywhere, so it takes another user.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_without_permission_is_named() {
    let directory = Directory::new();
    let binary = directory.0.path().join("frameloop");
    fs::copy(env!("CARGO_BIN_EXE_frameloop"), &binary).unwrap();
    fs::set_permissions(directory.0.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let command = |args: &[&str]| {
        let mut command = Command::new(if is_root { "setpriv".as_ref() } else { binary.as_os_str() });
        if is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
        }
        command.args(args);
        command
    };
    let addr = directory.addr("a.sock");
    let dir = directory.0.path().display().to_string();
    let needles = [&format!("cannot listen on {addr}: this user may not create files in {dir}"), "permissions"];
    assert_error(&mut command(&["serve", "--listen", &addr]), FAILURE, &needles);

    // What another user serves, and keeps to itself.
    fs::set_permissions(directory.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Process::start(&mut frameloop(&["serve", "--listen", &addr]));
    server.listening_on();
    fs::set_permissions(directory.0.path().join("a.sock"), fs::Permissions::from_mode(0o500)).unwrap();
    let needles = [&format!("cannot connect to {addr}: this user may not connect to it"), "write permission"];
    assert_error(&mut command(&["connect", &addr]), FAILURE, &needles);
    let needles = [&format!("cannot listen on {addr}: "), "it is a socket that this user may not connect to"];
    assert_error(&mut command(&["serve", "--listen", &addr]), FAILURE, &needles);
}
