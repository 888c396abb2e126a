//! Drives the classifier over both families, and turns its refusals into findings about rules.

use fw_common::abi::tables::{AddressClass, HeaderLine, MAX_LIST, PairSlot};

use super::budget::{self, most_expensive};
use super::bundles::Bundles;
use super::clause::Clause;
use super::hash::IdMap;
use super::lists::{Candidate, ListFault, Lists};
use super::operands::{FamilyClause, Operands};
use super::pair_table::PairTable;
use super::pairs::{Grouping, Renewed, TooMany};
use super::rules::RuleList;
use super::trie::{Trie, join};
use crate::Code;
use crate::diagnostic::Report;
use crate::set::interval::{Cidr, Family};
use crate::tables::Tables;

/// What the tables are made of, and made anew of when address sets change.
#[derive(Debug, Default)]
pub(super) struct Classifier {
    /// By family.
    groupings: Vec<Grouping>,
    /// Sources by family, then destinations.
    tries: [Vec<Trie>; 2],
    pairs: Vec<PairSlot>,
    /// The hash of them, of the last time that tables were filled.
    pair_table: PairTable,
    lists: Lists,
    /// By family: the pairs with what applies to them, as [`Grouping::pairs`] says, until sets change in place.
    listed: Vec<Vec<(u64, u32)>>,
}

/// What a family has been grouped into.
struct Found {
    grouping: Grouping,
    listed: Vec<(u64, u32)>,
    tries: [Trie; 2],
}

impl Classifier {
    /// Groups all clauses, or takes over how they are grouped; what cannot be held is reported.
    pub(super) fn new(
        rules: &RuleList,
        operands: &[Operands; 2],
        budget: u64,
        mut last: Option<Self>,
        same_addresses: [bool; 2],
        report: &mut Report,
    ) -> Option<Self> {
        let pair_table = last.as_mut().map(|last| std::mem::take(&mut last.pair_table)).unwrap_or_default();
        let mut kept = last.map_or([None, None], |last| last.found(same_addresses));
        let mut tries = Vec::new();
        let mut classifier = Self { pair_table, ..Self::default() };
        for ((operands, family), kept) in operands.iter().zip(Family::ALL).zip(&mut kept) {
            let found = match kept.take().map_or_else(|| Found::new(operands, family), Ok) {
                Ok(found) => found,
                Err(TooMany { listed }) => {
                    refuse_memory(None, budget, costs(operands, listed), rules, report);
                    return None;
                }
            };
            classifier.groupings.push(found.grouping);
            classifier.listed.push(found.listed);
            tries.push(found.tries);
        }
        for family in 0..Family::ALL.len() {
            let listed = std::mem::take(&mut classifier.listed[family]);
            classifier.write(family, &listed, rules, operands, budget, report)?;
            classifier.listed[family] = listed;
        }
        for [source, destination] in tries {
            classifier.tries[0].push(source);
            classifier.tries[1].push(destination);
        }
        Some(classifier)
    }

    /// Number of pairs, those that no address leads to any more among them.
    pub(super) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// What was found of each family, where it follows from the same addresses.
    fn found(self, same_addresses: [bool; 2]) -> [Option<Found>; 2] {
        let [sources, destinations] = self.tries;
        let tries = sources.into_iter().zip(destinations).map(|(source, destination)| [source, destination]);
        let found = self.groupings.into_iter().zip(self.listed).zip(tries);
        let mut found = found.map(|((grouping, listed), tries)| Found { grouping, listed, tries });
        same_addresses.map(|same| found.next().filter(|_| same))
    }

    fn trie(&self, family: usize, prefixes: fn(&Grouping) -> Vec<(Cidr, AddressClass)>) -> Trie {
        Trie::new(&prefixes(&self.groupings[family]), Family::ALL[family])
    }

