//! Which limit kept connections from being established, and how to raise it.

use std::net::Ipv6Addr;

use crate::address::Address;
use crate::load::check::Check;
use crate::load::dialer::DialPace;
use crate::load::machine;
use crate::load::outcome::{Cause, Connecting};
use crate::load::plan::Plan;
use crate::load::report::NOT_MADE;
use crate::load::target::Target;

/// Counts that distinguish the causes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The increase of the kernel's counter of full listen queues.
    pub(crate) overflows: Option<u64>,
    /// Connections that the server ended before they sent anything, and at their first frame.
    pub(crate) turned_away: u64,
    pub(crate) ended_unanswered: u64,
    /// Connections that ended with frames in flight.
    pub(crate) ended: u64,
    /// The longest payload with a response, and the shortest that was next on a connection when it ended.
    pub(crate) answered_len_max: usize,
    pub(crate) lost_len_min: Option<usize>,
    /// Connections that were open to the end without a response.
    pub(crate) never_answered: u64,
}

/// Rule: a limit is named with its value and its remedy, and only if the findings have no other cause; otherwise all
/// possible causes are named.
pub(crate) fn causes(plan: &Plan, connecting: &Connecting, found: &Found) -> Vec<Cause> {
    let mut causes: Vec<Cause> =
        connecting.failed.iter().map(|(name, count)| cause(plan, name, *count, found.overflows)).collect();
    // Only of an echo is the length that of its request.
    let is_echo = plan.check == Check::Echo && !plan.framing.sends_whole_frames();
    let frame_limit = if is_echo { frame_limit(found) } else { None };
    causes.extend(frame_limit.or_else(|| turned_away(found)));
    causes.extend(never_answered(found));
    causes
}

/// Connections that the server ended at a frame longer than every frame with a response.
fn frame_limit(found: &Found) -> Option<Cause> {
    let longest = found.answered_len_max;
    let len = found.lost_len_min.filter(|len| *len > longest && (longest > 0 || *len > SMALL_FRAME))?;
    let none = if longest == 0 { "no frame".into() } else { format!("none above {longest}") };
    Some(Cause {
        connections: found.ended,
        limit: format!("the server ended them at a frame of {len} bytes or more, and answered {none}"),
        lifted_by:
            "the frame is probably above its limit: raise that (for `frameloop serve`: --max-payload), or use a \
                    smaller --size"
                .into(),
    })
}

fn turned_away(found: &Found) -> Option<Cause> {
    let connections = found.turned_away + found.ended_unanswered;
    (connections > 0).then(|| Cause {
        connections,
        limit: "the server ended them before they had carried a frame".into(),
        lifted_by: "look for its limit of connections, for all or for one address, or of descriptors \
                    (for `frameloop serve`: --max-connections, --max-per-ip, ulimit -n)"
            .into(),
    })
}

/// Established connections without any response: the kernel established them, but the server may not have accepted them.
fn never_answered(found: &Found) -> Option<Cause> {
    let connections = found.never_answered;
    let lifted_by = "give it a longer queue (for `frameloop serve`: --backlog, and net.core.somaxconn), or use \
                     --connect-rate";
    match found.overflows {
        _ if connections == 0 => None,
        Some(overflows @ 1..) => Some(Cause {
            connections,
            limit: format!(
                "none of their frames was answered, and listen queues of this machine overflowed {overflows} times: the \
                 server has not accepted them"
            ),
            lifted_by: lifted_by.into(),
        }),
        _ => Some(Cause {
            connections,
            limit: "none of their frames was answered: the server has not accepted them, or does not serve them".into(),
            lifted_by: format!(
                "see whether it runs and whether its listen queue overflows (nstat TcpExtListenOverflows there); if it does, \
                 {lifted_by}"
            ),
        }),
    }
}

/// Every server takes frames of this many bytes: if one ends a connection at such a frame, it has another reason.
const SMALL_FRAME: usize = 4_096;

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
        NOT_MADE => (
            "not made when the run ended".into(),
            "see whether the server still accepts, and whether its listen queue overflows".into(),
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

/// Explains that connecting slowed down when half of the ports of each source were used.
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

/// How to get more ports.
fn more_ports(plan: &Plan) -> String {
    let is_v6_loopback =
        |target: &Target| matches!(target.address, Address::Tcp(addr) if addr.ip() == Ipv6Addr::LOCALHOST);
    if plan.targets.iter().any(is_v6_loopback) {
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

    fn one(name: &str, overflows: Option<u64>) -> String {
        let failed = std::iter::once((name.to_owned(), 7)).collect();
        let connecting = Connecting { failed, ..Connecting::default() };
        causes(&Plan::default(), &connecting, &Found { overflows, ..Found::default() })[0].to_string()
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
    }

    #[test]
    fn unserved_connections_have_the_right_cause() {
        let nothing = Found::default;
        let cases = [
            (Found { turned_away: 3, ..nothing() }, "3 connections: the server ended them before", "--max-connections"),
            (
                Found {
                    ended: 3,
                    turned_away: 1,
                    ended_unanswered: 2,
                    answered_len_max: 64,
                    lost_len_min: Some(64),
                    ..nothing()
                },
                "3 connections: the server ended them before they had carried a frame",
                "--max-per-ip",
            ),
            (
                Found { ended: 5, ended_unanswered: 5, lost_len_min: Some(20 << 20), ..nothing() },
                "5 connections: the server ended them at a frame of 20971520 bytes or more, and answered no frame",
                "--max-payload",
            ),
            (
                Found { ended: 9, answered_len_max: 1_000, lost_len_min: Some(1_025), ..nothing() },
                "9 connections: the server ended them at a frame of 1025 bytes or more, and answered none above 1000",
                "--size",
            ),
            (
                Found { never_answered: 570, overflows: Some(1_140), ..nothing() },
                "570 connections: none of their frames was answered, and listen queues of this machine overflowed 1140",
                "--backlog",
            ),
            (
                Found { never_answered: 570, overflows: Some(0), ..nothing() },
                "570 connections: none of their frames was answered: the server has not accepted them",
                "TcpExtListenOverflows",
            ),
        ];
        for (found, cause, remedy) in cases {
            let causes = causes(&Plan::default(), &Connecting::default(), &found);
            let [text] = causes.as_slice() else { panic!("{causes:?}") };
            let text = text.to_string();
            assert!(text.starts_with(cause) && text.contains(remedy), "{text}");
        }
        let died = Found { ended: 50, answered_len_max: 64, lost_len_min: Some(64), ..nothing() };
        assert!(causes(&Plan::default(), &Connecting::default(), &died).is_empty(), "the run ended early, and says so");
    }

    #[test]
    fn slow_connecting_names_the_ports_and_what_gives_more() {
        let pace = DialPace { before: 40_000.0, after: 3_500_000.0 };
        for (target, sources, words) in [
            ("192.0.2.1:7", "", "use --source"),
            ("192.0.2.1:7", "10.0.0.1,10.0.0.2", "--source gives 2 addresses"),
            ("[::1]:7", "", "::1 is the only loopback address"),
        ] {
            let targets = vec![Target::new(target.parse::<std::net::SocketAddr>().unwrap())];
            let plan = Plan { targets, sources: sources.parse().unwrap_or_default(), ..Plan::default() };
            let text = slow_ports(&plan, &pace);
            assert!(text.contains("from 0.040 to 3.500 ms") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn where_all_came_up_nothing_is_said() {
        let found = Found { overflows: Some(9), ..Found::default() };
        assert!(causes(&Plan::default(), &Connecting::default(), &found).is_empty());
    }
}
