//! From sets as written to sets: names are looked up, unions and exclusions are worked out.
//!
//! A set is the union of what it lists, minus what it excludes. Sets that it names are resolved first, so their
//! exclusions do not leak into it. A set of exclusions only is everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{SetAlgebra, SetDefinition, Term, TermBody};
use crate::Code;
use crate::diagnostic::{Report, nearest};
use crate::source::{Location, Spanned};

/// How deeply sets may be nested.
const MAX_DEPTH: usize = 32;

/// The named sets of one kind, resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedSets<T> {
    sets: BTreeMap<String, Arc<T>>,
    /// Of the sets that name others, how they are made.
    recipes: BTreeMap<String, Recipe<T>>,
}

/// How a set that names others is made of them: what it takes to make it again when one of them has changed.
#[derive(Clone, Debug)]
pub(crate) struct Recipe<T> {
    /// What is listed and what is excluded, without the named ones.
    literals: [Option<Arc<T>>; 2],
    /// The named sets, each with whether it is excluded.
    names: Vec<(bool, String)>,
}

impl<T: SetAlgebra> Recipe<T> {
    /// The recipe of some terms; `None` if they name no set.
    pub(crate) fn new(terms: &[Spanned<Term<T>>]) -> Option<Self> {
        let mut literals: [Vec<&T>; 2] = [Vec::new(), Vec::new()];
        let mut names = Vec::new();
        for term in terms {
            let Term { negated, body } = &term.value;
            match body {
                TermBody::Literal(set) => literals[usize::from(*negated)].push(set),
                TermBody::Named(name) => names.push((*negated, name.clone())),
            }
        }
        if names.is_empty() {
            return None;
        }
        let united = |sets: Vec<&T>| (!sets.is_empty()).then(|| Arc::new(T::union(sets.into_iter())));
        Some(Self { literals: literals.map(united), names })
    }

    /// The sets that it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(_, name)| name.as_str())
    }

    /// Whether the set must be made again when one of these has changed.
    pub(crate) fn uses(&self, changed: &BTreeSet<String>) -> bool {
        self.names.iter().any(|(_, name)| changed.contains(name))
    }

    fn operands(&self, sets: &BTreeMap<String, Arc<T>>) -> Vec<Operand<T>> {
        let [listed, excluded] = &self.literals;
        let literals = [(false, listed), (true, excluded)].into_iter();
        let literals = literals.filter_map(|(negated, set)| Some(Operand { negated, set: Arc::clone(set.as_ref()?) }));
        let named = self.names.iter().map(|(negated, name)| {
            // The names were found when the policy was read.
            Operand { negated: *negated, set: sets.get(name).cloned().unwrap_or_default() }
        });
        literals.chain(named).collect()
    }
}

impl<T: SetAlgebra> NamedSets<T> {
    /// Resolves all sets of a policy. The definitions have distinct names, and so have sets that are filled from elsewhere, which are
    /// empty until then.
    pub(crate) fn resolve(definitions: &[SetDefinition<T>], filled: &[&str], report: &mut Report) -> Self {
        let by_name = definitions.iter().map(|set| (set.name.value.as_str(), set)).collect();
        let resolved = filled.iter().map(|name| ((*name).to_owned(), Arc::default())).collect();
        let mut resolver = Resolver { definitions: by_name, resolved, path: Vec::new(), report };
        for definition in definitions {
            resolver.set(definition, definition.name.at);
        }
        let sets = resolver.resolved;
        let recipe = |set: &SetDefinition<T>| Some((set.name.value.clone(), Recipe::new(&set.terms)?));
        Self { sets, recipes: definitions.iter().filter_map(recipe).collect() }
    }

    /// Gives a set other contents, and makes the sets that name it anew; the names of all that changed, or `None` if there is
    /// no such set.
    pub(crate) fn replace(&mut self, name: &str, set: Arc<T>) -> Option<BTreeSet<String>> {
        *self.sets.get_mut(name)? = set;
        self.recipes.remove(name);
        let mut changed = BTreeSet::from([name.to_owned()]);
        let mut stale = self.users(&changed);
        // A set is ready when none that it names is stale; there are no cycles, so one always is.
        while let Some(ready) = stale.iter().find(|name| !self.recipes[*name].uses(&stale)).cloned() {
            let (set, _) = united(&self.recipes[&ready].operands(&self.sets));
            self.sets.insert(ready.clone(), set);
            stale.remove(&ready);
            changed.insert(ready);
        }
        Some(changed)
    }

    /// The other sets that name some sets, directly or through others.
    pub(crate) fn users(&self, named: &BTreeSet<String>) -> BTreeSet<String> {
        let mut users: BTreeSet<String> = BTreeSet::new();
        loop {
            let known: BTreeSet<String> = named.union(&users).cloned().collect();
            let uses = |(user, recipe): &(&String, &Recipe<T>)| !known.contains(*user) && recipe.uses(&known);
            let found: Vec<String> = self.recipes.iter().filter(uses).map(|(user, _)| user.clone()).collect();
            if found.is_empty() {
                return users;
            }
            users.extend(found);
        }
    }

