//! Flags from the environment, together with those that are typed.

use std::process::Command;

use crate::serve;
use crate::support::process::{frameloop, outcome};

fn with_variables(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = frameloop(args);
    command.envs(variables.iter().copied());
    command
}

#[test]
fn typed_flag_overrides_the_variables_that_it_conflicts_with() {
    let (_server, addr) = serve(&[]);
    let file = std::env::temp_dir().join(format!("frameloop-environment-{}", std::process::id()));
    std::fs::write(&file, "hi").unwrap();
    let file = file.to_str().unwrap();
    let load = ["load", &addr, "-c", "2", "--warmup", "0"];
    let brief = &[&load[..], &["-d", "50ms"]].concat();
    let cases: [(&[&str], (&str, &str)); 13] = [
        (&[brief, &["-r", "100"][..]].concat(), ("FRAMELOOP_CHURN", "false")),
        (&[brief, &["-r", "100"][..]].concat(), ("FRAMELOOP_CHURN", "true")),
        (&[brief, &["-r", "100"][..]].concat(), ("FRAMELOOP_DEPTH", "2")),
        (&[brief, &["--depth", "2"][..]].concat(), ("FRAMELOOP_RATE", "100")),
        (&[brief, &["--depth", "2"][..]].concat(), ("FRAMELOOP_CHURN", "1")),
        (&[brief, &["--churn"][..]].concat(), ("FRAMELOOP_RATE", "100")),
        (&[brief, &["--churn"][..]].concat(), ("FRAMELOOP_DEPTH", "2")),
        (&[&load[..], &["-n", "10"]].concat(), ("FRAMELOOP_DURATION", "1h")),
        (brief, ("FRAMELOOP_FRAMES", "1000000000")),
        (&["check", "--list", "--level", "basic"], ("FRAMELOOP_CASE", "one-frame")),
        (&["check", "--list", "--case", "one-frame"], ("FRAMELOOP_LEVEL", "basic")),
        (&["connect", &addr, "--hex"], ("FRAMELOOP_FILE", "/nonexistent")),
        (&["connect", &addr, "--file", file], ("FRAMELOOP_HEX", "true")),
    ];
    for (args, variable) in cases {
        let done = outcome(&mut with_variables(args, &[variable]));
        assert_eq!(done.code, Some(0), "{variable:?} {args:?}: {done:?}");
    }
    for (flag, variable) in [("-v", "FRAMELOOP_QUIET"), ("-q", "FRAMELOOP_VERBOSE")] {
        let done = outcome(&mut with_variables(&["check", "--list", flag], &[(variable, "1")]));
        assert_eq!(done.code, Some(0), "{variable} {flag}: {done:?}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn variable_that_is_empty_or_false_counts_as_unset() {
    let unset = outcome(&mut frameloop(&["check", "--list"])).stdout;
    for variable in ["FRAMELOOP_CASE", "FRAMELOOP_LEVEL", "FRAMELOOP_JSON", "FRAMELOOP_PID", "FRAMELOOP_VERBOSE"] {
        let done = outcome(&mut with_variables(&["check", "--list"], &[(variable, "")]));
        assert_eq!((done.code, &done.stdout), (Some(0), &unset), "{variable}");
    }
    for value in ["false", "0", "no", "off"] {
        for variable in ["FRAMELOOP_JSON", "FRAMELOOP_QUIET", "FRAMELOOP_VERBOSE"] {
            let done = outcome(&mut with_variables(&["check", "--list"], &[(variable, value)]));
            assert_eq!((done.code, &done.stdout), (Some(0), &unset), "{variable}={value}");
        }
    }
    let json = outcome(&mut with_variables(&["check", "--list"], &[("FRAMELOOP_JSON", "yes")]));
    assert!(json.stdout.starts_with('{'), "{json:?}");
}

#[test]
fn refused_value_of_a_variable_is_shown_with_the_variable() {
    let refused = outcome(&mut with_variables(&["serve"], &[("FRAMELOOP_MAX_PAYLOAD", "big")]));
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("'big'") && refused.stderr.contains("comes from FRAMELOOP_MAX_PAYLOAD"),
        "{refused:?}"
    );
    let typed = outcome(&mut with_variables(&["serve", "--max-payload", "big"], &[("FRAMELOOP_MAX_PAYLOAD", "1")]));
    assert!(typed.code == Some(2) && !typed.stderr.contains("FRAMELOOP_MAX_PAYLOAD"), "{typed:?}");
}

#[test]
fn old_name_of_a_flag_and_its_variable_still_count() {
    for subcommand in [["serve"].as_slice(), &["check", "127.0.0.1:1"]] {
        let typed = outcome(&mut frameloop(&[subcommand, &["--max-frame", "big"]].concat()));
        assert!(typed.code == Some(2) && typed.stderr.contains("'big' for '--max-payload"), "{typed:?}");
        let old = outcome(&mut with_variables(subcommand, &[("FRAMELOOP_MAX_FRAME", "big")]));
        assert!(old.code == Some(2) && old.stderr.contains("comes from FRAMELOOP_MAX_FRAME"), "{old:?}");
    }
}

#[test]
fn conflicting_variables_are_a_usage_error() {
    let pairs = [
        ("load", ("FRAMELOOP_RATE", "5k"), ("FRAMELOOP_CHURN", "true")),
        ("load", ("FRAMELOOP_FRAMES", "10"), ("FRAMELOOP_DURATION", "1s")),
        ("connect", ("FRAMELOOP_HEX", "1"), ("FRAMELOOP_FILE", "x")),
        ("serve", ("FRAMELOOP_QUIET", "1"), ("FRAMELOOP_VERBOSE", "1")),
    ];
    for (command, one, other) in pairs {
        let refused = outcome(&mut with_variables(&[command], &[one, other]));
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let line = refused.stderr.lines().next().unwrap();
        assert!(line.contains(one.0) && line.contains(other.0), "{line}");
    }
}

#[test]
fn wrong_flag_is_an_error_despite_the_environment() {
    for args in
        [&["load", "-r", "1", "--churn"][..], &["load", "--sing"], &["check", "--level", "none"], &["serve", "-r"]]
    {
        let without = outcome(&mut frameloop(args));
        let with = outcome(&mut with_variables(args, &[("FRAMELOOP_CHURN", "1"), ("FRAMELOOP_DEPTH", "2")]));
        assert_eq!((with.code, with.stderr), (Some(2), without.stderr), "{args:?}");
    }
    let help = outcome(&mut with_variables(&["load", "--help"], &[("FRAMELOOP_CHURN", "1"), ("FRAMELOOP_RATE", "1")]));
    assert!(help.code == Some(0) && help.stdout.contains("FRAMELOOP_CHURN"), "{help:?}");
}
