//! What becomes of a flow that is open, or of one that was denied, when one compiled policy takes another one's place.
//!
//! In: a tuple as its originator sends it, with where it comes in and goes to. Out: what either policy says. The decision is made on the compiled
//! tables by the functions of the data plane: [`fw_common::policy::classify`] says which rule, and [`goes_on`] whether the flow stays. Routes
//! are not known here: a destination leaves by the interfaces of the zone that it is in.

use std::net::IpAddr;

use fw_common::abi::policy::zone;
use fw_common::policy::Query;
use fw_common::policy::standing::goes_on;

use crate::{Compiled, ZoneInfo};

/// One end of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'t> {
    /// The firewall itself.
    Local,
    /// Behind an interface.
    Wire {
        /// The name of its zone under the old policy.
        zone: &'t str,
        /// The slot of the interface, in the binding of the old policy, if it is known.
        slot: Option<u32>,
    },
}

/// A flow, as its originator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'t> {
    /// Source address.
    pub src_addr: IpAddr,
    /// Destination address, of the same family.
    pub dst_addr: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port; 0 for protocols without ports.
    pub src_port: u16,
    /// Destination port; for ICMP and ICMPv6 the type, times 256, and the code.
    pub dst_port: u16,
    /// Where it comes in.
    pub from: End<'t>,
    /// Where it goes to.
    pub to: End<'t>,
}

/// What a policy says of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<'c> {
    /// A rule allows it.
    Allowed {
        /// Its id.
        rule: &'c str,
    },
    /// It is denied.
    Denied {
        /// Id of the rule or default; none if one of its ends is in no zone.
        by: Option<&'c str>,
    },
    /// That depends on the interface that it leaves by, which is not known.
    Unsure,
}

/// Two compiled policies.
#[derive(Clone, Debug)]
pub struct Judge<'c> {
    before: &'c Compiled,
    after: &'c Compiled,
    /// The slot under the new policy of each interface of the old one.
    slots: Vec<Option<u32>>,
}

/// The slots of a firewall: those of its interfaces, and of the management interface, which may be none of them.
fn slots_of(compiled: &Compiled) -> u32 {
    let binding = &compiled.binding;
    let interfaces = u32::try_from(binding.interfaces.len()).unwrap_or(u32::MAX);
    binding.management.as_ref().map_or(interfaces, |management| interfaces.max(management.slot.saturating_add(1)))
}

impl<'c> Judge<'c> {
    /// Of the policy that is in force, and the one that may take its place.
    #[must_use]
    pub fn new(before: &'c Compiled, after: &'c Compiled) -> Self {
        let management = |compiled: &Compiled| compiled.binding.management.as_ref().map(|management| management.slot);
        let slot = |slot: u32| {
            if management(before) == Some(slot) {
                return management(after);
            }
            let name = &before.binding.interfaces.get(slot as usize)?.name;
            let known = (0..).zip(&after.binding.interfaces).find(|(_, interface)| interface.name == *name);
            known.map(|(slot, _)| slot)
        };
        Self { before, after, slots: (0..slots_of(before)).map(slot).collect() }
    }

    /// What the old policy says, which has put both ends into their zones.
    #[must_use]
    pub fn before(&self, tuple: &Tuple<'_>) -> Judged<'c> {
        let zone = |end: End<'_>| match end {
            End::Local => Some(zone::LOCAL),
            End::Wire { zone, .. } => self.zone(zone).map(|zone| zone.id),
        };
        match (zone(tuple.from), zone(tuple.to)) {
            (Some(from), Some(to)) => decided(self.before, tuple, from, to),
            _ => Judged::Denied { by: None },
        }
    }

