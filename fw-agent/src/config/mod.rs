//! `agent.toml`: which interfaces there are, which zones lie behind them, and where packets go.
//!
//! Text comes in, an [`AgentConfig`] or all mistakes at once ([`ConfigError`]) come out. Nothing here looks at the machine.

mod binding;
mod cloud;
pub mod duration;
mod interfaces;
mod probes;
mod read;
mod reload;
mod report;
mod routes;
mod section;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fw_cloud::EniId;
use fw_common::conntrack::Timeouts;
use fw_policy::Level;
use ipnet::IpNet;

use crate::change::signature::Key;
use crate::dataplane::PickUp;

use crate::netlink::plan::WantedRoute;
use crate::netlink::state::{Link, Mac};
use crate::nic::Mode;
use crate::{files, text};

pub use cloud::{BucketConfig, CloudConfig};
pub use probes::{Check, ProbeConfig};
pub use report::{ConfigError, Finding};

/// The largest `agent.toml` that is read, in bytes; one with every interface and a thousand routes has a tenth of that.
const MAX_FILE: u64 = 1 << 20;

/// A valid `agent.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The forwarding interfaces; the position is the slot.
    pub interfaces: Vec<InterfaceConfig>,
    /// Routes besides those to the connected subnets.
    pub routes: Vec<WantedRoute>,
    /// By destination: the largest TCP segment, in bytes, that may be announced to and from it.
    pub segment_limits: BTreeMap<IpNet, u16>,
    /// The management interface; its slot follows those of [`Self::interfaces`].
    pub management: Option<ManagementConfig>,
    /// Who is asked whether the ways work.
    pub probes: Vec<ProbeConfig>,
    /// Where the policy comes from.
    pub policy: PolicyConfig,
    /// Sizes and times of the flow table.
    pub conntrack: ConntrackConfig,
    /// What is verified besides what always is.
    pub anomalies: AnomaliesConfig,
    /// Where metrics and health are served.
    pub metrics: MetricsConfig,
    /// Where ended and denied flows are written.
    pub flow_log: FlowLogConfig,
    /// Where feeds of the policy come from.
    pub feeds: FeedsConfig,
    /// Where AWS is.
    pub cloud: CloudConfig,
}

/// One `[[interface]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Which device it is.
    pub key: DeviceKey,
    /// The line of the file that says so, from 1.
    pub line: usize,
    /// Where the cloud part attaches it.
    pub device_index: Option<u32>,
    /// Zones behind it.
    pub zones: Vec<String>,
    /// MTU in bytes to set; the device keeps its own without.
    pub mtu: Option<u16>,
    /// Traffic may leave by the interface that it came in by.
    pub hairpin: bool,
    /// How the program runs there.
    pub mode: Mode,
}

/// How a device is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKey {
    /// By its name.
    Name(String),
    /// By its hardware address.
    Mac(Mac),
    /// By the network interface of AWS that it is.
    Eni(EniId),
}

impl DeviceKey {
    /// The device is the one that is meant.
    #[must_use]
    pub fn matches(&self, link: &Link, enis: &BTreeMap<Mac, EniId>) -> bool {
        match self {
            Self::Name(name) => link.name == *name,
            Self::Mac(mac) => link.mac == *mac,
            Self::Eni(eni) => enis.get(&link.mac) == Some(eni),
        }
    }
}

impl fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Mac(mac) => mac.fmt(f),
            Self::Eni(eni) => eni.fmt(f),
        }
    }
}

/// `[management]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementConfig {
    /// Which device it is.
    pub key: DeviceKey,
    /// The line of the file that says so, from 1.
    pub line: usize,
    /// What may reach the firewall through it, each as `SERVICE from ADDRESS`; the policy compiler reads it.
    pub allow: Vec<String>,
    /// A policy that would cut what `allow` says, or a connection that is used, is refused.
    pub keep_access: bool,
    /// How the program runs there.
    pub mode: Mode,
}

/// `[policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Directory of the policy files; of a bucket, where its bundles are brought.
    pub directory: PathBuf,
    /// The bucket that the policy comes from; `None`: it is put into the directory.
    pub bucket: Option<BucketConfig>,
    /// A change of the files is applied by itself.
    pub watch: bool,
    /// How a change is confirmed; `None`: it is in force for good at once.
    pub confirm: Option<Confirmation>,
    /// Number of applied policies that are kept.
    pub keep: u32,
    /// Keys of which one must have signed what the directory offers; none: nothing has to be signed.
    pub public_keys: Vec<Key>,
    /// Ids of generated `system-*` rules that are turned off.
    pub disabled_system_rules: BTreeSet<String>,
}

/// How a change of the policy is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// How long it may wait for that, in seconds.
    pub within: u32,
    /// At the end of that time it stays if the ways that were alive before it are alive.
    pub by_probes: bool,
}

/// `[conntrack]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ConntrackConfig {
    /// Number of flows of each address family; sized from memory without.
    pub max_flows: Option<u32>,
    /// The most half-open flows of each address family; a quarter of the table without.
    pub max_half_open: Option<u32>,
    /// At that limit a new flow is turned away, instead of the oldest half-open one.
    pub refuse_half_open: bool,
    /// Idle time-outs by state.
    pub timeouts: Timeouts,
    /// When packets from the middle of a TCP connection or SCTP association may open a flow.
    pub pick_up: PickUp,
    /// The sender of a TCP segment that belongs to no flow is answered with a reset.
    pub reset_unknown_tcp: bool,
}

/// `[anomalies]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AnomaliesConfig {
    /// Packets from the wire whose transport checksum is wrong are dropped.
    pub verify_checksums: bool,
}

/// `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Address and port of the HTTP server.
    pub listen: SocketAddr,
}

/// `[flow_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLogConfig {
    /// The file; `flows.jsonl` in the state directory without.
    pub file: Option<PathBuf>,
    /// The file is rotated before it grows beyond this size in bytes.
    pub max_bytes: u64,
    /// Number of rotated files that are kept.
    pub keep: u32,
    /// What is written: this severe, or worse.
    pub level: Level,
}

/// `[feeds]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedsConfig {
    /// The directory that feeds may be files of.
    pub directory: PathBuf,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

impl FeedsConfig {
    /// Where feeds that are files lie unless it is said otherwise.
    pub const DIRECTORY: &str = "/etc/outpost-fw/feeds";
}

impl AgentConfig {
    /// Reads `text`; `name` is the file's name in messages.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        read::config(name, text)
    }

    /// What is taken otherwise than it is written, each as a sentence without a full stop.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match (self.conntrack.max_flows, self.conntrack.max_half_open) {
            (Some(all), Some(half_open)) if half_open > all => vec![format!(
                "`max_half_open` ({half_open}) is larger than `max_flows`, so that it is taken as {all}; leave it out for a quarter of `max_flows`"
            )],
            _ => Vec::new(),
        }
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let bytes = files::read(path, MAX_FILE).map_err(|error| ConfigError::unreadable(&name, error.to_string()))?;
        let text = text::decode(bytes).map_err(|place| ConfigError::not_text(&name, place.to_string()))?;
        Self::parse(&name, &text)
    }
}

#[cfg(test)]
mod tests;
