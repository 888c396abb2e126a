//! What the policy compiler must know of `agent.toml`.

use fw_policy::{Binding, InterfaceBinding, ManagementBinding};

use super::{AgentConfig, ProbeConfig};

impl AgentConfig {
    /// The interfaces and their zones, for the policy compiler.
    #[must_use]
    pub fn binding(&self) -> Binding {
        let interfaces = self
            .interfaces
            .iter()
            .map(|interface| InterfaceBinding { name: interface.key.to_string(), zones: interface.zones.clone() })
            .collect();
        let management = self
            .management
            .as_ref()
            .map(|management| ManagementBinding { slot: self.management_slot(), allow: management.allow.clone() });
        let disabled_system_rules = self.policy.disabled_system_rules.clone();
        let probes = self.probes.iter().map(ProbeConfig::binding).collect();
        Binding { interfaces, management, disabled_system_rules, probes }
    }

    /// The slot of the management interface: the first one behind the forwarding interfaces.
    #[must_use]
    pub fn management_slot(&self) -> u32 {
        u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX)
    }
}
