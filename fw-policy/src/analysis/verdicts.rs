//! What becomes of which packets under a policy.

use std::sync::Mutex;

use fw_common::abi::policy::Action;
use time::OffsetDateTime;

use super::WorkLimits;
use super::chain::{Chain, Ends, Entry, Lists, ends, meet};
use super::cover::{Answer, TooMuchWork, Work};
use super::packet::ExamplePacket;
use super::packet_set::{PacketSet, common, without};
use super::space::{Cube, Part};
use crate::binding::Binding;
use crate::compile;
use crate::policy::Policy;

/// The answer would take more work than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not decided, because it would take too long")]
pub struct Undecided;

impl From<TooMuchWork> for Undecided {
    fn from(TooMuchWork: TooMuchWork) -> Self {
        Self
    }
}

/// Who decides about a packet, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The id of the rule, generated rule or default.
    pub rule: String,
}

/// The decision function of a policy at one point in time: which packets each rule decides. Rules that observe decide none.
///
/// ```
/// # use fw_policy::{Binding, SourceFile, Verdicts, load};
/// # use fw_common::abi::policy::Action;
/// # let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[zones.b]\n[[rule]]\nid = \"no-telnet\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [\"tcp/23\"]\naction = \"drop\"\n[[rule]]\nid = \"tcp\"\nfrom = [\"a\"]\nto = [\"b\"]\nservices = [\"tcp\"]\naction = \"allow\"\n";
/// # let policy = load(&[SourceFile { name: "policy.toml".into(), text: text.into() }])?;
/// // In front of `tcp`, which allows it, stands `no-telnet`, which drops port 23.
/// let verdicts = Verdicts::new(&policy, &Binding::offline(&policy), time::OffsetDateTime::UNIX_EPOCH);
/// let named = verdicts.named_by("tcp").unwrap();
/// let decided = verdicts.split(&named)?;
/// assert_eq!(decided.iter().map(|(verdict, _)| verdict.rule.as_str()).collect::<Vec<_>>(), ["no-telnet", "tcp"]);
/// assert_eq!(decided[0].1.example().unwrap().dst_port, 23);
/// assert!(decided[0].1.intersection(&decided[1].1).is_empty());
/// let (packet, verdict) = verdicts.example(&named, |action| action == Action::Drop)?.unwrap();
/// assert_eq!((packet.dst_port, verdict.rule.as_str()), (23, "no-telnet"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Verdicts {
    chain: Chain,
    now: OffsetDateTime,
    lists: Mutex<Lists>,
    work: u64,
}

impl Verdicts {
    /// The verdicts of a policy for the interfaces of one firewall; the binding is one that the policy compiles with.
    #[must_use]
    pub fn new(policy: &Policy, binding: &Binding, now: OffsetDateTime) -> Self {
        let generated = compile::generated(policy, binding);
        let (chain, _) = Chain::new(policy, |_| true, &generated, now, []);
        Self::of(chain, now)
    }

    pub(super) fn of(chain: Chain, now: OffsetDateTime) -> Self {
        Self { chain, now, lists: Mutex::default(), work: WorkLimits::default().rule }
    }

    /// Goes on to a later point in time.
    pub(super) const fn set_time(&mut self, now: OffsetDateTime) {
        self.now = now;
    }

    pub(super) fn set(&self, cubes: Vec<Cube>) -> PacketSet {
        PacketSet::new(&self.chain.space, cubes)
    }

    /// All packets that can come as far as the rules.
    #[must_use]
    pub fn everything(&self) -> PacketSet {
        self.set(self.chain.space.everything().into())
    }

    /// The packets that a rule or generated rule names, whoever decides about them; `None` if there is no such rule.
    #[must_use]
    pub fn named_by(&self, rule: &str) -> Option<PacketSet> {
        let entry = self.chain.entries.iter().find(|entry| entry.id == rule)?;
        Some(self.set(self.chain.cubes[entry.cubes.clone()].to_vec()))
    }

    /// Divides a set by who decides about its packets, in the order of the rules, defaults last.
    ///
    /// # Errors
    /// If there would be very many parts.
    pub fn split(&self, set: &PacketSet) -> Result<Vec<(Verdict, PacketSet)>, Undecided> {
        let mut rest = set.cubes.clone();
        let mut work = Work(self.work);
        let mut verdicts: Vec<(Verdict, PacketSet)> = Vec::new();
        for entry in self.chain.entries.iter().filter(|entry| !entry.observes && entry.life.is_at(self.now)) {
            let mut taken: Vec<Cube> = Vec::new();
            for cube in &self.chain.cubes[entry.cubes.clone()] {
                work.take(rest.len())?;
                taken.extend(rest.iter().filter_map(|part| common(part, cube)));
                rest = rest.into_iter().flat_map(|part| without(part, cube)).collect();
            }
            let taken = self.set(taken);
            if !taken.is_empty() {
                verdicts.push((verdict(entry), taken));
            }
        }
        let mut defaults: Vec<(Verdict, PacketSet)> = Vec::new();
        for part in self.set(rest).parts() {
            let (effect, id) = self.chain.default_of(part.pair);
            let cube = part.into_cube();
            match defaults.iter_mut().find(|(verdict, _)| verdict.rule == id) {
                Some((_, set)) => set.cubes.push(cube),
                None => defaults.push((Verdict { action: effect.action, rule: id.to_owned() }, self.set(vec![cube]))),
            }
        }
        verdicts.extend(defaults);
        Ok(verdicts)
    }

