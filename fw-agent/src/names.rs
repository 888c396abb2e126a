//! Names of the numbers that the data plane counts with: rules by handle, zones by id.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::policy::zone;
use fw_policy::{Compiled, Level};

/// The names of one moment. Flows of an older policy keep their rule's handle, so rules that are gone are named, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rules: BTreeMap<u32, String>,
    zones: BTreeMap<u8, String>,
    /// Ids of rules whose decisions are not to be logged.
    silent: BTreeSet<String>,
    /// Ids of rules whose decisions are logged as more or less severe than usual.
    levels: BTreeMap<String, Level>,
}

impl Names {
    /// The rules as the data plane numbers them, and the zones of a policy; the policy of before the agent's start is
    /// not known.
    #[must_use]
    pub fn new(rules: Vec<(u32, String)>, policy: Option<&Compiled>) -> Self {
        // Those that are of no policy have names of their own here.
        let zones = policy.into_iter().flat_map(|policy| &policy.zones).filter(|known| known.id <= zone::MAX_USER);
        let zones = zones.map(|zone| (zone.id, zone.name.clone())).collect();
        let silent = policy.into_iter().flat_map(|policy| policy.rules.iter()).filter(|rule| rule.log.is_none());
        let silent = silent.map(|rule| rule.id.clone()).collect();
        let levels = policy.into_iter().flat_map(|policy| policy.rules.iter());
        let levels = levels.filter_map(|rule| Some((&rule.id, rule.log.filter(|level| *level != Level::default())?)));
        let levels = levels.map(|(id, level)| (id.clone(), level)).collect();
        Self { rules: rules.into_iter().collect(), zones, silent, levels }
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

    /// As how severe it is logged what the rule with this handle decides; of what no rule decides, as usual.
    #[must_use]
    pub fn level(&self, handle: u32) -> Level {
        self.rules.get(&handle).and_then(|id| self.levels.get(id)).copied().unwrap_or_default()
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
    fn a_level_is_that_of_the_rule_and_else_the_usual_one() {
        let head = "version = 1\n[defaults]\naction = \"drop\"\nlog = \"error\"\n[zones.a]\n";
        let rule = "[[rule]]\nid = \"loud\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"allow\"\nlog = \"warning\"\n";
        let quiet = rule.replace("loud", "quiet").replace("\"warning\"", "false");
        let plain = rule.replace("loud", "plain").replace("\"warning\"", "true");
        let text = format!("{head}{rule}{quiet}{plain}");
        let policy = fw_policy::load(&[fw_policy::SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        let compiled = policy.compile(&fw_policy::Binding::offline(&policy), time::OffsetDateTime::UNIX_EPOCH).unwrap();
        let rules =
            ["loud", "quiet", "plain", "default"].into_iter().zip(1..).map(|(id, handle)| (handle, id.to_owned()));
        let names = Names::new(rules.collect(), Some(&compiled));
        let levels = [1, 2, 3, 4, 0, 9].map(|handle| names.level(handle));
        assert_eq!(levels, [Level::Warning, Level::Info, Level::Info, Level::Error, Level::Info, Level::Info]);
        assert_eq!([1, 2, 3, 4].map(|handle| names.logs(handle)), [true, false, true, true]);
    }

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
