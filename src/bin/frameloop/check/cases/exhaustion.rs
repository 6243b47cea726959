//! Descriptors that must come back, descriptors that run out, and peers whose time is up.

use std::thread;
use std::time::{Duration, Instant};

use crate::check::case::{Case, Level};
use crate::check::cases::beside::sleeps;
use crate::check::cases::limits::FOUR_GIB;
use crate::check::finding::Finding;
use crate::check::patience::Patience;
use crate::check::peer::{End, Peer};
use crate::check::target::{Played, Stop, Target, read};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "churn-descriptors",
        level: Level::Hardened,
        does: "500 clients connect, are served and close, half by FIN and half by RST: the server's descriptors are as before",
        why: "losing a descriptor per client stops a server after some thousand clients",
        mistake: "a connection that has ended is forgotten and not closed, or one that was reset is never noticed",
        chapter: EXHAUSTION,
        play: churn_descriptors,
    },
    Case {
        name: "connect-storm",
        level: Level::Hardened,
        does: "2,000 clients from four threads, or as many as --timeout allows, connect and reset; a later client is served",
        why: "a connection can be gone before it is accepted: accept returns ECONNABORTED, or a socket without a peer",
        mistake: "an error of accept, or of a socket that was just accepted, ends the server",
        chapter: EXHAUSTION,
        play: connect_storm,
    },
    Case {
        name: "descriptors-exhausted",
        level: Level::Hardened,
        does: "more clients than the server has descriptors: existing ones are served, and all are once those have gone",
        why: "accept then returns EMFILE, which is no client's fault, and temporary",
        mistake: "EMFILE ends the accept loop or the server, or the connections that wait are never accepted afterwards",
        chapter: EXHAUSTION,
        play: |target| exhausted(target, |_| Ok(())),
    },
    Case {
        name: "descriptors-exhausted-cpu",
        level: Level::Hardened,
        does: "while clients wait and no descriptor is free, the server uses less than a tenth of a processor",
        why: "the listener stays readable as long as they wait: a loop that retries at once never sleeps",
        mistake: "accept is tried again and again after EMFILE, without a pause and without giving the others up",
        chapter: EXHAUSTION,
        play: |target| exhausted(target, |target| sleeps(target, "more connections than the server has descriptors")),
    },
    Case {
        name: "stalled-frame",
        level: Level::Hardened,
        does: "clients begin a header, or a payload, and stop: they are disconnected within --frame-timeout",
        why: "a client that never completes a frame holds memory and a descriptor for nothing (slow loris)",
        mistake: "there is no deadline for a frame that has begun, or each byte that comes starts it anew",
        chapter: DEADLINES,
        play: stalled_frame,
    },
    Case {
        name: "stalled-reader",
        level: Level::Hardened,
        does: "a client pipelines and never reads: it is disconnected within --write-timeout",
        why: "backpressure bounds what a stalled reader costs, and only a deadline disconnects it",
        mistake: "there is no deadline for output that nobody takes",
        chapter: DEADLINES,
        play: stalled_reader,
    },
    FOUR_GIB,
];

fn churn_descriptors(target: &mut Target) -> Played {
    let process = target.process()?;
    // What the cases before have left may still be on its way out.
    let before = least_descriptors(target, target.patience.short(), |_| false)?;
    for number in 0..CHURN {
        let mut peer = target.connect_served()?;
        match number % 2 {
            0 => peer.finish_sending(),
            _ => peer.reset(),
        }
    }
    let after = least_descriptors(target, target.patience.usual(), |now| now <= before)?;
    if after > before {
        let sent = format!("{CHURN} connections with a frame each, half ended by FIN and half by RST");
        let came = format!("{after} of process {}", process.pid);
        return Err(Finding::new(sent, format!("{before} open descriptors, as before"), came).into());
    }
    Ok(())
}

/// The fewest descriptors that are seen while `wait` lasts, or the first that are few enough.
fn least_descriptors(target: &Target, wait: Duration, is_enough: impl Fn(u64) -> bool) -> Result<u64, Stop> {
    let process = target.process()?;
    let until = Instant::now() + wait;
    let mut least = u64::MAX;
    loop {
        least = least.min(read(process.descriptors())?);
        if is_enough(least) || Instant::now() >= until {
            return Ok(least);
        }
        thread::sleep(LOOK);
    }
}

