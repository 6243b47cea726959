//! The load generator in the open loop: whether it keeps its rate, and whether
//! its latencies are those that an independent client sees, the load in C, on
//! the same server at the same rate.

use std::time::Duration;

use crate::child::{Bench, FLOOR, Priority, Server};
use crate::failure::Result;
use crate::generator::{BY_HAND, OWN};
use crate::results::{Metric, Outcome};
use crate::rounds::{self, Contender};
use crate::rows::{Pace, Row};
use crate::stats::{Figures, Spread};

/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) fn measure(bench: &Bench, row: &Row, pace: Pace) -> Result<Vec<(String, Outcome)>> {
    let priority = if bench.may_go_first() { Priority::BEFORE } else { Priority::NONE };
    let server = bench.start(bench.peer(FLOOR)?, priority)?;
    let rate = match pace {
        Pace::PerSecond(rate) => f64::from(rate),
        Pace::Percent(percent) => most(bench, &server, row, priority)? * f64::from(percent) / 100.0,
    };
    let row = Row { rate: Some(rate), ..row.clone() };
    let contenders = [BY_HAND, OWN].map(|name| Contender::new(name, Ok(name)));
    Ok(rounds::in_turn(contenders.into(), bench.rounds, |name| {
        let seen = match *name {
            BY_HAND => by_hand(bench, &server, &row, priority)?,
            _ => frameloop(bench, &server, &row, rate, priority)?,
        };
        std::thread::sleep(PAUSE);
        Ok(vec![
            (Metric::P50Us, seen.p50_us),
            (Metric::SentP50Us, seen.sent_p50_us),
            (Metric::DuePerSecond, rate),
            (Metric::Kept, seen.messages as f64 / seen.seconds / rate),
        ])
    }))
}

/// Frames per second in the closed loop.
fn most(bench: &Bench, server: &Server, row: &Row, priority: Priority) -> Result<f64> {
    let rates = (0..3).map(|_| {
        let figures = frameloop(bench, server, row, 0.0, priority)?;
        std::thread::sleep(PAUSE);
        Ok(figures.messages as f64 / figures.seconds)
    });
    Ok(Spread::of(rates.collect::<Result<Vec<f64>>>()?).median)
}

fn by_hand(bench: &Bench, server: &Server, row: &Row, priority: Priority) -> Result<Figures> {
    let mut load = bench.load(server, row, priority)?;
    let figures = load.go()?;
    load.stop()?;
    Ok(figures)
}

fn frameloop(bench: &Bench, server: &Server, row: &Row, rate: f64, priority: Priority) -> Result<Figures> {
    let seconds = row.seconds.unwrap_or(bench.seconds);
    let numbers = [row.connections as f64, rate, seconds, bench.warmup].map(|number| number.to_string());
    let figures = bench.paced(server, &numbers.each_ref().map(String::as_str), priority)?;
    if figures.errors > 0 {
        return Err(format!("the generator counted {} errors", figures.errors).into());
    }
    Ok(figures)
}
