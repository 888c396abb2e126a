//! What AWS does not say: when something was first seen, and what was asked for a moment ago. It is lost with the agent, and then gathered
//! anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fw_cloud::{AttachmentId, AttachmentState, InstanceId};

use super::{Step, View};

/// How long a call that was carried out is not repeated: what is described may be older than it.
pub const SETTLED: Duration = Duration::from_secs(5);

/// What is remembered of earlier rounds.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    detaching: BTreeMap<AttachmentId, Instant>,
    unknown: BTreeMap<InstanceId, Instant>,
    done: BTreeMap<Step, Instant>,
    /// Indices that this instance has something else at.
    taken: BTreeSet<u32>,
}

impl Memory {
    /// Notes what is described now.
    pub fn note(&mut self, view: &View, now: Instant) {
        let attachments = || view.interfaces.values().filter_map(|interface| interface.attachment.as_ref());
        let detaching: BTreeSet<_> = attachments()
            .filter(|attachment| attachment.state == AttachmentState::Detaching)
            .map(|attachment| attachment.id.clone())
            .collect();
        let unknown: BTreeSet<_> = attachments()
            .filter_map(|attachment| attachment.instance.clone())
            .filter(|instance| !view.instances.contains_key(instance))
            .collect();
        since(&mut self.detaching, detaching, now);
        since(&mut self.unknown, unknown, now);
        self.done.retain(|_, at| now.saturating_duration_since(*at) < SETTLED);
    }

    /// Notes that a call was carried out.
    pub fn note_done(&mut self, step: Step, now: Instant) {
        self.done.insert(step, now);
    }

    /// Notes that this instance has something else at an index.
    pub fn note_taken(&mut self, device_index: u32) {
        self.taken.insert(device_index);
    }

    /// Whether a call was carried out a moment ago.
    #[must_use]
    pub fn has_done(&self, step: &Step) -> bool {
        self.done.contains_key(step)
    }

    /// Whether an interface was attached a moment ago, as whatever device.
    #[must_use]
    pub fn has_attached(&self, wanted: &fw_cloud::EniId) -> bool {
        self.done.keys().any(|step| matches!(step, Step::Attach { eni, .. } if eni == wanted))
    }

    /// Whether this instance has something else at an index.
    #[must_use]
    pub fn is_taken(&self, device_index: u32) -> bool {
        self.taken.contains(&device_index)
    }

    /// How long an attachment has been ending.
    #[must_use]
    pub fn detaching_for(&self, attachment: &AttachmentId, now: Instant) -> Option<Duration> {
        self.detaching.get(attachment).map(|at| now.saturating_duration_since(*at))
    }

    /// How long an instance has not been known.
    #[must_use]
    pub fn unknown_for(&self, instance: &InstanceId, now: Instant) -> Option<Duration> {
        self.unknown.get(instance).map(|at| now.saturating_duration_since(*at))
    }
}

/// Keeps the first sight of what is still there.
fn since<K: Ord>(first: &mut BTreeMap<K, Instant>, present: BTreeSet<K>, now: Instant) {
    first.retain(|key, _| present.contains(key));
    for key in present {
        first.entry(key).or_insert(now);
    }
}
