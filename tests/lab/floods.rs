//! Floods through the whole firewall, with real clients beside them.

use std::time::Duration;

use fw_testkit::flood::{Arena, Flood};
use fw_testkit::lab::Programs;

use crate::firewall::available;

#[test]
fn connections_live_and_new_ones_are_made_while_a_flood_of_syns_lasts() {
    let Some(programs) = available(Programs::find()) else { return };
    let object = programs.bench_object();
    // More forged SYNs than the whole table has room for.
    let conntrack = "max_flows = 131_072\nmax_half_open = 65_536";
    let Some(arena) = available(Arena::raise(programs, object, conntrack)) else { return };
    let flood = Flood {
        packets: 300_000,
        at_least: Duration::ZERO,
        per_second: 60_000,
        call: 5_000,
        processor: None,
        established: 100,
        new_per_second: 50,
    };
    let report = arena.run(&flood).unwrap();
    assert_eq!(report.transfers.lost, 0, "{report:?}");
    assert!(report.newcomers.tried > 100, "{report:?}");
    assert!(report.newcomers.succeeded * 100 >= report.newcomers.tried * 99, "{report:?}");
    assert!(report.most_half_open() <= 65_536, "{report:?}");
    assert!(report.evicted >= 150_000, "{report:?}");
}
