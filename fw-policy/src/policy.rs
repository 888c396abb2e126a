//! A valid policy: names are resolved, nothing in it can be refused any more before it meets interfaces.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use crate::Diagnostic;
use crate::diagnostic::Diagnostics;
use crate::feed::{Feed, FeedContents};
use crate::invariant::Invariant;
use crate::level::Level;
use crate::limits::Limits;
use crate::parse::{FlowState, Packet};
use crate::scope::Scope;
use crate::set::address::{AddressSet, Network};
use crate::set::resolve::NamedSets;
use crate::set::service::ServiceSet;
use crate::set::{SetDefinition, named};
use crate::source::{Location, Sources};

/// A policy that [`crate::load`] has found valid.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) sources: Arc<Sources>,
    pub(crate) defaults: Defaults,
    pub(crate) zones: Vec<Zone>,
    pub(crate) rules: Vec<Placed>,
    pub(crate) zone_pairs: Vec<ZonePair>,
    pub(crate) tests: Vec<PolicyTest>,
    pub(crate) invariants: Vec<Invariant>,
    pub(crate) feeds: Arc<[Feed]>,
    pub(crate) addresses: NamedSets<AddressSet>,
    pub(crate) services: NamedSets<ServiceSet>,
    pub(crate) named_addresses: Vec<NamedSet>,
    pub(crate) named_services: Vec<NamedSet>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Policy {
    /// What probably does not mean what its author thinks.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// [`Policy::warnings`] with what it takes to render them.
    #[must_use]
    pub fn warning_report(&self) -> Diagnostics {
        Diagnostics::new(self.warnings.clone(), Arc::clone(&self.sources))
    }

    /// The zones, in file order.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// The rules, in file order: the order in which they are matched. Generated rules are not among them.
    #[must_use]
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|placed| placed.rule.as_ref())
    }

    /// The defaults of zone pairs, in file order.
    #[must_use]
    pub fn zone_pairs(&self) -> &[ZonePair] {
        &self.zone_pairs
    }

    /// What happens to packets that nothing else decides.
    #[must_use]
    pub const fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Number of tests that the files hold.
    #[must_use]
    pub fn test_count(&self) -> usize {
        self.tests.len()
    }

    /// Number of invariants that the files hold.
    #[must_use]
    pub fn invariant_count(&self) -> usize {
        self.invariants.len()
    }

    /// The feeds, in file order.
    #[must_use]
    pub const fn feeds(&self) -> &Arc<[Feed]> {
        &self.feeds
    }

    /// Gives each feed what is known of it; one of which nothing is known is empty. Whether any has changed by that.
    pub fn fill(&mut self, contents: &FeedContents) -> bool {
        let mut changed = false;
        for feed in Arc::clone(&self.feeds).iter() {
            let set = contents.set(feed);
            let is_same = self.addresses.get(&feed.name).is_some_and(|held| Arc::ptr_eq(held, &set) || *held == set);
            if !is_same {
                changed |= self.replace_address_set(&feed.name, set).is_some();
            }
        }
        changed
    }

    /// The address sets that hold another thing each time that a feed is fetched: feeds, and sets that name them.
    pub(crate) fn fed_sets(&self) -> BTreeSet<String> {
        let mut sets: BTreeSet<String> = self.feeds.iter().map(|feed| feed.name.clone()).collect();
        sets.extend(self.addresses.users(&sets));
        sets
    }

    /// The address sets by name.
    pub(crate) const fn address_sets(&self) -> &NamedSets<AddressSet> {
        &self.addresses
    }

    /// Gives an address set of the policy other contents; the positions of the rules that it changes, or `None` if there is no
    /// such set.
    pub(crate) fn replace_address_set(&mut self, name: &str, set: Arc<AddressSet>) -> Option<Vec<usize>> {
        let changed = self.addresses.replace(name, set)?;
        let uses = |rule: &Rule| rule.scope.recipes.iter().flatten().any(|recipe| recipe.uses(&changed));
        let rules: Vec<usize> = (0..self.rules.len()).filter(|position| uses(&self.rules[*position])).collect();
        self.make_sets_of(&rules);
        Some(rules)
    }

    /// Takes a change of sets back, which has changed these rules.
    pub(crate) fn restore_address_sets(&mut self, sets: NamedSets<AddressSet>, rules: &[usize]) {
        self.addresses = sets;
        self.make_sets_of(rules);
    }

    fn make_sets_of(&mut self, rules: &[usize]) {
        // There are few of them.
        self.invariants.iter_mut().for_each(|invariant| invariant.make_sets(&self.addresses));
        for position in rules {
            Arc::make_mut(&mut self.rules[*position].rule).scope.make_sets(&self.addresses);
        }
    }

    /// File and line of a location.
    pub(crate) fn file_and_line(&self, at: Location) -> (&str, u32) {
        (self.sources.name(at.file), self.sources.line_and_column(at).0)
    }
}

/// `[defaults]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub(crate) action: Action,
    pub(crate) log: Option<Level>,
    pub(crate) at: Location,
}

