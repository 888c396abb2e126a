//! Keeps the program on every interface of the configuration, and the data plane's picture of them true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::adopted::Seats;
use super::supervisor::Supervisor;
use crate::config::{AgentConfig, DeviceKey};
use crate::dataplane::AttachedInterface;
use crate::facts::{DeviceFacts, InterfaceFacts};
use crate::host::{ethtool, handover};
use crate::lockout::Devices;
use crate::netlink::state::{Link, Observed};
use crate::nic::{self, Mode, Wishes};

/// The slot of an interface that waits until a policy that knows it is in force. Until then the program is not on it.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// Why it waits.
const WAITS: &str =
    "the policy in force was not made for this interface, and the one on disk is refused; nothing crosses it";

/// An interface of the configuration, forwarding or management, and the device that it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) slot: u32,
    pub(super) key: DeviceKey,
    pub(super) zones: Vec<String>,
    pub(super) mtu: Option<u16>,
    pub(super) hairpin: bool,
    pub(super) management: bool,
    pub(super) mode: Mode,
    pub(super) link: Option<Link>,
    /// Another entry has its device.
    pub(super) taken: Option<Taken>,
}

/// A device that two entries name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Why the second one does not get it, with both places.
    pub(super) why: String,
    pub(super) link: Link,
}

/// Finds the devices of the configuration's interfaces, by slot: the slots of the configuration, or those of the policy that was
/// found running and goes on.
pub(super) fn place(config: &AgentConfig, observed: &Observed, kept: Option<&Seats>) -> Vec<Placed> {
    let find = |key: &DeviceKey| {
        observed.links.values().find(|link| !is_own(link) && key.matches(link, &observed.enis)).cloned()
    };
    let forwarding = (0u32..).zip(&config.interfaces).map(|(slot, interface)| Placed {
        slot,
        key: interface.key.clone(),
        zones: interface.zones.clone(),
        mtu: interface.mtu,
        hairpin: interface.hairpin,
        management: false,
        mode: interface.mode,
        link: find(&interface.key),
        taken: None,
    });
    let management = config.management.iter().map(|management| Placed {
        slot: config.management_slot(),
        key: management.key.clone(),
        zones: Vec::new(),
        mtu: None,
        hairpin: false,
        management: true,
        mode: management.mode,
        link: find(&management.key),
        taken: None,
    });
    let seated = |placed: Placed| match kept.map(|kept| kept.get(&placed.key)) {
        None => placed,
        Some(Some(seat)) => Placed { slot: seat.slot, management: seat.management, ..placed },
        Some(None) => Placed { slot: NO_SLOT, ..placed },
    };
    let mut placed: Vec<_> = forwarding.chain(management).map(seated).collect();
    refuse_taken(&mut placed, config);
    placed
}

/// An entry that names a device by its name, and one that names it by its hardware address, are two only in the file: the first one has it.
fn refuse_taken(placed: &mut [Placed], config: &AgentConfig) {
    let entries = config.interfaces.iter().map(|interface| ("[[interface]]", &interface.key, interface.line));
    let management = config.management.iter().map(|management| ("[management]", &management.key, management.line));
    let entries: Vec<_> = entries.chain(management).collect();
    let mut owners: BTreeMap<u32, String> = BTreeMap::new();
    for (placed, (section, key, line)) in placed.iter_mut().zip(entries) {
        let Some(link) = &placed.link else { continue };
        let entry = format!("`{section}` {key} in line {line} of agent.toml");
        match owners.get(&link.index) {
            Some(owner) => {
                let why = format!("{entry} is the device {}, and so is {owner}: remove one of them", link.name);
                placed.taken = placed.link.take().map(|link| Taken { why, link });
            }
            None => {
                owners.insert(link.index, entry);
            }
        }
    }
}

/// Which device two entries of the configuration name, if one is.
pub(super) fn named_twice(config: &AgentConfig, observed: &Observed) -> Option<String> {
    place(config, observed, None).into_iter().find_map(|placed| placed.taken).map(|taken| taken.why)
}