fn connect_storm(target: &mut Target) -> Played {
    let target = &*target;
    let until = Instant::now() + target.patience.usual();
    thread::scope(|scope| {
        for _ in 0..STORM_THREADS {
            scope.spawn(move || {
                for _ in (0..STORM / STORM_THREADS).take_while(|_| Instant::now() < until) {
                    // What counts is who is served afterwards.
                    if let Ok(peer) = target.connect() {
                        peer.reset();
                    }
                }
            });
        }
    });
    Ok(target.comes_back()?)
}

/// Takes all descriptors of the server, and looks at it meanwhile and afterwards.
fn exhausted(target: &mut Target, meanwhile: fn(&Target) -> Played) -> Played {
    let max = read(target.process()?.descriptors_max())?;
    if max > EXHAUSTIBLE_MAX {
        let reason =
            format!("the server may open {max} files: start it with ulimit -n {EXHAUSTIBLE_MAX}, or less, to see this");
        return Err(Stop::Skipped(reason));
    }
    target.needs_own(max + OVER)?;
    let mut earlier = target.connect_served()?;
    let crowd = crowd(target, max + OVER);
    let sent = format!("{} connections to a server that may open {max} files", crowd.len());
    let played = earlier.echo(&target.payloads.frame(20)).map_err(Stop::from).and_then(|()| meanwhile(target));
    drop(crowd);
    played?;
    let about = |finding: Finding| Finding { sent, expected: format!("afterwards: {}", finding.expected), ..finding };
    Ok(target.comes_back().map_err(about)?)
}

/// As many connections as the server, or its listen queue, takes: `count` at most.
fn crowd(target: &Target, count: u64) -> Vec<Peer> {
    // A full listen queue does not answer a SYN (listen(2)), so a short timeout is enough.
    let patience = Patience::new(QUEUE_FULL / 2, target.patience.left());
    (0..count).map_while(|_| Peer::connect(target.addr, patience, target.wire()).ok()).collect()
}

fn stalled_frame(target: &mut Target) -> Played {
    let Some(timeout) = target.frame_timeout else {
        return Err(Stop::Skipped("say how long the server waits for a frame that has begun: --frame-timeout".into()));
    };
    let (in_header, in_payload) = (target.payloads.frame(300), target.payloads.frame(100));
    let half_payload = target.wire().half_payload(&in_payload).map_err(Stop::Skipped)?;
    // A frame may have no header, or one of a byte.
    let half_header = target.wire().half_header(&in_header).ok();
    let mut stalled = Vec::new();
    for begun in half_header.map(|half| &in_header[..half]).into_iter().chain([&in_payload[..half_payload]]) {
        let mut peer = target.connect()?;
        peer.send(begun)?;
        stalled.push(peer);
    }
    // The time of all runs at once.
    let mut wait = timeout + target.patience.usual();
    for peer in &mut stalled {
        peer.expect_end(End::Any, wait)?;
        wait = target.patience.usual();
    }
    Ok(())
}

fn stalled_reader(target: &mut Target) -> Played {
    let Some(timeout) = target.write_timeout else {
        return Err(Stop::Skipped("say how long the server waits for a client to read: --write-timeout".into()));
    };
    let mut deaf = target.connect_deaf()?;
    let wait = timeout + target.patience.usual();
    if !deaf.is_ended_within(wait) {
        let came = format!("it was still open after {wait:?}");
        return Err(Finding::new(deaf.sent(), "the connection is ended", came).into());
    }
    Ok(())
}

const EXHAUSTION: &str = "descriptor-exhaustion.md";
const DEADLINES: &str = "deadlines.md";

const CHURN: usize = 500;
const STORM: usize = 2_000;
const STORM_THREADS: usize = 4;
/// More descriptors are not taken from a server.
const EXHAUSTIBLE_MAX: u64 = 4_096;
/// How many more connections there are than descriptors.
const OVER: u64 = 32;
/// How long a connect may take that the listen queue has room for.
const QUEUE_FULL: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(10);
