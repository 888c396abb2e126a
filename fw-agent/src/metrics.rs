//! `/metrics`: what the data plane and the agent count, in the OpenMetrics text format, read at each scrape.

use std::fmt;
use std::sync::Arc;

use fw_common::DropReason;
use fw_common::abi::counters::{Counter, InterfaceCounter};
use fw_common::conntrack::State;
use fw_policy::Mode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::dataplane::DataplaneError;
use crate::facts::{Outcome, Shared};
use crate::feeds::facts::FeedFacts;
use crate::feeds::fetch::FailureKind;
use crate::flow_census::{Census, Class};
use crate::names::protocol;
use crate::probe::{Life, Way};

/// Reads everything and encodes it.
pub fn render(shared: &Arc<Shared>) -> Result<String, RenderError> {
    let snapshot = Snapshot::read(shared)?;
    let mut registry = Registry::with_prefix("outpost_fw");
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The data plane could not be read.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The text could not be written.
    #[error("metrics: {0}")]
    Format(#[from] fmt::Error),
}

/// Labels and value of one sample.
type Sample = (Vec<(&'static str, String)>, u64);

/// One of the counters of an interface.
type ReadCounter = fn(&InterfaceCounter) -> Counter;

/// All families of one scrape.
#[derive(Debug)]
struct Snapshot {
    families: Vec<Family>,
    /// How long answers to probes took, by probe.
    probe_delays: Vec<([(&'static str, String); 1], Histogram)>,
}

/// The kinds of metrics that there are here.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

impl From<Kind> for MetricType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
        }
    }
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind.into())?;
            for (labels, value) in &family.samples {
                encode_value(family.kind, *value, metric.encode_family(labels)?)?;
            }
        }
        let help = "How long answers to probes took";
        let mut metric = encoder.encode_descriptor("probe_delay", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, delays) in &self.probe_delays {
            delays.encode(metric.encode_family(labels)?)?;
        }
        Ok(())
    }
}