/// The devices, as the guard of the access to the firewall looks at them.
pub(super) fn devices(config: &AgentConfig, observed: &Observed) -> Devices {
    let management = place(config, observed, None).into_iter().find(|placed| placed.management);
    Devices {
        present: observed.links.keys().copied().collect(),
        management: management.map(|placed| placed.link.map_or(0, |link| link.index)),
    }
}

pub(super) fn is_own(link: &Link) -> bool {
    link.loopback || link.name == handover::OUTER || link.name == handover::INNER
}

impl Placed {
    /// What the data plane is told; `None` while there is no device.
    pub(super) fn attachment(&self, observed: &Observed) -> Option<AttachedInterface> {
        let link = self.link.as_ref()?;
        let usable = observed.addresses_of(link.index).filter(|address| !address.avoid);
        // The sort is stable: among global addresses the primary one stays first.
        let mut usable: Vec<_> = usable.map(|address| (address.is_link_local(), address.addr)).collect();
        usable.sort_by_key(|(is_link_local, _)| *is_link_local);
        let ipv4 = usable.iter().find_map(|(_, addr)| if let IpAddr::V4(addr) = addr { Some(*addr) } else { None });
        let ipv6 = usable.iter().find_map(|(_, addr)| if let IpAddr::V6(addr) = addr { Some(*addr) } else { None });
        Some(AttachedInterface {
            slot: self.slot,
            ifindex: link.index,
            name: link.name.clone(),
            mac: link.mac.0,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            ipv4,
            ipv6,
            hairpin: self.hairpin,
            management: self.management,
            mode: self.mode,
        })
    }

    fn facts(&self, observed: &Observed, problem: Option<String>) -> InterfaceFacts {
        let device = self.link.as_ref().map(|link| DeviceFacts {
            name: link.name.clone(),
            ifindex: link.index,
            mac: link.mac.to_string(),
            mtu: link.mtu,
            up: link.up,
            addresses: observed.addresses_of(link.index).map(|address| address.addr).collect(),
        });
        InterfaceFacts {
            slot: self.slot,
            key: self.key.to_string(),
            zones: self.zones.clone(),
            management: self.management,
            device,
            absence: None,
            problem,
        }
    }
}

impl Supervisor {
    /// Tells the data plane of the host's addresses, then attaches what has appeared and forgets what has vanished.
    pub(super) async fn refresh_interfaces(&mut self) {
        let (own, broadcasts) = self.observed.local_addresses();
        if let Err(error) = self.dataplane.set_local_addresses(&own, &broadcasts) {
            tracing::error!(%error, "the data plane was not told of the host's addresses");
        }
        let mut facts = Vec::new();
        let all = place(&self.config, &self.observed, self.kept.as_ref());
        let owned: BTreeSet<u32> = all.iter().filter_map(|placed| Some(placed.link.as_ref()?.index)).collect();
        let mut refused = Vec::new();
        for mut placed in all {
            if let Some(Taken { why, .. }) = placed.taken.take() {
                facts.push(placed.facts(&self.observed, Some(why.clone())));
                refused.push((placed, why));
                continue;
            }
            if placed.slot == NO_SLOT {
                let waits = placed.link.is_some().then(|| format!("{}: {WAITS}", placed.key));
                facts.push(placed.facts(&self.observed, waits));
                continue;
            }
            let refused = if self.is_as_wanted(&placed) { None } else { self.prepare(&mut placed).await };
            let problem = match refused {
                None => self.refresh_interface(&placed, &owned),
                Some(refused) => self.refresh_what_is_there(placed.clone(), &owned).or(Some(refused)),
            };
            let absence = if placed.link.is_none() { self.why_no_device(&placed.key) } else { None };
            facts.push(InterfaceFacts { absence, ..placed.facts(&self.observed, problem) });
        }
        // After their owners have got the devices.
        refused.iter().for_each(|(placed, why)| self.refuse(placed, why, &owned));
        self.facts.interfaces = facts;
    }

    /// Its device is another entry's.
    fn refuse(&mut self, placed: &Placed, problem: &str, owned: &BTreeSet<u32>) {
        let is_told = self.facts.interfaces.iter().any(|known| known.problem.as_deref() == Some(problem));
        if !is_told {
            tracing::error!(problem, "an interface is configured twice");
        }
        self.forget(placed, owned);
    }

