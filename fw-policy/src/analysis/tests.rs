//! The analysis against enumeration: small policies, of which every packet that could make a difference is tried.

pub(super) mod model;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fw_common::abi::policy::Action;
use proptest::prelude::*;
use time::macros::datetime;

use super::chain::{Chain, Lists};
use super::cover::Work;
use super::hidden::{self, Fate};
use super::redundant::{Candidate, Without};
use super::*;
use crate::Code;
use crate::compile::GeneratedRule;
use model::{
    Packet, done, done_with, holders, is_in, load, matches, of_example, opened, packets, policy_text, schedule,
};

const NOW: OffsetDateTime = datetime!(2026-07-01 0:00 UTC);

const NO_RULES: &[GeneratedRule] = &[];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rules_that_never_match_are_found_with_what_hides_them(text in policy_text()) {
        let policy = load(&text);
        let (chain, _) = Chain::new(&policy, |_| true, NO_RULES, NOW, []);
        let mut lists = Lists::default();
        let packets = packets();
        // Of one that observes: if it were enforced.
        let takes = |position: usize, packet: &Packet| {
            done_with(&policy, Some(position), 0..policy.rules.len(), packet).0 == Some(position)
        };
        let is_met = |position: usize| packets.iter().any(|packet| takes(position, packet));
        for (position, rule) in policy.rules.iter().enumerate() {
            let mut own = packets.iter().filter(|packet| matches(rule, packet));
            match hidden::fate(&chain, &mut lists, position, &mut Work(u64::MAX)) {
                Fate::Matches(pair, point) => {
                    prop_assert!(is_met(position), "{} matches nothing", rule.id);
                    let example = chain.example(pair, point);
                    let packet = of_example(&example);
                    prop_assert!(takes(position, &packet), "{}", example);
                }
                Fate::NoPacket => prop_assert!(own.next().is_none()),
                Fate::Hidden(by) => {
                    prop_assert!(!is_met(position), "{} matches", rule.id);
                    prop_assert!(by.iter().all(|other| *other < position && !policy.rules[*other].observes()));
                    let own: Vec<&Packet> = own.collect();
                    let hide = |rules: &[usize]| own.iter().all(|packet| rules.iter().any(|rule| matches(&policy.rules[*rule], packet)));
                    prop_assert!(hide(&by));
                    for without in 0..by.len() {
                        let mut fewer = by.clone();
                        fewer.remove(without);
                        prop_assert!(fewer.is_empty() || !hide(&fewer), "{by:?} hide {}, and fewer do", rule.id);
                    }
                }
                Fate::TooMuchWork => prop_assert!(false),
            }
        }
    }

    #[test]
    fn rules_are_needless_exactly_if_nothing_changes_without_them(text in policy_text()) {
        let policy = load(&text);
        let (chain, _) = Chain::new(&policy, |_| true, NO_RULES, NOW, []);
        let mut lists = Lists::default();
        let packets = packets();
        let count = policy.rules.len();
        let fates: Vec<Fate> = (0..count).map(|rule| hidden::fate(&chain, &mut lists, rule, &mut Work(u64::MAX))).collect();
        let mut needless: BTreeSet<usize> = (0..count).filter(|rule| !matches!(fates[*rule], Fate::Matches(..))).collect();
        for position in (0..count).rev() {
            let Fate::Matches(pair, point) = fates[position] else { continue };
            let found = Candidate { chain: &chain, entry: position, packet: (pair, point), needless: &needless }.without(&mut lists, &mut Work(u64::MAX));
            let own: Vec<&Packet> =
                packets.iter().filter(|packet| done_with(&policy, Some(position), 0..count, packet).0 == Some(position)).collect();
            let alone = |packet: &Packet| done_with(&policy, Some(position), [position].into_iter(), packet).1;
            // What stands behind: rules that do something else, and those that do the same and are needed.
            let is_alike = |rule: usize, packet: &Packet| done(&policy, [rule].into_iter(), packet).1 == alone(packet);
            let behind = |packet: &Packet| {
                let is_gone = |rule: &usize| needless.contains(rule) && is_alike(*rule, packet);
                let rules = (position + 1..count).filter(|rule| matches(&policy.rules[*rule], packet) && !is_gone(rule));
                rules.collect::<Vec<_>>()
            };
            let unchanged = own.iter().all(|packet| {
                done(&policy, behind(packet).into_iter(), packet).1 == alone(packet)
            });
            match found {
                Without::Changes => prop_assert!(!unchanged, "{} is needless", policy.rules[position].id),
                Without::Default => {
                    prop_assert!(unchanged);
                    let by_rule = own.iter().any(|packet| done(&policy, behind(packet).into_iter(), packet).0.is_some());
                    prop_assert!(!by_rule, "{} is taken over", policy.rules[position].id);
                    needless.insert(position);
                }
                Without::Same(successors) => {
                    prop_assert!(unchanged, "{} is needed", policy.rules[position].id);
                    for packet in own {
                        let next = done(&policy, behind(packet).into_iter(), packet).0;
                        let takes = successors.iter().any(|rule| matches(&policy.rules[*rule], packet));
                        prop_assert!(takes || next.is_none());
                    }
                    needless.insert(position);
                }
                Without::TooMuchWork => prop_assert!(false),
            }
        }
        // Without all of them, every packet is decided alike.
        for packet in &packets {
            let needed = (0..count).filter(|rule| !needless.contains(rule));
            prop_assert_eq!(done(&policy, needed, packet).1, done(&policy, 0..count, packet).1);
        }
    }

    #[test]
    fn sets_of_packets_are_those_of_the_decisions(text in policy_text(), choice in (0usize..12, 0usize..12)) {
        let policy = load(&text);
        let (chain, _) = Chain::new(&policy, |_| true, NO_RULES, NOW, []);
        let verdicts = Verdicts::of(chain, NOW);
        let packets = packets();
        let count = policy.rules.len();
        let [one, other] = [choice.0 % count, choice.1 % count];
        let named = |rule: usize| verdicts.named_by(&format!("r-{rule}")).unwrap();
        let [a, b] = [named(one), named(other)];
        let (union, intersection, difference) = (a.union(&b), a.intersection(&b), a.difference(&b));
        for packet in &packets {
            let (in_a, in_b) = (matches(&policy.rules[one], packet), matches(&policy.rules[other], packet));
            let holds = |set: &PacketSet| is_in(set, packet);
            prop_assert_eq!((holds(&a), holds(&b)), (in_a, in_b));
            prop_assert_eq!(holds(&union), in_a || in_b);
            prop_assert_eq!(holds(&intersection), in_a && in_b);
            prop_assert_eq!(holds(&difference), in_a && !in_b);
            prop_assert!(holders(&difference, packet) <= 1, "they are disjoint");
        }
        let decided = |packet: &Packet| {
            let (rule, done) = done(&policy, 0..count, packet);
            let default = if (packet.from, packet.to) == (0, 1) { "default:a>b" } else { "default" };
            (done.0, rule.map_or(default.to_owned(), |rule| format!("r-{rule}")))
        };
        let split = verdicts.split(&verdicts.everything()).unwrap();
        for packet in &packets {
            let mut holders = split.iter().filter(|(_, set)| is_in(set, packet));
            let (verdict, _) = holders.next().expect("every packet is decided");
            prop_assert!(holders.next().is_none(), "and by one");
            prop_assert_eq!((verdict.action.name(), verdict.rule.clone()), decided(packet));
        }
        // Of one rule's packets outside of another's, some are allowed and some denied, with an example, or none are.
        for set in [difference, a.clone()] {
            let outside: &[_] = if set.cubes == a.cubes { &[] } else { &b.cubes };
            for denied in [false, true] {
                let is_wanted = |action| (action != Action::Allow) == denied;
                let found = verdicts.example_outside(&a, outside, is_wanted, &mut Work(u64::MAX)).unwrap();
                let is_meant = |packet: &&Packet| is_in(&set, packet) && (decided(packet).0 != "allow") == denied;
                prop_assert_eq!(found.is_some(), packets.iter().any(|packet| is_meant(&packet)));
                if let Some((example, verdict)) = found {
                    let packet = of_example(&example);
                    prop_assert!(is_in(&set, &packet), "{}", example);
                    prop_assert_eq!((verdict.action.name(), verdict.rule), decided(&packet), "{}", example);
                }
            }
            prop_assert_eq!(set.is_empty(), !packets.iter().any(|packet| is_in(&set, packet)));
            if let Some(example) = set.example() {
                prop_assert!(is_in(&set, &of_example(&example)), "{}", example);
            }
        }
    }

    #[test]
    fn what_time_brings_makes_no_finding_wrong(text in policy_text(), schedules in prop::collection::vec(schedule(), 12)) {
        let mut schedules = schedules.into_iter();
        let mut text_with_times = String::new();
        for line in text.lines() {
            let _ = writeln!(text_with_times, "{line}");
            if line.starts_with("id = ") {
                let keys = schedules.next().unwrap_or_default();
                text_with_times.push_str(keys);
            }
        }
        // An end of a rule that denies is meant.
        let text_with_times = opened(&text_with_times);
        let policy = load(&text_with_times);
        let (chain, _) = Chain::new(&policy, |_| true, NO_RULES, NOW, []);
        let mut lists = Lists::default();
        let packets = packets();
        let count = policy.rules.len();
        let moments = [NOW, datetime!(2026-08-15 0:00 UTC), datetime!(2026-10-01 0:00 UTC)];
        let rules = &policy.rules;
        let active = |moment: OffsetDateTime| (0..count).filter(move |rule| rules[*rule].is_active(moment));
        for position in (0..count).filter(|rule| !chain.entries[*rule].life.is_over()) {
            let decides = |packet: &Packet| moments.iter().any(|moment| done_with(&policy, Some(position), active(*moment), packet).0 == Some(position));
            let packet = match hidden::fate(&chain, &mut lists, position, &mut Work(u64::MAX)) {
                Fate::Matches(pair, point) => (pair, point),
                Fate::NoPacket | Fate::Hidden(_) => {
                    prop_assert!(!packets.iter().any(decides), "{} matches at some time", policy.rules[position].id);
                    continue;
                }
                Fate::TooMuchWork => return Err(TestCaseError::fail("too much work")),
            };
            let found = Candidate { chain: &chain, entry: position, packet, needless: &BTreeSet::new() }.without(&mut lists, &mut Work(u64::MAX));
            if found == Without::Changes {
                continue;
            }
            for moment in moments {
                for packet in &packets {
                    let others = active(moment).filter(|rule| *rule != position);
                    let with = done_with(&policy, Some(position), active(moment), packet).1;
                    prop_assert_eq!(done(&policy, others, packet).1, with);
                }
            }
        }
    }
}

