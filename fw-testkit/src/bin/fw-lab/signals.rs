//! Removes labs when a person or a supervisor ends the program.

use std::thread;

use anyhow::Context;
use fw_testkit::lab;
use tokio::signal::unix::{SignalKind, signal};

/// From now on SIGINT, SIGTERM and SIGHUP remove the labs of this process before the program ends, and then do more work.
pub(crate) fn remove_labs_at_the_end(then: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("watch for signals")?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    drop(guard);
    thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hang_up.recv() => SignalKind::hangup(),
            }
        });
        let names = lab::own();
        eprintln!("fw-lab: interrupted; removing {}", names.join(", "));
        names.iter().for_each(|name| lab::remove(name));
        then();
        // As a shell reports a program that a signal ended.
        std::process::exit(128 + number.as_raw_value());
    });
    Ok(())
}
