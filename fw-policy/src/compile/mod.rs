//! From a policy and its binding to tables.

mod access;
mod budget;
mod bundles;
mod classes;
mod classifier;
mod clause;
mod comparison;
mod compiler;
mod digest;
mod generated;
mod hash;
mod infos;
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

use time::OffsetDateTime;

use crate::binding::Binding;
use crate::diagnostic::{Diagnostics, Report};
use crate::policy::Policy;
use crate::set::interval::Family;
use crate::tables::Tables;

pub use access::BrokenPromise;
pub use budget::Memory;
use classifier::Classifier;
pub(crate) use comparison::Comparison;
pub use comparison::Field;
pub use compiler::Compiler;
pub(crate) use generated::{GeneratedRule, generated};
pub use infos::{RuleInfo, RuleInfos};
pub use live::{LiveSets, SetChangeError};
use operands::Operands;
use rules::RuleList;
pub use system_rules::{AllowError, check_allow};
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
    pub rules: RuleInfos,
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

impl Compiled {
    /// The interfaces that it was compiled for.
    #[must_use]
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }
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
    list: RuleList,
    classified: Classified,
}

/// Clauses by what they match.
struct Classified {
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
        let (last_list, last) = last.map(|Left { list, classified }| (list, classified)).unzip();
        let list = RuleList::new(policy, binding, ids, now, last_list, &mut report);
        let mut tables = Tables { zone_defaults: list.zone_defaults(policy), ..Tables::default() };
        zones::build_tries(policy, binding, &list.ids, &mut tables);
        let (mut before, last) = last.map(|Classified { operands, classifier }| (operands, classifier)).unzip();
        let mut same_addresses = [false; 2];
        let operands = [0, 1].map(|family| {
            let before = before.as_mut().map(|operands: &mut [Operands; 2]| std::mem::take(&mut operands[family]));
            let (operands, same) = Operands::following(before, &list, Family::ALL[family]);
            same_addresses[family] = same;
            operands
        });
        let zones = zones::describe(policy, binding, &list.ids);
        let refused = report.has_errors();
        let (mut classifier, digest) = std::thread::scope(|scope| {
            let digest = scope.spawn(|| digest::digest(&tables, &list.clauses, &operands, &list.infos, &zones));
            let classifier = (!refused)
                .then(|| Classifier::new(&list, &operands, options.memory_budget, last, same_addresses, &mut report));
            (classifier.flatten(), digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        if let Some(classifier) = &mut classifier {
            classifier.fill(&list, &operands, options.memory_budget, &mut tables, &mut report);
        }
        report.finish()?;
        let compiled = Compiled {
            digest,
            memory: budget::memory(&tables),
            next_change: policy.next_change(now),
            rules: list.infos.clone(),
            zones,
            tables,
            binding: binding.clone(),
            options: options.clone(),
        };
        // There is one: else something has been reported.
        Ok(Self { list, operands, classifier: classifier.unwrap_or_default(), compiled })
    }
}
