//! Campaigns: thousands of steps of chance under a seed, with everything that must be so checked after every turn.
//!
//! A seed decides the settings, the peers, the faults and the order of everything. `FRAMELOOP_SIM_SEEDS` and
//! `FRAMELOOP_SIM_STEPS` make a campaign longer, `FRAMELOOP_SIM_SEED` replays one seed.
//!
//! | file | what it is |
//! |---|---|
//! | `settings.rs` | what a seed decides at once: limits, faults, edges |
//! | `steps.rs` | the steps, and the end |
//! | `actor.rs`, `script.rs` | the peers, and what they send |
//! | `scripted_handler.rs`, `action.rs`, `heard.rs` | the handler, what it does, and what it writes down |
//! | `oracle.rs`, `recordings.rs` | the promises |
//! | `trace.rs`, `quiet.rs` | the report of a failure, and its omissions |

mod action;
mod actor;
mod heard;
mod oracle;
mod quiet;
mod recordings;
mod script;
mod scripted_handler;
mod settings;
mod steps;
mod trace;

use crate::tests::sim::campaign::quiet::quietly;
use crate::tests::sim::campaign::steps::Campaign;

const SEEDS: u64 = 256;
const STEPS: usize = 3_000;

/// How many lines of the trace a failure prints, and how many in a replay.
const TRACE_LINES: usize = 40;
const REPLAY_LINES: usize = 2_000;

/// Runs a seed.
///
/// # Errors
///
/// What was broken, what happened last, and how to replay it.
fn run(seed: u64, steps: usize, lines_max: usize) -> Result<(), String> {
    let mut campaign = Campaign::new(seed, lines_max);
    let Err(broken) = quietly(|| campaign.run(steps)) else { return Ok(()) };
    let report = format!(
        "seed {seed} is broken at step {} of {steps}: {broken}\n\nwith {:#?}\n\nthe last that happened:\n{}\n\n\
         replay: FRAMELOOP_SIM_SEED={seed} FRAMELOOP_SIM_STEPS={steps} cargo test --lib a_campaign_of_chance\n",
        campaign.steps,
        campaign.settings,
        campaign.trace.lines().join("\n"),
    );
    // The drop of a broken reactor may panic, which would hide the report.
    std::mem::forget(campaign);
    Err(report)
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is {text:?} and must be a number"),
    }
}

#[test]
fn a_campaign_of_chance_breaks_no_invariant() {
    let steps = setting("FRAMELOOP_SIM_STEPS").map_or(STEPS, |steps| steps as usize);
    let outcome = match setting("FRAMELOOP_SIM_SEED") {
        Some(seed) => run(seed, steps, REPLAY_LINES),
        None => (0..setting("FRAMELOOP_SIM_SEEDS").unwrap_or(SEEDS)).try_for_each(|seed| run(seed, steps, TRACE_LINES)),
    };
    if let Err(report) = outcome {
        panic!("{report}");
    }
}

#[test]
fn campaign_follows_recordings_to_the_end_of_connections() {
    let whole: usize = (0..8)
        .map(|seed| {
            let mut campaign = Campaign::new(seed, 0);
            assert_eq!(quietly(|| campaign.run(500)), Ok(()));
            campaign.followers.whole
        })
        .sum();
    assert!(whole > 10, "only {whole}");
}

#[test]
fn a_seed_gives_the_same_campaign_every_time() {
    for seed in 0..8 {
        let traces = [(); 2].map(|()| {
            let mut campaign = Campaign::new(seed, usize::MAX);
            assert_eq!(quietly(|| campaign.run(500)), Ok(()));
            campaign.trace.lines()
        });
        assert!(traces[0].len() > 100, "seed {seed}: {} lines", traces[0].len());
        assert_eq!(traces[0], traces[1]);
    }
}
