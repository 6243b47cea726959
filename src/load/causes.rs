//! Why fewer connections came up than were asked for: which limit it was, and what lifts it.

use std::fmt;
use std::net::Ipv6Addr;

use crate::addr::ListenAddr;
use crate::load::machine;
use crate::load::outcome::Connecting;
use crate::load::plan::Plan;
use crate::load::ramp::DialPace;

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// How many connections it has cost.
    pub connections: u64,
    /// Which limit.
    pub limit: String,
    /// What lifts it.
    pub lifted_by: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, limit, lifted_by } = self;
        write!(f, "{connections} connections: {limit}; {lifted_by}")
    }
}

/// The limits that were reached while connecting; `overflows` is by how much the kernel's counter of full listen queues rose.
pub(crate) fn causes(plan: &Plan, connecting: &Connecting, overflows: Option<u64>) -> Vec<Cause> {
    let mut causes: Vec<Cause> =
        connecting.failed.iter().map(|&(name, connections)| cause(plan, name, connections, overflows)).collect();
    if connecting.turned_away > 0 {
        causes.push(Cause {
            connections: connecting.turned_away,
            limit: "the server ended them before they had carried a frame".into(),
            lifted_by: "look for its limit of connections, for all or for one address, or of descriptors \
                        (for `frameloop serve`: --max-connections, --max-per-ip, ulimit -n)"
                .into(),
        });
    }
    causes
}

fn cause(plan: &Plan, name: &str, connections: u64, overflows: Option<u64>) -> Cause {
    let (limit, lifted_by) = match name {
        "refused" => (
            "refused, as nobody listens there or a firewall says so".into(),
            "start the server, or correct the address".into(),
        ),
        "timed out" => timed_out(plan, overflows),
        "no port" => no_port(plan),
        "source not local" => (
            "--source has an address that is not this machine's".into(),
            "leave it out, or add it to this machine (ip address add)".into(),
        ),
        "source of another family" => (
            "the address families of --source and of the target differ".into(),
            "give --source addresses of the target's family".into(),
        ),
        "not found" => ("there is no such socket file".into(), "start the server, or correct the path".into()),
        "not permitted" => (
            "this user may not connect to the socket file".into(),
            "run as another user, or change the file's permissions or those of its folder".into(),
        ),
        "path too long" => (
            "the path of the Unix socket is too long".into(),
            "a path may have 107 bytes: use a shorter one, or a relative one".into(),
        ),
        "unreachable" => (
            "no route leads to the address".into(),
            "correct the address, or see the machine's routes (ip route get)".into(),
        ),
        "no descriptor" => (
            "the generator had no descriptor left".into(),
            "raise its limit (ulimit -n), or run several generators".into(),
        ),
        "listen queue full" => (
            "the server's listen queue was full".into(),
            "give it a longer one (for `frameloop serve`: --backlog, and net.core.somaxconn), or use --connect-rate"
                .into(),
        ),
        other => (format!("could not be made: {other}"), "run with -v to see each error".into()),
    };
    Cause { connections, limit, lifted_by }
}

fn timed_out(plan: &Plan, overflows: Option<u64>) -> (String, String) {
    let waited = plan.connect_timeout;
    match overflows {
        Some(overflows) if overflows > 0 => (
            format!("no answer within {waited:?}, and listen queues of this machine were full {overflows} times"),
            "give the server a longer queue (for `frameloop serve`: --backlog, and net.core.somaxconn), or use \
             --connect-rate"
                .into(),
        ),
        _ => (
            format!("no answer within {waited:?}"),
            "see whether the server accepts, whether its listen queue overflows (nstat TcpExtListenOverflows there), \
             and whether a firewall drops; or use --connect-rate"
                .into(),
        ),
    }
}

fn no_port(plan: &Plan) -> (String, String) {
    let limit = format!("no port was left: there are {} from one address to one destination", ports());
    (limit, more_ports(plan))
}

/// Connecting became slow when half of the ports of each source were used up.
pub(crate) fn slow_ports(plan: &Plan, pace: &DialPace) -> String {
    format!(
        "connecting slowed down from {:.3} to {:.3} ms for each connection once half of the {} ports from one address to \
         one destination were used, because the kernel then probes them one by one: {}",
        pace.before / 1e6,
        pace.after / 1e6,
        ports(),
        more_ports(plan)
    )
}

fn ports() -> String {
    machine::ports().map_or("some 28,000".to_owned(), |ports| ports.to_string())
}

/// What gives more ports.
fn more_ports(plan: &Plan) -> String {
    let is_v6_loopback = |addr: &ListenAddr| matches!(addr, ListenAddr::Tcp(addr) if addr.ip() == Ipv6Addr::LOCALHOST);
    if plan.target.as_ref().is_some_and(is_v6_loopback) {
        "::1 is the only loopback address of IPv6, so load an IPv4 loopback address of the server, or widen \
         net.ipv4.ip_local_port_range"
            .into()
    } else if plan.sources.is_empty() {
        "use --source to connect from several addresses of this machine (ip address add), or widen \
         net.ipv4.ip_local_port_range"
            .into()
    } else {
        format!("--source gives {} addresses: give more, or widen net.ipv4.ip_local_port_range", plan.sources.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &'static str, overflows: Option<u64>) -> String {
        let connecting = Connecting { failed: vec![(name, 7)], ..Connecting::default() };
        causes(&Plan::default(), &connecting, overflows)[0].to_string()
    }

    #[test]
    fn each_limit_is_named_with_what_lifts_it() {
        for (name, overflows, words) in [
            ("refused", None, ["nobody listens", "start the server"]),
            ("timed out", Some(0), ["no answer within 10s", "--connect-rate"]),
            ("timed out", Some(31), ["were full 31 times", "--backlog"]),
            ("no port", None, ["from one address to one destination", "--source"]),
            ("source not local", None, ["--source has an address that is not this machine's", "ip address add"]),
            ("source of another family", None, ["families of --source and of the target differ", "target's family"]),
            ("not found", None, ["no such socket file", "correct the path"]),
            ("not permitted", None, ["may not connect", "permissions"]),
            ("path too long", None, ["too long", "107 bytes"]),
            ("unreachable", None, ["no route", "ip route"]),
            ("no descriptor", None, ["no descriptor left", "ulimit -n"]),
        ] {
            let text = one(name, overflows);
            assert!(text.starts_with("7 connections: ") && words.iter().all(|word| text.contains(word)), "{text}");
        }
        let turned_away = Connecting { turned_away: 3, ..Connecting::default() };
        let text = causes(&Plan::default(), &turned_away, None)[0].to_string();
        assert!(text.contains("--max-connections"), "{text}");
    }

    #[test]
    fn slow_connecting_names_the_ports_and_what_gives_more() {
        let pace = DialPace { before: 40_000.0, after: 3_500_000.0 };
        for (target, sources, words) in [
            ("192.0.2.1:7", "", "use --source"),
            ("192.0.2.1:7", "10.0.0.1,10.0.0.2", "--source gives 2 addresses"),
            ("[::1]:7", "", "::1 is the only loopback address"),
        ] {
            let target = Some(ListenAddr::Tcp(target.parse().unwrap()));
            let plan = Plan { target, sources: sources.parse().unwrap_or_default(), ..Plan::default() };
            let text = slow_ports(&plan, &pace);
            assert!(text.contains("from 0.040 to 3.500 ms") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn where_all_came_up_nothing_is_said() {
        assert!(causes(&Plan::default(), &Connecting::default(), Some(9)).is_empty());
    }
}
