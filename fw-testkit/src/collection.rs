//! What collecting dead flows costs, and whether it leaves the living alone.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fw_agent::dataplane::Dataplane as _;
use fw_common::conntrack::{State, Timeouts};

use crate::classbench::bed::Bed;
use crate::classbench::measure::Stopwatch;
use crate::classbench::{ANY_PORT, Family, Header, Prefix, Rule, RuleSet, Style};

/// How long a passing flow lives here after its packet, in seconds.
const PASSING_TIMEOUT: u32 = 3;
/// The same of a living one, which sends much more often: a busy machine must not make it die rightly.
const LIVING_TIMEOUT: u32 = 20;
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How often the agent sweeps.
const SWEEP: Duration = Duration::from_secs(5);

/// A rule set that allows everything.
fn everything() -> RuleSet {
    let rule = Rule {
        source: Prefix::any(),
        destination: Prefix::any(),
        src_port: ANY_PORT,
        dst_port: ANY_PORT,
        protocol: None,
        allow: true,
    };
    RuleSet { style: Style::Acl, family: Family::V4, rules: vec![rule] }
}

/// A firewall that allows everything, with time-outs by state. Nobody answers, so all flows stay half-open; they are to be collected,
/// and not to give way to others.
fn firewall(max_flows: u32, seconds: &[(State, u32)]) -> Result<(Bed, RuleSet)> {
    let mut timeouts = Timeouts::default();
    for (state, seconds) in seconds {
        timeouts.seconds[*state as usize] = *seconds;
    }
    let bed = Bed::with_any_half_open(max_flows, timeouts)?;
    let set = everything();
    let (compiled, _) = Stopwatch::default().compile(&set.files())?;
    bed.apply(&compiled)?;
    Ok((bed, set))
}

/// The network of the flows that live, and that of those that come and go.
const LIVING: u32 = 0x0a00_0000;
const PASSING: u32 = 0x1400_0000;

/// The packets of flow `number` of a network: echo requests of living ones, datagrams of others.
fn flow(network: u32, number: u32) -> Header {
    let left_aligned = |addr: u32| u128::from(addr) << 96;
    Header {
        source: left_aligned(network + number),
        destination: left_aligned(0x0b00_0001),
        protocol: if network == LIVING { 1 } else { 17 },
        src_port: 1000,
        dst_port: if network == LIVING { 8 << 8 } else { 53 },
    }
}

/// What collection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Connections that came and went.
    pub passed: u64,
    /// Those of them that found no room.
    pub refused: u64,
    /// Flows removed by sweeps, of the agent and of new flows.
    pub collected: u64,
    /// Flows that lived all the time.
    pub living: u32,
    /// Those of them that were collected, though they had sent within their time-out.
    pub killed: u32,
    /// Packets that each living flow has sent.
    pub heartbeats: u64,
}

/// Opens `connections` flows that die, while `living` others go on; the tables hold `max_flows`.
///
/// A living flow that is collected would be opened again by its next packet, and have fewer packets than it has sent.
///
/// # Errors
/// What the kernel says.
pub fn survive(connections: u32, living: u32, max_flows: u32) -> Result<Survival> {
    /// Flows between two looks at the clock.
    const BATCH: u32 = 2_000;
    ensure!(connections < LIVING, "so many connections have no addresses");
    let (bed, set) = firewall(max_flows, &[(State::UdpNew, PASSING_TIMEOUT), (State::Icmp, LIVING_TIMEOUT)])?;
    let alive: Vec<Header> = (0..living).map(|number| flow(LIVING, number)).collect();
    let mut result = Survival { passed: 0, refused: 0, collected: 0, living, killed: 0, heartbeats: 0 };
    let (mut beaten, mut swept) = (None::<Instant>, Instant::now());
    let before = bed.dataplane().happenings()?.swept;
    let mut first = 0;
    while first < connections {
        let silence = beaten.map_or(HEARTBEAT, |at| at.elapsed());
        // Idle time is counted in whole seconds.
        ensure!(
            silence.as_secs() + 1 < LIVING_TIMEOUT.into(),
            "the machine is too busy: {silence:?} without a heartbeat"
        );
        if silence >= HEARTBEAT {
            beaten = Some(Instant::now());
            let (_, allowed) = bed.open_flows(&set, &alive)?;
            ensure!(allowed == alive.len(), "a packet of a living flow was dropped");
            result.heartbeats += 1;
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            bed.dataplane().sweep()?;
        }
        let next = connections.min(first + BATCH);
        let passing: Vec<Header> = (first..next).map(|number| flow(PASSING, number)).collect();
        let (_, allowed) = bed.open_flows(&set, &passing)?;
        result.passed += passing.len() as u64;
        result.refused += (passing.len() - allowed) as u64;
        first = next;
    }
    result.collected = bed.dataplane().happenings()?.swept - before;
    let mut intact = 0;
    bed.dataplane().visit_flows(&mut |record| {
        let [a, b, c, d, ..] = record.key.low_addr;
        let of_living = (LIVING..LIVING + living).contains(&Ipv4Addr::new(a, b, c, d).to_bits());
        let sent: u64 = record.flow.directions.iter().map(|direction| direction.packets).sum();
        intact += u32::from(of_living && sent == result.heartbeats);
        true
    })?;
    result.killed = living - intact;
    Ok(result)
}

/// What the agent's sweep costs.
#[derive(Clone, Copy, Debug)]
pub struct SweepCost {
    /// Flows in the table.
    pub flows: u32,
    /// How long it takes to look at all of them once.
    pub round: Duration,
    /// What part of one processor that is: every flow is looked at every five seconds.
    pub share: f64,
    /// Bytes of kernel memory for a flow, in a table that is full.
    pub bytes_per_flow: f64,
}

/// Fills a table with living flows, and sweeps it; the least of some rounds.
///
/// # Errors
/// What the kernel says, and if the table does not hold all flows when it has been swept.
pub fn sweep_cost(flows: u32) -> Result<SweepCost> {
    const ROUNDS: usize = 5;
    /// Flows whose packets are made at a time.
    const BATCH: u32 = 50_000;
    /// Longer than filling and sweeping take.
    const TIMEOUT: u32 = 3_600;
    // The table also has a reserve for the host's own flows.
    let max_flows = flows + flows.div_ceil(32);
    let (bed, set) = firewall(max_flows, &[(State::UdpNew, TIMEOUT)])?;
    for first in (0..flows).step_by(BATCH as usize) {
        let headers: Vec<Header> = (first..flows.min(first + BATCH)).map(|number| flow(PASSING, number)).collect();
        bed.open_flows(&set, &headers)?;
    }
    let mut round = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        bed.dataplane().sweep()?;
        round = round.min(start.elapsed());
    }
    let [held, _] = bed.dataplane().occupancy()?;
    ensure!(held.used == u64::from(flows), "of {flows} flows the table holds {} after the sweeps", held.used);
    Ok(SweepCost {
        flows,
        round,
        share: round.as_secs_f64() / SWEEP.as_secs_f64(),
        bytes_per_flow: bed.flow_memory()? as f64 / f64::from(max_flows),
    })
}
