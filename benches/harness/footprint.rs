//! Growth of the load generator's resident memory for each connection, and of
//! the server's at their other ends.

use std::time::{Duration, Instant};

use crate::child::{Bench, FRAMELOOP, Priority, Server, frameloop};
use crate::failure::Result;
use crate::proc;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender, Rounds};
use crate::rows::{self, Row};

/// A round of the slowest schedule here, and until unneeded buffers are given back.
const REST: Duration = Duration::from_secs(7);
const CONNECT: Duration = Duration::from_secs(60);

pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    let contender = Contender::new("frameloop load", Ok(()));
    rounds::in_turn(vec![contender], Rounds::ONE, |()| grown(bench, row))
}

fn grown(bench: &Bench, row: &Row) -> Result<Sample> {
    let server = bench.start(bench.peer(FRAMELOOP)?, Priority::NONE)?;
    let mut first = bench.load(&server, &rows::first_touch(), Priority::NONE)?;
    first.go()?;
    first.stop()?;
    let before = resident(bench, &server, row.mode, 1)?;
    let after = resident(bench, &server, row.mode, row.connections)?;
    let each = |pick: fn(&Resident) -> u64| (pick(&after) as f64 - pick(&before) as f64) / row.connections as f64;
    Ok(vec![
        (Metric::ResidentBytes, each(|it| it.generator)),
        (Metric::ServerResidentBytes, each(|it| it.server)),
        (Metric::ConnectedWithinSeconds, after.seconds),
    ])
}

struct Resident {
    generator: u64,
    server: u64,
    /// From the generator's start until all were connected.
    seconds: f64,
}

fn resident(bench: &Bench, server: &Server, mode: &str, connections: usize) -> Result<Resident> {
    let count = connections.to_string();
    let args: &[&str] = match mode {
        "idle" => &["-c", "1", "--idle", &count, "-r", "3000", "-d", "60s", "--warmup", "0s"],
        _ => &["-c", &count, "-r", "3000", "-d", "60s", "--warmup", "0s"],
    };
    let begun = Instant::now();
    let load = bench.generator(&frameloop()?, server, args, Priority::NONE)?;
    let pid = load.0.id();
    while proc::descriptors(pid)? < connections {
        if begun.elapsed() > CONNECT {
            return Err(format!("only {} of {connections} were connected in time", proc::descriptors(pid)?).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let seconds = begun.elapsed().as_secs_f64();
    std::thread::sleep(REST);
    Ok(Resident { generator: proc::resident_bytes(pid)?, server: proc::resident_bytes(server.pid())?, seconds })
}
