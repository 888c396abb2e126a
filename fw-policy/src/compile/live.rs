//! Address sets whose contents change while the rules stay: lists that come from elsewhere, or a long set that is edited.
//!
//! Only what depends on the set is made anew: the prefixes and classes of the sides that use it, and the trie of these. The
//! classes keep their numbers, so pairs and lists stay as they are, but for those of address classes that did not exist
//! before, which are added.

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::pairs::Renewed;
use super::{Compilation, Compiled, Options, budget, digest};
use crate::binding::Binding;
use crate::diagnostic::{Diagnostics, Report};
use crate::feed::AddressList;
use crate::policy::Policy;
use crate::set::address::{AddressSet, number};
use crate::set::interval::{Family, IntervalSet};

/// Pairs that no address leads to any more are swept up when there are so many times more pairs than at first.
const MOST_GROWTH: usize = 2;
/// But not before there are so many.
const SMALL: usize = 10_000;

/// A policy, and what it takes to compile it again when only the contents of its address sets change.
///
/// ```
/// # use fw_policy::{Binding, LiveSets, Options, SourceFile, load};
/// # let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[addresses]\nblocked = [\"192.0.2.1\"]\n\
/// #     [[rule]]\nid = \"block\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"@blocked\"]\naction = \"reject\"\n";
/// # let policy = load(&[SourceFile { name: "policy.toml".into(), text: text.into() }])?;
/// # let (binding, now) = (Binding::offline(&policy), time::OffsetDateTime::UNIX_EPOCH);
/// let mut live = LiveSets::new(policy, &binding, now, &Options::default())?;
/// let prefixes = [("198.51.100.0".parse()?, 24), ("2001:db8::".parse()?, 32)];
/// live.replace("blocked", prefixes.into_iter())?;
/// let tables_with_the_new_list = &live.compiled().tables;
/// # assert_eq!(tables_with_the_new_list.clauses.len() > 1, true);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LiveSets {
    policy: Policy,
    now: OffsetDateTime,
    compilation: Compilation,
    first_pairs: usize,
}

/// Why a set was not changed. The policy is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum SetChangeError {
    /// The policy has no such address set.
    #[error("the policy has no address set `{0}`")]
    UnknownSet(String),
    /// The tables would take too much memory.
    #[error("{0}")]
    Refused(Diagnostics),
}

impl LiveSets {
    /// Compiles the policy.
    ///
    /// # Errors
    ///
    /// As [`Policy::compile_with`].
    pub fn new(policy: Policy, binding: &Binding, now: OffsetDateTime, options: &Options) -> Result<Self, Diagnostics> {
        let compilation = Compilation::new(&policy, binding, now, options, None)?;
        let first_pairs = compilation.classifier.pairs();
        Ok(Self { policy, now, compilation, first_pairs })
    }

    /// The policy with the sets as they are now.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The tables with the sets as they are now.
    #[must_use]
    pub const fn compiled(&self) -> &Compiled {
        &self.compilation.compiled
    }

    /// Gives an address set other contents: prefixes, each an address and a length; bits behind the length count for nothing,
    /// and a length beyond the address's own is that. Sets that name the set change with it.
    ///
    /// # Errors
    ///
    /// If there is no such set, or the tables would be too large; then nothing has changed.
    pub fn replace(&mut self, name: &str, prefixes: impl Iterator<Item = (IpAddr, u8)>) -> Result<(), SetChangeError> {
        self.replace_set(name, Arc::new(collected(prefixes)))
    }

    /// Gives a feed other contents. Sets that name it change with it.
    ///
    /// # Errors
    ///
    /// As [`LiveSets::replace`].
    pub fn replace_feed(&mut self, name: &str, list: &AddressList) -> Result<(), SetChangeError> {
        self.replace_set(name, Arc::clone(&list.set))
    }

