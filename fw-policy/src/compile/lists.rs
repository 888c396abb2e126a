//! Drives the classifier over both families, and turns its refusals into findings about rules.

use fw_common::abi::policy::{AddressClass, Entry, MAX_LIST};

use super::budget::{memory_estimate, most_expensive};
use super::clause::FamilyClause;
use super::pairs::{Grouping, Lists, TooLarge};
use super::rules::RuleList;
use super::zones::{prefix4, prefix6};
use crate::Code;
use crate::diagnostic::Report;
use crate::set::interval::{Cidr, Family};
use crate::tables::{Prefix, Tables};

/// Fills the class tries, the pairs and the entries; what cannot be held is reported.
pub(super) fn build(rules: &RuleList, budget: u64, tables: &mut Tables, report: &mut Report) {
    let clauses = Family::ALL.map(|family| {
        rules.clauses.iter().filter_map(|clause| clause.in_family(family)).collect::<Vec<FamilyClause>>()
    });
    let [clauses4, clauses6] = &clauses;
    let most_entries = usize::try_from(budget).unwrap_or(usize::MAX) / size_of::<Entry>();
    let mut lists = Lists::default();
    let grouped4 = Grouping::choose(clauses4, Family::V4, &Grouping::default())
        .and_then(|grouping| lists.add(clauses4, &grouping, most_entries).map(|()| grouping));
    let Some(grouping4) = accepted(grouped4, clauses4, rules, budget, report) else { return };
    let grouped6 = Grouping::choose(clauses6, Family::V6, &grouping4)
        .and_then(|grouping| lists.add(clauses6, &grouping, most_entries).map(|()| grouping));
    let Some(grouping6) = accepted(grouped6, clauses6, rules, budget, report) else { return };

    tables.sources4 = trie(&grouping4.sources.prefixes, prefix4);
    tables.sources6 = trie(&grouping6.sources.prefixes, prefix6);
    tables.destinations4 = trie(&grouping4.destinations.prefixes, prefix4);
    tables.destinations6 = trie(&grouping6.destinations.prefixes, prefix6);
    tables.pairs = lists.pairs;
    tables.entries = lists.entries;
    let needed = memory_estimate(tables);
    if needed > budget {
        let cost = |clause: &FamilyClause| (clause.rule, (clause.source.len() + clause.destination.len()) as u64);
        refuse_memory(Some(needed), budget, clauses.iter().flatten().map(cost), rules, report);
    }
}

fn trie<const N: usize>(
    prefixes: &[(Cidr, AddressClass)],
    prefix: impl Fn(Cidr) -> Prefix<[u8; N]>,
) -> Vec<(Prefix<[u8; N]>, AddressClass)> {
    prefixes.iter().map(|(cidr, class)| (prefix(*cidr), *class)).collect()
}

/// Reports a refusal of the classifier.
fn accepted(
    grouped: Result<Grouping, TooLarge>,
    clauses: &[FamilyClause],
    rules: &RuleList,
    budget: u64,
    report: &mut Report,
) -> Option<Grouping> {
    match grouped {
        Ok(grouping) => return Some(grouping),
        Err(TooLarge::Memory { listed }) => {
            let costs =
                clauses.iter().zip(listed).map(|(clause, listed)| (clause.rule, listed * clause.entries.len() as u64));
            refuse_memory(None, budget, costs, rules, report);
        }
        Err(TooLarge::List { len, clauses: members }) => {
            let members = members.iter().map(|clause| &clauses[*clause as usize]);
            let costs = members.map(|clause| (clause.rule, clause.entries.len() as u64));
            let message = format!(
                "{len} combinations of rule and service apply to one pair of addresses, at most {MAX_LIST} can"
            );
            blame(Code::ListTooLong, message, costs, rules, report);
        }
    }
    None
}

fn refuse_memory(
    needed: Option<u64>,
    budget: u64,
    costs: impl Iterator<Item = (u32, u64)>,
    rules: &RuleList,
    report: &mut Report,
) {
    let kibibytes = |bytes: u64| bytes.div_ceil(1 << 10);
    let needed = needed.map_or("more".to_owned(), |needed| format!("{} KiB of tables", kibibytes(needed)));
    let message = format!("the policy needs {needed}, and its budget is {} KiB", kibibytes(budget));
    blame(Code::OverBudget, message, costs, rules, report);
}

/// Reports a refusal at the rule of the policy that costs most, and names the next ones.
fn blame(code: Code, message: String, costs: impl Iterator<Item = (u32, u64)>, rules: &RuleList, report: &mut Report) {
    let of_the_policy = costs.filter(|(rule, _)| rules.place(*rule).is_some());
    let expensive = most_expensive(of_the_policy);
    let names: Vec<String> =
        expensive.iter().map(|(rule, _)| format!("`{}`", rules.infos[*rule as usize].id)).collect();
    let help = (!names.is_empty()).then(|| format!("these rules cause most of it: {}", names.join(", ")));
    let finding = match expensive.first().and_then(|(rule, _)| rules.place(*rule)) {
        Some(place) => report.at(code, place, message),
        None => report.general(code, message),
    };
    finding.help_if(help);
}
