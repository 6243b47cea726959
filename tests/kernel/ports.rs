//! A load generator that runs out of ports: fifty of them, in a network namespace of its own.

use std::process::{Command, Output};

use crate::skip;

/// `frameloop load` where there are so few ports, from one address to one destination. `None`, and the calling test is left
/// out, where there is no such place to be had.
#[track_caller]
fn load_with_few_ports(args: &str) -> Option<Output> {
    let script = format!(
        "ip link set lo up && echo 40000 40049 > /proc/sys/net/ipv4/ip_local_port_range && echo ready >&2 && \
         exec \"$0\" load --warmup 0 {args}"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script, env!("CARGO_BIN_EXE_frameloop")]);
    let refused = match command.output() {
        Ok(output) if String::from_utf8_lossy(&output.stderr).starts_with("ready\n") => return Some(output),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip(&format!("there is no network namespace to be had (root, unshare and iproute2 are needed): {refused}"));
    None
}

#[test]
fn generator_without_ports_names_the_limit_and_remedy() {
    let Some(output) = load_with_few_ports("-c 80 -n 200 --source 127.0.0.1") else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    // One line, whatever its width.
    let text = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("there are 50 from one address to one destination"), "{text}");
    assert!(text.contains("--source gives 1 addresses: give more"), "{text}");
    assert!(text.contains("frames 200"), "those that came up carry the load: {text}");
}

#[test]
fn with_several_sources_there_are_ports_for_all() {
    let Some(output) = load_with_few_ports("-c 80 -n 200 --source 127.0.0.0/8 --expect errors==0") else { return };
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn loopback_target_has_ports_for_all_without_a_flag() {
    // More connections than ports, and many more connections one after the other than ports.
    for args in ["-c 80 -n 200 --expect errors==0", "-c 10 -n 2000 --churn --expect errors==0"] {
        let Some(output) = load_with_few_ports(args) else { return };
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{args}: {stdout}");
        assert!(!stdout.contains("waited for a free port"), "{args}: {stdout}");
    }
}

#[test]
fn a_churn_without_ports_waits_for_them_and_does_not_spin() {
    // Each connection leaves its port behind for a while (TIME_WAIT), and each frame takes a new one.
    let Some(output) = load_with_few_ports("-c 10 -d 3s --churn --source 127.0.0.1 --json") else { return };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(result["generator"]["waits_for_port"].as_u64().unwrap() > 0, "{stdout}");
    let cpu = result["generator"]["threads"][0]["cpu"].as_f64().unwrap();
    assert!(cpu < 0.5, "{cpu} of a processor while there is no port: {stdout}");
}
