//! Collects answers from the data plane's counters and the agent's facts.

use std::collections::BTreeMap;

use fw_common::DropReason;
use fw_common::abi::counters::{InterfaceCounter, RuleCounter};
use fw_common::abi::policy::zone;

use time::OffsetDateTime;

use super::answers::{
    DropRow, Drops, FeedStatus, FlowLogStatus, FlowTableStatus, InterfaceStatus, PolicyStatus, ProbeStatus,
    RedirectErrorRow, RouteStatus, RuleHitsAnswer, RuleHitsRow, RuleRow, Rules, Status, UnresolvedRoute, ZoneRow,
    Zones,
};
use crate::clock::{Clock, rfc3339};
use crate::dataplane::{DataplaneError, RedirectErrors};
use crate::facts::{Facts, InterfaceFacts, Shared};
use crate::feeds::facts::FeedFacts;
use crate::flow_census::Census;
use crate::hits::record::RuleHits;
use crate::metrics::hex;
use crate::probe::Way;

/// How the firewall is.
pub(super) fn status(shared: &Shared) -> Result<Status, DataplaneError> {
    let facts = shared.facts.load();
    let counters = shared.dataplane.interfaces()?;
    let redirect_errors = shared.dataplane.redirect_errors()?;
    let census = Census::take(shared.dataplane.as_ref())?;
    let seen = shared.dataplane.happenings()?;
    let occupancy = shared.dataplane.occupancy()?;
    let checks = facts.checks();
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: rfc3339(shared.started_at),
        ready: checks.iter().all(|check| check.ok),
        checks,
        policy: policy(&facts),
        interfaces: interfaces(&facts, &counters, &redirect_errors),
        feeds: facts.feeds.iter().map(feed).collect(),
        routes: routes(&facts),
        probes: shared.probes.ways().iter().map(probe).collect(),
        flows: FlowTableStatus {
            ipv4: census.ipv4,
            ipv6: census.ipv6,
            limit: shared.dataplane.max_flows(),
            opened: seen.opened,
            half_open: occupancy.iter().map(|table| table.half_open).sum(),
            half_open_limit: occupancy[0].half_open_limit,
            evicted: seen.evicted,
            table_full: seen.table_full,
            handed_over: seen.handed_over,
            events_lost: seen.events_lost,
            denied_unrecorded: seen.denied_unrecorded,
        },
        flow_log: FlowLogStatus {
            file: shared.flow_log_file.display().to_string(),
            written: shared.flow_log.written(),
            lost: shared.flow_log.lost(),
            failures: shared.flow_log.failures(),
        },
        config_problem: facts.config_problem.clone(),
        waiting_for_restart: facts.waiting_for_restart.clone(),
    })
}

fn feed(facts: &FeedFacts) -> FeedStatus {
    FeedStatus {
        feed: facts.name.clone(),
        url: facts.url.clone(),
        entries: facts.list.map(|list| list.entries),
        confirmed_at: facts.list.map(|list| rfc3339(list.confirmed_at)),
        stale: facts.is_stale,
        problem: facts.problem.clone(),
        unkept: facts.unkept.clone(),
    }
}

fn policy(facts: &Facts) -> PolicyStatus {
    let policy = &facts.policy;
    PolicyStatus {
        epoch: policy.epoch,
        digest: policy.digest.map(|digest| hex(&digest)),
        revision: facts.changes.ledger.in_force(),
        confirm_by: facts.changes.ledger.trial().map(|trial| trial.until_wall.clone()),
        held: facts.changes.held.clone(),
        rules: policy.compiled.as_ref().map(|compiled| compiled.rules.len()),
        last_result: policy.outcome.name().to_owned(),
        last_attempt_at: policy.attempted_at.map(rfc3339),
        applied_at: policy.applied_at.map(rfc3339),
        next_change_at: policy.next_change.map(rfc3339),
        problem: policy.problem.clone(),
        warnings: policy.warnings.clone(),
        tests_passed: policy.tests,
    }
}

fn interfaces(
    facts: &Facts,
    counters: &[InterfaceCounter],
    redirect_errors: &[RedirectErrors],
) -> Vec<InterfaceStatus> {
    let status = facts.interfaces.iter().map(|interface| {
        let errors = redirect_errors.iter().filter(|errors| errors.slot == interface.slot);
        InterfaceStatus {
            redirect_errors: errors.map(|errors| errors.packets).sum(),
            ..interface_status(interface, counters)
        }
    });
    status.collect()
}

