//! A feed of the policy in force has another list: only what depends on it is compiled again.

use std::sync::Arc;

use fw_policy::{
    AddressList, Binding, Compiled, Feed, FeedContents, FeedKey, LiveSets, Options, Policy, SetChangeError, SourceFile,
};
use time::OffsetDateTime;

/// A policy whose lists have changed, and what it was made of.
pub(super) struct Live {
    files: Arc<[SourceFile]>,
    binding: Binding,
    sets: LiveSets,
    /// What its feeds hold.
    held: FeedContents,
}

impl Live {
    /// Compiles a policy, whose feeds hold this.
    pub(super) fn new(
        (files, policy): (Arc<[SourceFile]>, Policy),
        binding: &Binding,
        now: OffsetDateTime,
        options: &Options,
        contents: &FeedContents,
    ) -> Result<Self, fw_policy::Diagnostics> {
        let mut held = FeedContents::default();
        let known = policy.feeds().iter().filter_map(|feed| Some((feed.key(), contents.get(&feed.key())?.clone())));
        known.for_each(|(key, list)| held.insert(key, list));
        let sets = LiveSets::new(policy, binding, now, options)?;
        Ok(Self { files, binding: binding.clone(), sets, held })
    }

    /// Whether it is this policy, at a time at which the same rules match.
    pub(super) fn is_of(
        &self,
        files: &[SourceFile],
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> bool {
        let compiled = self.sets.compiled();
        *self.files == *files
            && self.binding == *binding
            && compiled.next_change.is_none_or(|at| now < at)
            && running.is_none_or(|running| running.zones == compiled.zones)
    }

    /// Brings all lists to what is known, and one of them to what has come.
    pub(super) fn replace(
        &mut self,
        contents: &FeedContents,
        feed: &FeedKey,
        list: &AddressList,
    ) -> Result<(), SetChangeError> {
        let feeds: Arc<[Feed]> = Arc::clone(self.sets.policy().feeds());
        for each in feeds.iter() {
            let key = each.key();
            let wanted = if key == *feed { Some(list) } else { contents.get(&key) };
            let wanted = wanted.cloned().unwrap_or_default();
            if self.held.get(&key).is_none_or(|held| *held != wanted) {
                self.sets.replace_feed(each.name(), &wanted)?;
                self.held.insert(key, wanted);
            }
        }
        Ok(())
    }

    pub(super) const fn sets(&self) -> &LiveSets {
        &self.sets
    }
}
