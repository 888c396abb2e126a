//! Waiting for a condition that nothing announces: polled, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::LabError;

/// How long to wait between two looks at a condition: short at first, because most conditions come true at once.
const FIRST_INTERVAL: Duration = Duration::from_millis(1);

/// The longest that is waited between two looks.
const LAST_INTERVAL: Duration = Duration::from_millis(20);

/// Calls `attempt` until it returns a value, at least once and for `within` at most.
pub fn until<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Option<T>) -> Result<T, LabError> {
    let deadline = Instant::now() + within;
    let mut interval = FIRST_INTERVAL;
    loop {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(LabError::Timeout { what: what.to_owned(), within });
        }
        thread::sleep(interval);
        interval = (interval * 2).min(LAST_INTERVAL);
    }
}

/// Calls `condition` until it holds, at least once and for `within` at most.
pub fn until_true(what: &str, within: Duration, mut condition: impl FnMut() -> bool) -> Result<(), LabError> {
    until(what, within, || condition().then_some(()))
}