fn interface_status(facts: &InterfaceFacts, counters: &[InterfaceCounter]) -> InterfaceStatus {
    let counter = counters.get(facts.slot as usize).copied().unwrap_or_default();
    let device = facts.device.as_ref();
    InterfaceStatus {
        slot: facts.slot,
        interface: facts.key.clone(),
        device: device.map(|device| device.name.clone()),
        ifindex: device.map(|device| device.ifindex),
        mac: device.map(|device| device.mac.clone()),
        mtu: device.map(|device| device.mtu),
        addresses: device.iter().flat_map(|device| &device.addresses).map(ToString::to_string).collect(),
        zones: facts.zones.clone(),
        management: facts.management,
        attached: device.is_some() && facts.problem.is_none(),
        problem: facts.problem.clone(),
        received: counter.received.into(),
        forwarded: counter.forwarded.into(),
        dropped: counter.dropped.into(),
        passed: counter.passed.into(),
        redirect_errors: 0,
    }
}

fn routes(facts: &Facts) -> RouteStatus {
    let unresolved = facts.routes.unresolved.iter().map(|route| UnresolvedRoute {
        destination: route.destination.to_string(),
        interface: route.interface.clone(),
        reason: route.reason.clone(),
    });
    RouteStatus {
        installed: facts.routes.installed,
        unresolved: unresolved.collect(),
        problems: facts.routes.problems.clone(),
        forwarding: facts.forwarding,
    }
}

fn probe(way: &Way) -> ProbeStatus {
    ProbeStatus {
        probe: way.config.name.clone(),
        target: way.config.target.to_string(),
        check: way.config.check.to_string(),
        life: way.life.name().to_owned(),
        since: rfc3339(way.since),
        required: way.config.required,
        sent: way.sent,
        failed: way.failed,
        took_us: way.took.and_then(|took| u64::try_from(took.as_micros()).ok()),
        failure: way.failure.clone(),
        held_down: way.is_held_down,
    }
}

/// Dropped packets by reason.
pub(super) fn drops(shared: &Shared) -> Result<Drops, DataplaneError> {
    let counters = shared.dataplane.drops()?;
    let rows = DropReason::ALL.iter().zip(counters).map(|(reason, counter)| DropRow {
        reason: reason.name().to_owned(),
        packets: counter.packets,
        bytes: counter.bytes,
        explanation: reason.explanation().to_owned(),
    });
    Ok(Drops { drops: rows.collect(), redirect_errors: redirect_errors(shared)? })
}

/// Packets that egress interfaces did not take.
fn redirect_errors(shared: &Shared) -> Result<Vec<RedirectErrorRow>, DataplaneError> {
    let facts = shared.facts.load();
    let counted = shared.dataplane.redirect_errors()?;
    let rows = counted.iter().map(|errors| RedirectErrorRow {
        interface: facts.interface_name(errors.slot).into_owned(),
        error: errors.error_name().into_owned(),
        packets: errors.packets,
    });
    Ok(rows.collect())
}

/// The rules and what they did.
pub(super) fn rules(shared: &Shared) -> Result<Rules, DataplaneError> {
    let facts = shared.facts.load();
    let clock = Clock::read();
    let names: BTreeMap<u32, String> = shared.dataplane.rule_names()?.into_iter().collect();
    let counters = shared.dataplane.rules()?;
    let mut by_id: BTreeMap<&str, RuleCounter> = BTreeMap::new();
    for (handle, counter) in &counters {
        if let Some(id) = names.get(handle) {
            by_id.insert(id, *counter);
        }
    }
    let mut rows = Vec::new();
    for rule in facts.policy.compiled.iter().flat_map(|compiled| compiled.rules.iter()) {
        let counter = by_id.remove(rule.id.as_str()).unwrap_or_default();
        rows.push(RuleRow {
            current: true,
            ordinal: Some(rule.ordinal),
            action: Some(rule.action.name().to_owned()),
            mode: Some(rule.mode.name().to_owned()),
            active: rule.active,
            from: Some(rule.from.clone()),
            to: Some(rule.to.clone()),
            description: Some(rule.description.clone()).filter(|text| !text.is_empty()),
            place: (!rule.file.is_empty()).then(|| format!("{}:{}", rule.file, rule.line)),
            log: Some(rule.log.is_some()),
            level: rule.log,
            limits: rule.limits.is_some().then(|| rule.limits.to_string()),
            ..counted_rule(&rule.id, counter, &clock)
        });
    }
    rows.extend(by_id.into_iter().map(|(id, counter)| counted_rule(id, counter, &clock)));
    Ok(Rules { epoch: facts.policy.epoch, rules: rows })
}

