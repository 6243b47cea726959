//! Two machines and the link between them, which drops everything for a while or for good.
//!
//! The machines are network namespaces. Their names and what is in them are gone at the end of each test.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::support::{Client, End, Process, SLACK, descriptors, frame, holds_within, payload};
use crate::{ADDR, addr_of_part, counter, part, skip};

/// Two network namespaces, and a link from one to the other.
struct Machines {
    server: String,
    client: String,
}

/// What is wrong with the link.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The client's end is down: the server's has no carrier.
    Unplugged,
    /// Both ends are well, and nothing arrives: what is sent has no receiver on the link.
    Lossy,
}

const SERVER_IP: &str = "192.0.2.1";
const CLIENT_IP: &str = "192.0.2.2";

/// What each machine calls its end of the link.
const LINK: &str = "wire";

impl Machines {
    /// `None`, and the calling test is left out, where they cannot be made.
    #[track_caller]
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = |role| format!("frameloop-{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let machines = Self { server: name("server"), client: name("client") };
        match machines.set_up() {
            Ok(()) => Some(machines),
            Err(error) => {
                skip(&format!("there are no network namespaces to be had (root and iproute2 are needed): {error}"));
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let Self { server, client } = self;
        ip(format_args!("netns add {server}"))?;
        ip(format_args!("netns add {client}"))?;
        ip(format_args!("-n {server} link add {LINK} type veth peer name {LINK} netns {client}"))?;
        for (machine, address) in [(server, SERVER_IP), (client, CLIENT_IP)] {
            ip(format_args!("-n {machine} address add {address}/24 dev {LINK}"))?;
            ip(format_args!("-n {machine} link set lo up"))?;
            ip(format_args!("-n {machine} link set {LINK} up"))?;
        }
        Ok(())
    }

    /// A server on the one machine.
    fn serve(&self, args: &[&str]) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.server, env!("CARGO_BIN_EXE_frameloop"), "serve", "--listen", SERVER]);
        // Nothing of the developer's environment that the binary would heed; `ip` is found by its path.
        for (name, _) in env::vars_os().filter(|(name, _)| name != "PATH") {
            command.env_remove(name);
        }
        let server = Process::start(command.args(args));
        server.stdout_line_with("listening on ");
        server
    }

    /// A part on the other, with so many frames to send.
    fn client(&self, name: &str, frames: u64) -> Process {
        let part = part(&format!("partition::{name}"));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.client]).arg(part.get_program()).args(part.get_args());
        Process::start(command.env(ADDR, SERVER).env(FRAMES, frames.to_string()))
    }

    /// Lets everything be dropped, in both directions.
    fn part(&self, fault: Fault) {
        match fault {
            Fault::Unplugged => ip(format_args!("-n {} link set {LINK} down", self.client)).unwrap(),
            Fault::Lossy => {
                for (machine, other) in [(&self.server, CLIENT_IP), (&self.client, SERVER_IP)] {
                    ip(format_args!("-n {machine} neigh replace {other} lladdr {NOBODY} dev {LINK} nud permanent"))
                        .unwrap();
                }
            }
        }
    }

    fn heal(&self, fault: Fault) {
        match fault {
            Fault::Unplugged => ip(format_args!("-n {} link set {LINK} up", self.client)).unwrap(),
            Fault::Lossy => {
                for (machine, other) in [(&self.server, CLIENT_IP), (&self.client, SERVER_IP)] {
                    ip(format_args!("-n {machine} neigh del {other} dev {LINK}")).unwrap();
                }
            }
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        // With the first of them goes the link.
        for machine in [&self.server, &self.client] {
            let _ = ip(format_args!("netns del {machine}"));
        }
    }
}

/// A hardware address that none of the machines has.
const NOBODY: &str = "02:00:00:00:00:fe";
const SERVER: &str = "192.0.2.1:7007";

fn ip(words: fmt::Arguments<'_>) -> Result<(), String> {
    ip_words(&words.to_string().split(' ').collect::<Vec<_>>())
}

fn ip_words(words: &[&str]) -> Result<(), String> {
    let output =
        Command::new("ip").args(words).stdin(Stdio::null()).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().into()) }
}

/// How many frames a part sends.
const FRAMES: &str = "FRAMELOOP_TEST_FRAMES";

/// The frames of a client that is always busy: their length, how often one is sent, and after how many replies it says so
/// on stderr.
const PAYLOAD_LEN: usize = 32 << 10;
const PACE: Duration = Duration::from_millis(4);
const REPLIES_A_LINE: u64 = 20;

/// Not a test of its own: a connection that sends all the time and reads all the time, and another that is silent in
/// between.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_busy_client() {
    let (Some(addr), Ok(frames)) = (addr_of_part(), env::var(FRAMES)) else { return };
    let frames: u64 = frames.parse().unwrap();
    let (mut silent, mut client) = (Client::connect(addr), Client::connect(addr));
    silent.call(b"before");
    let mut writer = client.clone_for_thread();
    thread::scope(|scope| {
        scope.spawn(move || {
            for seed in 0..frames {
                writer.send_bytes(&frame(&payload(seed, PAYLOAD_LEN)));
                thread::sleep(PACE);
            }
            writer.finish();
        });
        for seed in 0..frames {
            client.expect(&payload(seed, PAYLOAD_LEN));
            if seed % REPLIES_A_LINE == 0 {
                eprintln!("{seed} replies");
            }
        }
        assert_eq!(client.end(), End::InOrder);
    });
    silent.call(b"after");
    println!("all {frames} came back");
}

