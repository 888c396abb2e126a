//! What of the running firewall's flows would be cut by another policy, and what that was denied would pass.
//!
//! In: flows and denied packets one by one, and both policies compiled. Out: counts by rule, with the largest as examples. Memory is that of
//! the rules, not of the flows.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use fw_policy::plan::{Judge, Judged};
use serde::Serialize;

use super::basis::Seen;

/// So many of the flows of a rule are named.
const EXAMPLES: usize = 3;

/// What becomes of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Flows that are open.
    pub flows: u64,
    /// Those that would be cut, by the rule that allows them and the one that denies them; the most first.
    pub cut: Vec<Group>,
    /// Flows that may be cut: that depends on the interface that they leave by, which is not known.
    pub unsure: u64,
    /// Denied flows that are remembered.
    pub denied: u64,
    /// Those that would pass, by the rule that denies them and the one that allows them.
    pub passing: Vec<Group>,
}

/// Flows that two rules have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The rule of the policy in force; none if an end is in no zone.
    pub old_rule: Option<String>,
    /// The rule of the new policy, likewise.
    pub new_rule: Option<String>,
    /// How many flows.
    pub flows: u64,
    /// Their packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The largest of them, by bytes.
    pub examples: Vec<Seen>,
}

impl Live {
    /// How many flows would be cut.
    #[must_use]
    pub fn cut_flows(&self) -> u64 {
        self.cut.iter().map(|group| group.flows).sum()
    }

    /// How many denied flows would pass.
    #[must_use]
    pub fn passing_flows(&self) -> u64 {
        self.passing.iter().map(|group| group.flows).sum()
    }
}

/// The rules of either policy.
type Rules<'c> = (Option<&'c str>, Option<&'c str>);

/// Counts what becomes of flows.
#[derive(Debug)]
pub struct Tally<'c> {
    judge: Judge<'c>,
    cut: BTreeMap<Rules<'c>, Group>,
    passing: BTreeMap<Rules<'c>, Group>,
    flows: u64,
    unsure: u64,
    denied: u64,
}

impl<'c> Tally<'c> {
    /// Nothing yet.
    #[must_use]
    pub const fn new(judge: Judge<'c>) -> Self {
        Self { judge, cut: BTreeMap::new(), passing: BTreeMap::new(), flows: 0, unsure: 0, denied: 0 }
    }

    /// Counts a flow that is open. One that the policy in force does not allow ends with its next packet in any case, and is not cut by
    /// the new one.
    pub fn flow(&mut self, flow: Seen) {
        self.flows += 1;
        let tuple = flow.tuple();
        let Judged::Allowed { rule } = self.judge.before(&tuple) else { return };
        match self.judge.after(&tuple) {
            Judged::Allowed { .. } => {}
            Judged::Unsure => self.unsure += 1,
            Judged::Denied { by } => add(&mut self.cut, (Some(rule), by), flow),
        }
    }

    /// Counts a flow that was denied. One that the policy in force allows by now is not let in by the new one.
    pub fn denied(&mut self, flow: Seen) {
        self.denied += 1;
        let tuple = flow.tuple();
        if let Judged::Denied { by } = self.judge.before(&tuple)
            && let Judged::Allowed { rule } = self.judge.after(&tuple)
        {
            add(&mut self.passing, (by, Some(rule)), flow);
        }
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> Live {
        let Self { cut, passing, flows, unsure, denied, .. } = self;
        let [cut, passing] = [cut, passing].map(|groups| {
            let mut groups: Vec<Group> = groups.into_values().collect();
            groups.sort_by_key(|group| Reverse(group.flows));
            groups
        });
        Live { flows, cut, unsure, denied, passing }
    }
}

fn add<'c>(groups: &mut BTreeMap<Rules<'c>, Group>, rules: Rules<'c>, flow: Seen) {
    let group = groups.entry(rules).or_insert_with(|| Group {
        old_rule: rules.0.map(str::to_owned),
        new_rule: rules.1.map(str::to_owned),
        flows: 0,
        packets: 0,
        bytes: 0,
        examples: Vec::new(),
    });
    group.flows += 1;
    group.packets = group.packets.saturating_add(flow.packets);
    group.bytes = group.bytes.saturating_add(flow.bytes);
    let place = group.examples.partition_point(|known| known.bytes >= flow.bytes);
    if place < EXAMPLES {
        group.examples.truncate(EXAMPLES - 1);
        group.examples.insert(place, flow);
    }
}

#[cfg(test)]
mod tests {
    use fw_policy::{Binding, Compiled, SourceFile};
    use time::OffsetDateTime;

    use super::*;

    fn compile(services: &str) -> Compiled {
        let text = format!(
            "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\nnetworks = [\"10.1.0.0/16\"]\n[zones.b]\nnetworks = [\"10.2.0.0/16\"]\n\
             [[rule]]\nid = \"ab\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [{services}]\naction = \"allow\"\n"
        );
        let policy = fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text }]).unwrap();
        policy.compile(&Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH).unwrap()
    }

    fn seen(host: u8, dst_port: u16, bytes: u64) -> Seen {
        Seen {
            src_addr: [10, 1, 0, host].into(),
            src_port: 50_000,
            dst_addr: [10, 2, 0, 1].into(),
            dst_port,
            protocol: 6,
            from_zone: Some("a".to_owned()),
            to_zone: Some("b".to_owned()),
            from_slot: Some(0),
            to_slot: None,
            rule: Some("ab".to_owned()),
            packets: 1,
            bytes,
        }
    }

    #[test]
    fn what_would_be_cut_is_counted_with_the_largest_as_examples() {
        let (before, after) = (compile("\"tcp/80\", \"tcp/22\""), compile("\"tcp/80\", \"tcp/443\""));
        let mut tally = Tally::new(Judge::new(&before, &after));
        (1..=9).for_each(|host| tally.flow(seen(host, 22, u64::from(host % 5))));
        tally.flow(seen(1, 80, 100));
        // Denied already: its next packet ends it.
        tally.flow(seen(1, 23, 100));
        tally.denied(seen(1, 443, 60));
        tally.denied(seen(1, 23, 60));
        tally.denied(seen(1, 80, 60));
        let live = tally.finish();
        assert_eq!((live.flows, live.denied, live.unsure), (11, 3, 0));
        assert_eq!((live.cut_flows(), live.passing_flows()), (9, 1));
        let [cut] = live.cut.as_slice() else { panic!("{live:?}") };
        assert_eq!((cut.old_rule.as_deref(), cut.new_rule.as_deref()), (Some("ab"), Some("default")));
        assert_eq!(cut.examples.iter().map(|flow| flow.bytes).collect::<Vec<_>>(), [4, 4, 3]);
        assert_eq!(live.passing[0].new_rule.as_deref(), Some("ab"));
        assert_eq!(live.passing[0].examples[0].shown(), "10.1.0.1:50000 > 10.2.0.1:443, tcp");
    }
}
