//! What the server costs above the floor.
//!
//! `cargo bench --bench peers` measures frameloop next to a raw epoll echo
//! loop in C (`benches/peers/floor.c`), which knows nothing of frames and so
//! bounds what any echo server can do on this kernel. Both run at once on the
//! same CPU and are loaded in turn, A B A B, by one generator on another CPU
//! (`benches/load/`); what counts is the CPU time the kernel charged to the
//! server, per frame. `-- --help` lists the options.

mod accuracy;
mod calls;
mod child;
mod compile;
mod fairness;
mod footprint;
mod generator;
mod memory;
mod options;
mod paced;
mod proc;
mod report;
mod rows;
mod speed;
mod stats;
mod table;

use std::process::ExitCode;

use child::Bench;
use options::Options;
use report::Report;
use rows::{Kind, Row};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("the floor benchmark needs Linux: it measures against epoll, by /proc");
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = args.split_first()
        && role == paced::ROLE
    {
        return told(paced::main(rest).map(|()| true));
    }
    told(options::parse(args.into_iter()).and_then(|options| match options {
        Some(options) => run(&options),
        None => Ok(true),
    }))
}

fn told(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every chosen row; false when one of them failed.
fn run(options: &Options) -> Result<bool> {
    let bench = Bench::new(options)?;
    let mut report = Report::new(&bench, options);
    report.print_heading();
    let mut speeds = speed::Speeds::new(&bench, options)?;
    for row in rows::chosen(&options.rows)? {
        if let Err(reason) = possible(&row) {
            report.leave_out(&row, &reason);
            continue;
        }
        eprintln!("measuring {} ...", row.name);
        let outcome = match &row.kind {
            Kind::Speed => speeds.measure(&row).map(|it| report.speeds.push(it)),
            Kind::Memory => memory::measure(&bench, &row).map(|it| report.memory.push(it)),
            Kind::Calls => calls::measure(&bench, &row).map(|it| report.calls.extend(it)),
            Kind::Generator => generator::measure(&bench, options, &row).map(|it| report.generators.push(it)),
            Kind::Accuracy(pace) => accuracy::measure(&bench, options, &row, *pace).map(|it| report.accuracy.push(it)),
            Kind::Footprint => footprint::measure(&bench, &row).map(|it| report.footprints.push(it)),
            Kind::Fairness => fairness::measure(&bench, options, &row).map(|it| report.fairness.push(it)),
        };
        if let Err(error) = outcome {
            report.fail(&row, &error);
            eprint!("{}", bench.last_words());
        }
    }
    report.print_tables();
    if let Some(path) = &options.json {
        std::fs::write(path, report.json())?;
    }
    Ok(report.failed.is_empty())
}

/// Why a row cannot be measured here, if so.
fn possible(row: &Row) -> std::result::Result<(), String> {
    let needed = row.connections + 64;
    let limit = proc::descriptor_limit();
    if needed > limit {
        return Err(format!("{needed} descriptors needed, {limit} allowed"));
    }
    if row.kind == Kind::Calls && !compile::installed("strace", "-V") {
        return Err("strace is not installed".into());
    }
    Ok(())
}