#[track_caller]
fn heals(fault: Fault) {
    const OUTAGE: Duration = Duration::from_secs(3);
    const FRAMES: u64 = 500;
    let Some(machines) = Machines::new() else { return };
    let server = machines.serve(&[]);
    let client = machines.client("part_of_a_busy_client", FRAMES);
    (0..4).for_each(|_| drop(client.stderr_line_with("replies")));
    machines.part(fault);
    // What had arrived before is read.
    thread::sleep(OUTAGE / 3);
    let before = client.stderr_len();
    thread::sleep(OUTAGE * 2 / 3);
    assert_eq!(client.stderr_len(), before, "the link is not cut");
    assert!(before < (FRAMES / REPLIES_A_LINE) as usize, "nothing was left to be sent");
    machines.heal(fault);

    client.stdout_line_with(&format!("all {FRAMES} came back"));
    assert_eq!(client.outcome().code, Some(0));
    // The second FIN may be on its way.
    let mut counters = server.counters();
    holds_within(SLACK, || {
        counters = server.counters();
        counter(&counters, "peer finished") == 2
    });
    assert_eq!(counter(&counters, "frames in"), FRAMES + 2, "{counters}");
    assert_eq!((counter(&counters, "accepted"), counter(&counters, "peer finished")), (2, 2), "{counters}");
}

#[test]
fn temporary_partition_only_delays() {
    with_each_fault(heals);
}

/// Both faults at once, each on a link of its own: most of it is waiting.
fn with_each_fault(run: fn(Fault)) {
    thread::scope(|scope| {
        for fault in [Fault::Unplugged, Fault::Lossy] {
            scope.spawn(move || run(fault));
        }
    });
}

/// The server's deadlines, when a link goes for good.
const DEADLINE: Duration = Duration::from_secs(2);
const DEADLINES: [&str; 6] = ["--frame-timeout", "2s", "--write-timeout", "2s", "--keepalive", "1s"];
/// When the kernel's probes have found a silent peer that has vanished, whatever the machine's settings are.
const PROBED: Duration = Duration::from_secs(6);

/// Not a test of its own: a connection that is silent; one that sends a byte now and then, so that a frame is always under
/// way and none is late; and one that reads a little of its replies now and then, so that output
/// never stalls.
#[test]
#[ignore = "is run by another test"]
fn part_of_three_clients() {
    const STEP: Duration = Duration::from_millis(100);
    const DRIPS: usize = 10;
    const READ_LEN: usize = 200_000;
    let Some(addr) = addr_of_part() else { return };
    let (mut silent, mut dripping, mut slow) =
        (Client::connect(addr), Client::connect(addr), Client::connect_narrow(addr));
    silent.call(b"before");
    let (dripped, owed) = (frame(&payload(1, DRIPS - 4)), frame(&payload(2, 15 << 20)));
    slow.send_bytes(&owed);
    let mut read = vec![0; READ_LEN];
    dripping.send_bytes(&dripped[..1]);
    for step in 0.. {
        match 1 + step % (DRIPS - 1) {
            at if at == DRIPS - 1 => {
                dripping.send_bytes(&[dripped[at], dripped[0]]);
                dripping.expect(&dripped[4..]);
            }
            at => dripping.send_bytes(&[dripped[at]]),
        }
        slow.stream.read_exact(&mut read).unwrap();
        assert!(owed[step * READ_LEN..].starts_with(&read));
        eprintln!("{step} steps");
        thread::sleep(STEP);
    }
}

/// A link that does not heal within any deadline: the server's own deadlines end what is under way, and the kernel's
/// probes what is silent.
#[track_caller]
fn does_not_heal(fault: Fault) {
    let Some(machines) = Machines::new() else { return };
    let server = machines.serve(&DEADLINES);
    let baseline = descriptors(server.id());
    let clients = machines.client("part_of_three_clients", 0);
    // For longer than any of the deadlines, nothing is wrong.
    clients.stderr_line_with("35 steps");
    assert_eq!(descriptors(server.id()), baseline + 3, "{}", server.counters());

    machines.part(fault);
    let begun = Instant::now();
    assert!(
        holds_within(DEADLINE.max(PROBED) + SLACK, || descriptors(server.id()) == baseline),
        "{}",
        server.counters()
    );
    println!("{fault:?}: the connections were reaped within {:?}", begun.elapsed());
    let counters = server.counters();
    assert_eq!((counter(&counters, "connections"), counter(&counters, "buffered")), (0, 0), "{counters}");
    let reasons = ["frame timeout", "write timeout", "i/o error"];
    assert_eq!(reasons.map(|reason| counter(&counters, reason)), [1, 1, 1], "{counters}");

    drop(clients);
    machines.heal(fault);
    machines.client("part_of_a_busy_client", 3).stdout_line_with("all 3 came back");
}

#[test]
fn permanent_partition_closes_its_connections() {
    with_each_fault(does_not_heal);
}
