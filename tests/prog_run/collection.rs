//! What the benchmark of collection says of a table.

use fw_testkit::collection::{survive, sweep_cost};

/// Whether this process may load programs; a line that says so if not.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: program runs need root");
    }
    is_root
}

#[test]
fn a_sweep_is_measured_over_as_many_flows_as_were_asked_for() {
    if !is_root() {
        return;
    }
    // More than may be half-open without being asked for, a quarter of the table.
    let cost = sweep_cost(8_192).unwrap();
    assert_eq!(cost.flows, 8_192);
    assert!(cost.bytes_per_flow > 128.0, "a flow has two cache lines at least: {cost:?}");
}

#[test]
fn flows_that_go_on_outlive_many_more_than_may_be_half_open() {
    if !is_root() {
        return;
    }
    let survival = survive(20_000, 100, 8_192).unwrap();
    assert_eq!((survival.passed, survival.killed), (20_000, 0), "{survival:?}");
}