/// What the rules have done since they were first counted.
pub(super) fn rule_hits(shared: &Shared) -> Result<RuleHitsAnswer, DataplaneError> {
    let mut hits = shared.hits.take(shared)?.rules;
    let facts = shared.facts.load();
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).map(rfc3339).unwrap_or_default();
    let row = |id: &str, hits: &RuleHits| RuleHitsRow {
        id: id.to_owned(),
        current: false,
        generated: id.starts_with("system-") || id == "default" || id.starts_with("default:"),
        mode: None,
        place: None,
        first_counted_at: at(hits.first_counted),
        packets: hits.count.packets,
        bytes: hits.count.bytes,
        flows: hits.count.flows,
        last_hit_at: hits.last_hit.map(at),
    };
    let mut rows = Vec::with_capacity(hits.len());
    for rule in facts.policy.compiled.iter().flat_map(|compiled| compiled.rules.iter()) {
        let Some(of_rule) = hits.remove(&rule.id) else { continue };
        let place = (!rule.file.is_empty()).then(|| format!("{}:{}", rule.file, rule.line));
        let mode = Some(rule.mode.name().to_owned());
        rows.push(RuleHitsRow { current: true, mode, place, ..row(&rule.id, &of_rule) });
    }
    rows.extend(hits.iter().map(|(id, of_rule)| row(id, of_rule)));
    Ok(RuleHitsAnswer { at: rfc3339(OffsetDateTime::now_utc()), rules: rows })
}

/// A rule of which only the id is known.
fn counted_rule(id: &str, counter: RuleCounter, clock: &Clock) -> RuleRow {
    let last_hit = counter.last_hit.checked_mul(1_000_000_000).filter(|at| *at > 0);
    RuleRow {
        id: id.to_owned(),
        current: false,
        ordinal: None,
        action: None,
        mode: None,
        active: false,
        from: None,
        to: None,
        description: None,
        place: None,
        log: None,
        level: None,
        limits: None,
        limited: counter.limited,
        packets: counter.packets,
        bytes: counter.bytes,
        flows: counter.flows,
        last_hit_at: last_hit.map(|at| rfc3339(clock.wall(at))),
    }
}

/// The zones and where they lie.
pub(super) fn zones(shared: &Shared) -> Result<Zones, DataplaneError> {
    let facts = shared.facts.load();
    let mut from = [0u64; zone::COUNT];
    let mut to = [0u64; zone::COUNT];
    shared.dataplane.visit_flows(&mut |record| {
        from[usize::from(record.flow.from_zone) % zone::COUNT] += 1;
        to[usize::from(record.flow.to_zone) % zone::COUNT] += 1;
        true
    })?;
    let row = |id: u8, name: String, slots: &[u32]| ZoneRow {
        id,
        name,
        interfaces: interfaces_at(slots, &facts.interfaces),
        flows_from: from[usize::from(id) % zone::COUNT],
        flows_to: to[usize::from(id) % zone::COUNT],
    };
    let of_policy = facts.policy.compiled.iter().flat_map(|compiled| &compiled.zones);
    let of_policy = of_policy.filter(|zone| zone.id <= zone::MAX_USER);
    let mut rows: Vec<_> = of_policy.map(|zone| row(zone.id, zone.name.clone(), &zone.slots)).collect();
    let management = facts.interfaces.iter().filter(|interface| interface.management).map(|interface| interface.slot);
    let management: Vec<u32> = management.collect();
    for (id, slots) in [(zone::MANAGEMENT, management.as_slice()), (zone::LOCAL, &[])] {
        rows.extend(facts.names.zone(id).map(|name| row(id, name.into_owned(), slots)));
    }
    Ok(Zones { zones: rows })
}

fn interfaces_at(slots: &[u32], interfaces: &[InterfaceFacts]) -> Vec<String> {
    let there = interfaces.iter().filter(|interface| slots.contains(&interface.slot));
    there.map(|interface| interface.key.clone()).collect()
}
