//! The record: for each rule id when counting began, and what it has done since.

use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::counters::RuleCounter;
use serde::{Deserialize, Serialize};

/// The form of the record.
pub const SCHEMA: &str = "outpost-fw.hits/1";

/// The most rules that a record holds: all that a policy can have, and as many that are gone. Beyond it, those that have been gone for
/// longest are forgotten.
pub const MOST_RULES: usize = 2 * fw_common::abi::policy::MAX_RULES as usize;

/// What all rules have done. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// The start of the kernel in which [`RuleHits::taken`] was counted.
    pub boot: String,
    /// By id.
    pub rules: BTreeMap<String, RuleHits>,
}

impl Default for Record {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), boot: String::new(), rules: BTreeMap::new() }
    }
}

/// What a rule has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleHits {
    /// When counting began.
    pub first_counted: i64,
    /// Since then.
    pub count: Count,
    /// When it last decided a packet.
    pub last_hit: Option<i64>,
    /// What of the data plane's counter is in [`Self::count`].
    pub taken: Count,
    /// Since when it has not been in the policy.
    pub gone: Option<i64>,
}

/// Packets, their bytes, and flows that were allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Packets that the rule has decided: its hits.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Flows that it has allowed.
    pub flows: u64,
}

impl Count {
    const fn of(counter: &RuleCounter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes, flows: counter.flows }
    }

    /// What has come since `before`. A counter that has less began anew.
    const fn since(self, before: Self) -> Self {
        if self.packets < before.packets || self.bytes < before.bytes || self.flows < before.flows {
            return self;
        }
        Self {
            packets: self.packets - before.packets,
            bytes: self.bytes - before.bytes,
            flows: self.flows - before.flows,
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
            flows: self.flows.saturating_add(other.flows),
        }
    }
}

/// What the data plane has counted for a rule.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The rule's id.
    pub id: &'a str,
    /// Since the maps were made.
    pub counter: RuleCounter,
    /// When it last decided a packet.
    pub last_hit: Option<i64>,
}

/// A rule of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'a> {
    /// Its id.
    pub id: &'a str,
    /// The id that it had before.
    pub renamed_from: Option<&'a str>,
}

