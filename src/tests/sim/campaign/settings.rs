//! What a seed decides before anything happens.

use std::time::Duration;

use crate::config::Config;
use crate::lint::LintMode;
use crate::sim::{Edges, Faults, Rng};
use crate::wire::{Delimiter, Framing, LengthPrefix};

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) edges: Edges,
    pub(super) faults: Faults,
    pub(super) send_buffer_bytes: usize,
    pub(super) is_local: bool,
    pub(super) finale: Finale,
    /// That of the second listener.
    pub(super) framing: Framing,
}

/// How a campaign ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finale {
    /// The faults stop, and all peers send what is left: then everything must complete.
    Complete,
    /// The reactor drains in the middle of everything.
    Drain,
    /// It stops.
    Stop,
    /// It is dropped.
    Drop,
}

impl Settings {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let has_faults = rng.chance(700);
        let config = config(rng);
        Self {
            framing: framing(rng, config.max_payload),
            config,
            edges: if rng.chance(500) { Edges::Noisy } else { Edges::Strict },
            faults: if has_faults { faults(rng) } else { Faults::default() },
            send_buffer_bytes: [100, 3_000, 16 << 10, 200_000][rng.below(4)],
            is_local: rng.chance(200),
            finale: match rng.below(6) {
                0..=2 => Finale::Complete,
                3 => Finale::Drain,
                4 => Finale::Stop,
                _ => Finale::Drop,
            },
        }
    }

    /// Whether a call may say that there is nothing where there is something: then a peer can be cut that is in time.
    pub(super) fn may_misjudge(&self) -> bool {
        self.faults.would_block > 0 || self.faults.short_read > 0
    }
}

fn config(rng: &mut Rng) -> Config {
    let high = [256, 4 << 10, 64 << 10][rng.below(3)];
    let timeout = |rng: &mut Rng, per_mille, seconds: [u64; 2]| {
        rng.chance(per_mille).then_some(Duration::from_secs(seconds[rng.below(2)]))
    };
    let config = Config::builder()
        .max_payload([40, 3_000, 400_000][rng.below(3)])
        .max_connections(rng.between(2, 24))
        .memory([600_000, 4 << 20][rng.below(2)])
        .output_high_water(high)
        .output_low_water(high / 4)
        .idle_timeout(timeout(rng, 300, [5, 20]))
        .frame_timeout(timeout(rng, 900, [2, 30]))
        .write_timeout(timeout(rng, 900, [3, 30]))
        .write_rate_min([0, 0, 50][rng.below(3)])
        .read_budget_bytes([64, 5_000, 64 << 10][rng.below(3)])
        .write_budget_bytes([64, 5_000, 64 << 10][rng.below(3)])
        .frame_budget([1, 7, 2_048][rng.below(3)])
        .turn_budget([16 << 10, 40_000, 1 << 20][rng.below(3)])
        .accept_budget(rng.between(1, 8))
        .mailbox_max(2)
        .connection_counters(true)
        .events_per_turn([1, 3, 1_024][rng.below(3)])
        .pool_bytes_max([0, 1 << 20][rng.below(2)]);
    match config.build() {
        // Not by a number of its own: the seeds mean what they meant before.
        Ok(config) => {
            let max = config.max_connections;
            let reclaim_idle = (max % 2 == 1).then_some(Duration::from_secs(1 + max as u64 % 5));
            let lint = if max % 3 > 0 { LintMode::Count } else { LintMode::Off };
            Config { reclaim_idle, lint, ..config }
        }
        Err(error) => panic!("a setting cannot work: {error}"),
    }
}

/// Any framing whose length can announce more than the limit.
fn framing(rng: &mut Rng, max_payload: u32) -> Framing {
    let delimiter = |bytes| Delimiter::new(bytes).map_or_else(|error| panic!("{error}"), Framing::from);
    let framings = [
        delimiter(b"\xff"),
        delimiter(b"\xff\xfe"),
        delimiter(b"\xff\xff\xff\xfe"),
        LengthPrefix::varint().into(),
        LengthPrefix::u32_be().adjustment(-4).into(),
        LengthPrefix::u24_be().into(),
        LengthPrefix::u64_le().into(),
        LengthPrefix::u16_le().into(),
        LengthPrefix::u8().into(),
    ];
    let fitting = framings.iter().filter(|framing| *framing.payload_lens().end() > max_payload.into()).count();
    framings[rng.below(fitting)]
}

fn faults(rng: &mut Rng) -> Faults {
    let mut rate = |max: usize| if rng.chance(500) { rng.below(max) as u16 } else { 0 };
    Faults {
        interrupted: rate(200),
        would_block: rate(200),
        short_write: rate(300),
        short_read: rate(300),
        write_zero: rate(3),
        reset: rate(3),
        late: rate(500),
        accept_aborted: rate(100),
        accept_exhausted: rate(300),
        register: rate(50),
        ..Faults::default()
    }
}
