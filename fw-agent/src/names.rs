//! Names of the numbers that the data plane counts with: rules by handle, zones by id.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::policy::zone;
use fw_policy::Compiled;

/// The names of one moment. Flows of an older policy keep their rule's handle, so rules that are gone are named, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rules: BTreeMap<u32, String>,
    zones: BTreeMap<u8, String>,
    /// Ids of rules whose decisions are not to be logged.
    silent: BTreeSet<String>,
}

impl Names {
    /// The rules as the data plane numbers them, and the zones of a policy; the policy of before the agent's start is
    /// not known.
    #[must_use]
    pub fn new(rules: Vec<(u32, String)>, policy: Option<&Compiled>) -> Self {
        // Those that are of no policy have names of their own here.
        let zones = policy.into_iter().flat_map(|policy| &policy.zones).filter(|known| known.id <= zone::MAX_USER);
        let zones = zones.map(|zone| (zone.id, zone.name.clone())).collect();
        let silent = policy.into_iter().flat_map(|policy| policy.rules.iter()).filter(|rule| !rule.log);
        Self { rules: rules.into_iter().collect(), zones, silent: silent.map(|rule| rule.id.clone()).collect() }
    }

    /// The id of the rule with a handle; `None` for 0, which is no rule.
    #[must_use]
    pub fn rule(&self, handle: u32) -> Option<Cow<'_, str>> {
        if handle == 0 {
            return None;
        }
        Some(self.rules.get(&handle).map_or_else(|| Cow::Owned(format!("#{handle}")), |id| Cow::Borrowed(id.as_str())))
    }

    /// The name of a zone; `None` for [`zone::NONE`].
    #[must_use]
    pub fn zone(&self, id: u8) -> Option<Cow<'_, str>> {
        match id {
            zone::NONE => None,
            zone::LINK => Some(Cow::Borrowed("link")),
            zone::MANAGEMENT => Some(Cow::Borrowed("management")),
            zone::LOCAL => Some(Cow::Borrowed("local")),
            user => Some(
                self.zones
                    .get(&user)
                    .map_or_else(|| Cow::Owned(format!("#{user}")), |name| Cow::Borrowed(name.as_str())),
            ),
        }
    }

    /// The names of the zones, those that are of no policy first.
    pub fn zone_names(&self) -> impl Iterator<Item = &str> {
        ["link", "management", "local"].into_iter().chain(self.zones.values().map(String::as_str))
    }

    /// The ids of the rules, those of older policies included whose flows still live.
    pub fn rule_ids(&self) -> impl Iterator<Item = &str> {
        self.rules.values().map(String::as_str)
    }

    /// What the rule with this handle decides is to be logged.
    #[must_use]
    pub fn logs(&self, handle: u32) -> bool {
        self.rules.get(&handle).is_none_or(|id| !self.silent.contains(id))
    }
}

/// The name of an IP protocol, or its number.
#[must_use]
pub fn protocol(number: u8) -> Cow<'static, str> {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_shows_its_number() {
        let names = Names::new(vec![(3, "ot-001".to_owned())], None);
        assert_eq!(names.rule(3).as_deref(), Some("ot-001"));
        assert_eq!(names.rule(4).as_deref(), Some("#4"));
        assert_eq!(names.rule(0), None);
        assert_eq!(names.zone(zone::LOCAL).as_deref(), Some("local"));
        assert_eq!(names.zone(5).as_deref(), Some("#5"));
        assert_eq!(names.zone(zone::NONE), None);
        assert!(names.logs(3));
    }
}