    /// The device is refused: it gets no program that is not there. One that is there, be it from before the agent's start, judges
    /// packets, so it goes on as it is, and learns what else has changed.
    fn refresh_what_is_there(&mut self, placed: Placed, owned: &BTreeSet<u32>) -> Option<String> {
        let mode = self.dataplane.carried(placed.link.as_ref()?.index)?;
        tracing::warn!(interface = %placed.key, ?mode, "the program that is on the device goes on there");
        self.refresh_interface(&Placed { mode, ..placed }, owned)
    }

    /// Why the program is not on the interface, if it is not. `owned`: the devices that are interfaces.
    fn refresh_interface(&mut self, placed: &Placed, owned: &BTreeSet<u32>) -> Option<String> {
        let attached = self.attached.get(&placed.slot);
        let wanted = placed.attachment(&self.observed);
        if attached == wanted.as_ref() {
            return None;
        }
        let device = |interface: Option<&AttachedInterface>| interface.map(|interface| interface.ifindex);
        if device(attached) != device(wanted.as_ref()) {
            self.forget(placed, owned);
        }
        let interface = wanted?;
        if let Err(error) = self.dataplane.attach(&interface) {
            tracing::error!(interface = %placed.key, %error, "the program is not on the interface: nothing crosses it");
            return Some(error.to_string());
        }
        tracing::info!(
            interface = %placed.key, device = %interface.name, ifindex = interface.ifindex, slot = interface.slot,
            mtu = interface.mtu, "the program is on the interface"
        );
        self.attached.insert(placed.slot, interface);
        None
    }

    /// The interface is no longer the device that it was. A device that is another interface now keeps the program, so that there is no
    /// moment in which nobody judges what comes in for the host.
    fn forget(&mut self, placed: &Placed, owned: &BTreeSet<u32>) {
        let Some(gone) = self.attached.remove(&placed.slot) else { return };
        let (why, forgotten) = if owned.contains(&gone.ifindex) {
            ("the device is another interface's now", self.dataplane.vacate(placed.slot))
        } else if self.observed.links.contains_key(&gone.ifindex) {
            ("the device is no longer this interface's: the program is off", self.dataplane.forget(placed.slot))
        } else {
            ("the device has vanished", self.dataplane.forget(placed.slot))
        };
        tracing::warn!(interface = %placed.key, device = %gone.name, ifindex = gone.ifindex, "{why}");
        if let Err(error) = forgotten {
            tracing::error!(interface = %placed.key, %error, "the data plane could not forget the interface");
        }
    }

    /// The program is on the device, and the device is as it should be.
    fn is_as_wanted(&self, placed: &Placed) -> bool {
        let mtu = placed.link.as_ref().map(|link| link.mtu);
        self.attached.get(&placed.slot) == placed.attachment(&self.observed).as_ref()
            && placed.mtu.is_none_or(|wish| mtu == Some(u32::from(wish)))
    }

    /// Makes the device such that the program can go onto it; why it cannot.
    async fn prepare(&self, placed: &mut Placed) -> Option<String> {
        let link = placed.link.as_mut()?;
        let wishes = Wishes { mtu: placed.mtu, mode: placed.mode };
        let plan = match nic::decide(&nic::probe(link).await, &wishes) {
            Ok(plan) => plan,
            Err(reason) => {
                tracing::error!(device = %link.name, reason, "the program cannot go onto the device");
                return Some(format!("{}: {reason}", link.name));
            }
        };
        for warning in &plan.warnings {
            tracing::warn!(device = %link.name, "{warning}");
        }
        if let Some(mtu) = plan.mtu {
            match self.kernel.set_mtu(link, mtu).await {
                Ok(()) => {
                    tracing::info!(device = %link.name, from = link.mtu, to = mtu, "set the MTU");
                    link.mtu = mtu;
                }
                Err(error) => tracing::error!(device = %link.name, mtu, %error, "the MTU could not be set"),
            }
        }
        if let Some(channels) = plan.channels
            && let Err(error) = ethtool::set_channels(&link.name, channels)
        {
            tracing::error!(device = %link.name, channels, %error, "the number of queues could not be set");
        }
        None
    }

