//! Flips against enumeration: two small policies, of which every packet that could make a difference is tried.

use proptest::prelude::*;
use time::macros::datetime;

use super::super::tests::model::{Packet, done, load, of_example, opened, packets, policy_text, rule, schedule};
use super::*;
use crate::binding::Binding;

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

/// Two policies: of one text and another, or of a text and what an edit makes of it.
fn two_policies() -> impl Strategy<Value = (String, String)> {
    let edited = (policy_text(), rule(), any::<prop::sample::Index>(), 0..6u8).prop_map(|(text, rule, at, kind)| {
        let parts: Vec<&str> = text.split("[[rule]]\n").collect();
        let mut rules: Vec<String> = parts[1..].iter().map(|rule| (*rule).to_owned()).collect();
        let at = at.index(rules.len());
        match kind {
            0 => rules.insert(at, format!("id = \"new\"\n{rule}")),
            1 => rules[at] = format!("id = \"r-{at}\"\n{rule}"),
            2 => drop(rules.remove(at)),
            // The same packets, and something else is done.
            3 => {
                let (packets, action) = rules[at].split_once("action = ").expect("an action");
                let other = if action.starts_with("\"allow\"") { "drop" } else { "allow" };
                rules[at] = format!("{packets}action = \"{other}\"\n");
            }
            // The same addresses and services, from all zones.
            4 => {
                let (id, rest) = rules[at].split_once("from = ").expect("zones");
                let (_, rest) = rest.split_once('\n').expect("another line");
                rules[at] = format!("{id}from = [\"any\", \"local\"]\n{rest}");
            }
            _ => {
                let moved = rules.remove(at);
                rules.insert(0, moved);
            }
        }
        let rules: String = rules.into_iter().map(|rule| format!("[[rule]]\n{rule}")).collect();
        let after = format!("{}{rules}", parts[0]);
        (text, after)
    });
    let others = (policy_text(), policy_text(), any::<bool>()).prop_map(|(old, new, rejects)| {
        // Another default, and the pair's own is gone.
        let new = if rejects { new.replacen("action = \"drop\"", "action = \"reject\"", 1) } else { new };
        let pair = "[[zone_pair]]\nfrom = \"a\"\nto = \"b\"\naction = \"reject\"\nlog = false\n";
        (old, if rejects { new.replacen(pair, "", 1) } else { new })
    });
    prop_oneof![3 => edited, 1 => others]
}

/// Who decides about a packet, and how.
fn decided(policy: &Policy, packet: &Packet) -> (Option<usize>, &'static str) {
    let active = (0..policy.rules.len()).filter(|rule| policy.rules[*rule].is_active(NOW));
    let (rule, _) = done(policy, active, packet);
    let default = || {
        let is_pair = (packet.from, packet.to) == (0, 1) && !policy.zone_pairs.is_empty();
        if is_pair { policy.zone_pairs[0].action } else { policy.defaults.action }
    };
    (rule, rule.map_or_else(default, |rule| policy.rules[rule].action).name())
}

fn with_schedules(text: &str, schedules: &[&str]) -> String {
    let mut schedules = schedules.iter().cycle();
    let parts: Vec<String> = text
        .split("[[rule]]\n")
        .map(|part| {
            let keys = if part.contains("id = ") { schedules.next().copied().unwrap_or_default() } else { "" };
            part.replacen("from = ", &format!("{keys}from = "), 1)
        })
        .collect();
    opened(&parts.join("[[rule]]\n"))
}

fn check(old: &str, new: &str) -> Result<(), TestCaseError> {
    let policies = [load(old), load(new)];
    let bindings = [Binding::offline(&policies[0]), Binding::offline(&policies[1])];
    let joint = Joint::new([(&policies[0], &bindings[0]), (&policies[1], &bindings[1])]).expect("few zones");
    // Without generated rules, which the model does not know.
    let (_, chains) = chains([(&policies[0], &[]), (&policies[1], &[])], joint, NOW);
    let search = Search::done(&chains, &str::to_owned, WorkLimits::default());
    prop_assert!(search.undecided.is_empty());
    for packet in packets() {
        let [(old_rule, old_action), (new_rule, new_action)] =
            [decided(&policies[0], &packet), decided(&policies[1], &packet)];
        let (pair, point) = chains[0].space.point_of(
            &packet.src_addr,
            &packet.dst_addr,
            (packet.from, packet.to),
            packet.protocol,
            (packet.src_port, packet.dst_port),
        );
        let holds = |group: &Group| group.classes.iter().any(|class| class.holds(pair, point));
        let mut holding = search.groups.iter().filter(|(_, group)| holds(group));
        let found = holding.next();
        prop_assert!(holding.next().is_none(), "one flip at most holds a packet");
        let flips = old_action != new_action && !(packet.from == LOCAL && packet.to == LOCAL);
        if let Some(([old, new], group)) = found {
            prop_assert!(flips, "{packet:?} is decided as before");
            prop_assert_eq!((old.rule, new.rule), (old_rule, new_rule));
            prop_assert_eq!(group.actions.map(Action::name), [old_action, new_action]);
        } else {
            let is_cut_short = search.groups.values().any(|group| group.more > 0 || group.is_partial);
            prop_assert!(!flips || is_cut_short, "{packet:?}: {old_action} becomes {new_action}, and nothing says so");
        }
    }
    for ([old, new], group) in &search.groups {
        let packet = of_example(&group.example);
        prop_assert_eq!(decided(&policies[0], &packet), (old.rule, group.actions[0].name()), "{}", &group.example);
        prop_assert_eq!(decided(&policies[1], &packet), (new.rule, group.actions[1].name()), "{}", &group.example);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_packet_flips_exactly_if_both_decide_otherwise((old, new) in two_policies()) {
        check(&old, &new)?;
    }

    #[test]
    fn rules_that_do_not_match_now_decide_nothing(
        (old, new) in two_policies(),
        schedules in prop::collection::vec(schedule(), 1..5),
    ) {
        let (old, new) = (with_schedules(&old, &schedules), with_schedules(&new, &schedules[1.min(schedules.len() - 1)..]));
        check(&old, &new)?;
    }
}
