//! Chains that jump to chains, as netfilter has them, laid out as one list.

use std::collections::{BTreeMap, BTreeSet};

use fw_common::abi::policy::Action;

use super::draft::{Draft, Origin};
use super::matching::Match;
use super::{ImportError, Outcome};

/// The most rules that chains may come to.
const MOST: usize = 20_000;

/// How deeply chains may be nested; netfilter allows about as much, and no loops.
const DEEPEST: usize = 16;

/// A rule of a chain.
#[derive(Clone, Debug)]
pub(super) struct ChainRule {
    pub(super) origin: Origin,
    pub(super) matching: Match,
    pub(super) verdict: Verdict,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Drop,
    Reject,
    /// Goes on in another chain, and comes back.
    Jump(String),
    /// Goes on in the chain that has jumped here.
    Return,
    /// Nothing that decides: counters, marks, logs.
    Nothing(String),
    /// Something else decides.
    Unknown(String),
}

/// Where a packet is when a base chain sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Forward,
    Input,
    Output,
}

impl Hook {
    /// What the hook says of zones.
    pub(super) fn matching(self) -> Match {
        let local = || Some(BTreeSet::from(["local".to_owned()]));
        match self {
            Self::Forward => Match::any(),
            Self::Input => Match { to: local(), ..Match::any() },
            Self::Output => Match { from: local(), ..Match::any() },
        }
    }
}

/// Lays a chain out that packets pass before or behind those that decide, or beside them: what it forbids is forbidden, and what it
/// lets pass is not let pass by that alone.
pub(super) fn lay_out_drops(
    chains: &Chains,
    name: &str,
    hooks: &[Hook],
    family: &Match,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    for hook in hooks {
        let mut context = hook.matching().and(family);
        context.unknown.push(format!("what the other chains that packets of `{name}` pass decide"));
        lay_out(chains, name, &context, None, draft)?;
    }
    Ok(())
}

/// All chains by name.
pub(super) type Chains = BTreeMap<String, Vec<ChainRule>>;

/// Lays a base chain out. `policy` is what becomes of what no rule decides; `None` if other chains decide then.
pub(super) fn lay_out(
    chains: &Chains,
    name: &str,
    context: &Match,
    policy: Option<&Verdict>,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let mut layout = Layout { chains, policy, draft, steps: 0 };
    layout.chain(name, context, 0)?;
    if policy == Some(&Verdict::Allow) {
        let origin = Origin {
            line: None,
            text: format!("the policy of chain {name}"),
            id: format!("{name}-policy"),
            description: format!("The policy of chain {name}"),
        };
        layout.draft.allow(&origin, context);
    }
    Ok(())
}

struct Layout<'l> {
    chains: &'l Chains,
    policy: Option<&'l Verdict>,
    draft: &'l mut Draft,
    /// Rules that have been looked at, each as often as chains have led there.
    steps: usize,
}

impl Layout<'_> {
    fn chain(&mut self, name: &str, context: &Match, depth: usize) -> Result<(), ImportError> {
        // What a rule of this chain has sent back, is not seen by those behind it.
        let mut returned: Vec<String> = Vec::new();
        for rule in self.chains.get(name).into_iter().flatten() {
            self.steps += 1;
            if self.steps > MOST {
                return Err(ImportError::TooMany(MOST));
            }
            let mut matching = context.and(&rule.matching);
            matching.unknown.extend(returned.iter().map(|text| format!("all but what `{text}` has returned")));
            let verdict = match self.policy {
                Some(policy) if rule.verdict == Verdict::Return && depth == 0 => policy,
                _ => &rule.verdict,
            };
            match verdict {
                Verdict::Allow => self.draft.allow(&rule.origin, &matching),
                Verdict::Drop => self.draft.forbid(&rule.origin, &matching, Action::Drop),
                Verdict::Reject => self.draft.forbid(&rule.origin, &matching, Action::Reject),
                Verdict::Jump(target) if self.chains.contains_key(target) => {
                    if depth == DEEPEST {
                        return Err(ImportError::TooMany(MOST));
                    }
                    if !matching.is_nothing() {
                        self.chain(target, &matching, depth + 1)?;
                    }
                }
                Verdict::Return if rule.matching.is_anything() => return Ok(()),
                Verdict::Return => returned.push(rule.origin.text.clone()),
                Verdict::Nothing(what) => {
                    let reason = format!("{what} does not decide, and has nothing like it here");
                    self.draft.note(&rule.origin, Outcome::LeftOut, reason);
                }
                Verdict::Unknown(what) | Verdict::Jump(what) => {
                    matching.unknown.push(format!("what {what} decides"));
                    self.draft.forbid(&rule.origin, &matching, Action::Drop);
                }
            }
        }
        Ok(())
    }
}
