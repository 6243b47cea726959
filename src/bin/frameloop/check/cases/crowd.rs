//! Many at once: a thousand clients, a burst of them, and many who come while many go.

use std::sync::Barrier;
use std::thread;

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::payloads::Payloads;
use crate::check::peer::Peer;
use crate::check::target::{Played, Target};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "connect-burst",
        level: Level::Nonblocking,
        does: "256 clients connect at the same time from four threads; then each is served",
        why: "one readiness event can stand for many connections: an edge is reported once",
        mistake: "one connection is accepted for one event, edge-triggered: the rest stays in the listen queue",
        chapter: "edges-and-levels.md",
        play: connect_burst,
    },
    Case {
        name: "thousand-clients",
        level: Level::Nonblocking,
        does: "1,000 clients are connected at the same time, and each gets two frames answered",
        why: "a server should serve as many clients as connect, not as many as it has threads",
        mistake: "there is a fixed number of threads or slots, or a limit such as FD_SETSIZE, or of ulimit -n",
        chapter: "rung-2-thread-per-client.md",
        play: thousand_clients,
    },
    Case {
        name: "churn-under-load",
        level: Level::Nonblocking,
        does: "64 clients send and close while 64 new ones connect and send, twelve times: no client gets another's bytes",
        why: "a freed slot is soon used again, and pending events still name it",
        mistake: "a slot or a descriptor is reused while events or answers for its last tenant are still in the batch",
        chapter: "rung-5-edges.md",
        play: churn_under_load,
    },
];

fn connect_burst(target: &mut Target) -> Played {
    target.needs_connections(256)?;
    let barrier = Barrier::new(BURST_THREADS);
    let connect = || {
        barrier.wait();
        (0..256 / BURST_THREADS).map(|_| target.connect()).collect::<Result<Vec<Peer>, Finding>>()
    };
    let burst = thread::scope(|scope| {
        let threads: Vec<_> = (0..BURST_THREADS).map(|_| scope.spawn(connect)).collect();
        let all = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new())));
        all.collect::<Result<Vec<Vec<Peer>>, Finding>>()
    })?;
    let mut burst: Vec<Peer> = burst.into_iter().flatten().collect();
    Ok(all_are_served(&mut burst, &mut target.payloads)?)
}

fn thousand_clients(target: &mut Target) -> Played {
    target.needs_connections(1_000)?;
    let mut clients: Vec<Peer> = (0..1_000).map(|_| target.connect()).collect::<Result<_, Finding>>()?;
    for _ in 0..2 {
        all_are_served(&mut clients, &mut target.payloads)?;
    }
    Ok(())
}

/// All ask, and then each is answered what it asked.
fn all_are_served(clients: &mut [Peer], payloads: &mut Payloads) -> Result<(), Finding> {
    let frames: Vec<Vec<u8>> = clients.iter().map(|_| payloads.frame(32)).collect();
    for (client, frame) in clients.iter_mut().zip(&frames) {
        client.send(frame)?;
    }
    for (client, frame) in clients.iter_mut().zip(&frames) {
        client.expect(frame)?;
    }
    Ok(())
}

fn churn_under_load(target: &mut Target) -> Played {
    target.needs_connections(2 * CHURN)?;
    for _ in 0..CHURN_ROUNDS {
        let leavers = target.connect_crowd(CHURN as usize)?;
        let barrier = Barrier::new(2);
        let (mut leaving, mut coming) = (target.payloads.clone(), target.clone());
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for mut leaver in leavers {
                    // It may be gone before, and its response is not awaited.
                    let _ = leaver.send(&leaving.frame(24));
                    leaver.finish_sending();
                }
            });
            barrier.wait();
            come_and_ask(&mut coming)
        })?;
        target.payloads = coming.payloads;
    }
    Ok(())
}

fn come_and_ask(target: &mut Target) -> Result<(), Finding> {
    let mut newcomers: Vec<Peer> = (0..CHURN).map(|_| target.connect()).collect::<Result<_, Finding>>()?;
    all_are_served(&mut newcomers, &mut target.payloads)
}

const BURST_THREADS: usize = 4;
const CHURN: u64 = 64;
const CHURN_ROUNDS: usize = 12;
