//! A capture: what is asked for, and how the data plane's records become packets of a file.

use std::collections::BTreeMap;
use std::time::Duration;

use fw_common::abi::capture::{
    CaptureFilter, CapturedHead, MAX_SNAPLEN, capture_conditions, captured_direction, captured_outcome,
};
use fw_common::wire::Address;
use fw_common::wire::parse::{self, Extent, Packet as Parsed};
use fw_common::{DropReason, capture};
use serde::{Deserialize, Serialize};

use super::pcapng::{self, DecidedBy};
use crate::address_range::AddressRange;
use crate::clock::Clock;
use crate::conditions::{self, DropName, ProtocolName};
use crate::facts::Facts;
use crate::names::Names;

/// How long a capture lasts unless it says so, and at most, in seconds.
pub const DEFAULT_SECONDS: u32 = 60;
/// See [`DEFAULT_SECONDS`].
pub const MAX_SECONDS: u32 = 86_400;

/// Which packets are captured: conditions, all of which must hold, and limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureRequest {
    /// An address or prefix at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<AddressRange>,
    /// A port at either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A protocol's name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// "allow" or "deny".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// A drop reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DropName>,
    /// An interface, as `agent.toml` or the kernel names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The most packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Seconds; 60 without, a day at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// How many bytes of each frame are kept; as many as can be without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
}

impl CaptureRequest {
    /// How long the capture lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(DEFAULT_SECONDS).min(MAX_SECONDS).into())
    }

    /// The request as the data plane takes it, but for its end; the error is for the one who asked.
    pub fn filter(&self, facts: &Facts) -> Result<CaptureFilter, String> {
        // To the data plane it would mean any port.
        if self.port == Some(0) {
            return Err("port 0 is no port to capture: it is 1 to 65535".to_owned());
        }
        let mut filter = CaptureFilter {
            snaplen: self.snaplen.unwrap_or(MAX_SNAPLEN).clamp(1, MAX_SNAPLEN),
            port: self.port.unwrap_or(0),
            ..CaptureFilter::default()
        };
        if let Some(range) = self.addr {
            let prefix = range.prefix();
            let addr = Address::from(prefix.network());
            (filter.addr, filter.mask) = (addr.words(), Address::from(prefix.netmask()).words());
            filter.family = addr.family;
        }
        if let Some(protocol) = self.protocol {
            filter.protocol = protocol.0;
            filter.conditions |= capture_conditions::PROTOCOL;
        }
        filter.conditions |= match self.verdict.as_deref() {
            None => 0,
            Some("allow") => capture_conditions::ALLOWED,
            Some("deny") => capture_conditions::DENIED,
            Some(other) => return Err(format!("the verdict is allow or deny, not {other:?}")),
        };
        if let Some(reason) = self.reason {
            filter.reason = reason.0 as u8;
            filter.conditions |= capture_conditions::REASON;
        }
        if let Some(name) = &self.interface {
            let interfaces =
                facts.interfaces.iter().filter_map(|interface| Some((interface, interface.device.as_ref()?)));
            let mut found = interfaces.filter(|(interface, device)| interface.key == *name || device.name == *name);
            let Some((_, device)) = found.next() else {
                let known: Vec<&str> = facts.interfaces.iter().map(|interface| interface.key.as_str()).collect();
                return Err(conditions::unknown("interface", name, &known));
            };
            filter.ifindex = device.ifindex;
        }
        Ok(filter)
    }
}

/// The blocks of a capture: what is written before a packet, and the packet.
pub struct Recording {
    filter: CaptureFilter,
    /// Names of interfaces by their kernel index.
    names: BTreeMap<u32, (String, String)>,
    /// Numbers of the interfaces that have been written.
    written: BTreeMap<u32, u32>,
}