    /// Devices that are neither forwarding interfaces nor ours.
    pub(super) fn bystanders(&self) -> impl Iterator<Item = &Link> {
        let forwarding = self.attached.values().filter(|interface| !interface.management);
        let forwarding: BTreeSet<u32> = forwarding.map(|interface| interface.ifindex).collect();
        self.observed.links.values().filter(move |link| !is_own(link) && !forwarding.contains(&link.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::state::{Address, Mac};

    fn config() -> AgentConfig {
        let text = "[[interface]]\nmac = \"02:00:00:00:00:02\"\nzones = [\"ot\"]\nhairpin = true\n[management]\ninterface = \"ens5\"\n";
        AgentConfig::parse("agent.toml", text).unwrap()
    }

    fn link(index: u32, name: &str) -> (u32, Link) {
        let mac = Mac([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]);
        (index, Link { index, name: name.to_owned(), mac, mtu: 1500, up: true, loopback: false })
    }

    fn address(addr: &str, avoid: bool) -> Address {
        Address { ifindex: 2, addr: addr.parse().unwrap(), prefix_len: 64, avoid }
    }

    #[test]
    fn devices_are_found_by_hardware_address_and_by_name() {
        let observed = Observed { links: [link(1, "ens5"), link(2, "ens6")].into(), ..Observed::default() };
        let placed = place(&config(), &observed, None);
        assert_eq!(
            placed.iter().map(|placed| (placed.slot, placed.management)).collect::<Vec<_>>(),
            [(0, false), (1, true)]
        );
        assert_eq!(placed[0].link.as_ref().map(|link| link.name.as_str()), Some("ens6"));
        assert_eq!(placed[1].link.as_ref().map(|link| link.index), Some(1));
    }

    #[test]
    fn a_device_is_the_one_of_the_first_entry_that_names_it() {
        let text = "[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n[[interface]]\nmac = \"02:00:00:00:00:02\"\nzones = [\"it\"]\n[management]\ninterface = \"02:00:00:00:00:01\"\n";
        let config = AgentConfig::parse("agent.toml", text).unwrap();
        let observed = Observed { links: [link(1, "ens5"), link(2, "ens6")].into(), ..Observed::default() };
        let placed = place(&config, &observed, None);
        let devices: Vec<_> = placed.iter().map(|placed| placed.link.as_ref().map(|link| link.index)).collect();
        assert_eq!(devices, [Some(2), None, Some(1)]);
        let refused = named_twice(&config, &observed);
        let refused = refused.as_deref();
        assert_eq!(placed[1].taken.as_ref().map(|taken| taken.link.index), Some(2));
        assert_eq!(
            refused,
            Some(
                "`[[interface]]` 02:00:00:00:00:02 in line 5 of agent.toml is the device ens6, and so is `[[interface]]` ens6 in line 2 \
                 of agent.toml: remove one of them"
            )
        );
        assert_eq!(placed[1].facts(&observed, refused.map(str::to_owned)).reason().as_deref(), refused);
    }

    #[test]
    fn errors_are_sent_from_a_global_address_that_is_not_deprecated() {
        let addresses = vec![address("fe80::2", false), address("fd00::1", true), address("fd00::2", false)];
        let observed = Observed { links: [link(2, "ens6")].into(), addresses, ..Observed::default() };
        let attachment = place(&config(), &observed, None)[0].attachment(&observed).unwrap();
        assert_eq!(attachment.ipv6, Some("fd00::2".parse().unwrap()));
        assert_eq!(attachment.ipv4, None);
        assert!(attachment.hairpin);
    }

    #[test]
    fn a_link_local_address_is_better_than_none() {
        let observed = Observed {
            links: [link(2, "ens6")].into(),
            addresses: vec![address("fe80::2", false)],
            ..Observed::default()
        };
        let attachment = place(&config(), &observed, None)[0].attachment(&observed).unwrap();
        assert_eq!(attachment.ipv6, Some("fe80::2".parse().unwrap()));
    }
}