#[test]
fn a_rule_that_observes_takes_no_other_s_place_and_is_asked_about_as_if_it_were_enforced() {
    let rule = |id: &str, keys: &str| format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\n{keys}\n");
    let found = |rules: &[(&str, &str)]| -> Vec<String> {
        let rules: String = rules.iter().map(|(id, keys)| rule(id, keys)).collect();
        let text = format!("version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n{rules}");
        let policy = load(&text);
        let items = policy.analyse(&crate::Binding::offline(&policy), NOW).items;
        let of_pairs = |item: &crate::Diagnostic| item.code == Code::PairsWithoutRules;
        items.into_iter().filter(|item| !of_pairs(item)).map(|item| item.message).collect()
    };
    const OBSERVES: &str = "services = [\"tcp\"]\naction = \"drop\"\nmode = \"observe\"";
    const ALLOWS: &str = "services = [\"tcp/22\"]\naction = \"allow\"";
    const DENIES: &str = "services = [\"tcp\"]\naction = \"drop\"";
    assert_eq!(found(&[("watch", OBSERVES), ("ssh", ALLOWS)]), Vec::<String>::new());
    let enforced = found(&[("watch", DENIES), ("ssh", ALLOWS)]);
    assert!(enforced.iter().any(|message| message.starts_with("rule `ssh` never allows anything")), "{enforced:?}");
    let hidden = found(&[("no", DENIES), ("watch", &ALLOWS.replace("\"allow\"", "\"allow\"\nmode = \"observe\""))]);
    assert!(
        hidden.iter().any(|message| message.starts_with("rule `watch` never observes anything: in front of it, `no`")),
        "{hidden:?}"
    );
    let needless = found(&[("watch", &ALLOWS.replace("\"allow\"", "\"allow\"\nmode = \"observe\"")), ("ssh", ALLOWS)]);
    assert_eq!(
        needless,
        ["rule `watch` would change nothing if it were enforced: without it, `ssh` would decide alike"]
    );
}

