//! Frameloop compared with its peers, in one run.
//!
//! `cargo bench --bench peers` measures `frameloop serve` next to other
//! servers for the same frames (`benches/peers/`) and to a raw epoll echo loop
//! in C, the floor, which knows nothing of frames and so bounds what any echo
//! server can do on this kernel. All run at once on the same CPU and are
//! loaded in turn, A B C, C B A, by one generator on another CPU
//! (`benches/load/`); what counts most is the CPU time the kernel charged to a
//! server, per frame. `-- --help` lists the options.

mod accuracy;
mod calls;
mod child;
mod compile;
mod correct;
mod crowd;
mod failure;
mod fairness;
mod footprint;
mod generator;
mod memory;
mod options;
mod paced;
mod peers;
mod plots;
mod proc;
mod report;
mod results;
mod rounds;
mod rows;
mod speed;
mod stats;
mod table;

use std::process::ExitCode;

use child::{Bench, FLOOR, FRAMELOOP};
use failure::Result;
use options::Options;
use results::{Entrant, Outcome, Results, RowResult};
use rows::{Kind, Row};
use speed::Running;

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("this benchmark needs Linux: it measures against epoll, by /proc");
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((role, rest)) if role == paced::ROLE => paced::main(rest).map(|()| true),
        _ => options::parse(&args).and_then(|options| options.map_or(Ok(true), |options| run(&options))),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, or reads what was measured, and shows it; false when frameloop or the floor failed somewhere.
fn run(options: &Options) -> Result<bool> {
    if options.check {
        return correct::run(&Bench::new(options)?);
    }
    let results = match &options.from {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
        None => measure(options)?,
    };
    let text = report::markdown(&results);
    print!("{text}");
    let folder = &options.output;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("result.json"), serde_json::to_string(&results)? + "\n")?;
    std::fs::write(folder.join("result.md"), &text)?;
    plots::write(&results, folder)?;
    let failed = |row: &RowResult| {
        row.of.iter().any(|(name, outcome)| [FRAMELOOP, FLOOR].contains(&name.as_str()) && outcome.is_failed())
    };
    Ok(!results.rows.iter().any(failed))
}

fn measure(options: &Options) -> Result<Results> {
    let chosen = rows::chosen(&options.rows)?;
    let bench = Bench::new(options)?;
    let mut left_out = bench.left_out.clone();
    let mut running = Running::new(&bench);
    let mut rows = Vec::new();
    for row in chosen {
        if let Err(reason) = possible(&row) {
            left_out.push(format!("{} left out: {reason}", row.name));
            continue;
        }
        for peer in bench.peers().iter().filter(|peer| peer.max_connections < row.connections_in_all()) {
            left_out.push(format!("{} takes part with at most {} connections", peer.name, peer.max_connections));
        }
        eprintln!("measuring {} ...", row.name);
        let of = match measure_row(&bench, &mut running, &row) {
            Ok(of) => of,
            Err(error) => vec![(FRAMELOOP.to_owned(), Outcome::Failed(error.to_string()))],
        };
        for (name, outcome) in &of {
            if let Outcome::Failed(error) = outcome {
                eprintln!("{}: {name} failed: {error}", row.name);
                eprint!("{}", bench.last_words(name));
            }
        }
        rows.push(RowResult { name: row.name.into(), title: row.title.into(), kind: row.kind.name().into(), of });
    }
    left_out.sort();
    left_out.dedup();
    Ok(Results {
        command: options.command.clone(),
        date: proc::date()?,
        machine: proc::machine(),
        conditions: conditions(&bench),
        entrants: bench.peers().iter().map(entrant).collect(),
        rows,
        left_out,
    })
}

fn measure_row(bench: &Bench, running: &mut Running<'_>, row: &Row) -> Result<Vec<(String, Outcome)>> {
    match row.kind {
        Kind::Speed => Ok(running.measure(row)),
        Kind::Crowd => Ok(crowd::measure(bench, row)),
        Kind::Memory => Ok(memory::measure(bench, row)),
        Kind::Calls => Ok(calls::measure(bench, row)),
        Kind::Fairness => Ok(fairness::measure(bench, row)),
        Kind::Generator | Kind::Framings => generator::measure(bench, row),
        Kind::Accuracy(pace) => accuracy::measure(bench, row, pace),
        Kind::Footprint => Ok(footprint::measure(bench, row)),
    }
}

/// Why a row cannot be measured here, if so.
fn possible(row: &Row) -> std::result::Result<(), String> {
    let needed = row.connections_in_all() + 64;
    let limit = proc::descriptor_limit();
    if needed > limit {
        return Err(format!("{needed} descriptors needed, {limit} allowed"));
    }
    if row.kind == Kind::Calls && !compile::installed("strace", "-V") {
        return Err("strace is not installed".into());
    }
    Ok(())
}

fn entrant(peer: &peers::Peer) -> Entrant {
    Entrant { name: peer.name.into(), title: peer.title.into(), version: peer.version.clone() }
}

fn conditions(bench: &Bench) -> Vec<String> {
    let pinned = if bench.pinned {
        "all servers pinned to one CPU, the load to another"
    } else {
        "nothing pinned, as there is only one CPU: servers and load share it"
    };
    let first = if bench.may_go_first() {
        "fairness: servers and flood at real-time priority, the bystander above them"
    } else {
        "fairness: real-time priority is not permitted, so the bystander also waits for its processor"
    };
    let windows = format!(
        "{} rounds of {} s for each row, after {} not counted",
        bench.rounds.counted, bench.seconds, bench.rounds.uncounted
    );
    [pinned, &windows, first].map(str::to_owned).to_vec()
}
