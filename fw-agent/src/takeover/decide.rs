//! What to do next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fw_cloud::{Attachment, AttachmentState, EniId, InstanceId};

use super::memory::Memory;
use super::owner::{Owner, is_terminating, owner};
use super::{Decision, Standing, Step, View, Wanted};

/// Device index 0 is the primary interface, which cannot be another one.
const FIRST_INDEX: u32 = 1;

/// Compares what is wanted, in the order in which it is taken, with what is described.
///
/// `force_after`: how long an attachment may be ending before it is ended by force, which may leave the index of the old instance unusable,
/// and so is the last resort (EC2 user guide, "Detach a network interface").
#[must_use]
pub fn decide(
    own: &InstanceId,
    wanted: &[Wanted],
    view: &View,
    memory: &Memory,
    (now, force_after): (Instant, Duration),
) -> Decision {
    let refusals = refusals(own, wanted, view, memory, now);
    if !refusals.is_empty() {
        return Decision { steps: Vec::new(), standing: Standing::Refused(refusals) };
    }
    let mut round =
        Round { own, view, memory, now, force_after, used: used(own, view), steps: Vec::new(), waits: Vec::new() };
    // Who has the first one has them all.
    let has_first = wanted.first().is_some_and(|first| round.is_here(&first.eni) || memory.has_attached(&first.eni));
    for (position, wanted) in wanted.iter().enumerate() {
        round.take(wanted, position == 0 || has_first);
    }
    let Round { steps, waits, .. } = round;
    let standing = if steps.is_empty() && waits.is_empty() { Standing::Ours } else { Standing::Underway(waits) };
    let steps = steps.into_iter().filter(|step| !memory.has_done(step)).collect();
    Decision { steps, standing }
}

/// Why nothing may be done.
fn refusals(own: &InstanceId, wanted: &[Wanted], view: &View, memory: &Memory, now: Instant) -> Vec<String> {
    let mut refusals = Vec::new();
    if let Some(membership) = view.memberships.get(own)
        && is_terminating(&membership.lifecycle)
    {
        refusals.push(format!("this instance is {} in the group {}", membership.lifecycle, membership.group));
    }
    for Wanted { eni, .. } in wanted {
        let Some(interface) = view.interfaces.get(eni) else {
            refusals.push(format!("{eni} is not described: is it of this account and region?"));
            continue;
        };
        let Some(attachment) = &interface.attachment else { continue };
        if let Owner::Alive(why) = owner(own, attachment.instance.as_ref(), view, memory, now) {
            refusals.push(format!(
                "{eni} is not taken: {why}. It is taken when that instance is terminated, stopped or terminating in its group, or when it is detached"
            ));
        }
    }
    refusals
}

/// The indices that interfaces of the set have here.
fn used(own: &InstanceId, view: &View) -> BTreeSet<u32> {
    let attachments = view.interfaces.values().filter_map(|interface| interface.attachment.as_ref());
    attachments
        .filter(|attachment| attachment.instance.as_ref() == Some(own))
        .map(|attachment| attachment.device_index)
        .collect()
}

/// One look at the whole set.
struct Round<'a> {
    own: &'a InstanceId,
    view: &'a View,
    memory: &'a Memory,
    now: Instant,
    force_after: Duration,
    used: BTreeSet<u32>,
    steps: Vec<Step>,
    waits: Vec<String>,
}

impl Round<'_> {
    fn attachment(&self, eni: &EniId) -> Option<&Attachment> {
        self.view.interfaces.get(eni)?.attachment.as_ref()
    }

    /// Attached to this instance, or on the way there.
    fn is_here(&self, eni: &EniId) -> bool {
        self.attachment(eni).is_some_and(|attachment| {
            attachment.instance.as_ref() == Some(self.own)
                && matches!(attachment.state, AttachmentState::Attaching | AttachmentState::Attached)
        })
    }

    fn take(&mut self, wanted: &Wanted, may_attach: bool) {
        let eni = &wanted.eni;
        let Some(attachment) = self.attachment(eni).cloned() else {
            if may_attach {
                self.attach(wanted);
            } else {
                self.waits.push(format!("{eni} waits for the first interface of the set"));
            }
            return;
        };
        match (attachment.state, self.is_here(eni)) {
            (AttachmentState::Attached, true) => self.finish(eni, &attachment),
            (AttachmentState::Attaching, true) => self.waits.push(format!("{eni} is being attached")),
            (AttachmentState::Attaching | AttachmentState::Attached, false) => {
                self.waits.push(format!("{eni} is taken from an instance that is gone"));
                self.steps.push(Step::Detach { eni: eni.clone(), attachment: attachment.id, force: false });
            }
            (AttachmentState::Detaching, _) => self.wait_for_detaching(eni, &attachment),
            (AttachmentState::Detached, _) => self.waits.push(format!("{eni} is being released")),
        }
    }

    fn attach(&mut self, wanted: &Wanted) {
        let device_index = self.index(wanted.device_index);
        self.used.insert(device_index);
        self.waits.push(format!("{} is to be attached", wanted.eni));
        if !self.memory.has_attached(&wanted.eni) {
            self.steps.push(Step::Attach { eni: wanted.eni.clone(), device_index });
        }
    }

    /// The index that is wished for, or the lowest one that is free.
    fn index(&self, wished: Option<u32>) -> u32 {
        let is_free = |index: &u32| !self.used.contains(index) && !self.memory.is_taken(*index);
        wished.filter(is_free).or_else(|| (FIRST_INDEX..=u32::MAX).find(is_free)).unwrap_or(FIRST_INDEX)
    }

    fn wait_for_detaching(&mut self, eni: &EniId, attachment: &Attachment) {
        self.waits.push(format!("{eni} is being detached"));
        let detaching = self.memory.detaching_for(&attachment.id, self.now);
        // What this instance detaches itself is ended by its own kernel, which lives.
        let is_elsewhere = attachment.instance.as_ref() != Some(self.own);
        if is_elsewhere && detaching.is_some_and(|detaching| detaching >= self.force_after) {
            self.steps.push(Step::Detach { eni: eni.clone(), attachment: attachment.id.clone(), force: true });
        }
    }

    /// What an interface that is here has to be besides.
    fn finish(&mut self, eni: &EniId, attachment: &Attachment) {
        let checks = self.view.interfaces.get(eni).is_some_and(|interface| interface.checks_source_and_destination);
        if checks {
            self.steps.push(Step::ForwardForOthers { eni: eni.clone() });
        }
        if attachment.ends_with_instance {
            self.steps.push(Step::KeepOnTermination { eni: eni.clone(), attachment: attachment.id.clone() });
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
