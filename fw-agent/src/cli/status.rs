//! `fwctl status`.

use std::path::Path;
use std::process::ExitCode;

use super::ask;
use super::output::{Format, Grid, or_dash, print};
use crate::api::answers::{FeedStatus, InterfaceStatus, ProbeStatus, Status};
use crate::api::request::Request;

pub(super) fn run(socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::Status {}, output, "", |status: Status| show(&status))
}

fn show(status: &Status) -> std::io::Result<()> {
    print(&format!(
        "{}  (fw-agent {}, process {}, since {})",
        if status.ready { "ready" } else { "NOT READY" },
        status.version,
        status.pid,
        status.started_at
    ))?;
    for check in status.checks.iter().filter(|check| check.reason.is_some()) {
        print(&format!("  {}: {}", check.name, or_dash(check.reason.as_ref())))?;
    }
    show_policy(status)?;
    for FeedStatus { feed, url, entries, confirmed_at, .. } in &status.feeds {
        let (entries, confirmed_at) = (or_dash(entries.as_ref()), or_dash(confirmed_at.as_ref()));
        print(&format!("feed {feed}: {entries} entries, the latest at {confirmed_at}; {url}"))?;
    }
    let flows = &status.flows;
    print(&format!(
        "flows: {} IPv4, {} IPv6, of {} each; {} half-open, of {} each; {} opened, {} refused by a full table, {} gave way, {} packets handed over",
        flows.ipv4,
        flows.ipv6,
        flows.limit,
        flows.half_open,
        flows.half_open_limit,
        flows.opened,
        flows.table_full,
        flows.evicted,
        flows.handed_over
    ))?;
    print(&format!(
        "routes: {} installed, {} unresolved; forwarding {}",
        status.routes.installed,
        status.routes.unresolved.len(),
        if status.routes.forwarding { "on" } else { "off" }
    ))?;
    print(&format!(
        "flow log: {} ({} written, {} lost)",
        status.flow_log.file, status.flow_log.written, status.flow_log.lost
    ))?;
    if !status.waiting_for_restart.is_empty() {
        print(&format!("changed in agent.toml, waiting for a restart: {}", status.waiting_for_restart.join(", ")))?;
    }
    print("")?;
    interfaces(&status.interfaces).print()?;
    if status.probes.is_empty() {
        return Ok(());
    }
    print("")?;
    probes(&status.probes).print()
}

fn probes(probes: &[ProbeStatus]) -> Grid {
    let mut grid =
        Grid::new(&["PROBE", "TARGET", "CHECK", "WAY", "SINCE", "SENT#", "FAILED#", "TOOK MS#", "LAST FAILURE"]);
    for probe in probes {
        let way = if probe.life == "dead" { "DEAD" } else { &probe.life };
        grid.row(vec![
            probe.probe.clone(),
            probe.target.clone(),
            probe.check.clone(),
            way.to_owned(),
            probe.since.clone(),
            probe.sent.to_string(),
            probe.failed.to_string(),
            or_dash(probe.took_us.map(|took| format!("{:.1}", took as f64 / 1e3))),
            last_failure(probe),
        ]);
    }
    grid
}

fn last_failure(probe: &ProbeStatus) -> String {
    let failure = or_dash(probe.failure.as_ref());
    if probe.held_down { format!("{failure}; answers again, held down") } else { failure }
}

fn show_policy(status: &Status) -> std::io::Result<()> {
    let policy = &status.policy;
    let digest = policy.digest.as_deref().map(|digest| &digest[..12.min(digest.len())]);
    print(&format!(
        "policy: epoch {}, digest {}, {} rules; last attempt {} at {}",
        policy.epoch,
        or_dash(digest),
        or_dash(policy.rules),
        policy.last_result,
        or_dash(policy.last_attempt_at.as_ref())
    ))?;
    for text in policy.problem.iter().chain(&status.config_problem).flat_map(|problem| problem.lines()) {
        print(&format!("  | {text}"))?;
    }
    policy.warnings.iter().try_for_each(|warning| print(&format!("  warning: {warning}")))
}

fn interfaces(interfaces: &[InterfaceStatus]) -> Grid {
    let mut grid = Grid::new(&[
        "INTERFACE",
        "DEVICE",
        "ZONES",
        "PROGRAM",
        "MTU#",
        "RECEIVED#",
        "FORWARDED#",
        "DROPPED#",
        "PASSED#",
        "NOT TAKEN#",
        "ADDRESSES",
    ]);
    for interface in interfaces {
        let zones = if interface.management { "(management)".to_owned() } else { interface.zones.join(",") };
        let numbers = [&interface.received, &interface.forwarded, &interface.dropped, &interface.passed];
        let program = if interface.attached { "attached" } else { "MISSING" };
        let mut row = vec![
            interface.interface.clone(),
            or_dash(interface.device.as_ref()),
            zones,
            program.to_owned(),
            or_dash(interface.mtu),
        ];
        row.extend(numbers.map(|count| count.packets.to_string()));
        row.push(interface.redirect_errors.to_string());
        row.push(interface.addresses.join(" "));
        grid.row(row);
    }
    grid
}
