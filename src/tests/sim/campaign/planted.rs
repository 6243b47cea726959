//! That the campaign bites: each of these bugs breaks it.

use crate::planted::{Bug, plant};
use crate::tests::sim::campaign::{SEEDS, STEPS, TRACE_LINES, run};

/// The ordinary campaign, with a bug: it is found, and at the seed that is printed.
fn assert_found(bug: Bug) {
    plant(Some(bug));
    let broken = (0..SEEDS).find_map(|seed| Some((seed, run(seed, STEPS, TRACE_LINES).err()?)));
    plant(None);
    let Some((seed, report)) = broken else { panic!("{bug:?} was not found in {SEEDS} seeds") };
    println!("{bug:?} is found at seed {seed}: {report}");
}

#[test]
fn a_failure_is_the_same_when_its_seed_is_replayed() {
    plant(Some(Bug::EdgeForgotten));
    let seed = (0..SEEDS).find(|seed| run(*seed, STEPS, TRACE_LINES).is_err()).unwrap();
    let reports = [(); 2].map(|()| run(seed, STEPS, TRACE_LINES).unwrap_err());
    plant(None);
    assert_eq!(reports[0], reports[1]);
    assert!(reports[0].contains(&format!("FRAMELOOP_SIM_SEED={seed} FRAMELOOP_SIM_STEPS={STEPS} ")), "{}", reports[0]);
}

macro_rules! each_is_found {
    ($($test:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $test() {
                assert_found(Bug::$bug);
            }
        )*

        /// Does not compile if a bug has no test.
        const fn _none_is_left_out(bug: Bug) {
            match bug {
                $(Bug::$bug)|* => {}
            }
        }
    };
}

each_is_found! {
    an_edge_forgotten_behind_a_spent_budget_is_found: EdgeForgotten,
    a_connection_that_waits_for_nobody_is_found: WaitingNotQueued,
    a_connection_queued_twice_is_found: QueuedTwice,
    a_poll_that_sleeps_on_work_is_found: SleepsOnWork,
    a_connection_that_spins_is_found: Spins,
    a_short_read_taken_for_the_last_before_fin_is_found: ShortReadBeforeFin,
    a_short_read_taken_for_the_last_at_a_mark_is_found: ShortReadAtMark,
    a_read_that_ends_with_a_signal_is_found: InterruptedEnds,
    a_bell_that_rings_only_once_is_found: BellStuck,
    a_short_write_whose_rest_is_dropped_is_found: ShortWriteDropsRest,
    a_write_of_zero_ignored_is_found: ZeroWriteIgnored,
    an_outbox_without_a_watermark_is_found: WatermarkIgnored,
    a_low_watermark_that_nobody_tells_is_found: LowWaterUntold,
    memory_that_is_miscounted_is_found: MemoryMiscounted,
    a_limit_that_is_off_by_one_is_found: LimitOffByOne,
    a_frame_budget_ignored_is_found: FrameBudgetIgnored,
    a_pause_ignored_is_found: PauseIgnored,
    output_dropped_at_fin_is_found: FinDropsOutput,
    a_close_that_does_not_linger_is_found: LingerSkipped,
    a_reset_behind_fin_unseen_is_found: FailureUnseen,
    a_slot_freed_in_mid_batch_is_found: FreedInMidBatch,
    a_generation_ignored_is_found: GenerationIgnored,
    a_frame_deadline_counted_from_the_last_byte_is_found: FrameClockRestarts,
    a_write_deadline_that_input_puts_off_is_found: WriteClockRestarts,
    accepted_output_that_is_not_seen_is_found: AcceptedBytesUnseen,
    an_idle_deadline_that_nothing_puts_off_is_found: IdleClockStands,
    an_accept_not_resumed_after_exhaustion_is_found: ExhaustionLosesEdge,
    an_accept_tried_again_at_once_is_found: ExhaustionSpins,
    an_accept_not_resumed_after_its_budget_is_found: AcceptBudgetLosesEdge,
    an_on_open_without_an_on_close_is_found: OpenUnpaired,
    an_on_close_not_called_is_found: CloseUntold,
}
