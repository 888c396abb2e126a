//! Which plots there are, and what of the results each shows.

use super::Found;
use super::bars::Bars;
use super::lines::Lines;
use super::scale::Scale;

const COST: &str = "nanoseconds of the processor, without what the measurement costs";
const FORWARDERS: [&str; 4] = ["redirect", "firewall", "nftables", "kernel"];

/// Name and picture of each plot that something was measured for.
pub(super) fn plots(found: &Found<'_>) -> Vec<(String, String)> {
    let mut plots = vec![
        ("established", established(found).draw()),
        ("sizes", sizes(found).draw()),
        ("new", new(found)),
        ("denied", denied(found).draw()),
        ("connections", connections(found).draw()),
        ("telemetry", telemetry(found).draw()),
        ("rule_sets", rule_sets(found).draw()),
        ("policy_changes", policy_changes(found).draw()),
        ("flood", flood(found)),
    ];
    for (name, title) in [
        ("latency_idle", "Delay of a packet a millisecond"),
        ("latency_alone", "Delay of a packet that is alone in the chain"),
        ("latency_burst", "Delay of packets in bursts of 64"),
    ] {
        plots.push((name, latency(found, name, title)));
    }
    plots.into_iter().filter_map(|(name, picture)| Some((name.to_owned(), picture?))).collect()
}

/// Bars of own costs: a group for each benchmark, a series for each candidate.
fn costs(found: &Found<'_>, title: &str, groups: &[(&str, &str)], candidates: &[&str]) -> Bars {
    let of = |benchmark: &str, candidate: &str| found.figures.get(format!("{benchmark}/{candidate}/own").as_str());
    let series = candidates.iter().map(|candidate| {
        let values = groups.iter().map(|(_, benchmark)| of(benchmark, candidate).copied());
        ((*candidate).to_owned(), values.collect())
    });
    Bars {
        title: title.to_owned(),
        values: COST,
        groups: groups.iter().map(|(name, _)| (*name).to_owned()).collect(),
        series: series.collect(),
    }
}

fn established(found: &Found<'_>) -> Bars {
    let groups = [
        ("UDP, 1 flow", "established_1"),
        ("100,000", "established_100k"),
        ("1,000,000", "established_1m"),
        ("TCP, 1", "tcp_established_1"),
        ("100,000", "tcp_established_100k"),
        ("IPv6, 1", "ipv6_established_1"),
        ("100,000", "ipv6_established_100k"),
    ];
    costs(found, "Packets of established flows, 64 bytes, by the number of flows", &groups, &FORWARDERS)
}

fn sizes(found: &Found<'_>) -> Bars {
    let groups = [("64 bytes", "size_64"), ("512", "size_512"), ("1,500", "size_1500")];
    costs(found, "Packets of one established flow, by their length", &groups, &FORWARDERS)
}

fn denied(found: &Found<'_>) -> Bars {
    let groups = [("1 flow", "denied_1"), ("100,000 flows", "denied_100k")];
    costs(found, "Packets that the policy drops", &groups, &["firewall", "nftables"])
}

fn connections(found: &Found<'_>) -> Bars {
    let groups = [("a connection of eight segments", "connections")];
    costs(found, "Whole TCP connections", &groups, &FORWARDERS[..3])
}

fn telemetry(found: &Found<'_>) -> Bars {
    let states = ["off", "flows", "all", "headers"];
    let series = states.map(|state| {
        let names = ["", ", new"].map(|kind| format!("telemetry/firewall, {state}{kind}/own"));
        (state.to_owned(), names.map(|name| found.figures.get(name.as_str()).copied()).to_vec())
    });
    Bars {
        title: "The firewall while it is watched".to_owned(),
        values: COST,
        groups: ["packets of established flows", "packets that open a flow and end another"]
            .map(str::to_owned)
            .to_vec(),
        series: series.to_vec(),
    }
}

