//! The devices that `agent.toml` names: `[[interface]]` and `[management]`.

use std::ops::Range;

use fw_common::abi::interface::MAX_INTERFACES;
use fw_policy::{AllowError, Code};

use super::report::Report;
use super::section::{At, Section};
use super::{DeviceKey, InterfaceConfig, ManagementConfig};
use crate::nic::Mode;

/// Linux limits the names of devices (IFNAMSIZ, with the terminating zero).
const MAX_DEVICE_NAME: usize = 15;

/// The interfaces that could be read.
pub(super) struct Interfaces {
    pub(super) list: Vec<InterfaceConfig>,
    /// None was left out for a mistake, so that a name that is not in the list is a mistake, too.
    pub(super) complete: bool,
}

pub(super) fn interfaces(sections: Vec<Section<'_>>, report: &mut Report<'_>) -> Interfaces {
    let mut interfaces = Interfaces { list: Vec::new(), complete: true };
    for mut section in sections {
        // One slot is the management interface's.
        if interfaces.list.len() + 1 >= MAX_INTERFACES {
            report.add(Code::InvalidValue, section.span(), format!("more than {} interfaces", MAX_INTERFACES - 1));
            break;
        }
        match interface(&mut section, report) {
            Some((interface, span)) => {
                if let Some(other) = interfaces.list.iter().find(|other| other.key == interface.key) {
                    let message = format!("interface {} is listed twice", interface.key);
                    report
                        .add(Code::Duplicate, span, message)
                        .expected(format!("it is that of line {}", other.line))
                        .help("leave one of the two out, and name all zones in the other one");
                }
                interfaces.list.push(interface);
            }
            None => interfaces.complete = false,
        }
        section.finish(report);
    }
    interfaces
}

/// An interface, and where its key stands.
fn interface(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<(InterfaceConfig, Range<usize>)> {
    let key = device_key(section, report);
    let device_index = section.integer("device_index", 0..=63, report);
    let zones = section.strings("zones", report);
    if !section.holds("zones") || zones.as_ref().is_some_and(Vec::is_empty) {
        section.missing("zones", "the zones behind the interface: zones = [\"…\"]", report);
    }
    let mtu = section.integer("mtu", 1280..=9216, report);
    let hairpin = section.boolean("hairpin", report);
    let mode = mode(section, report);
    let At { value: key, span } = key?;
    let zones = zones.unwrap_or_default().into_iter().map(|zone| zone.value.to_owned()).collect();
    let interface = InterfaceConfig {
        key,
        line: report.line(span.start),
        device_index: device_index.and_then(|index| u32::try_from(index.value).ok()),
        zones,
        mtu: mtu.and_then(|mtu| u16::try_from(mtu.value).ok()),
        hairpin: hairpin.is_some_and(|hairpin| hairpin.value),
        mode,
    };
    Some((interface, span))
}

fn mode(section: &mut Section<'_>, report: &mut Report<'_>) -> Mode {
    match section.string("mode", report) {
        None => Mode::Native,
        Some(At { value: "native", .. }) => Mode::Native,
        Some(At { value: "generic", .. }) => Mode::Generic,
        Some(other) => {
            report
                .add(Code::InvalidValue, other.span, "`mode` does not take this value")
                .expected("expected \"native\" or \"generic\"");
            Mode::Native
        }
    }
}

/// Reads the one of `name`, `mac` and `eni` that says which device is meant.
fn device_key(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<At<DeviceKey>> {
    let name = section.string("name", report);
    let mac = section.string("mac", report);
    let eni = section.string("eni", report);
    match (name, mac, eni) {
        (Some(name), None, None) => Some(At { value: device_name(&name, report)?, span: name.span }),
        (None, Some(mac), None) => Some(At { value: hardware_address(&mac, report)?, span: mac.span }),
        (None, None, Some(eni)) => Some(At { value: network_interface(&eni, report)?, span: eni.span }),
        (None, None, None) => {
            section.missing("name", "one of `name`, `mac` and `eni`", report);
            None
        }
        (name, mac, eni) => {
            // At least two of them are there.
            let last = eni.as_ref().or(mac.as_ref()).or(name.as_ref())?;
            report
                .add(
                    Code::Contradiction,
                    last.span.clone(),
                    "of `name`, `mac` and `eni`, each says which device this is",
                )
                .expected("keep one of them");
            None
        }
    }
}

fn network_interface(eni: &At<&str>, report: &mut Report<'_>) -> Option<DeviceKey> {
    let parsed = eni.value.parse().ok();
    if parsed.is_none() {
        report
            .add(Code::InvalidValue, eni.span.clone(), "this is not the id of a network interface of AWS")
            .expected("expected such as \"eni-0a2e4f68f323022c3\"");
    }
    parsed.map(DeviceKey::Eni)
}

fn device_name(name: &At<&str>, report: &mut Report<'_>) -> Option<DeviceKey> {
    let fits = (1..=MAX_DEVICE_NAME).contains(&name.value.len())
        && !name.value.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        && !matches!(name.value, "." | "..");
    if !fits {
        report
            .add(Code::InvalidName, name.span.clone(), "this is not the name of a network device")
            .expected(format!("expected 1 to {MAX_DEVICE_NAME} bytes without `/` and spaces"));
    }
    fits.then(|| DeviceKey::Name(name.value.to_owned()))
}

fn hardware_address(mac: &At<&str>, report: &mut Report<'_>) -> Option<DeviceKey> {
    let parsed = mac.value.parse().ok();
    if parsed.is_none() {
        report
            .add(Code::InvalidValue, mac.span.clone(), "this is not a hardware address")
            .expected("expected six octets, such as \"02:00:00:00:00:01\"");
    }
    parsed.map(DeviceKey::Mac)
}

pub(super) fn management(
    mut section: Section<'_>,
    interfaces: &Interfaces,
    report: &mut Report<'_>,
) -> Option<ManagementConfig> {
    let interface = section.string("interface", report);
    let allow = section.strings("allow", report).unwrap_or_default();
    for entry in &allow {
        if let Err(AllowError { message, help }) = fw_policy::check_allow(entry.value) {
            report
                .add(Code::ManagementAllow, entry.span.clone(), format!("this is no entry of `allow`: {message}"))
                .expected("expected \"SERVICE from ADDRESS\"")
                .help(help);
        }
    }
    let keep_access = section.boolean("keep_access", report).is_none_or(|keep| keep.value);
    let mode = mode(&mut section, report);
    if interface.is_none() {
        section.missing("interface", "the name, hardware address or ENI of the primary interface", report);
    }
    section.finish(report);
    let interface = interface?;
    let key = match (interface.value.parse(), interface.value.parse()) {
        (Ok(mac), _) => DeviceKey::Mac(mac),
        (_, Ok(eni)) => DeviceKey::Eni(eni),
        _ => device_name(&interface, report)?,
    };
    let line = report.line(interface.span.start);
    if let Some(other) = interfaces.list.iter().find(|other| other.key == key) {
        report
            .add(
                Code::Contradiction,
                interface.span,
                "the management interface forwards nothing, so it is no `[[interface]]`",
            )
            .expected(format!("also the `[[interface]]` of line {}", other.line));
        return None;
    }
    let allow = allow.into_iter().map(|entry| entry.value.to_owned()).collect();
    Some(ManagementConfig { key, line, allow, keep_access, mode })
}