    /// Writes the lists of pairs of a family.
    fn write(
        &mut self,
        family: usize,
        listed: &[(u64, u32)],
        rules: &RuleList,
        operands: &[Operands; 2],
        budget: u64,
        report: &mut Report,
    ) -> Option<()> {
        let most_bytes = usize::try_from(budget).unwrap_or(usize::MAX);
        let (operands, grouping) = (&operands[family], &self.groupings[family]);
        let lists = &mut self.lists;
        match (Writer { rules, operands, bundles: grouping.bundles(), lists, most_bytes }).write(listed) {
            Ok(pairs) => self.pairs.extend(pairs),
            Err(ListFault::OutOfMemory) => {
                let costs = costs(operands, grouping.listed(operands).collect());
                refuse_memory(None, budget, costs, rules, report);
                return None;
            }
            Err(ListFault::TooLong { first }) => {
                refuse_length(first, rules, report);
                return None;
            }
        }
        Some(())
    }

    /// Follows a change of address sets of a family; what cannot be held is reported.
    pub(super) fn renew(
        &mut self,
        family: usize,
        renewed: Renewed,
        rules: &RuleList,
        operands: &[Operands; 2],
        budget: u64,
        report: &mut Report,
    ) -> Option<()> {
        let listed = self.groupings[family].renew(&operands[family], renewed);
        self.listed.clear();
        self.write(family, &listed, rules, operands, budget, report)?;
        // New pairs may be the first ones of a class that is on the other side.
        let both = !listed.is_empty();
        if renewed.source || both {
            self.tries[0][family] = self.trie(family, Grouping::source_prefixes);
        }
        if renewed.destination || both {
            self.tries[1][family] = self.trie(family, Grouping::destination_prefixes);
        }
        Some(())
    }

    /// Fills the tables of classes, pairs, lists and clauses; what is above the budget is reported.
    pub(super) fn fill(
        &mut self,
        rules: &RuleList,
        operands: &[Operands; 2],
        budget: u64,
        tables: &mut Tables,
        report: &mut Report,
    ) {
        join(self.tries.iter().flatten(), tables);
        tables.clauses = rules.clauses.iter().map(Clause::to_table).collect();
        self.pair_table = PairTable::following(Some(std::mem::take(&mut self.pair_table)), &self.pairs);
        tables.pairs.clone_from(&self.pair_table.buckets);
        tables.header =
            HeaderLine { pair_buckets: u32::try_from(tables.pairs.len()).unwrap_or(0), ..HeaderLine::default() };
        (tables.entries, tables.splits) = (self.lists.entries.clone(), self.lists.splits.clone());
        let needed = budget::memory(tables).total();
        if needed > budget {
            let costs = operands.iter().zip(&self.groupings).flat_map(|(operands, grouping)| {
                let prefixes = |set: u32| operands.addresses[set as usize].len() as u64;
                let listed = operands.clauses.iter().zip(grouping.listed(operands));
                let cost = move |(clause, listed): (&FamilyClause, u64)| {
                    (clause.clause, prefixes(clause.source) + prefixes(clause.destination) + listed)
                };
                listed.map(cost)
            });
            refuse_memory(Some(needed), budget, costs, rules, report);
        }
    }
}

impl Found {
    fn new(operands: &Operands, family: Family) -> Result<Self, TooMany> {
        let mut grouping = Grouping::choose(operands, family)?;
        let listed = grouping.pairs();
        let sides = [grouping.source_prefixes(), grouping.destination_prefixes()];
        Ok(Self { tries: sides.map(|prefixes| Trie::new(&prefixes, family)), grouping, listed })
    }
}

/// Writes the lists of a family.
struct Writer<'a> {
    rules: &'a RuleList,
    operands: &'a Operands,
    bundles: &'a Bundles,
    lists: &'a mut Lists,
    most_bytes: usize,
}

/// Where a list is, and its first clause.
type Written = (u32, u32);