    fn replace_set(&mut self, name: &str, set: Arc<AddressSet>) -> Result<(), SetChangeError> {
        let sets_before = self.policy.address_sets().clone();
        let rules = self.policy.replace_address_set(name, set);
        let rules = rules.ok_or_else(|| SetChangeError::UnknownSet(name.to_owned()))?;
        if self.renew(&rules) {
            return Ok(());
        }
        self.compile_anew().map_err(|refusal| {
            self.policy.restore_address_sets(sets_before, &rules);
            // What ran before can be compiled; if not even that, the tables that are there are those of an empty policy.
            let _ = self.compile_anew();
            SetChangeError::Refused(refusal)
        })
    }

    fn compile_anew(&mut self) -> Result<(), Diagnostics> {
        let Compiled { binding, options, .. } = &self.compilation.compiled;
        let compilation = Compilation::new(&self.policy, binding, self.now, options, None)?;
        self.first_pairs = compilation.classifier.pairs();
        self.compilation = compilation;
        Ok(())
    }

    /// Follows the change of some rules; `false` if that takes a new compilation. What is left then is of no use.
    fn renew(&mut self, rules: &[usize]) -> bool {
        let Some(changes) = self.changes(rules) else { return false };
        let policy = &self.policy;
        let Compilation { list, operands, classifier, compiled } = &mut self.compilation;
        let budget = compiled.options.memory_budget;
        let mut report = Report::new(Arc::clone(&policy.sources));
        for (clause, source, destination) in &changes.clauses {
            list.clauses[*clause].source = Arc::clone(source);
            list.clauses[*clause].destination = Arc::clone(destination);
        }
        for (position, (family, sets)) in Family::ALL.into_iter().zip(changes.sets).enumerate() {
            let mut renewed = Renewed { source: false, destination: false };
            for (id, set) in sets {
                operands[position].addresses[id as usize] = set.family(family).cover(family).into();
                let clauses = operands[position].clauses.iter();
                renewed.source |= clauses.clone().any(|clause| clause.source == id);
                renewed.destination |= clauses.clone().any(|clause| clause.destination == id);
            }
            if renewed.source || renewed.destination {
                let written = classifier.renew(position, renewed, list, operands, budget, &mut report);
                if written.is_none() {
                    break;
                }
            }
        }
        if report.has_errors() || (classifier.pairs() > SMALL && classifier.pairs() > self.first_pairs * MOST_GROWTH) {
            return false;
        }
        let mut tables = std::mem::take(&mut compiled.tables);
        classifier.fill(list, operands, budget, &mut tables, &mut report);
        compiled.digest = digest::digest(&tables, &list.clauses, operands, &list.infos, &compiled.zones);
        compiled.memory = budget::memory(&tables);
        compiled.tables = tables;
        !report.has_errors()
    }

    /// What has changed in which clauses; `None` if some can match in a family now in which they could not before, or the
    /// other way round, or if a set was equal to another one by chance.
    fn changes(&self, rules: &[usize]) -> Option<Changes> {
        let Self { policy, compilation: Compilation { list, operands, .. }, .. } = self;
        let mut changes = Changes::default();
        for rule in rules {
            let position = list.position(*rule);
            let Ok(clause) = list.clauses.binary_search_by_key(&position, |clause| clause.rule) else {
                // The rule has not started or has expired.
                continue;
            };
            let after = &policy.rules[*rule];
            changes.clauses.push((clause, Arc::clone(&after.scope.source), Arc::clone(&after.scope.destination)));
        }
        for ((family, operands), changed) in Family::ALL.into_iter().zip(operands).zip(&mut changes.sets) {
            let mut touched: Vec<bool> = vec![false; list.clauses.len()];
            for (clause, source, destination) in &changes.clauses {
                touched[*clause] = true;
                let before = &list.clauses[*clause];
                let was = !before.source.family(family).is_empty() && !before.destination.family(family).is_empty();
                let is = !source.family(family).is_empty() && !destination.family(family).is_empty();
                if was != is {
                    return None;
                }
            }
            for (clause, source, destination) in &changes.clauses {
                let index = u32::try_from(*clause).ok()?;
                // Not there: its services are of the other family.
                let Ok(at) = operands.clauses.binary_search_by_key(&index, |of_family| of_family.clause) else {
                    continue;
                };
                let of_family = operands.clauses[at];
                let before = &list.clauses[*clause];
                for (id, before, after) in [
                    (of_family.source, &before.source, source),
                    (of_family.destination, &before.destination, destination),
                ] {
                    if !Arc::ptr_eq(before, after) && changed.iter().all(|(known, _)| *known != id) {
                        changed.push((id, Arc::clone(after)));
                    }
                }
            }
            // A set of prefixes has one id, whoever names it: all who do must have changed alike.
            for of_family in &operands.clauses {
                let clause = of_family.clause as usize;
                for (id, is_source) in [(of_family.source, true), (of_family.destination, false)] {
                    let Some((_, after)) = changed.iter().find(|(known, _)| *known == id) else { continue };
                    let new = changes.clauses.iter().find(|(changed, _, _)| *changed == clause);
                    let alike = new.is_some_and(|(_, source, destination)| {
                        Arc::ptr_eq(if is_source { source } else { destination }, after)
                    });
                    if !touched[clause] || !alike {
                        return None;
                    }
                }
            }
        }
        Some(changes)
    }
}

