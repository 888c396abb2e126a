//! Devices that `agent.toml` names by their network interface of AWS.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fw_cloud::{EniId, Metadata};

use super::interfaces::is_own;
use super::supervisor::Supervisor;
use crate::config::{AgentConfig, DeviceKey};
use crate::enis::{Answer, Enis};
use crate::netlink::state::{Mac, Observed};

/// How long a start waits for network interfaces that the disk does not know: without them it would take the program's slots from devices
/// that are attached.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The network interfaces of AWS that the configuration names.
pub(super) fn named(config: &AgentConfig) -> BTreeSet<EniId> {
    let keys = config.interfaces.iter().map(|interface| &interface.key);
    let keys = keys.chain(config.management.iter().map(|management| &management.key));
    let eni = |key: &DeviceKey| if let DeviceKey::Eni(eni) = key { Some(eni.clone()) } else { None };
    keys.filter_map(eni).collect()
}

/// Whether the metadata has to be asked at all.
pub(super) fn needs_enis(config: &AgentConfig) -> bool {
    !named(config).is_empty()
}

/// The hardware addresses of devices that may be network interfaces of AWS.
pub(super) fn macs(observed: &Observed) -> impl Iterator<Item = Mac> {
    observed.links.values().filter(|link| !is_own(link)).map(|link| link.mac)
}

/// What is known at a start.
pub(super) async fn begin(state_dir: &std::path::Path, config: &AgentConfig, observed: &mut Observed) -> Enis {
    let mut enis = Enis::load(state_dir.join("enis.json"), Arc::new(Metadata::default()));
    let named = named(config);
    if !named.is_empty() {
        enis.want(macs(observed));
        enis.settle(&named, FIRST_ANSWER).await;
    }
    observed.enis.clone_from(enis.known());
    enis
}

impl Supervisor {
    /// The instance metadata has answered.
    pub(super) async fn take_enis(&mut self, answer: Answer) {
        if self.enis.note(answer) {
            self.reconcile(false).await;
        }
    }

    /// Why there is no device for an interface, where that is more than that there is none.
    pub(super) fn why_no_device(&self, key: &DeviceKey) -> Option<String> {
        let DeviceKey::Eni(eni) = key else { return None };
        Some(match self.enis.problem() {
            Some(problem) => format!("{eni} has no device: {problem}"),
            None => format!(
                "{eni} has no device: none of this machine is that network interface; is it attached to this instance?"
            ),
        })
    }
}
