//! What happens while traffic runs: a spoofed source, an edited policy, a killed agent.

use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fw_testkit::capture::{Capture, Sender};
use fw_testkit::client::{self, HttpAnswer, expected_digest};
use fw_testkit::lab::{ENI_OT, IT, Node, OT, PLC, mac_of};
use fw_testkit::packet::Packet;
use fw_testkit::wait;

use super::attempt::{Act, Expected, compare};
use super::report::Report;
use super::stage::Stage;

/// For what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Number of spoofed packets.
const FORGERIES: u16 = 5;

/// A host in OT claims the PLC's address. Its honest ping follows on the same path.
pub(super) fn spoofed_source(stage: &Stage, report: &mut Report) -> Result<()> {
    let arrivals = Capture::on(stage.lab.ns(Node::It), "eth0")?;
    let sender = Sender::on(stage.lab.ns(Node::Ot), "eth0")?;
    let (own_mac, firewall_mac) = (mac_of(OT.ipv4), mac_of(ENI_OT.ipv4));
    let before = stage.agent.dropped("spoofed")?;
    for sequence in 0..FORGERIES {
        let forgery = Packet::echo_request(PLC.ipv4, IT.ipv4, 666, sequence).macs(own_mac, firewall_mac);
        sender.send(&forgery.build())?;
    }
    sender.send(&Packet::echo_request(OT.ipv4, IT.ipv4, 667, 0).macs(own_mac, firewall_mac).build())?;
    let (claimed, honest, to) = (IpAddr::from(PLC.ipv4), IpAddr::from(OT.ipv4), IpAddr::from(IT.ipv4));
    let first = arrivals.wait_for("a ping", PATIENCE, |frame| {
        !frame.outgoing && (frame.is_between(claimed, to) || frame.is_between(honest, to))
    })?;
    let counted = stage.agent.dropped("spoofed")? - before;
    let happened = match (first.is_between(honest, to), counted) {
        (true, counted) if counted == u64::from(FORGERIES) => Ok(format!("{counted} dropped as `spoofed`")),
        (true, counted) => Err(format!("{counted} of {FORGERIES} counted as `spoofed`")),
        (false, _) => Err("a forgery arrived in IT".to_owned()),
    };
    report.check("a host in OT that claims the PLC's address gets nothing across", happened);
    Ok(())
}

/// A rule that opens what nothing else allows.
const OPENING: &str = r#"version = 1

[[rule]]
id = "demo-maintenance"
description = "The workstation reads the maintenance page in OT"
from = ["onprem"]
to = ["ot"]
source = ["192.168.20.20"]
destination = ["10.1.1.50"]
services = ["tcp/8080"]
action = "allow"
"#;

/// A rule is added, and taken away again.
pub(super) fn policy_edit(stage: &Stage, report: &mut Report) -> Result<()> {
    let page = |expected| compare(&stage.lab, Node::Ws, Act::Web(8080), OT.ipv4.into(), expected);
    let file = stage.policies.join("05-demo.toml");
    report.check("before: the workstation may not read OT's maintenance page", page(Expected::Silence)?);
    let epoch = edit(stage, report, "a rule that allows it is in force", || fs::write(&file, OPENING))?;
    report.check(&format!("under policy {epoch}: the workstation reads the page"), page(Expected::Works)?);
    let epoch = edit(stage, report, "the rule is gone again", || fs::remove_file(&file))?;
    report.check(&format!("under policy {epoch}: the page is closed again"), page(Expected::Silence)?);
    Ok(())
}

/// Makes an edit and waits until the agent has put it in force.
fn edit(stage: &Stage, report: &mut Report, what: &str, edit: impl FnOnce() -> std::io::Result<()>) -> Result<u64> {
    let before = epoch(stage)?;
    edit()?;
    let new = wait::until("a new policy is in force", PATIENCE, || epoch(stage).ok().filter(|epoch| *epoch > before));
    report.check(what, new.as_ref().map(|epoch| format!("policy {before} → {epoch}")).map_err(ToString::to_string));
    Ok(new.unwrap_or(before))
}

fn epoch(stage: &Stage) -> Result<u64> {
    let status = stage.agent.fwctl_json(&["status"])?;
    status["policy"]["epoch"].as_u64().context("`fwctl status` shows no epoch")
}

/// Size of the transfer in bytes.
const LENGTH: u64 = 200_000_000;

/// The shortest time that the transfer takes.
const SHORTEST_TRANSFER: Duration = Duration::from_secs(4);

/// A transfer is slowed down so that it lasts longer than the agent takes to come back.
pub(super) fn agent_killed(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let lasts = SHORTEST_TRANSFER.max(stage.start_took * 2);
    let path = format!("/bytes/{LENGTH}?per_second={}", LENGTH / lasts.as_secs().max(1));
    let (lab, agent) = (&stage.lab, &mut stage.agent);
    let (outcome, in_time) = thread::scope(|scope| -> Result<_> {
        let transfer = scope.spawn(|| client::http_get(lab.ns(Node::Ws), (IT.ipv4, 8080).into(), &path, PATIENCE));
        let of_transfer = ["--state", "established", "--port", "8080"];
        let flowing = || agent.matching_flows(&of_transfer).is_ok_and(|flows| flows > 0);
        wait::until_true("the transfer is in the flow table", PATIENCE, flowing)?;
        agent.kill()?;
        report.check("the agent is killed with SIGKILL", Ok("gone".to_owned()));
        let back = agent.start().map(|()| "it has adopted what it found".to_owned()).map_err(|error| error.to_string());
        report.check("the agent is started again", back);
        let in_time = !transfer.is_finished();
        let outcome = transfer.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        Ok((outcome?, in_time))
    })?;
    report.check(
        "the transfer was running all the while",
        if in_time { Ok("yes".to_owned()) } else { Err("it ended early".to_owned()) },
    );
    report.check(&format!("all {LENGTH} bytes arrive unchanged"), judge(outcome));
    Ok(())
}

fn judge(outcome: std::io::Result<HttpAnswer>) -> Result<String, String> {
    let answer = outcome.map_err(|error| format!("the transfer broke: {error}"))?;
    let hex = |digest: &[u8]| digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    if answer.length == LENGTH && answer.digest == expected_digest(LENGTH) {
        Ok(format!("SHA-256 {}… as computed beforehand", hex(&answer.digest)))
    } else {
        Err(format!("{} bytes with SHA-256 {}…", answer.length, hex(&answer.digest)))
    }
}
