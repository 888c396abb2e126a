//! The loaded program against the reference firewall, on random policies and random packets, and on the sequences that once
//! told them apart. What is compared, and which differences are wanted, stands in `docs/oracle.md`.

mod association;
mod case;
mod connection;
pub(crate) mod explained;
mod long_run;
mod policies;
mod run;
mod second;
mod shrink;
mod surroundings;
mod traffic;

use std::path::{Path, PathBuf};

use self::case::Case;
use self::long_run::Plan;
use self::run::Rival;

/// Which seed a random run starts with; else it is another on each run.
const SEED_VARIABLE: &str = "OUTPOST_FW_ORACLE_SEED";
/// How many packets a random run sends.
const PACKETS_VARIABLE: &str = "OUTPOST_FW_ORACLE_PACKETS";
/// How many firewalls judge at once.
const RIGS_VARIABLE: &str = "OUTPOST_FW_ORACLE_RIGS";
/// Packets of a run in CI.
const PACKETS: u64 = 10_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

#[test]
fn random_traffic_is_judged_as_the_reference_judges() {
    let seed = number(SEED_VARIABLE).unwrap_or_else(|| u64::from(std::process::id()) << 32 | clock());
    let packets = number(PACKETS_VARIABLE).unwrap_or(PACKETS);
    let rigs = number(RIGS_VARIABLE).map_or(1, |rigs| usize::try_from(rigs).unwrap());
    println!("{SEED_VARIABLE}={seed} {PACKETS_VARIABLE}={packets} {RIGS_VARIABLE}={rigs}");
    let Some(tally) = long_run::run(Plan { seed, packets, rigs }) else { return };
    assert!(tally.differences.is_empty(), "seed {seed}: {}", tally.differences.join("\n\n"));
    let observed = tally.seen.get("observed by a rule").copied().unwrap_or_default();
    assert!(packets < PACKETS || tally.seen.len() > 20, "the traffic is too uniform: {:?}", tally.seen);
    assert!(packets < PACKETS || observed > packets / 50, "rules observe too little: {:?}", tally.seen);
}

#[test]
fn what_once_differed_does_not_any_more() {
    let Some(mut rival) = Rival::new() else { return };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let case: Case =
            std::fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|why| panic!("{path:?}: {why}"));
        assert!(!case.policies.is_empty(), "{}: without a policy nothing is compared", path.display());
        if let Some(difference) = rival.difference(&case) {
            panic!("{}: {difference}", path.display());
        }
    }
}

/// Something that differs from run to run.
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::from(now.tv_nsec.unsigned_abs() as u32)
}