impl Recording {
    /// A recording of what the filter wants.
    #[must_use]
    pub fn new(filter: CaptureFilter, facts: &Facts) -> Self {
        let devices = facts.interfaces.iter().filter_map(|interface| {
            let device = interface.device.as_ref()?;
            let zones = if interface.management { "management".to_owned() } else { interface.zones.join(",") };
            Some((device.ifindex, (device.name.clone(), format!("{} ({zones})", interface.key))))
        });
        Self { filter, names: devices.collect(), written: BTreeMap::new() }
    }

    /// The blocks of a record; `None` if the record is not wanted after all.
    pub fn blocks(&mut self, head: &CapturedHead, bytes: &[u8], names: &Names, clock: &Clock) -> Option<Vec<u8>> {
        let by_kernel = head.direction == captured_direction::OUT && head.outcome == captured_outcome::HANDED_OVER;
        if by_kernel && !self.wants_unparsed(bytes) {
            return None;
        }
        let mut blocks = Vec::new();
        let next = u32::try_from(self.written.len()).unwrap_or(u32::MAX);
        let interface = *self.written.entry(head.ifindex).or_insert(next);
        if interface == next {
            let (name, description) =
                self.names.get(&head.ifindex).cloned().unwrap_or_else(|| (format!("#{}", head.ifindex), String::new()));
            blocks.extend(pcapng::interface(&name, &description, self.filter.snaplen));
        }
        let at = clock.wall(head.at).unix_timestamp_nanos();
        let of_host = head.outcome == captured_outcome::PASSED && head.direction == captured_direction::OUT;
        let decided_by = if of_host || by_kernel { DecidedBy::Tc } else { DecidedBy::Xdp };
        blocks.extend(pcapng::packet(&pcapng::Packet {
            interface,
            at: u64::try_from(at).unwrap_or(0),
            len: head.len,
            bytes,
            outbound: head.direction == captured_direction::OUT,
            verdict: (decided_by, u64::from(head.action)),
            comment: &comment(head, names),
        }));
        Some(blocks)
    }

    /// The end of the recording.
    #[must_use]
    pub fn end(&self, lost: u64, clock: &Clock) -> Vec<u8> {
        let at = u64::try_from(clock.now().unix_timestamp_nanos()).unwrap_or(0);
        // The loss is that of the one buffer that all interfaces share; it stands at the first.
        self.written
            .values()
            .flat_map(|number| pcapng::statistics(*number, at, if *number == 0 { lost } else { 0 }))
            .collect()
    }

    /// The data plane knows nothing of what leaves by the kernel's own path, so that the conditions are applied here.
    fn wants_unparsed(&self, bytes: &[u8]) -> bool {
        let denied_only = capture_conditions::DENIED | capture_conditions::REASON;
        let mut parsed = Parsed::EMPTY;
        let link = parse::link(&bytes);
        let known =
            link.and_then(|link| parse::network(&bytes, link.ethertype, link.l3_offset, Extent::Headers, &mut parsed));
        self.filter.conditions & denied_only == 0
            && capture::wants_packet(&self.filter, known.is_ok().then_some(&parsed))
    }
}

/// What is said of a packet: `drop policy; rule default; ot>it`.
fn comment(head: &CapturedHead, names: &Names) -> String {
    let reason = DropReason::from_number(head.reason).map_or("unknown", DropReason::name);
    let mut text = match head.outcome {
        captured_outcome::FORWARDED => "forward".to_owned(),
        captured_outcome::PASSED => "pass".to_owned(),
        captured_outcome::HANDED_OVER => "hand over".to_owned(),
        captured_outcome::DROPPED => format!("drop {reason}"),
        captured_outcome::ANSWER => format!("answer to drop {reason}"),
        other => format!("outcome {other}"),
    };
    if let Some(rule) = names.rule(head.rule) {
        text = format!("{text}; rule {rule}");
    }
    if let (Some(from), Some(to)) = (names.zone(head.from_zone), names.zone(head.to_zone)) {
        text = format!("{text}; {from}>{to}");
    }
    text
}
