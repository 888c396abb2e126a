//! From a policy and its binding to tables.

mod access;
mod budget;
mod classes;
mod classifier;
mod clause;
mod compiler;
mod digest;
mod hash;
pub(crate) mod link;
mod lists;
mod live;
mod operands;
mod pair_table;
mod pairs;
mod rules;
mod split;
mod system_rules;
mod trie;
mod zones;

use std::sync::Arc;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use crate::binding::Binding;
use crate::diagnostic::{Diagnostics, Report};
use crate::limits::Limits;
use crate::policy::Policy;
use crate::set::interval::Family;
use crate::tables::Tables;

pub use access::BrokenPromise;
pub use budget::Memory;
use classifier::Classifier;
use clause::Clause;
pub use compiler::Compiler;
pub use live::{LiveSets, SetChangeError};
use operands::Operands;
use rules::RuleList;
use zones::ZoneIds;

/// What the compiler can be told beside the binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of kernel memory that the tables of one policy may take.
    pub memory_budget: u64,
    /// The zones of the policy that is active now ([`Compiled::zones`]): zones of the same name keep their id, so that
    /// live flows keep their zones.
    pub previous_zones: Vec<ZoneInfo>,
}

impl Default for Options {
    /// 256 MiB, and no earlier policy.
    fn default() -> Self {
        Self { memory_budget: 256 << 20, previous_zones: Vec::new() }
    }
}

/// A policy as the data plane takes it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The tables.
    pub tables: Tables,
    /// All rules by position, which is what [`fw_common::abi::tables::Clause::rule`] names: generated ones, those of the
    /// policy, the defaults of zone pairs, and the default of everything.
    pub rules: Arc<[Arc<RuleInfo>]>,
    /// The zones of the policy, and then those with a meaning of their own.
    pub zones: Vec<ZoneInfo>,
    /// Tells this policy from others: equal only if everything above is equal.
    pub digest: [u8; 32],
    /// Kernel memory that the tables take.
    pub memory: Memory,
    /// When a rule starts or expires next: the policy must be compiled again then.
    pub next_change: Option<OffsetDateTime>,
    pub(crate) binding: Binding,
    pub(crate) options: Options,
}

/// A rule, a generated rule or a default, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The id in counters, metrics and logs.
    pub id: String,
    /// The position: lower ones are matched first.
    pub ordinal: u32,
    /// What it does.
    pub action: Action,
    /// The policy file that it stands in; empty for generated rules.
    pub file: String,
    /// The line there; 0 for generated rules.
    pub line: u32,
    /// What it is for; may be empty.
    pub description: String,
    /// Zones of the source, as written.
    pub from: String,
    /// Zones of the destination, as written.
    pub to: String,
    /// Whether its decisions are logged.
    pub log: bool,
    /// How many flows it may open.
    pub limits: Limits,
    /// Whether it matches now; else it has not started or has expired, and is in no table.
    pub active: bool,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// Where it was asked for; may be empty.
    pub ticket: String,
}

/// A zone, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneInfo {
    /// The id in tables and flows.
    pub id: u8,
    /// The name; in parentheses for zones that policies cannot name.
    pub name: String,
    /// What it is; may be empty.
    pub description: String,
    /// Its networks; empty if it is the rest of its interface.
    pub networks: Vec<String>,
    /// The slots of its interfaces.
    pub slots: Vec<u32>,
}

impl Policy {
    /// Compiles the policy for the interfaces of one firewall and a point in time, within the default memory budget.
    ///
    /// # Errors
    ///
    /// What does not fit between policy and `agent.toml`, or rules that would take too much memory.
    pub fn compile(&self, binding: &Binding, now: OffsetDateTime) -> Result<Compiled, Diagnostics> {
        self.compile_with(binding, now, &Options::default())
    }

    /// As [`Policy::compile`], with options.
    ///
    /// # Errors
    ///
    /// As [`Policy::compile`].
    pub fn compile_with(
        &self,
        binding: &Binding,
        now: OffsetDateTime,
        options: &Options,
    ) -> Result<Compiled, Diagnostics> {
        Ok(Compilation::new(self, binding, now, options, None)?.compiled)
    }

    /// The first start or expiry after `now`.
    fn next_change(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let moments = self.rules.iter().flat_map(|rule| [rule.starts, rule.expires]).flatten();
        moments.filter(|moment| *moment > now).min()
    }
}

/// What a compilation leaves for the next one.
struct Left {
    infos: Arc<[Arc<RuleInfo>]>,
    clauses: Vec<Clause>,
    operands: [Operands; 2],
    classifier: Classifier,
}

/// A compiled policy with everything that went into it.
struct Compilation {
    list: RuleList,
    operands: [Operands; 2],
    classifier: Classifier,
    compiled: Compiled,
}

impl Compilation {
    /// `last`: what an earlier compilation has left, of which everything is taken over that is still right.
    fn new(
        policy: &Policy,
        binding: &Binding,
        now: OffsetDateTime,
        options: &Options,
        last: Option<Left>,
    ) -> Result<Self, Diagnostics> {
        let mut report = Report::new(Arc::clone(&policy.sources));
        zones::check_binding(policy, binding, &mut report);
        let ids = ZoneIds::assign(&policy.zones, &options.previous_zones);
        let list = RuleList::new(policy, binding, &ids, now, last.as_ref(), &mut report);
        let mut tables = Tables { zone_defaults: list.zone_defaults(policy, &ids), ..Tables::default() };
        zones::build_tries(policy, binding, &ids, &mut tables);
        let operands = Family::ALL.map(|family| {
            let before = last.as_ref().map(|last| (&last.operands[usize::from(family == Family::V6)], &last.clauses));
            let renewed = before.and_then(|(before, clauses)| before.renewed(clauses, &list.clauses, family));
            renewed.unwrap_or_else(|| Operands::new(&list.clauses, family))
        });
        let zones = zones::describe(policy, binding, &ids);
        let refused = report.has_errors();
        let (classifier, digest) = std::thread::scope(|scope| {
            let digest = scope.spawn(|| digest::digest(&tables, &list.clauses, &operands, &list.infos, &zones));
            let classifier =
                (!refused).then(|| Classifier::new(&list, &operands, options.memory_budget, last, &mut report));
            (classifier.flatten(), digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        if let Some(classifier) = &classifier {
            classifier.fill(&list, &operands, options.memory_budget, &mut tables, &mut report);
        }
        report.finish()?;
        let compiled = Compiled {
            digest,
            memory: budget::memory(&tables),
            next_change: policy.next_change(now),
            rules: Arc::clone(&list.infos),
            zones,
            tables,
            binding: binding.clone(),
            options: options.clone(),
        };
        // There is one: else something has been reported.
        Ok(Self { list, operands, classifier: classifier.unwrap_or_default(), compiled })
    }
}