#[test]
fn a_rule_that_will_expire_takes_no_other_s_place() {
    let text = |schedule: &str| {
        let rule = |id: &str, source: &str, keys: &str| {
            format!(
                "[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"{source}\"]\nservices = [\"tcp\"]\n{keys}\n"
            )
        };
        let head = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n".to_owned();
        head + &rule("all", "10.1.0.0/29", "action = \"allow\"")
            + &rule("some", "10.1.0.4/30", &format!("action = \"allow\"\n{schedule}"))
            + &rule("none", "10.1.0.4/30", "action = \"drop\"")
            + &rule("again", "10.1.0.0/29", "action = \"allow\"")
    };
    let found = |schedule: &str| {
        let policy = load(&text(schedule));
        let (chain, _) = Chain::new(&policy, |_| true, NO_RULES, NOW, []);
        let mut lists = Lists::default();
        let Fate::Matches(pair, point) = hidden::fate(&chain, &mut lists, 0, &mut Work(u64::MAX)) else {
            panic!("it matches")
        };
        Candidate { chain: &chain, entry: 0, packet: (pair, point), needless: &BTreeSet::new() }
            .without(&mut lists, &mut Work(u64::MAX))
    };
    assert_eq!(found(""), Without::Same(vec![1, 3]));
    assert_eq!(found("expires = 2026-08-01"), Without::Changes);
}