    /// A set by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.sets.get(name)
    }

    /// Makes a set that a key of a rule describes.
    pub(crate) fn make(&self, recipe: &Recipe<T>) -> Arc<T> {
        united(&recipe.operands(&self.sets)).0
    }

    /// The sets, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.sets.iter().map(|(name, set)| (name.as_str(), set.as_ref()))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// Works out a list of terms that is not a named set itself: a key of a rule. `what` names it in messages.
    pub(crate) fn evaluate(&self, terms: &[Spanned<Term<T>>], what: &str, at: Location, report: &mut Report) -> Arc<T> {
        let mut operands = Vec::with_capacity(terms.len());
        for term in terms {
            let set = match &term.value.body {
                TermBody::Literal(set) => Arc::new(set.clone()),
                TermBody::Named(name) => self.sets.get(name).cloned().unwrap_or_else(|| {
                    unknown::<T>(name, term.at, self.names(), report);
                    Arc::default()
                }),
            };
            operands.push(Operand { negated: term.value.negated, set });
        }
        combine(&operands, what, at, report)
    }
}

struct Operand<T> {
    negated: bool,
    set: Arc<T>,
}

/// Unites and excludes; the result, and whether it is empty only for what is excluded.
fn united<T: SetAlgebra>(operands: &[Operand<T>]) -> (Arc<T>, bool) {
    if let [Operand { negated: false, set }] = operands {
        // Shared, not copied: the set may be long and named by many rules.
        return (Arc::clone(set), false);
    }
    let listed =
        |negated| operands.iter().filter(move |operand| operand.negated == negated).map(|operand| &*operand.set);
    let included =
        if operands.iter().all(|operand| operand.negated) { T::everything() } else { T::union(listed(false)) };
    let combined = included.subtract(&T::union(listed(true)));
    let is_excluded = combined.is_empty() && !included.is_empty();
    (Arc::new(combined), is_excluded)
}

/// The same, with warnings about results that surprise.
fn combine<T: SetAlgebra>(operands: &[Operand<T>], what: &str, at: Location, report: &mut Report) -> Arc<T> {
    if operands.iter().all(|operand| operand.negated) {
        report
            .at(Code::ExclusionsOnly, at, format!("{what} only excludes: it is everything else, in IPv4 and in IPv6"))
            .help("list what it is meant to hold, or leave it so if everything else is meant");
    }
    let (combined, is_excluded) = united(operands);
    if is_excluded {
        report.at(Code::MatchesNothing, at, format!("{what} excludes everything that it lists, so it matches nothing"));
    }
    combined
}

fn unknown<'n, T: SetAlgebra>(name: &str, at: Location, known: impl Iterator<Item = &'n str>, report: &mut Report) {
    report
        .at(Code::UnknownSet, at, format!("there is no {} `{name}`", T::KIND))
        .did_you_mean(name, nearest(name, known));
}

/// A depth-first walk over the named sets.
struct Resolver<'d, 'r, T> {
    definitions: BTreeMap<&'d str, &'d SetDefinition<T>>,
    resolved: BTreeMap<String, Arc<T>>,
    /// The sets that are being resolved, outermost first.
    path: Vec<&'d str>,
    report: &'r mut Report,
}