    /// A packet of a set for which something is done that is `wanted`, and who decides it; `None` if there is none.
    ///
    /// # Errors
    /// If it would take too long to find out.
    pub fn example(
        &self,
        set: &PacketSet,
        wanted: impl Fn(Action) -> bool,
    ) -> Result<Option<(ExamplePacket, Verdict)>, Undecided> {
        self.example_outside(set, &[], wanted, &mut Work(self.work))
    }

    /// The same for what of a set is in none of some cubes.
    pub(super) fn example_outside(
        &self,
        set: &PacketSet,
        outside: &[Cube],
        wanted: impl Fn(Action) -> bool,
        work: &mut Work,
    ) -> Result<Option<(ExamplePacket, Verdict)>, Undecided> {
        for part in set.parts() {
            if let Some(found) = self.example_in(&part, outside, &wanted, work)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn example_in(
        &self,
        part: &Part,
        outside: &[Cube],
        wanted: &impl Fn(Action) -> bool,
        work: &mut Work,
    ) -> Result<Option<(ExamplePacket, Verdict)>, Undecided> {
        let Self { chain, now, .. } = self;
        let entries = 0..chain.entries.len();
        let touching = {
            let mut lists = self.lists.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            lists.touching(chain, part, entries, |entry| entry.life.is_at(*now), work)?
        };
        // Of a packet of a rule that is wanted, no rule in front that is wanted has to be asked for: it would have been the answer.
        let mut others = Others::new(outside.iter().filter(|cube| cube.concerns(part.pair) && part.touches(cube)));
        if others.hide(chain, part, work)? {
            return Ok(None);
        }
        for cube in touching {
            let entry = &chain.entries[chain.owner(cube)];
            let cube = &chain.cubes[cube];
            if !wanted(entry.effect.action) {
                others.add(cube);
                if others.hide(chain, part, work)? {
                    return Ok(None);
                }
            } else if let Some(inner) = part.within(cube)
                && let Answer::Left(point) = others.leave(chain, &inner, work)?
            {
                return Ok(Some((chain.example(part.pair, point), verdict(entry))));
            }
        }
        let (effect, id) = chain.default_of(part.pair);
        if wanted(effect.action)
            && let Answer::Left(point) = others.leave(chain, part, work)?
        {
            let verdict = Verdict { action: effect.action, rule: id.to_owned() };
            return Ok(Some((chain.example(part.pair, point), verdict)));
        }
        Ok(None)
    }
}

/// The cubes that are not wanted, as far as the rules have been gone through.
pub(super) struct Others<'c> {
    cubes: Vec<(Ends, &'c Cube)>,
    /// With so many it is asked whether they hide everything.
    asked_at: usize,
}

impl<'c> Others<'c> {
    pub(super) fn new(cubes: impl Iterator<Item = &'c Cube>) -> Self {
        let mut others = Self { cubes: Vec::new(), asked_at: 1 };
        cubes.for_each(|cube| others.add(cube));
        others
    }

    pub(super) fn add(&mut self, cube: &'c Cube) {
        self.cubes.push((ends(&cube.product()), cube));
    }

    /// Whether nothing of a part is left, so that no rule behind has to be gone through. Sure only if it is: it is asked whenever their
    /// number has doubled, and of each new one by itself.
    pub(super) fn hide(&mut self, chain: &Chain, part: &Part, work: &mut Work) -> Result<bool, TooMuchWork> {
        let Some((_, last)) = self.cubes.last() else { return Ok(false) };
        if part.product().iter().zip(&last.sets).all(|(own, set)| own.is_subset(set)) {
            return Ok(true);
        }
        if self.cubes.len() < self.asked_at {
            return Ok(false);
        }
        self.asked_at = 2 * self.cubes.len();
        Ok(matches!(self.leave(chain, part, work)?, Answer::Covered(_)))
    }

    /// What they leave of a part.
    pub(super) fn leave(&self, chain: &Chain, part: &Part, work: &mut Work) -> Result<Answer, TooMuchWork> {
        // Most are told apart by their ends.
        work.take(self.cubes.len() / 4)?;
        chain.left(part, self.touching(part), work)
    }

    /// Those that have a packet of a part.
    pub(super) fn touching(&self, part: &Part) -> impl Iterator<Item = &'c Cube> {
        let own = ends(&part.product());
        let touching = self.cubes.iter().filter(move |(ends, cube)| meet(&own, ends) && part.touches(cube));
        touching.map(|(_, cube)| *cube)
    }
}

fn verdict(entry: &Entry) -> Verdict {
    Verdict { action: entry.effect.action, rule: entry.id.clone() }
}
