//! The zones of a policy: disjoint networks, and names that rules refer to.

use std::collections::BTreeMap;

use fw_common::abi::policy::zone;

use crate::Code;
use crate::compile::link;
use crate::diagnostic::{Report, nearest};
use crate::parse::ZoneDefinition;
use crate::policy::{Zone, ZoneSelector};
use crate::set::address::Network;
use crate::source::{Location, Spanned};

/// The zones by position and by name.
pub(super) struct Zones {
    zones: Vec<Zone>,
    by_name: BTreeMap<String, usize>,
}

/// Which words with a meaning of their own a key takes beside the names of zones.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// `any` and `local`.
    AnyAndLocal,
    /// `local`.
    Local,
}

impl Zones {
    pub(super) fn new(definitions: Vec<ZoneDefinition>, report: &mut Report) -> Self {
        check_networks(&definitions, report);
        if let Some(excess) = definitions.get(usize::from(zone::MAX_USER)) {
            let message = format!("a policy has at most {} zones, not {}", zone::MAX_USER, definitions.len());
            report.at(Code::TooManyZones, excess.name.at, message).label("one too many");
        }
        let mut zones = Self { zones: Vec::with_capacity(definitions.len()), by_name: BTreeMap::new() };
        for definition in definitions {
            let Spanned { value: name, at } = definition.name;
            zones.by_name.entry(name.clone()).or_insert(zones.zones.len());
            let networks = definition.networks;
            let networks = networks.map(|networks| networks.into_iter().map(|network| network.value).collect());
            zones.zones.push(Zone { name, description: definition.description, networks, at });
        }
        zones
    }

    pub(super) fn all(&self) -> &[Zone] {
        &self.zones
    }

    pub(super) fn zone(&self, position: usize) -> &Zone {
        &self.zones[position]
    }

    /// Looks the names of a key up; unknown ones are reported and left out.
    pub(super) fn select(&self, names: &[Spanned<String>], words: Words, report: &mut Report) -> ZoneSelector {
        let mut selector = ZoneSelector::default();
        for name in names {
            match (name.value.as_str(), words) {
                ("any", Words::AnyAndLocal) => selector.any = true,
                ("local", Words::AnyAndLocal | Words::Local) => selector.local = true,
                (unknown, _) => match self.by_name.get(unknown) {
                    Some(position) => selector.zones.push(*position),
                    None => self.report_unknown(name, words, report),
                },
            }
        }
        let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
        selector.display = names.join(",");
        selector.zones.sort_unstable();
        selector.zones.dedup();
        selector
    }

    fn report_unknown(&self, name: &Spanned<String>, words: Words, report: &mut Report) {
        let words: &[&str] = match words {
            Words::AnyAndLocal => &["any", "local"],
            Words::Local => &["local"],
        };
        let known = self.by_name.keys().map(String::as_str).chain(words.iter().copied());
        report
            .at(Code::UnknownZone, name.at, format!("there is no zone `{}` here", name.value))
            .help(format!("the zones are {}", known.clone().collect::<Vec<_>>().join(", ")))
            .did_you_mean(&name.value, nearest(&name.value, known));
    }
}

/// Reports networks that overlap, and networks that no zone can have.
fn check_networks(definitions: &[ZoneDefinition], report: &mut Report) {
    let networks_of = |zone: &ZoneDefinition| zone.networks.clone().unwrap_or_default();
    let mut networks: Vec<(Network, Location)> = Vec::new();
    for network in definitions.iter().flat_map(networks_of) {
        if let Some(reserved) = link::networks().into_iter().find(|reserved| reserved.contains(network.value)) {
            let message = format!("`{}` belongs to the link itself ({reserved}), never to a zone", network.value);
            report.at(Code::ZoneReserved, network.at, message);
        }
        networks.push((network.value, network.at));
    }
    // In this order a network that contains others stands before them, and nothing else between.
    networks.sort_by_key(|(network, _)| (network.family, network.cidr));
    let mut open: Option<(Network, Location)> = None;
    for (network, at) in networks {
        match open {
            Some((outer, outer_at)) if outer.contains(network) => {
                let (first, second) =
                    if outer_at < at { ((outer, outer_at), (network, at)) } else { ((network, at), (outer, outer_at)) };
                report
                    .at(Code::ZonesOverlap, second.1, format!("`{}` overlaps `{}`", second.0, first.0))
                    .related(first.1, "overlaps this network")
                    .help("an address belongs to one zone: split the larger network");
            }
            _ => open = Some((network, at)),
        }
    }
}
