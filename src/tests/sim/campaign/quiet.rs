//! Panics that are expected, without a word about them.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    /// What the last panic on this thread had to say while it was quiet.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `trial`; says nothing about panics in it, caught or not. If it panics itself, returns what it said, and where.
///
/// Other threads are heard as before: the hook is one for the process, but asks whose panic it is.
pub(super) fn quietly<R>(trial: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if IS_QUIET.get() {
                LAST.set(info.to_string());
            } else {
                loud(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(trial));
    IS_QUIET.set(false);
    outcome.map_err(|_| LAST.take())
}