impl Record {
    /// Adds what the data plane has counted since the last time, in this start of the kernel.
    pub fn add(&mut self, counted: &[Counted<'_>], boot: &str, now: i64) {
        if self.boot != boot {
            // The maps, and their counters, are other ones.
            boot.clone_into(&mut self.boot);
            self.rules.values_mut().for_each(|rule| rule.taken = Count::default());
        }
        for Counted { id, counter, last_hit } in counted {
            let rule = self.rule(id, now);
            let count = Count::of(counter);
            rule.count = rule.count.plus(count.since(rule.taken));
            rule.taken = count;
            rule.last_hit = rule.last_hit.max(*last_hit);
        }
    }

    /// Follows the policy: rules that are new begin to be counted, those with a new id go on with what they did under the old one.
    pub fn follow(&mut self, rules: &[Rule<'_>], now: i64) {
        let current: BTreeSet<&str> = rules.iter().map(|rule| rule.id).collect();
        for Rule { id, renamed_from } in rules {
            self.rule(id, now);
            if let Some(old) = renamed_from.filter(|old| !current.contains(old)) {
                self.rename(old, id, now);
            }
        }
        for (id, rule) in &mut self.rules {
            rule.gone = if current.contains(id.as_str()) { None } else { rule.gone.or(Some(now)) };
        }
        self.forget();
    }

    /// A rule, which begins to be counted if it is new.
    fn rule(&mut self, id: &str, now: i64) -> &mut RuleHits {
        let begun = RuleHits { first_counted: now, ..RuleHits::default() };
        self.rules.entry(id.to_owned()).or_insert(begun)
    }

    /// Moves what was counted under an old id. What the data plane has counted under it stays taken.
    fn rename(&mut self, old: &str, new: &str, now: i64) {
        let Some(before) = self.rules.get_mut(old) else { return };
        let moved =
            std::mem::replace(before, RuleHits { first_counted: now, taken: before.taken, ..RuleHits::default() });
        // Once moved, only what came late is there.
        let is_late = moved.gone.is_some() && moved.count == Count::default() && moved.last_hit.is_none();
        let rule = self.rule(new, now);
        rule.count = rule.count.plus(moved.count);
        rule.last_hit = rule.last_hit.max(moved.last_hit);
        if !is_late {
            rule.first_counted = rule.first_counted.min(moved.first_counted);
        }
    }

    /// Forgets rules that are gone, if there are too many.
    fn forget(&mut self) {
        let mut gone: Vec<(i64, String)> =
            self.rules.iter().filter_map(|(id, rule)| Some((rule.gone?, id.clone()))).collect();
        gone.sort_unstable();
        let too_many = self.rules.len().saturating_sub(MOST_RULES);
        for (_, id) in gone.into_iter().take(too_many) {
            self.rules.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(id: &str, packets: u64) -> Counted<'_> {
        let counter = RuleCounter { packets, bytes: 100 * packets, flows: packets / 2, ..RuleCounter::default() };
        Counted { id, counter, last_hit: Some(500 + i64::try_from(packets).unwrap()) }
    }

    fn rule(id: &str) -> Rule<'_> {
        Rule { id, renamed_from: None }
    }

    fn packets(record: &Record, id: &str) -> u64 {
        record.rules[id].count.packets
    }

    #[test]
    fn restarts_and_reboots_lose_nothing_and_count_nothing_twice() {
        let mut record = Record::default();
        record.add(&[counted("a", 10)], "boot-1", 1_000);
        record.add(&[counted("a", 10)], "boot-1", 1_001);
        record.add(&[counted("a", 15)], "boot-1", 1_002);
        assert_eq!(packets(&record, "a"), 15);
        // The kernel starts anew, and has counted more than before the first look.
        record.add(&[counted("a", 20)], "boot-2", 2_000);
        assert_eq!(packets(&record, "a"), 35);
        // The data plane was taken off and put on in the same start of the kernel.
        record.add(&[counted("a", 3)], "boot-2", 3_000);
        assert_eq!(packets(&record, "a"), 38);
        assert_eq!(record.rules["a"].first_counted, 1_000);
        assert_eq!(record.rules["a"].last_hit, Some(520));
    }

    #[test]
    fn a_rule_with_a_new_id_goes_on_with_what_it_did() {
        let mut record = Record::default();
        record.add(&[counted("old", 10)], "boot", 1_000);
        record.follow(&[rule("old"), rule("other")], 1_000);
        let renamed = [Rule { id: "new", renamed_from: Some("old") }, rule("other")];
        record.follow(&renamed, 2_000);
        // The data plane still has the old id's counter, and a few packets come under it.
        record.add(&[counted("old", 12), counted("new", 5)], "boot", 3_000);
        record.follow(&renamed, 3_000);
        assert_eq!((packets(&record, "new"), packets(&record, "old")), (17, 0));
        assert_eq!(record.rules["new"].first_counted, 1_000);
        assert_eq!(record.rules["other"].first_counted, 1_000);
        // The name is used again for another rule: it begins with nothing.
        record.follow(&[rule("new"), rule("old")], 4_000);
        record.add(&[counted("old", 12)], "boot", 4_000);
        assert_eq!((packets(&record, "old"), record.rules["old"].gone), (0, None));
        assert!(record.rules["other"].gone.is_some());
    }

    #[test]
    fn an_old_id_that_is_still_a_rule_is_not_moved() {
        let mut record = Record::default();
        record.add(&[counted("old", 10)], "boot", 1_000);
        record.follow(&[rule("old"), Rule { id: "new", renamed_from: Some("old") }], 1_000);
        assert_eq!((packets(&record, "old"), packets(&record, "new")), (10, 0));
    }

    #[test]
    fn rules_that_are_gone_make_room() {
        let mut record = Record::default();
        let ids: Vec<String> = (0..MOST_RULES + 5).map(|number| format!("r-{number:07}")).collect();
        let rules: Vec<Rule<'_>> = ids.iter().map(|id| rule(id)).collect();
        record.follow(&rules[..5], 1_000);
        record.follow(&rules[5..], 2_000);
        assert_eq!(record.rules.len(), MOST_RULES);
        assert!(!record.rules.contains_key("r-0000000") && record.rules.contains_key("r-0000005"));
    }

    proptest! {
        #[test]
        fn the_sum_is_what_was_counted_whatever_starts_anew(
            steps in prop::collection::vec((0u64..50, prop::bool::weighted(0.2)), 1..40),
        ) {
            let (mut record, mut total, mut counter, mut boot) = (Record::default(), 0, 0, 0);
            for (more, reboot) in steps {
                if reboot {
                    (counter, boot) = (0, boot + 1);
                }
                counter += more;
                total += more;
                record.add(&[counted("a", counter)], &boot.to_string(), 1_000);
                prop_assert_eq!(packets(&record, "a"), total);
            }
        }
    }
}
