//! Which cases each beast fails.

/// What is expected of a beast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beast {
    pub(crate) name: &'static str,
    /// The cases that fail when all are played.
    pub(crate) fails: &'static [&'static str],
    /// The case after which no client is served.
    pub(crate) ends_in: Option<&'static str>,
    /// Cases that fail on a server of their own.
    pub(crate) alone: &'static [&'static str],
    /// Cases of which chance decides: where a segment ends, or who is faster.
    pub(crate) chance: &'static [&'static str],
    /// The cases that are played, if not all.
    pub(crate) only: &'static [&'static str],
    pub(crate) args: &'static [&'static str],
    /// How long an answer may take.
    pub(crate) patience: &'static str,
    /// How long a grade takes, in seconds or so.
    pub(crate) rank: u32,
}

const USUAL: Beast = Beast {
    name: "",
    fails: &[],
    ends_in: None,
    alone: &[],
    chance: &[],
    only: &[],
    args: &[],
    patience: "2s",
    rank: 12,
};

/// Skipped where the server has no deadlines.
pub(crate) const DEADLINES: [&str; 2] = ["stalled-frame", "stalled-reader"];

/// In the order of `zoo list`.
pub(crate) const BEASTS: &[Beast] = &[
    Beast { name: "native_endian", fails: &["one-frame"], ends_in: Some("one-frame"), rank: 3, ..USUAL },
    Beast { name: "zero_is_the_end", fails: &["zero-length", "every-split"], ..USUAL },
    Beast {
        name: "one_read_one_header",
        fails: &[
            "byte-at-a-time",
            "header-1-3",
            "header-2-2",
            "header-3-1",
            "every-split",
            "fin-in-header",
            "drip-beside",
        ],
        chance: &["slow-reader", "half-close-owed"],
        ..USUAL
    },
    Beast {
        name: "clears_the_buffer",
        fails: &[
            "zero-length",
            "every-split",
            "coalesced",
            "whole-then-part",
            "fin-after-frames",
            "slow-reader",
            "half-close-owed",
        ],
        patience: "1s",
        rank: 14,
        ..USUAL
    },
    Beast {
        name: "byte_echo",
        fails: &["half-frame", "fin-in-header", "fin-in-payload", "length-over-limit"],
        ..USUAL
    },
    Beast { name: "text_only", fails: &["binary-payload"], ..USUAL },
    Beast {
        name: "no_drain",
        fails: &["coalesced", "large-frame", "urgent-mark", "slow-reader", "half-close-owed", "idle-memory"],
        patience: "1s",
        rank: 16,
        ..USUAL
    },
    Beast {
        name: "short_read_drains",
        fails: &["urgent-mark"],
        chance: &["half-close-owed", "fin-in-header", "fin-in-payload"],
        ..USUAL
    },
    Beast { name: "write_all_nonblocking", fails: &["large-frame", "slow-reader", "half-close-owed"], ..USUAL },
    Beast { name: "eof_is_death", fails: &["half-close-owed"], ..USUAL },
    Beast {
        name: "never_closes",
        fails: &["fin-after-frames", "half-close-owed", "fin-in-header", "fin-in-payload", "churn-under-load"],
        ends_in: Some("churn-under-load"),
        alone: &["churn-descriptors"],
        patience: "1s",
        rank: 15,
        ..USUAL
    },
    Beast {
        name: "one_error_ends_all",
        fails: &["rst-in-header"],
        ends_in: Some("rst-in-header"),
        alone: &["rst-in-payload", "rst-with-output-owed"],
        rank: 6,
        ..USUAL
    },
    Beast {
        name: "pool_of_four",
        fails: &[
            "silent-beside",
            "idle-cpu",
            "connect-burst",
            "thousand-clients",
            "churn-under-load",
            "announced-memory",
            "idle-memory",
            "four-gib",
        ],
        patience: "1s",
        rank: 20,
        ..USUAL
    },
    Beast {
        name: "blocking_in_the_loop",
        fails: &["drip-beside", "never-reads-beside", "announced-memory"],
        patience: "1s",
        rank: 14,
        ..USUAL
    },
    Beast {
        name: "writable_left_on",
        fails: &["idle-cpu", "deaf-cpu", "descriptors-exhausted-cpu"],
        rank: 16,
        ..USUAL
    },
    Beast { name: "level_left_readable", fails: &["deaf-cpu"], rank: 13, ..USUAL },
    Beast {
        name: "one_accept",
        fails: &["connect-burst"],
        ends_in: Some("connect-burst"),
        only: &["one-frame", "every-split", "fin-after-frames", "rst-in-header", "connect-burst", "thousand-clients"],
        rank: 6,
        ..USUAL
    },
    Beast { name: "slot_reused", fails: &["churn-under-load"], rank: 15, ..USUAL },
    Beast { name: "believes_length", fails: &["length-over-limit", "announced-memory", "four-gib"], rank: 13, ..USUAL },
    Beast { name: "unbounded_outbox", fails: &["never-reads-memory"], ..USUAL },
    Beast { name: "no_budget", fails: &["flood-beside"], ..USUAL },
    // The heap of those that came before may still be resident, and hide the buffers of those that come now.
    Beast { name: "buffer_each", chance: &["idle-memory"], alone: &["idle-memory"], ..USUAL },
    Beast { name: "peer_unwrap", fails: &["connect-storm"], ends_in: Some("connect-storm"), rank: 13, ..USUAL },
    Beast {
        name: "emfile_stops",
        fails: &["descriptors-exhausted"],
        ends_in: Some("descriptors-exhausted"),
        rank: 14,
        ..USUAL
    },
    Beast { name: "emfile_spins", fails: &["descriptors-exhausted-cpu"], rank: 13, ..USUAL },
    Beast {
        name: "no_deadline",
        fails: &DEADLINES,
        args: &["--frame-timeout", "300ms", "--write-timeout", "300ms"],
        rank: 18,
        ..USUAL
    },
];
