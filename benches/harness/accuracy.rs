//! The load generator in the open loop: whether it keeps its rate, and whether
//! its latencies are those that an independent client sees, the load in C, on
//! the same server at the same rate.

use std::time::Duration;

use crate::Result;
use crate::child::{Bench, Priority, Server, Side};
use crate::options::Options;
use crate::rows::{Pace, Row};
use crate::stats::{Figures, Spread};

/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Accuracy {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Frames a second that were due.
    pub(crate) rate: f64,
    /// Frames answered a second, by those that were due.
    pub(crate) kept: Spread,
    /// Medians, from when a frame was sent.
    pub(crate) sent: Compared,
    /// Medians, from when a frame was due.
    pub(crate) due: Compared,
}

/// The same of both, in microseconds.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) by_hand: Spread,
    pub(crate) frameloop: Spread,
    /// Frameloop by the other, of neighbouring windows.
    pub(crate) ratio: Spread,
}

pub(crate) fn measure(bench: &Bench, options: &Options, row: &Row, pace: Pace) -> Result<Accuracy> {
    let priority = if bench.may_go_first() { Priority::BEFORE } else { Priority::NONE };
    let server = bench.start_at(Side::Floor, priority)?;
    let rate = match pace {
        Pace::PerSecond(rate) => f64::from(rate),
        Pace::Percent(percent) => most(bench, &server, row, priority)? * f64::from(percent) / 100.0,
    };
    let row = Row { rate: Some(rate), ..row.clone() };
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let seen = match side {
                0 => by_hand(bench, &server, &row, priority)?,
                _ => frameloop(bench, &server, &row, rate, priority)?,
            };
            // The first round only warms caches and the kernel.
            if round > 0 {
                figures[side].push(seen);
            }
            std::thread::sleep(PAUSE);
        }
    }
    let kept = figures[1].iter().map(|it| it.messages as f64 / it.seconds / rate).collect();
    Ok(Accuracy {
        name: row.name,
        title: row.title,
        rate,
        kept: Spread::of(kept),
        sent: compared(&figures, |it| it.sent_p50_us),
        due: compared(&figures, |it| it.p50_us),
    })
}

/// Frames a second in the closed loop.
fn most(bench: &Bench, server: &Server, row: &Row, priority: Priority) -> Result<f64> {
    let rates = (0..3).map(|_| {
        let figures = frameloop(bench, server, row, 0.0, priority)?;
        std::thread::sleep(PAUSE);
        Ok(figures.messages as f64 / figures.seconds)
    });
    Ok(Spread::of(rates.collect::<Result<Vec<f64>>>()?).median)
}

fn by_hand(bench: &Bench, server: &Server, row: &Row, priority: Priority) -> Result<Figures> {
    let mut load = bench.load_at(server, row, priority)?;
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

fn compared(figures: &[Vec<Figures>; 2], pick: fn(&Figures) -> f64) -> Compared {
    let [by_hand, frameloop] = figures.each_ref().map(|side| side.iter().map(pick).collect::<Vec<f64>>());
    let ratio = by_hand.iter().zip(&frameloop).map(|(by_hand, own)| own / by_hand).collect();
    Compared { by_hand: Spread::of(by_hand), frameloop: Spread::of(frameloop), ratio: Spread::of(ratio) }
}
