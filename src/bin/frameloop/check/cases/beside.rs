//! A client is served alongside others that are silent or slow, or do not read.

use std::thread;
use std::time::Duration;

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::peer::Peer;
use crate::check::process::IDLE_SHARE;
use crate::check::target::{Played, Target, read};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "silent-beside",
        level: Level::Nonblocking,
        does: "16 clients connect and send nothing; a later client is served",
        why: "a client may be slow, or have nothing to send: no other client should wait for it",
        mistake: "one client is served to its end before the next, or there is a thread for a few of them only",
        chapter: "rung-1-one-client.md",
        play: silent_beside,
    },
    Case {
        name: "drip-beside",
        level: Level::Nonblocking,
        does: "a client sends a frame byte by byte and stops in the middle; another is served again and again",
        why: "readiness means that there is a byte, not that there is a frame",
        mistake: "the loop waits in a blocking read for the rest of one client's frame",
        chapter: "readiness-and-completion.md",
        play: drip_beside,
    },
    Case {
        name: "never-reads-beside",
        level: Level::Nonblocking,
        does: "a client pipelines and never reads; another is served",
        why: "one peer that does not read must stop its own connection, and no other",
        mistake: "the loop waits in a blocking write, or spins on WouldBlock, until one client reads",
        chapter: "backpressure.md",
        play: never_reads_beside,
    },
    Case {
        name: "idle-cpu",
        level: Level::Nonblocking,
        does: "50 clients that were served are silent: the server uses less than a tenth of a processor",
        why: "a server with nothing to do should sleep in the kernel",
        mistake: "it asks all sockets again and again, or waits for writable readiness with nothing to write",
        chapter: "rung-3-busy-loop.md",
        play: idle_cpu,
    },
    Case {
        name: "deaf-cpu",
        level: Level::Nonblocking,
        does: "a client has filled every buffer and never reads: the server uses less than a tenth of a processor",
        why: "interest that is left on is reported again and again, also if the server has nothing to do with it",
        mistake: "a connection that is not read for now is still asked for readable readiness, level-triggered",
        chapter: "rung-4-levels.md",
        play: deaf_cpu,
    },
];

fn silent_beside(target: &mut Target) -> Played {
    let silent = apart(16, || target.connect())?;
    let served = target.connect_served();
    drop(silent);
    Ok(served.map(drop)?)
}

/// Makes `count`, one after the other, so that a server has time to accept each.
fn apart(count: usize, mut make: impl FnMut() -> Result<Peer, Finding>) -> Result<Vec<Peer>, Finding> {
    let mut made = Vec::with_capacity(count);
    for _ in 0..count {
        made.push(make()?);
        thread::sleep(APART);
    }
    Ok(made)
}

fn drip_beside(target: &mut Target) -> Played {
    let mut bystander = target.connect_served()?;
    let mut drip = target.connect()?;
    let frame = target.payloads.frame(20);
    let (first, rest) = frame.split_at(10.min(frame.len() / 2));
    for byte in first.chunks(1) {
        drip.send(byte)?;
        thread::sleep(DRIP);
        bystander.echo(&target.payloads.frame(30))?;
    }
    drip.send(rest)?;
    Ok(drip.expect(&frame)?)
}

fn never_reads_beside(target: &mut Target) -> Played {
    let mut bystander = target.connect_served()?;
    let deaf = target.connect_deaf()?;
    for _ in 0..5 {
        bystander.echo(&target.payloads.frame(30))?;
    }
    let newcomer = target.connect_served();
    drop(deaf);
    Ok(newcomer.map(drop)?)
}

fn idle_cpu(target: &mut Target) -> Played {
    target.process()?;
    let idle = target.connect_crowd(50)?;
    sleeps(target, "50 connections with a frame each, and then nothing")?;
    drop(idle);
    Ok(())
}

fn deaf_cpu(target: &mut Target) -> Played {
    target.process()?;
    let bystander = target.connect_served()?;
    let deaf = target.connect_deaf()?;
    sleeps(target, &deaf.sent())?;
    drop(bystander);
    Ok(())
}

/// Sees to it that the server sleeps while there is nothing to do.
pub(crate) fn sleeps(target: &Target, sent: &str) -> Played {
    let process = target.process()?;
    thread::sleep(SETTLING);
    let share = read(process.cpu_share())?;
    if share > IDLE_SHARE {
        let expected = format!("at most {:.0} % of a processor is used", IDLE_SHARE * 100.0);
        let came = format!("{:.0} %, each time of a few", share * 100.0);
        return Err(Finding::new(sent, expected, came).into());
    }
    Ok(())
}

/// Time for a server to accept one connection.
const APART: Duration = Duration::from_millis(4);
/// Time between two bytes of a client that drips.
const DRIP: Duration = Duration::from_millis(30);
/// Time for what went before to be over.
const SETTLING: Duration = Duration::from_millis(150);
