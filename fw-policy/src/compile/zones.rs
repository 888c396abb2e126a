//! Zone ids, and the tries that tell the zone of an address as seen by each interface.

use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::policy::{ZoneEntry, zone};

use super::link;
use crate::binding::{Binding, InterfaceBinding};
use crate::diagnostic::{Report, suggestion};
use crate::policy::{Policy, Zone};
use crate::set::address::Network;
use crate::set::interval::{Cidr, Family};
use crate::tables::{Prefix, Tables, ZonePrefix};
use crate::{Code, ZoneInfo};

/// The id of each zone of a policy, by its position there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ZoneIds {
    ids: Vec<u8>,
}

impl ZoneIds {
    /// Numbers the zones. Flows remember ids, so a zone keeps the one that it has in `previous`; others get the lowest
    /// that is free.
    pub(super) fn assign(zones: &[Zone], previous: &[ZoneInfo]) -> Self {
        let is_user = |id: u8| (1..=zone::MAX_USER).contains(&id);
        let kept: BTreeMap<&str, u8> =
            previous.iter().filter(|zone| is_user(zone.id)).map(|zone| (zone.name.as_str(), zone.id)).collect();
        let mut taken: BTreeSet<u8> = BTreeSet::new();
        let mut ids: Vec<Option<u8>> = Vec::with_capacity(zones.len());
        for zone in zones {
            let id = kept.get(zone.name.as_str()).copied();
            ids.push(id.filter(|id| taken.insert(*id)));
        }
        let mut free = (1..=zone::MAX_USER).filter(|id| !taken.contains(id));
        // There is one for each zone: a policy with more zones than ids is not valid.
        let ids = ids.into_iter().map(|id| id.or_else(|| free.next()).unwrap_or(zone::NONE)).collect();
        Self { ids }
    }

    pub(super) fn id(&self, position: usize) -> u8 {
        self.ids[position]
    }

    /// The bits of all zones of the policy.
    pub(super) fn all_bits(&self) -> u64 {
        self.ids.iter().fold(0, |bits, id| bits | zone::bit(*id))
    }
}

/// Reports everything that does not fit between the zones of the policy and the interfaces.
pub(super) fn check_binding(policy: &Policy, binding: &Binding, report: &mut Report) {
    let known: BTreeMap<&str, &Zone> = policy.zones.iter().map(|zone| (zone.name.as_str(), zone)).collect();
    let management = binding.management.as_ref().map(|management| management.slot);
    for (slot, interface) in (0u32..).zip(&binding.interfaces) {
        check_interface(interface, management == Some(slot), &known, report);
    }
    let bound: BTreeSet<&str> =
        binding.interfaces.iter().flat_map(|interface| &interface.zones).map(String::as_str).collect();
    for zone in policy.zones.iter().filter(|zone| !bound.contains(zone.name.as_str())) {
        report
            .at(Code::ZoneUnbound, zone.at, format!("zone `{}` has no interface", zone.name))
            .help("list it in the `zones` of an interface in agent.toml, or remove it here");
    }
}

fn check_interface(
    interface: &InterfaceBinding,
    is_management: bool,
    known: &BTreeMap<&str, &Zone>,
    report: &mut Report,
) {
    let InterfaceBinding { name, zones } = interface;
    if is_management && !zones.is_empty() {
        let message = format!("agent.toml: `{name}` is the management interface and carries no zones");
        report.general(Code::ManagementZones, message).help("remove its `zones`, or name another under `[management]`");
    }
    if !is_management && zones.is_empty() {
        let message = format!("agent.toml: interface `{name}` carries no zone");
        report.general(Code::InterfaceWithoutZone, message).help("write `zones = [\"NAME\"]`");
    }
    for unknown in zones.iter().filter(|zone| !known.contains_key(zone.as_str())) {
        let message =
            format!("agent.toml: interface `{name}` carries zone `{unknown}`, which the policy does not define");
        let help = suggestion(unknown, known.keys().copied());
        report.general(Code::BindingUnknownZone, message).help_if(help);
    }
    let is_rest = |zone: &&Zone| zone.networks.is_none();
    let distinct: BTreeSet<&str> = zones.iter().map(String::as_str).collect();
    let rest: Vec<&Zone> = distinct.iter().filter_map(|zone| known.get(*zone).copied()).filter(is_rest).collect();
    if let [first, second, ..] = rest.as_slice() {
        report
            .at(
                Code::TwoRestZones,
                second.at,
                format!("zones `{}` and `{}` are both the rest of interface `{name}`", first.name, second.name),
            )
            .related(first.at, "has no `networks` either")
            .help("give one of them `networks`");
    }
}