fn rule_sets(found: &Found<'_>) -> Bars {
    let styles = ["acl", "fw", "ipc"];
    let traces = ["locality", "spread", "uniform"];
    let groups: Vec<(&str, &str)> = styles.iter().flat_map(|style| traces.map(|trace| (*style, trace))).collect();
    let series = [("10", "10 rules"), ("100000", "100,000 rules")].map(|(rules, label)| {
        let names = groups.iter().map(|(style, trace)| format!("rule_sets/{style}/{rules}/new_flow/{trace}"));
        (label.to_owned(), names.map(|name| found.figures.get(name.as_str()).copied()).collect())
    });
    Bars {
        title: "Packets that open a flow, under rule sets like ClassBench's".to_owned(),
        values: "nanoseconds in the program",
        groups: groups.iter().map(|(style, trace)| format!("{style}, {trace}")).collect(),
        series: series.to_vec(),
    }
}

fn policy_changes(found: &Found<'_>) -> Bars {
    let changes =
        [("the first time", "first"), ("other services in a rule", "one_rule"), ("another address", "one_address")];
    let series = ["read", "compile", "load"].map(|part| {
        let names = changes.map(|(_, change)| format!("rule_sets/acl/100000/{change}/{part}"));
        (part.to_owned(), names.map(|name| found.figures.get(name.as_str()).copied()).to_vec())
    });
    Bars {
        title: "A policy of 100,000 rules until it is in force".to_owned(),
        values: "milliseconds",
        groups: changes.map(|(name, _)| name.to_owned()).to_vec(),
        series: series.to_vec(),
    }
}

/// Over the number of rules.
fn new(found: &Found<'_>) -> Option<String> {
    let benchmarks = [(10.0, "new_10"), (1_000.0, "new_1k"), (10_000.0, "new_10k")];
    let series: Vec<(String, Vec<(f64, f64)>)> = ["firewall", "nftables", "nftables set"]
        .map(|candidate| {
            let points = benchmarks.iter().filter_map(|(rules, benchmark)| {
                Some((*rules, *found.figures.get(format!("{benchmark}/{candidate}/own").as_str())?))
            });
            (candidate.to_owned(), points.collect())
        })
        .to_vec();
    let up = Scale::decades(series.iter().flat_map(|(_, points)| points.iter().map(|(_, cost)| *cost)));
    let across = Scale::Decades { first: 10.0, last: 10_000.0 };
    let title = "Packets that open a flow, by the number of rules".to_owned();
    Lines { title, across: ("rules", across), up: (COST, up), dots: true, series }.draw()
}

/// The curves of a plot.
fn curves(found: &Found<'_>, plot: &str) -> Vec<(String, Vec<(f64, f64)>)> {
    let curves = found.curves.iter().filter(|curve| curve.plot == plot);
    curves.map(|curve| (curve.label.clone(), curve.points.clone())).collect()
}

fn latency(found: &Found<'_>, plot: &str, title: &str) -> Option<String> {
    /// Beyond it, too few packets are left on most runs.
    const LAST: f64 = 0.9999;
    let mut series = curves(found, plot);
    for (_, points) in &mut series {
        // What part of the packets took how long, instead of the reverse.
        points.iter_mut().for_each(|(delay, part)| (*delay, *part) = (*part, *delay));
        points.retain(|(part, _)| *part <= LAST);
    }
    let up = Scale::decades(series.iter().flat_map(|(_, points)| points.iter().map(|(_, delay)| *delay)));
    let across = ("part of the packets that took no longer", Scale::Nines { last: LAST });
    Lines { title: title.to_owned(), across, up: ("nanoseconds", up), dots: false, series }.draw()
}

fn flood(found: &Found<'_>) -> Option<String> {
    let series = curves(found, "flood");
    let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
    let across = ("seconds", Scale::linear(points().map(|(time, _)| time)));
    let up = ("flows", Scale::linear(points().map(|(_, flows)| flows)));
    Lines { title: "A flood of forged SYNs".to_owned(), across, up, dots: false, series }.draw()
}
