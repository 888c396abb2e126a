//! Policies as `aclcheck` of Aerleon judges them, which nobody here has written: it reads the same policy in another language, and the
//! same rule must decide about each packet in both. What it cannot judge, and why, is in `docs/oracle.md`.
//!
//! `OUTPOST_FW_ACLCHECK_SEED` repeats a run, `OUTPOST_FW_ACLCHECK_POLICIES` makes it longer.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use fw_common::policy::Query;
use fw_policy::{Binding, Compiled, InterfaceBinding, SourceFile, load};
use time::macros::datetime;

#[path = "aclcheck/aerleon.rs"]
mod aerleon;
#[path = "aclcheck/judge.rs"]
mod judge;
#[path = "aclcheck/model.rs"]
mod model;
#[path = "aclcheck/random.rs"]
mod random;

use aerleon::id_of;
use judge::Judge;
use model::{Model, Packet, ZONES};
use random::Random;

const POLICIES: u64 = 60;
const PACKETS: usize = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn compile(model: &Model) -> Compiled {
    let interface =
        |(name, _): &(&str, _)| InterfaceBinding { name: format!("to-{name}"), zones: vec![(*name).to_owned()] };
    let disabled = ["system-dhcp", "system-dhcpv6", "system-metadata", "system-dns", "system-time"];
    let binding = Binding {
        interfaces: ZONES.iter().map(interface).collect(),
        management: None,
        disabled_system_rules: disabled.map(str::to_owned).into(),
        ..Binding::default()
    };
    let policy = load(&[SourceFile { name: "model.toml".to_owned(), text: model.text() }]);
    let policy = policy.unwrap_or_else(|refused| panic!("{refused}"));
    policy.compile(&binding, datetime!(2026-07-01 0:00 UTC)).unwrap_or_else(|refused| panic!("{refused}"))
}

/// The id of the rule that decides, and its action. The zones are those of the addresses.
fn decided(compiled: &Compiled, packet: &Packet) -> (String, String) {
    let addr = |text: &str| text.parse::<std::net::IpAddr>().expect("an address").into();
    let zone = |position: usize, addr| compiled.tables.zone(u32::try_from(position).expect("a slot"), &addr);
    let (src_addr, dst_addr) = (addr(packet.src), addr(packet.dst));
    let (src_port, dst_port) = packet.ports.unwrap_or(match packet.protocol {
        1 => (0, 8 << 8),
        58 => (0, 128 << 8),
        _ => (0, 0),
    });
    let query = Query {
        src_addr,
        dst_addr,
        from_zone: zone(packet.from, src_addr),
        to_zone: zone(packet.to, dst_addr),
        protocol: packet.protocol,
        src_port,
        dst_port,
    };
    let decision = compiled.tables.classify(&query);
    (compiled.rules[decision.rule as usize].id.clone(), decision.action.name().to_owned())
}

/// What the other judge says, in the words of the policy language.
fn judged(judge: &mut Judge, packet: &Packet) -> (String, String) {
    let (term, action) = judge.judge(&packet.question());
    let action = match action.as_str() {
        "accept" => "allow",
        "deny" => "drop",
        other => other,
    };
    (id_of(&term), action.to_owned())
}

/// The smallest policy that is found by leaving rules out and about which both still part.
fn shrunk(model: &Model, packet: &Packet, judge: &mut Judge) -> Model {
    let mut parts = |model: &Model| {
        judge.read(&model.aerleon());
        judged(judge, packet) != decided(&compile(model), packet)
    };
    let mut smallest = model.clone();
    loop {
        let Some(smaller) = smallest.smaller().find(&mut parts) else { return smallest };
        smallest = smaller;
    }
}

#[test]
fn the_same_rule_decides_as_in_aclcheck() {
    let mut judge = match Judge::start() {
        Ok(judge) => judge,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();
    let seed = number("OUTPOST_FW_ACLCHECK_SEED").unwrap_or(now);
    let mut random = Random::new(seed);
    let mut seen = BTreeSet::new();
    let (mut packets, mut by_rules) = (0, 0);
    for _ in 0..number("OUTPOST_FW_ACLCHECK_POLICIES").unwrap_or(POLICIES) {
        let model = Model::random(&mut random);
        let compiled = compile(&model);
        judge.read(&model.aerleon());
        for _ in 0..PACKETS {
            let packet = Packet::random(&mut random);
            let ours = decided(&compiled, &packet);
            if judged(&mut judge, &packet) != ours {
                let model = shrunk(&model, &packet, &mut judge);
                judge.read(&model.aerleon());
                let (theirs, ours) = (judged(&mut judge, &packet), decided(&compile(&model), &packet));
                panic!(
                    "seed {seed}: {packet:?}: {ours:?} here, {theirs:?} in aclcheck\n{}\n{}",
                    model.text(),
                    model.aerleon().0
                );
            }
            let kind = if ours.0.starts_with("default") { "default" } else { "rule" };
            seen.insert((ours.1, packet.is_ipv4(), kind));
            packets += 1;
            by_rules += usize::from(kind == "rule");
        }
    }
    println!("{packets} packets, {by_rules} decided by rules, seed {seed}");
    // Rules allow, drop and reject, defaults drop and reject, each in both families.
    assert_eq!(seen.len(), 10, "seed {seed}: {seen:?}");
}

#[test]
fn a_rule_that_is_missing_is_noticed() {
    let Ok(mut judge) = Judge::start() else {
        println!("skipped: Aerleon is not installed");
        return;
    };
    let mut random = Random::new(1);
    let mut parted = 0;
    for _ in 0..20 {
        let model = Model::random(&mut random);
        let Some(smaller) = model.smaller().next() else { continue };
        judge.read(&smaller.aerleon());
        let compiled = compile(&model);
        for _ in 0..PACKETS {
            let packet = Packet::random(&mut random);
            parted += usize::from(judged(&mut judge, &packet) != decided(&compiled, &packet));
        }
    }
    assert!(parted > 20, "{parted}");
}