impl Defaults {
    /// What is done; never [`Action::Allow`].
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// As how severe it is logged; `None`: not at all.
    #[must_use]
    pub const fn log(&self) -> Option<Level> {
        self.log
    }
}

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(crate) name: String,
    pub(crate) description: String,
    /// `None`: the rest of its interface.
    pub(crate) networks: Option<Vec<Network>>,
    pub(crate) at: Location,
}

impl Zone {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in the author's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its networks as written in prefix notation; `None` if it is the rest of its interface.
    #[must_use]
    pub fn networks(&self) -> Option<Vec<String>> {
        let networks = self.networks.as_ref()?;
        Some(networks.iter().map(Network::to_string).collect())
    }
}

/// Where a set of `[addresses]` or `[services]` stands, and what it names.
#[derive(Clone, Debug)]
pub(crate) struct NamedSet {
    pub(crate) name: String,
    pub(crate) at: Location,
    /// The sets of the same kind that it names.
    pub(crate) names: Vec<String>,
}

impl NamedSet {
    pub(crate) fn all<T>(definitions: &[SetDefinition<T>]) -> Vec<Self> {
        let set = |set: &SetDefinition<T>| Self {
            name: set.name.value.clone(),
            at: set.name.at,
            names: named(&set.terms).map(str::to_owned).collect(),
        };
        definitions.iter().map(set).collect()
    }
}

/// Which zones a rule is about: a set of positions in [`Policy::zones`], and the firewall itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneSelector {
    /// `any`: every zone of the policy.
    pub(crate) any: bool,
    pub(crate) local: bool,
    pub(crate) zones: Vec<usize>,
    /// As written, joined by commas.
    pub(crate) display: String,
}

/// Whether a rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It does not: what it would have done is counted and logged, and the next rule is asked.
    Observe,
}

impl Mode {
    /// The words of the key `mode`.
    pub(crate) const WORDS: [(&str, Self); 2] = [("enforce", Self::Enforce), ("observe", Self::Observe)];

    /// The name in policies and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) id: String,
    /// The id that it had before; may be empty.
    pub(crate) renamed_from: String,
    pub(crate) description: String,
    pub(crate) scope: Scope,
    pub(crate) action: Action,
    pub(crate) log: Option<Level>,
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    /// In seconds; 0: by protocol and state.
    pub(crate) idle_timeout: u32,
    pub(crate) starts: Option<OffsetDateTime>,
    pub(crate) expires: Option<OffsetDateTime>,
    pub(crate) owner: String,
    pub(crate) ticket: String,
}

/// A rule, and where it stands. Policies that differ in few rules share the others, which may stand elsewhere in each.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) rule: Arc<Rule>,
    pub(crate) at: Location,
}

impl Deref for Placed {
    type Target = Rule;

    fn deref(&self) -> &Rule {
        &self.rule
    }
}

impl Rule {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is for, in the author's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What it does, or would do.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Whether it decides.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it only observes.
    pub(crate) fn observes(&self) -> bool {
        self.mode == Mode::Observe
    }

    /// How many flows it may open.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who answers for it; may be empty.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Where it was asked for; may be empty.
    #[must_use]
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// From when it matches.
    #[must_use]
    pub const fn starts(&self) -> Option<OffsetDateTime> {
        self.starts
    }

    /// From when it does not match any more.
    #[must_use]
    pub const fn expires(&self) -> Option<OffsetDateTime> {
        self.expires
    }

    /// Whether it matches at a point in time.
    #[must_use]
    pub fn is_active(&self, now: OffsetDateTime) -> bool {
        self.starts.is_none_or(|starts| starts <= now) && self.expires.is_none_or(|expires| now < expires)
    }
}

/// The default of a zone pair.
#[derive(Clone, Debug)]
pub struct ZonePair {
    pub(crate) from: ZoneSelector,
    pub(crate) to: ZoneSelector,
    pub(crate) description: String,
    pub(crate) action: Action,
    pub(crate) log: Option<Level>,
    pub(crate) at: Location,
}

impl ZonePair {
    /// The id in counters and logs: `default:it>onprem`.
    #[must_use]
    pub fn id(&self) -> String {
        zone_pair_id(&self.from.display, &self.to.display)
    }

    /// What it does; never [`Action::Allow`].
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }
}

/// The id of the default of a zone pair.
pub(crate) fn zone_pair_id(from: &str, to: &str) -> String {
    format!("default:{from}>{to}")
}

/// A test that the author of the policy wrote.
#[derive(Clone, Debug)]
pub(crate) struct PolicyTest {
    pub(crate) name: String,
    pub(crate) from: ZoneSelector,
    pub(crate) to: ZoneSelector,
    pub(crate) src_addr: IpAddr,
    pub(crate) dst_addr: IpAddr,
    pub(crate) packet: Packet,
    pub(crate) state: FlowState,
    pub(crate) expected_action: Action,
    pub(crate) expected_rule: Option<String>,
    pub(crate) moment: Option<OffsetDateTime>,
    pub(crate) at: Location,
}
