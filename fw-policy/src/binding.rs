//! How the zones of a policy are bound to the interfaces of one firewall: what `agent.toml` adds to the policy files.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Policy;

/// What the compiler must know of `agent.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The interfaces; the position is the slot that packets are classified by.
    pub interfaces: Vec<InterfaceBinding>,
    /// The management interface, if there is one.
    pub management: Option<ManagementBinding>,
    /// Ids of the generated `system-*` rules that `agent.toml` turns off.
    pub disabled_system_rules: BTreeSet<String>,
    /// What the firewall asks others to see whether the ways to them work.
    pub probes: Vec<ProbeBinding>,
}

/// One interface and its zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceBinding {
    /// The name that diagnostics show.
    pub name: String,
    /// Names of the zones behind it; empty only for the management interface.
    pub zones: Vec<String>,
}

/// The management interface: nothing is forwarded from or to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagementBinding {
    /// Its slot; it may be a position of [`Binding::interfaces`] or one that is not used there.
    pub slot: u32,
    /// What may reach the firewall through it, each as `SERVICE from ADDRESS`: `tcp/9477 from 10.3.0.0/16`.
    pub allow: Vec<String>,
}

/// A probe, for which there is a generated rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeBinding {
    /// Its name; the rule is `system-probe-NAME`.
    pub name: String,
    /// Who is asked.
    pub target: IpAddr,
    /// What is asked.
    pub service: ProbeService,
}

/// What a probe asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeService {
    /// An ICMP or ICMPv6 echo.
    Echo,
    /// A TCP connection to this port.
    Tcp(u16),
}

impl Binding {
    /// A binding for looking at a policy without `agent.toml`: each zone on an interface of its own, no management.
    #[must_use]
    pub fn offline(policy: &Policy) -> Self {
        let interface = |zone: &crate::Zone| InterfaceBinding {
            name: format!("(interface of {})", zone.name()),
            zones: vec![zone.name().to_owned()],
        };
        Self { interfaces: policy.zones().iter().map(interface).collect(), ..Self::default() }
    }
}