impl<'d, T: SetAlgebra> Resolver<'d, '_, T> {
    /// The set of a definition, which `named_at` asks for. After an error it is empty.
    fn set(&mut self, definition: &'d SetDefinition<T>, named_at: Location) -> Arc<T> {
        let name = definition.name.value.as_str();
        if let Some(set) = self.resolved.get(name) {
            return Arc::clone(set);
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == name) {
            self.refuse_cycle(&self.path[start..].join("` → `@"), name, definition.name.at, named_at);
            return Arc::default();
        }
        if self.path.len() == MAX_DEPTH {
            let message = format!("sets are nested more than {MAX_DEPTH} deep");
            self.report.at(Code::SetCycle, named_at, message);
            return Arc::default();
        }
        self.path.push(name);
        let operands: Vec<_> = definition.terms.iter().map(|term| self.operand(term)).collect();
        self.path.pop();
        let set = combine(&operands, &format!("{} `{name}`", T::KIND), definition.name.at, self.report);
        self.resolved.insert(name.to_owned(), Arc::clone(&set));
        set
    }

    fn operand(&mut self, term: &'d Spanned<Term<T>>) -> Operand<T> {
        let set = match &term.value.body {
            TermBody::Literal(set) => Arc::new(set.clone()),
            TermBody::Named(name) => match (self.resolved.get(name), self.definitions.get(name.as_str()).copied()) {
                (Some(set), _) => Arc::clone(set),
                (None, Some(definition)) => self.set(definition, term.at),
                (None, None) => {
                    // Sets that are filled from elsewhere have been there from the start.
                    let resolved = self.resolved.keys().map(String::as_str);
                    unknown::<T>(name, term.at, self.definitions.keys().copied().chain(resolved), self.report);
                    Arc::default()
                }
            },
        };
        Operand { negated: term.value.negated, set }
    }

    fn refuse_cycle(&mut self, path: &str, name: &str, defined_at: Location, named_at: Location) {
        self.report
            .at(Code::SetCycle, named_at, format!("{} `{name}` contains itself: `@{path}` → `@{name}`", T::KIND))
            .label("named here")
            .related(defined_at, "defined here");
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::{AddressSet, parse_literal};
    use super::super::parse_term;
    use super::*;
    use crate::source::Sources;

    const NOWHERE: Location = Location { file: 0, start: 0, end: 0 };

    fn definition(name: &str, terms: &[&str]) -> SetDefinition<AddressSet> {
        let term = |text: &&str| Spanned::new(parse_term(text, parse_literal).unwrap(), NOWHERE);
        let terms = terms.iter().map(term).collect();
        SetDefinition { name: Spanned::new(name.to_owned(), NOWHERE), terms }
    }

    fn resolve(definitions: &[SetDefinition<AddressSet>]) -> (NamedSets<AddressSet>, Vec<Code>) {
        let mut report = Report::new(Arc::new(Sources::default()));
        let sets = NamedSets::resolve(definitions, &["feed"], &mut report);
        let items = match report.finish() {
            Ok(warnings) => warnings,
            Err(diagnostics) => diagnostics.items,
        };
        (sets, items.into_iter().map(|item| item.code).collect())
    }

    fn holds(sets: &NamedSets<AddressSet>, name: &str, addr: &str) -> bool {
        sets.sets[name].contains(addr.parse().unwrap())
    }

    #[test]
    fn exclusions_of_a_nested_set_do_not_leak() {
        let (sets, codes) = resolve(&[
            definition("outer", &["10.0.0.0/24", "@inner"]),
            definition("inner", &["10.0.0.0/16", "!10.0.0.5"]),
        ]);
        assert_eq!(codes, []);
        assert!(holds(&sets, "outer", "10.0.0.5") && !holds(&sets, "inner", "10.0.0.5"));
    }

    #[test]
    fn a_negated_set_is_excluded_whole() {
        let (sets, codes) =
            resolve(&[definition("a", &["10.0.0.0/24", "!@b"]), definition("b", &["10.0.0.0/28", "!10.0.0.1"])]);
        assert_eq!(codes, []);
        assert!(holds(&sets, "a", "10.0.0.1") && !holds(&sets, "a", "10.0.0.2") && holds(&sets, "a", "10.0.0.16"));
    }

    #[test]
    fn a_set_that_is_filled_from_elsewhere_is_empty_until_then_and_never_any() {
        let (mut sets, codes) = resolve(&[
            definition("with", &["@feed", "10.0.0.1"]),
            definition("without", &["10.0.0.0/30", "!@feed"]),
            definition("alone", &["@feed"]),
            definition("through", &["@alone"]),
        ]);
        assert_eq!(codes, []);
        assert!(sets.sets["feed"].is_empty() && sets.sets["alone"].is_empty() && sets.sets["through"].is_empty());
        assert!(holds(&sets, "without", "10.0.0.2") && !holds(&sets, "with", "10.0.0.2"));
        let changed = sets.replace("feed", Arc::new(parse_literal("10.0.0.2").unwrap())).unwrap();
        assert_eq!(changed.len(), 5, "{changed:?}");
        assert!(!holds(&sets, "without", "10.0.0.2") && holds(&sets, "with", "10.0.0.2"));
        assert!(holds(&sets, "through", "10.0.0.2") && !holds(&sets, "through", "10.0.0.1"));
        let feed = BTreeSet::from(["feed".to_owned()]);
        assert_eq!(sets.users(&feed).into_iter().collect::<Vec<_>>(), ["alone", "through", "with", "without"]);
    }

    #[test]
    fn exclusions_only_are_everything_else_with_a_warning() {
        let (sets, codes) = resolve(&[definition("a", &["!10.0.0.0/8"])]);
        assert_eq!(codes, [Code::ExclusionsOnly]);
        assert!(holds(&sets, "a", "11.0.0.0") && holds(&sets, "a", "fd00::1") && !holds(&sets, "a", "10.0.0.1"));
    }

    #[test]
    fn a_set_that_excludes_all_it_lists_is_empty_and_never_any() {
        let (sets, codes) = resolve(&[definition("a", &["10.0.0.0/24", "!10.0.0.0/8"])]);
        assert_eq!(codes, [Code::MatchesNothing]);
        assert!(sets.sets["a"].is_empty());
    }

    #[test]
    fn cycles_are_found_once_and_depth_is_bounded() {
        let (_, codes) =
            resolve(&[definition("a", &["@b"]), definition("b", &["@c", "10.0.0.1"]), definition("c", &["@a"])]);
        assert_eq!(codes, [Code::SetCycle]);
        let chain: Vec<_> = (0..100)
            .map(|n| definition(&format!("s{n:03}"), &[&format!("@s{:03}", n + 1)]))
            .chain([definition("s100", &["10.0.0.1"])])
            .collect();
        assert!(resolve(&chain).1.contains(&Code::SetCycle));
    }
}