    /// What the new policy says. Both ends are looked up in its zones, behind the interfaces where they were.
    #[must_use]
    pub fn after(&self, tuple: &Tuple<'_>) -> Judged<'c> {
        let (from, to) = (self.zones(tuple.from, tuple.src_addr), self.zones(tuple.to, tuple.dst_addr));
        let mut judged = from.iter().flat_map(|from| to.iter().map(|to| decided(self.after, tuple, *from, *to)));
        let Some(first) = judged.next() else { return Judged::Unsure };
        if judged.all(|other| other == first) { first } else { Judged::Unsure }
    }

    /// The zones under the new policy that an end may be in: one, unless it is not known where it is.
    fn zones(&self, end: End<'_>, addr: IpAddr) -> Vec<u8> {
        let End::Wire { zone, slot } = end else { return vec![zone::LOCAL] };
        let places = match slot {
            Some(slot) => vec![slot],
            None => self.places(zone, addr),
        };
        let zones = places.into_iter().map(|slot| match self.slots.get(slot as usize).copied().flatten() {
            Some(slot) => self.after.tables.zone(slot, &addr.into()),
            // The interface is gone.
            None => zone::NONE,
        });
        let mut zones: Vec<u8> = zones.collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// The slots behind which an address is in a zone, under the old policy.
    fn places(&self, name: &str, addr: IpAddr) -> Vec<u32> {
        match self.zone(name) {
            Some(ZoneInfo { slots, .. }) if slots.len() == 1 => slots.clone(),
            Some(zone) => {
                let slots = 0..slots_of(self.before);
                slots.filter(|slot| self.before.tables.zone(*slot, &addr.into()) == zone.id).collect()
            }
            None => Vec::new(),
        }
    }

    /// A zone of the old policy; those that policies cannot name stand in parentheses.
    fn zone(&self, name: &str) -> Option<&'c ZoneInfo> {
        self.before.zones.iter().find(|zone| zone.name == name || zone.name.trim_matches(['(', ')']) == name)
    }
}

/// What a policy says of a tuple between two zones.
fn decided<'c>(compiled: &'c Compiled, tuple: &Tuple<'_>, from_zone: u8, to_zone: u8) -> Judged<'c> {
    let Tuple { src_addr, dst_addr, protocol, src_port, dst_port, .. } = *tuple;
    let (src_addr, dst_addr) = (src_addr.into(), dst_addr.into());
    let query = Query { src_addr, dst_addr, from_zone, to_zone, protocol, src_port, dst_port };
    let decision = compiled.tables.classify(&query);
    let rule = compiled.rules.get(decision.rule as usize).map(|rule| rule.id.as_str());
    if goes_on(from_zone, to_zone, decision.action) {
        return Judged::Allowed { rule: rule.unwrap_or_default() };
    }
    let is_somewhere = from_zone != zone::NONE && to_zone != zone::NONE;
    Judged::Denied { by: rule.filter(|_| is_somewhere) }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::binding::{Binding, InterfaceBinding};
    use crate::source::SourceFile;

    const ZONES: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n\
                         [zones.b]\nnetworks = [\"10.2.0.0/16\"]\n[zones.rest]\n";
    const RULES: &str = "[[rule]]\nid = \"ab\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [\"tcp\"]\naction = \"allow\"\n\
                         [[rule]]\nid = \"out\"\nfrom = [\"a\"]\nto = [\"rest\"]\naction = \"allow\"\n";

    fn compile(text: &str, interfaces: &[(&str, &[&str])]) -> Compiled {
        let policy = crate::load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]);
        let interface = |(name, zones): &(&str, &[&str])| InterfaceBinding {
            name: (*name).to_owned(),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        };
        let binding = Binding { interfaces: interfaces.iter().map(interface).collect(), ..Binding::default() };
        let compiled = policy.and_then(|policy| policy.compile(&binding, OffsetDateTime::UNIX_EPOCH));
        compiled.unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn tuple(src: &str, dst: &str, from: End<'static>, to: End<'static>) -> Tuple<'static> {
        let (src_addr, dst_addr) = (src.parse().unwrap(), dst.parse().unwrap());
        Tuple { src_addr, dst_addr, protocol: 6, src_port: 50_000, dst_port: 80, from, to }
    }

    fn wire(zone: &'static str, slot: Option<u32>) -> End<'static> {
        End::Wire { zone, slot }
    }

    #[test]
    fn interfaces_are_the_same_by_name_whatever_their_slot() {
        let before = compile(&format!("{ZONES}{RULES}"), &[("ens6", &["a"]), ("ens7", &["b"]), ("ens8", &["rest"])]);
        let text = format!("{ZONES}{}", RULES.replace("\"tcp\"", "\"tcp/443\""));
        let after = compile(&text, &[("ens7", &["b"]), ("ens8", &["rest"]), ("ens6", &["a"])]);
        let judge = Judge::new(&before, &after);
        let flow = tuple("10.1.0.1", "10.2.0.1", wire("a", Some(0)), wire("b", None));
        assert_eq!(judge.before(&flow), Judged::Allowed { rule: "ab" });
        assert_eq!(judge.after(&flow), Judged::Denied { by: Some("default") });
        let flow = Tuple { dst_port: 443, ..flow };
        assert_eq!(judge.after(&flow), Judged::Allowed { rule: "ab" });
    }

    #[test]
    fn an_end_that_loses_its_zone_or_its_interface_cuts_the_flow() {
        let interfaces: [(&str, &[&str]); 3] = [("ens6", &["a"]), ("ens7", &["b"]), ("ens8", &["rest"])];
        let before = compile(&format!("{ZONES}{RULES}"), &interfaces);
        let smaller = format!("{ZONES}{RULES}").replace("10.1.0.0/16", "10.1.0.0/17");
        let after = compile(&smaller, &interfaces);
        let judge = Judge::new(&before, &after);
        let flow = tuple("10.1.200.1", "10.2.0.1", wire("a", Some(0)), wire("b", None));
        assert_eq!(judge.after(&flow), Judged::Denied { by: None });
        let elsewhere = compile(&format!("{ZONES}{RULES}"), &[("ens9", &["a"]), interfaces[1], interfaces[2]]);
        let judge = Judge::new(&before, &elsewhere);
        let flow = tuple("10.1.0.1", "10.2.0.1", wire("a", Some(0)), wire("b", None));
        assert_eq!(judge.after(&flow), Judged::Denied { by: None });
    }

    #[test]
    fn where_the_way_out_decides_and_is_not_known_it_is_said() {
        let interfaces: [(&str, &[&str]); 3] = [("ens6", &["a"]), ("ens7", &["b", "rest"]), ("ens8", &["rest"])];
        let before = compile(&format!("{ZONES}{RULES}"), &interfaces);
        let narrower = format!("{ZONES}{RULES}[zones.new]\n").replace("to = [\"rest\"]", "to = [\"new\"]");
        let after = compile(&narrower, &[interfaces[0], ("ens7", &["b", "new"]), interfaces[2]]);
        let judge = Judge::new(&before, &after);
        let flow = |slot| tuple("10.1.0.1", "9.9.9.9", wire("a", Some(0)), wire("rest", slot));
        assert_eq!(judge.before(&flow(None)), Judged::Allowed { rule: "out" });
        assert_eq!(judge.after(&flow(Some(1))), Judged::Allowed { rule: "out" });
        assert_eq!(judge.after(&flow(Some(2))), Judged::Denied { by: Some("default") });
        assert_eq!(judge.after(&flow(None)), Judged::Unsure);
    }
}
