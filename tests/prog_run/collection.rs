//! What the benchmark of collection says of a table.

use fw_testkit::collection::sweep_cost;

#[test]
fn a_sweep_is_measured_over_as_many_flows_as_were_asked_for() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: program runs need root");
        return;
    }
    // More than may be half-open without being asked for, a quarter of the table.
    let cost = sweep_cost(8_192).unwrap();
    assert_eq!(cost.flows, 8_192);
    assert!(cost.bytes_per_flow > 128.0, "a flow has two cache lines at least: {cost:?}");
}