fn encode_value(
    kind: Kind,
    value: u64,
    encoder: prometheus_client::encoding::MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

impl Snapshot {
    fn read(shared: &Arc<Shared>) -> Result<Self, DataplaneError> {
        let mut snapshot = Self { families: Vec::new(), probe_delays: Vec::new() };
        snapshot.drops(shared)?;
        snapshot.interfaces(shared)?;
        snapshot.rules(shared)?;
        snapshot.flows(shared)?;
        snapshot.happenings(shared)?;
        snapshot.policy(shared);
        snapshot.probes(shared);
        snapshot.feeds(shared);
        snapshot.agent(shared);
        Ok(snapshot)
    }

    fn counter(&mut self, name: &'static str, help: &'static str, samples: Vec<Sample>) {
        self.families.push(Family { name, help, kind: Kind::Counter, samples });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, samples: Vec<Sample>) {
        self.families.push(Family { name, help, kind: Kind::Gauge, samples });
    }

    fn drops(&mut self, shared: &Shared) -> Result<(), DataplaneError> {
        let drops = shared.dataplane.drops()?;
        let samples = |field: fn(&Counter) -> u64| {
            let named = DropReason::ALL.iter().zip(&drops);
            named.map(|(reason, counter)| (vec![("reason", reason.name().to_owned())], field(counter))).collect()
        };
        self.counter("dropped_packets", "Packets dropped, by reason", samples(|counter| counter.packets));
        self.counter("dropped_bytes", "Bytes of the packets dropped, by reason", samples(|counter| counter.bytes));
        Ok(())
    }

    fn interfaces(&mut self, shared: &Shared) -> Result<(), DataplaneError> {
        let counters = shared.dataplane.interfaces()?;
        let facts = shared.facts.load();
        let directions: [(&str, ReadCounter); 4] = [
            ("received", |counter| counter.received),
            ("forwarded", |counter| counter.forwarded),
            ("dropped", |counter| counter.dropped),
            ("passed", |counter| counter.passed),
        ];
        let samples = |field: fn(Counter) -> u64| {
            let mut samples = Vec::new();
            for interface in &facts.interfaces {
                let Some(counter) = counters.get(interface.slot as usize) else { continue };
                for (direction, read) in directions {
                    let labels = vec![("interface", interface.key.clone()), ("direction", direction.to_owned())];
                    samples.push((labels, field(read(counter))));
                }
            }
            samples
        };
        self.counter(
            "interface_packets",
            "Packets at an interface, by what was done with them",
            samples(|counter| counter.packets),
        );
        self.counter(
            "interface_bytes",
            "Bytes at an interface, by what was done with them",
            samples(|counter| counter.bytes),
        );
        let failed = shared.dataplane.redirect_errors()?;
        let failed = failed.iter().map(|errors| {
            let interface = facts.interface_name(errors.slot).into_owned();
            (vec![("interface", interface), ("error", errors.error_name().into_owned())], errors.packets)
        });
        self.counter(
            "redirect_errors",
            "Packets that were to be forwarded and that the egress interface did not take",
            failed.collect(),
        );
        let attached = facts.interfaces.iter().map(|interface| {
            let ok = interface.device.is_some() && interface.problem.is_none();
            (vec![("interface", interface.key.clone())], u64::from(ok))
        });
        self.gauge("interface_attached", "The program is on the interface", attached.collect());
        Ok(())
    }

    fn rules(&mut self, shared: &Shared) -> Result<(), DataplaneError> {
        let counters = shared.dataplane.rules()?;
        let facts = shared.facts.load();
        let samples = |field: fn(&fw_common::abi::counters::RuleCounter) -> u64| {
            let named = counters.iter().filter_map(|(handle, counter)| Some((facts.names.rule(*handle)?, counter)));
            named.map(|(rule, counter)| (vec![("rule", rule.into_owned())], field(counter))).collect()
        };
        self.counter("rule_packets", "Packets that a rule decided, or observed", samples(|counter| counter.packets));
        self.counter(
            "rule_bytes",
            "Bytes of the packets that a rule decided, or observed",
            samples(|counter| counter.bytes),
        );
        self.counter("rule_flows", "Flows that a rule allowed", samples(|counter| counter.flows));
        let infos = facts.policy.compiled.iter().flat_map(|compiled| compiled.rules.iter());
        let observing = infos.filter(|rule| rule.mode == Mode::Observe);
        let observing = observing.map(|rule| (vec![("rule", rule.id.clone())], 1));
        self.gauge("rule_observes", "1 for each rule that observes, and decides nothing", observing.collect());
        let clock = Clock::read();
        let last_hits = counters.iter().filter(|(_, counter)| counter.last_hit != 0).filter_map(|(handle, counter)| {
            let at = clock.wall(counter.last_hit.checked_mul(1_000_000_000)?).unix_timestamp();
            Some((vec![("rule", facts.names.rule(*handle)?.into_owned())], u64::try_from(at).ok()?))
        });
        self.gauge(
            "rule_last_hit_timestamp_seconds",
            "When a rule last decided or observed a packet",
            last_hits.collect(),
        );
        self.counter(
            "rule_limited_packets",
            "Packets dropped by the limits of a rule",
            samples(|counter| counter.limited),
        );
        Ok(())
    }

    fn flows(&mut self, shared: &Shared) -> Result<(), DataplaneError> {
        let census = Census::take(shared.dataplane.as_ref())?;
        let by_state = State::ALL.iter().zip(census.by_state);
        let by_state = by_state.map(|(state, count)| (vec![("state", state.name().to_owned())], count)).collect();
        self.gauge("flows", "Live flows, by state", by_state);
        let by_protocol = census.by_protocol.iter();
        let by_protocol =
            by_protocol.map(|(number, count)| (vec![("protocol", protocol(*number).into_owned())], *count));
        self.gauge("protocol_flows", "Live flows, by protocol", by_protocol.collect());
        let by_family = [("ipv4", census.ipv4), ("ipv6", census.ipv6)];
        let by_family = by_family.map(|(family, count)| (vec![("family", family.to_owned())], count)).to_vec();
        self.gauge("flow_table_entries", "Live flows, by address family", by_family);
        let mut by_class = Vec::new();
        for (family, counts) in ["ipv4", "ipv6"].into_iter().zip(census.by_class) {
            for (class, count) in Class::ALL.into_iter().zip(counts) {
                by_class.push((vec![("family", family.to_owned()), ("class", class.name().to_owned())], count));
            }
        }
        self.gauge("flow_table_class_entries", "Live flows, by address family and by what they may claim", by_class);
        let limit = u64::from(shared.dataplane.max_flows());
        self.gauge("flow_table_limit", "Flows that the table of each address family holds", vec![(vec![], limit)]);
        let half_open = shared.dataplane.occupancy()?[0].half_open_limit;
        self.gauge("half_open_limit", "Half-open flows that each address family may have", vec![(vec![], half_open)]);
        Ok(())
    }

    fn happenings(&mut self, shared: &Shared) -> Result<(), DataplaneError> {
        let seen = shared.dataplane.happenings()?;
        let mut counter = |name, help, value| self.counter(name, help, vec![(vec![], value)]);
        counter("flows_opened", "Flows opened", seen.opened);
        counter("flows_swept", "Flows removed by the data plane's own sweep", seen.swept);
        counter("flow_table_full", "Flows not opened because the table was full", seen.table_full);
        counter("flows_evicted", "Half-open flows ended to make room for others", seen.evicted);
        counter("limits_full", "Sources for whose limits there was no room", seen.limits_full);
        counter("flows_rejudged", "Flows judged again because the policy had changed", seen.rejudged);
        counter(
            "packets_handed_over",
            "Packets given to the kernel because their next hop was not resolved",
            seen.handed_over,
        );
        counter("flow_events_lost", "Flow-end events lost because the ring buffer was full", seen.events_lost);
        counter(
            "denied_unrecorded",
            "Denied and observed packets in no record of the flow log, because too many flows were denied or observed at once",
            seen.denied_unrecorded,
        );
        counter("observed_lost", "Records for observers that were too many", seen.observed_lost);
        counter("captured_lost", "Packets not captured because there were too many", seen.captured_lost);
        counter("answers", "ICMP errors and resets sent", seen.answers);
        counter("answers_limited", "ICMP errors and resets held back by the rate limit", seen.answers_limited);
        Ok(())
    }

    fn policy(&mut self, shared: &Shared) {
        let facts = shared.facts.load();
        let policy = &facts.policy;
        self.gauge("policy_epoch", "Number of the policy that judges packets", vec![(vec![], u64::from(policy.epoch))]);
        let digest = policy.digest.map(|digest| (vec![("digest", hex(&digest))], 1));
        self.gauge("policy_info", "The policy that judges packets", digest.into_iter().collect());
        let outcomes = Outcome::ALL
            .iter()
            .map(|outcome| (vec![("result", outcome.name().to_owned())], u64::from(policy.outcome == *outcome)));
        self.gauge("policy_last_apply", "What the last attempt to apply a policy came to", outcomes.collect());
        let attempted = policy.attempted_at.and_then(|at| u64::try_from(at.unix_timestamp()).ok());
        let attempted = attempted.map(|at| (vec![], at)).into_iter().collect();
        self.gauge("policy_last_apply_timestamp_seconds", "When a policy was last applied or refused", attempted);
    }

    fn probes(&mut self, shared: &Shared) {
        let ways = shared.probes.ways();
        let samples = |value: fn(&Way) -> u64| {
            ways.iter().map(|way| (vec![("probe", way.config.name.clone())], value(way))).collect()
        };
        let alive = samples(|way| u64::from(way.life == Life::Alive));
        self.gauge("probe_alive", "The way that is probed works", alive);
        self.counter("probes_sent", "Probes that were made", samples(|way| way.sent));
        self.counter(
            "probes_failed",
            "Probes without an answer in time, or with a wrong one",
            samples(|way| way.failed),
        );
        let delays = ways.iter().map(|way| ([("probe", way.config.name.clone())], way.delays.clone()));
        self.probe_delays = delays.collect();
    }

    fn feeds(&mut self, shared: &Shared) {
        let facts = shared.facts.load();
        let now = OffsetDateTime::now_utc();
        let named = |feed: &FeedFacts| vec![("feed", feed.name.clone())];
        let lists = || facts.feeds.iter().filter_map(|feed| Some((named(feed), feed.list?)));
        let entries = lists().map(|(labels, list)| (labels, list.entries as u64)).collect();
        self.gauge("feed_entries", "Entries of the list of a feed that is in force", entries);
        let age = |at: OffsetDateTime| u64::try_from((now - at).whole_seconds()).unwrap_or_default();
        let ages = lists().map(|(labels, list)| (labels, age(list.confirmed_at))).collect();
        self.gauge("feed_age_seconds", "Since when no source has said that the list of a feed is the latest", ages);
        let ok = |feed: &FeedFacts| (named(feed), u64::from(feed.reason().is_none()));
        self.gauge(
            "feed_ok",
            "The feed has a list that is not too old, and the last attempt has succeeded",
            facts.feeds.iter().map(ok).collect(),
        );
        if let Some(bucket) = &facts.bucket {
            let is_ok = u64::from(bucket.problem.is_none());
            self.gauge(
                "bucket_ok",
                "The policy directory holds what the bucket of the policy offers",
                vec![(vec![], is_ok)],
            );
            let ages = bucket.looked_at.map(|at| (vec![], age(at))).into_iter().collect();
            self.gauge("bucket_age_seconds", "Since when that was not seen to be so", ages);
        }
        let mut fetches = Vec::new();
        for feed in &facts.feeds {
            let failed = |kind: FailureKind| feed.attempts.failed.get(&kind).copied().unwrap_or_default();
            let succeeded = [("changed", feed.attempts.changed), ("unchanged", feed.attempts.unchanged)];
            let failed = FailureKind::ALL.map(|kind| (kind.name(), failed(kind)));
            for (result, count) in succeeded.into_iter().chain(failed) {
                let labels = vec![("feed", feed.name.clone()), ("result", result.to_owned())];
                fetches.push((labels, count));
            }
        }
        self.counter("feed_fetches", "Attempts to fetch a feed, by what became of them", fetches);
    }

    fn agent(&mut self, shared: &Shared) {
        let facts = shared.facts.load();
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        self.gauge("build_info", "The agent", vec![(version, 1)]);
        self.gauge("ready", "The firewall is ready", vec![(vec![], u64::from(facts.is_ready()))]);
        self.gauge("routes_installed", "Routes in place", vec![(vec![], facts.routes.installed as u64)]);
        let unresolved = facts.routes.unresolved.len() as u64;
        self.gauge("routes_unresolved", "Routes that cannot be had", vec![(vec![], unresolved)]);
        let kept = &shared.fragments;
        let mut counter = |name, help, value| self.counter(name, help, vec![(vec![], value)]);
        counter("fragments_waited", "Fragments that waited for their datagram's first one", kept.waited());
        counter("fragments_released", "Fragments given back when the first one had been judged", kept.released());
        counter("fragments_expired", "Fragments given back because their time was over", kept.expired());
        counter("fragments_evicted", "Fragments lost because others needed their room", kept.evicted());
        let log = &shared.flow_log;
        self.counter("flow_log_records", "Records written to the flow log", vec![(vec![], log.written())]);
        self.counter("flow_log_lost", "Records of the flow log given up", vec![(vec![], log.lost())]);
        self.counter("flow_log_failures", "Failed attempts to write the flow log", vec![(vec![], log.failures())]);
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