impl Writer<'_> {
    /// Writes the list of each pair.
    fn write(&mut self, listed: &[(u64, u32)]) -> Result<Vec<PairSlot>, ListFault> {
        let mut of_one: Vec<Option<Written>> = vec![None; self.bundles.len()];
        let mut of_several: IdMap<Vec<u32>, Written> = IdMap::default();
        let mut pairs = Vec::with_capacity(listed.len());
        self.lists.reserve(self.rules.clauses.len());
        for run in listed.chunk_by(|(one, _), (other, _)| one == other) {
            let written = match run {
                [(_, bundle)] => self.list_of_one(*bundle, &mut of_one)?,
                _ => self.list_of_several(run, &mut of_several)?,
            };
            let (pair, (list, first_clause)) = (run[0].0, written);
            let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
            pairs.push(PairSlot { source: half(pair >> 32), destination: half(pair), list, first_clause });
        }
        Ok(pairs)
    }

    fn list_of_one(&mut self, bundle: u32, known: &mut [Option<Written>]) -> Result<Written, ListFault> {
        if let Some(written) = known[bundle as usize] {
            return Ok(written);
        }
        let written = self.list(self.bundles.clauses(bundle))?;
        known[bundle as usize] = Some(written);
        Ok(written)
    }

    fn list_of_several(
        &mut self,
        run: &[(u64, u32)],
        known: &mut IdMap<Vec<u32>, Written>,
    ) -> Result<Written, ListFault> {
        let members: Vec<u32> = run.iter().map(|(_, bundle)| *bundle).collect();
        if let Some(written) = known.get(&members) {
            return Ok(*written);
        }
        let clauses = members.iter().flat_map(|bundle| self.bundles.clauses(*bundle));
        let mut clauses: Vec<u32> = clauses.copied().collect();
        clauses.sort_unstable();
        let written = self.list(&clauses)?;
        known.insert(members, written);
        Ok(written)
    }

    /// Writes the list of some clauses, which ascend.
    fn list(&mut self, clauses: &[u32]) -> Result<Written, ListFault> {
        if let [only] = clauses
            && let of_family = &self.operands.clauses[*only as usize]
            && let [services] = self.operands.services[of_family.services as usize].as_ref()
        {
            // Most lists by far, and their zones tell them from no other entry.
            return Ok((self.lists.write_one(of_family.clause, *services), of_family.clause));
        }
        let mut candidates = Vec::with_capacity(clauses.len());
        for position in clauses {
            let of_family = &self.operands.clauses[*position as usize];
            let clause = &self.rules.clauses[of_family.clause as usize];
            let services = &self.operands.services[of_family.services as usize];
            candidates.extend(services.iter().map(|services| Candidate::new(*services, of_family.clause, clause)));
        }
        let first = candidates[0].clause;
        self.lists.write(&candidates, self.most_bytes).map(|list| (list, first))
    }
}

/// What each clause costs, by its position among all: how often it is listed, with each of its services.
fn costs(operands: &Operands, listed: Vec<u64>) -> impl Iterator<Item = (u32, u64)> {
    operands.clauses.iter().zip(listed).map(|(clause, listed)| {
        let services = operands.services[clause.services as usize].len() as u64;
        (clause.clause, listed * services)
    })
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

/// Reports that a list is too long, at the first rule of it: all but the last one of the list observe.
fn refuse_length(first: u32, rules: &RuleList, report: &mut Report) {
    let rule = rules.clauses[first as usize].rule;
    let message = format!("more than {MAX_LIST} rules match exactly the same packets, which no table holds");
    let finding = match rules.place(rule) {
        Some(place) => report.at(Code::OverBudget, place, message),
        None => report.general(Code::OverBudget, message),
    };
    let id = &rules.infos[rule as usize].id;
    finding.help_if(Some(format!("`{id}` is the first of them; let fewer rules observe the same packets")));
}

/// Reports a refusal at the rule of the policy that costs most, and names the next ones. Costs are by clause.
fn blame(code: Code, message: String, costs: impl Iterator<Item = (u32, u64)>, rules: &RuleList, report: &mut Report) {
    let by_rule = costs.map(|(clause, cost)| (rules.clauses[clause as usize].rule, cost));
    let of_the_policy = by_rule.filter(|(rule, _)| rules.place(*rule).is_some());
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
