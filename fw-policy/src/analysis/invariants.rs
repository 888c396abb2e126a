//! Invariants: whether they hold, and if not, a packet that shows it.
//!
//! Only rules that have a packet of an invariant are looked at, so that a large policy costs little more than these.

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use super::builder::Matcher;
use super::chain::Chain;
use super::cover::Work;
use super::space::{Cube, zone_bits};
use super::verdicts::{Undecided, Verdict, Verdicts};
use super::{ExamplePacket, PacketSet};
use crate::binding::Binding;
use crate::compile;
use crate::invariant::{Invariant, Wants};
use crate::policy::{Policy, Rule};
use crate::scope::Scope;

/// The most work for all invariants of a policy at all points in time: a second or two.
const WORK: u64 = 400_000_000;

/// The invariants of a policy, ready to be judged.
pub(crate) struct Invariants<'p> {
    policy: &'p Policy,
    verdicts: Verdicts,
    /// For each the packets that it speaks of, and what is excepted.
    scopes: Vec<(PacketSet, Vec<Cube>)>,
    work: Work,
}

/// A packet that shows that an invariant does not hold, and who decides about it.
pub(crate) type Counterexample = (ExamplePacket, Verdict);

impl<'p> Invariants<'p> {
    /// The invariants of a policy from a point in time on. The binding is one that the policy compiles with.
    pub(crate) fn new(policy: &'p Policy, binding: &Binding, now: OffsetDateTime) -> Self {
        let zones = policy.zones.len();
        let generated = compile::generated(policy, binding);
        let matcher = |scope: &'p Scope| Matcher {
            from: zone_bits(&scope.from, zones),
            to: zone_bits(&scope.to, zones),
            source: &scope.source,
            destination: &scope.destination,
            services: &scope.services,
        };
        let spoken_of: Vec<Matcher<'_>> = policy.invariants.iter().map(|invariant| matcher(&invariant.scope)).collect();
        let concerns = |rule: &Rule| {
            let (from, to) = (zone_bits(&rule.scope.from, zones), zone_bits(&rule.scope.to, zones));
            spoken_of.iter().any(|scope| {
                from & scope.from != 0
                    && to & scope.to != 0
                    && rule.scope.source.overlaps(scope.source)
                    && rule.scope.destination.overlaps(scope.destination)
            })
        };
        let all = policy.invariants.iter().flat_map(Invariant::scopes).map(matcher);
        let (chain, cubes) = Chain::new(policy, concerns, &generated, now, all);
        let verdicts = Verdicts::of(chain, now);
        let mut cubes = cubes.into_iter();
        let scopes = policy.invariants.iter().map(|invariant| {
            let scope = verdicts.set(cubes.next().unwrap_or_default());
            (scope, cubes.by_ref().take(invariant.except.len()).flatten().collect())
        });
        let scopes = scopes.collect();
        Self { policy, verdicts, scopes, work: Work(WORK) }
    }

    /// Each invariant at a point in time: `None` if it holds.
    pub(crate) fn judge(
        &mut self,
        moment: OffsetDateTime,
    ) -> impl Iterator<Item = (&'p Invariant, Result<Option<Counterexample>, Undecided>)> {
        let Self { policy, verdicts, scopes, work } = self;
        verdicts.set_time(moment);
        policy.invariants.iter().zip(scopes).map(|(invariant, (scope, except))| {
            let is_wrong = |action: Action| (action == Action::Allow) == (invariant.wants == Wants::Denied);
            (invariant, verdicts.example_outside(scope, except, is_wrong, work))
        })
    }

    /// Those that speak of no packet that there can be.
    pub(crate) fn vacuous(&self) -> impl Iterator<Item = &'p Invariant> {
        let pairs = self.policy.invariants.iter().zip(&self.scopes);
        pairs.filter(|(_, (scope, _))| scope.is_empty()).map(|(invariant, _)| invariant)
    }
}