/// A change of address sets, as the compiler sees it.
#[derive(Default)]
struct Changes {
    /// Clauses with their new source and destination.
    clauses: Vec<(usize, Arc<AddressSet>, Arc<AddressSet>)>,
    /// By family, ids of operands with what they hold now.
    sets: [Vec<(u32, Arc<AddressSet>)>; 2],
}

fn collected(prefixes: impl Iterator<Item = (IpAddr, u8)>) -> AddressSet {
    let mut ranges = [Vec::new(), Vec::new()];
    for (addr, len) in prefixes {
        let (family, number) = number(addr);
        let host = family.host_mask(len.min(family.bits()));
        ranges[usize::from(family == Family::V6)].push((number & !host, number | host));
    }
    let [v4, v6] = ranges.map(IntervalSet::from_ranges);
    AddressSet { v4, v6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceFile;

    /// A list of one family for two rules, beside rules of its own whose prefixes the list is within and around.
    const POLICY: &str = r#"
version = 1
[defaults]
action = "drop"
[zones.a]
[addresses]
list = ["10.0.0.0/24"]
[[rule]]
id = "inner"
from = ["a"]
to = ["a"]
source = ["10.0.0.1"]
destination = ["10.9.0.0/16"]
action = "allow"
[[rule]]
id = "listed"
from = ["a"]
to = ["a"]
source = ["@list"]
action = "drop"
[[rule]]
id = "outer"
from = ["a"]
to = ["a"]
source = ["10.0.0.0/8"]
destination = ["@list", "10.8.0.0/16"]
action = "allow"
"#;

    #[test]
    fn a_change_makes_neither_lists_nor_known_pairs_anew() {
        let policy = crate::load(&[SourceFile { name: "live.toml".to_owned(), text: POLICY.to_owned() }]).unwrap();
        let binding = Binding::offline(&policy);
        let mut live = LiveSets::new(policy, &binding, OffsetDateTime::UNIX_EPOCH, &Options::default()).unwrap();
        let mut change = |prefixes: &[(&str, u8)]| {
            let prefixes = prefixes.iter().map(|(addr, len)| (addr.parse().unwrap(), *len));
            let rules = live.policy.replace_address_set("list", Arc::new(collected(prefixes))).unwrap();
            assert_eq!(rules, [1, 2]);
            let (pairs, entries) =
                (live.compilation.classifier.pairs(), live.compilation.compiled.tables.entries.len());
            assert!(live.renew(&rules), "no new compilation");
            let compilation = &live.compilation;
            (compilation.classifier.pairs() - pairs, compilation.compiled.tables.entries.len() - entries)
        };
        assert_eq!(change(&[("10.0.0.0", 24), ("10.0.7.0", 24), ("10.8.3.0", 24)]), (0, 0));
        let (pairs, _) = change(&[("10.0.0.0", 24), ("172.16.0.0", 12)]);
        assert!(pairs > 0, "outside 10.0.0.0/8 the list is a class of its own");
        assert_eq!(change(&[("10.0.0.0", 24), ("192.168.0.0", 16)]), (0, 0), "which is there now");
    }
}
