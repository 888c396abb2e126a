//! A case: policies, packets, and when which policy is applied. As text it can be kept and replayed.

use std::fmt;
use std::str::FromStr;

use fw_testkit::classbench::Random;
use fw_testkit::reference::Datagram;

use super::policies;
use super::surroundings::NAMES;
use super::traffic::Traffic;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The policy with this position becomes the active one.
    Apply(usize),
    /// A packet comes in by the interface in this slot.
    Packet(usize, Datagram),
}

/// What is done to both firewalls. The first policy is active from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) comment: String,
    pub(super) policies: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// Steps of a random case.
const STEPS: u64 = 500;

impl Case {
    pub(super) fn random(random: &mut Random) -> Self {
        let policies = policies::random(random);
        let mut traffic = Traffic::default();
        let steps = (0..50 + random.below(STEPS)).map(|_| {
            if policies.len() > 1 && random.below(60) == 0 {
                Step::Apply(usize::try_from(random.below(policies.len() as u64)).unwrap())
            } else {
                let (slot, datagram) = traffic.next(random);
                Step::Packet(slot, datagram)
            }
        });
        let steps = steps.collect();
        Self { comment: String::new(), policies, steps }
    }

    pub(super) fn packets(&self) -> u64 {
        self.steps.iter().filter(|step| matches!(step, Step::Packet(..))).count() as u64
    }

    pub(super) fn with_comment(&self, comment: &str) -> Self {
        Self { comment: comment.lines().map(|line| format!("# {line}\n")).collect(), ..self.clone() }
    }
}

/// What stands in front of each policy, and of the steps.
const POLICY: &str = "=== policy\n";
const STEPS_BEGIN: &str = "=== steps\n";

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.comment)?;
        for policy in &self.policies {
            write!(out, "{POLICY}{policy}")?;
        }
        write!(out, "{STEPS_BEGIN}")?;
        for step in &self.steps {
            match step {
                Step::Apply(policy) => writeln!(out, "apply {policy}")?,
                Step::Packet(slot, datagram) => writeln!(out, "{} {datagram}", NAMES[*slot])?,
            }
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (head, steps) = text.split_once(STEPS_BEGIN).ok_or("no steps")?;
        let mut parts = head.split(POLICY);
        let comment = parts.next().unwrap_or_default().to_owned();
        let policies = parts.map(str::to_owned).collect();
        let lines = steps.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self { comment, policies, steps: lines.map(step).collect::<Result<_, _>>()? })
    }
}

fn step(line: &str) -> Result<Step, String> {
    let (first, rest) = line.split_once(' ').ok_or(line)?;
    if first == "apply" {
        return rest.parse().map(Step::Apply).map_err(|_| line.to_owned());
    }
    let slot = NAMES.iter().position(|name| *name == first).ok_or(line)?;
    Ok(Step::Packet(slot, rest.parse().map_err(|why| format!("{why}"))?))
}
