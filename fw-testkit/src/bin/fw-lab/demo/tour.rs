//! The clients' tour: what the example policy allows, and what it forbids, in both families.

use std::net::IpAddr;

use fw_testkit::LabError;
use fw_testkit::lab::{Host, IT, OT, PLC, WS};

use super::attempt::{Act, Expected, compare};
use super::report::Report;
use super::stage::Stage;

/// Who does what to whom.
type Step = (Host, Act, Host, &'static str);

const ALLOWED: [Step; 10] = [
    (WS, Act::Web(80), IT, "the workstation reads a page from IT"),
    (PLC, Act::Modbus, IT, "the PLC reports to the historian in IT"),
    (IT, Act::Modbus, OT, "IT polls OT by Modbus"),
    (IT, Act::Echo, OT, "IT asks OT by UDP"),
    (WS, Act::Ping, IT, "the workstation pings IT"),
    (PLC, Act::Ping, OT, "the PLC pings OT"),
    (IT, Act::Ping, OT, "IT pings OT"),
    (OT, Act::Ping, IT, "OT pings IT"),
    (WS, Act::Traceroute, IT, "the workstation traces the route to IT"),
    (PLC, Act::Traceroute, OT, "the PLC traces the route to OT"),
];

const FORBIDDEN: [(Step, Expected); 6] = [
    ((WS, Act::Modbus, IT, "the workstation may not speak Modbus to IT"), Expected::Silence),
    ((OT, Act::Web(80), PLC, "OT may not reach the PLC"), Expected::Silence),
    ((OT, Act::Ping, WS, "OT may not ping on-premises"), Expected::Silence),
    ((IT, Act::Ping, WS, "IT is refused a ping to on-premises"), Expected::Refusal),
    ((IT, Act::Modbus, PLC, "IT is refused Modbus to the PLC"), Expected::Refusal),
    ((WS, Act::Web(80), OT, "the workstation may not read a page from OT"), Expected::Silence),
];

fn both_families(host: Host) -> [IpAddr; 2] {
    [host.ipv4.into(), host.ipv6.into()]
}

fn check(stage: &Stage, step: Step, expected: Expected, report: &mut Report) -> Result<(), LabError> {
    let (from, act, to, what) = step;
    for address in both_families(to) {
        let happened = compare(&stage.lab, from.node, act, address, expected)?;
        report.check(&format!("{what} ({address})"), happened);
    }
    Ok(())
}

pub(super) fn allowed(stage: &Stage, report: &mut Report) -> Result<(), LabError> {
    ALLOWED.into_iter().try_for_each(|step| check(stage, step, Expected::Works, report))
}

pub(super) fn forbidden(stage: &Stage, report: &mut Report) -> Result<(), LabError> {
    FORBIDDEN.into_iter().try_for_each(|(step, expected)| check(stage, step, expected, report))
}
