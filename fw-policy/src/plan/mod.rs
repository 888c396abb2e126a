//! What would change if one policy took another one's place: what its files say, what it means for packets, and what becomes of the flows
//! that are open. In: two policies, each with its interfaces, and the time. What each part says: docs/plan.md.

mod difference;
mod judge;
pub(crate) mod order;
mod written;

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::analysis::{Decider, Flips, PacketClass};
use crate::binding::Binding;
use crate::policy::Policy;
use crate::{ExamplePacket, WorkLimits};

use difference::Matched;
pub use difference::{Change, DefinitionChange, Difference, KeyChange, Moved, RuleChange};
pub use judge::{End, Judge, Judged, Tuple};

/// Rules that start or expire within this time are named.
const SOON: Duration = Duration::days(30);

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What the files say otherwise.
    #[serde(flatten)]
    pub difference: Difference,
    /// Packets that are decided otherwise, by who decides about them: what is opened first, then what is closed, then what is denied in
    /// another way.
    pub flips: Vec<Flip>,
    /// Pairs of zones of which it would take too long to tell: for these, `flips` may not be all.
    pub undecided: Vec<ZoneNames>,
    /// How many pairs of an old and a new rule there are, of which the new one decides what the old one did, alike.
    pub handovers: usize,
    /// Rules of the new policy that start or expire within 30 days, the earliest first.
    pub dated: Vec<Dated>,
}

impl Plan {
    /// Whether nothing changes at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.difference.is_empty() && self.flips.is_empty() && self.undecided.is_empty()
    }
}

/// Packets that are decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// Who decides under the old policy.
    pub old: DecidedBy,
    /// Who decides under the new one.
    pub new: DecidedBy,
    /// The packets, class by class.
    pub classes: Vec<PacketClass>,
    /// How many classes more there are.
    pub more: usize,
    /// The packets are so scattered that they were not all told apart: the example is one of them.
    pub partial: bool,
    /// One of the packets.
    pub example: ExamplePacket,
}

/// What is done, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecidedBy {
    /// `allow`, `drop` or `reject`.
    pub action: &'static str,
    /// Id of the rule, generated rule or default; none for a packet that is in no zone, which is dropped as spoofed or undeliverable.
    pub rule: Option<String>,
    /// Where that stands; none for what is generated.
    pub place: Option<String>,
}

/// Two zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneNames {
    /// Of the source.
    pub from: String,
    /// Of the destination.
    pub to: String,
}

/// A rule that starts or expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dated {
    /// Its id.
    pub rule: String,
    /// What it does.
    pub action: &'static str,
    /// `starts` or `expires`.
    pub what: &'static str,
    /// When: RFC 3339.
    pub at: String,
}

impl Policy {
    /// What would change if this policy took the place of `old`, each for its interfaces; the bindings are ones that they compile with.
    ///
    /// Exact over all fields that rules have, for now. Takes as long as the rules that are different, and some seconds at most for tens
    /// of thousands of them; what the limits of the work do not suffice for is said to be undecided.
    #[must_use]
    pub fn plan(
        &self,
        binding: &Binding,
        (old, old_binding): (&Self, &Binding),
        now: OffsetDateTime,
        limits: WorkLimits,
    ) -> Plan {
        let matched = Matched::new(old, self);
        let renamed = matched.renamed(old, self);
        let was = |id: &str| renamed.get(id).map_or_else(|| id.to_owned(), |old| (*old).to_owned());
        let found = Flips::between([(old, old_binding), (self, binding)], &was, now, limits);
        let mut flips: Vec<Flip> = found.flips.into_iter().map(|flip| self.told(old, flip)).collect();
        flips.sort_by_key(|flip| match (flip.old.action, flip.new.action) {
            (_, "allow") => 0,
            ("allow", _) => 1,
            _ => 2,
        });
        Plan {
            difference: difference::between(old, self, &matched),
            flips,
            undecided: found.undecided.into_iter().map(|[from, to]| ZoneNames { from, to }).collect(),
            handovers: found.handovers,
            dated: self.dated(now),
        }
    }

    fn told(&self, old: &Self, flip: crate::analysis::Flip) -> Flip {
        let crate::analysis::Flip { deciders: [(before, was), (after, is)], classes, more, is_partial, example } = flip;
        let by = |policy: &Self, decider: &Decider, action: fw_common::abi::policy::Action| DecidedBy {
            action: action.name(),
            rule: Some(decider.id.clone()).filter(|id| !id.is_empty()),
            place: policy.place_of(decider),
        };
        Flip { old: by(old, &before, was), new: by(self, &after, is), classes, more, partial: is_partial, example }
    }

    /// File and line of what decides.
    fn place_of(&self, decider: &Decider) -> Option<String> {
        let at = match decider.rule {
            Some(rule) => self.rules.get(rule)?.at,
            None if decider.id == "default" => self.defaults.at,
            None => self.zone_pairs.iter().find(|pair| pair.id() == decider.id)?.at,
        };
        let (file, line) = self.file_and_line(at);
        Some(format!("{file}:{line}"))
    }

    fn dated(&self, now: OffsetDateTime) -> Vec<Dated> {
        let horizon = now.checked_add(SOON).unwrap_or(now);
        let moments = self.rules.iter().flat_map(|rule| {
            let moments = [("starts", rule.starts), ("expires", rule.expires)];
            moments.into_iter().filter_map(move |(what, at)| Some((at?, what, rule)))
        });
        let mut soon: Vec<_> = moments.filter(|(at, ..)| *at > now && *at <= horizon).collect();
        soon.sort_by_key(|(at, ..)| *at);
        let dated = soon.into_iter().map(|(at, what, rule)| Dated {
            rule: rule.id.clone(),
            action: rule.action.name(),
            what,
            at: at.format(&Rfc3339).unwrap_or_default(),
        });
        dated.collect()
    }
}