/// Fills `zones4` and `zones6`.
pub(super) fn build_tries(policy: &Policy, binding: &Binding, ids: &ZoneIds, tables: &mut Tables) {
    let management = binding.management.as_ref().map(|management| management.slot);
    for (slot, interface) in (0u32..).zip(&binding.interfaces).filter(|(slot, _)| management != Some(*slot)) {
        add_interface(slot, interface, policy, ids, tables);
    }
    if let Some(slot) = management {
        let mut trie = SlotTrie::new(slot);
        trie.set_rest(zone::MANAGEMENT);
        trie.write(tables);
    }
    tables.zones4.sort_unstable_by_key(|(key, _)| *key);
    tables.zones6.sort_unstable_by_key(|(key, _)| *key);
}

fn add_interface(slot: u32, interface: &InterfaceBinding, policy: &Policy, ids: &ZoneIds, tables: &mut Tables) {
    let mut trie = SlotTrie::new(slot);
    for (position, zone) in policy.zones.iter().enumerate() {
        let own = interface.zones.contains(&zone.name);
        let id = if own { ids.id(position) } else { zone::NONE };
        match &zone.networks {
            Some(networks) => networks.iter().for_each(|network| trie.set(*network, id)),
            None if own => trie.set_rest(id),
            None => {}
        }
    }
    trie.write(tables);
}

/// The prefixes of one slot, each once.
struct SlotTrie {
    slot: u32,
    zones: BTreeMap<(Family, Cidr), u8>,
}

impl SlotTrie {
    fn new(slot: u32) -> Self {
        let link = link::networks().into_iter().map(|network| ((network.family, network.cidr), zone::LINK));
        Self { slot, zones: link.collect() }
    }

    fn set(&mut self, network: Network, zone: u8) {
        self.zones.insert((network.family, network.cidr), zone);
    }

    /// Gives both whole address spaces to a zone, unless a network is the whole space.
    fn set_rest(&mut self, zone: u8) {
        for family in Family::ALL {
            self.zones.entry((family, Cidr { first: 0, len: 0 })).or_insert(zone);
        }
    }

    fn write(self, tables: &mut Tables) {
        let slot = self.slot;
        for ((family, cidr), zone) in self.zones {
            let entry = ZoneEntry { zone: u32::from(zone) };
            match family {
                Family::V4 => tables.zones4.push((ZonePrefix { slot, prefix: prefix4(cidr) }, entry)),
                Family::V6 => tables.zones6.push((ZonePrefix { slot, prefix: prefix6(cidr) }, entry)),
            }
        }
    }
}

/// A prefix of IPv4 as the tables hold it.
pub(super) fn prefix4(cidr: Cidr) -> Prefix<[u8; 4]> {
    let [.., a, b, c, d] = cidr.first.to_be_bytes();
    Prefix { addr: [a, b, c, d], len: cidr.len }
}

/// A prefix of IPv6 as the tables hold it.
pub(super) const fn prefix6(cidr: Cidr) -> Prefix<[u8; 16]> {
    Prefix { addr: cidr.first.to_be_bytes(), len: cidr.len }
}

/// What `fwctl zones` shows: the zones of the policy, then those with a meaning of their own.
pub(super) fn describe(policy: &Policy, binding: &Binding, ids: &ZoneIds) -> Vec<ZoneInfo> {
    let slots = |name: &String| {
        let slots = (0u32..).zip(&binding.interfaces).filter(|(_, interface)| interface.zones.contains(name));
        slots.map(|(slot, _)| slot).collect()
    };
    let mut zones: Vec<ZoneInfo> = policy
        .zones
        .iter()
        .enumerate()
        .map(|(position, zone)| ZoneInfo {
            id: ids.id(position),
            name: zone.name.clone(),
            description: zone.description.clone(),
            networks: zone.networks().unwrap_or_default(),
            slots: slots(&zone.name),
        })
        .collect();
    let own = |id, name: &str, description: &str| ZoneInfo {
        id,
        name: name.to_owned(),
        description: description.to_owned(),
        networks: Vec::new(),
        slots: Vec::new(),
    };
    zones.push(own(zone::LINK, "(link)", "Link-local and multicast addresses, and the services of the instance"));
    zones.push(ZoneInfo {
        slots: binding.management.iter().map(|management| management.slot).collect(),
        ..own(zone::MANAGEMENT, "(management)", "Everything behind the management interface")
    });
    zones.push(own(zone::LOCAL, "local", "The firewall's own addresses"));
    zones
}
