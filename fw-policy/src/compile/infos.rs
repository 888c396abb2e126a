//! What is told of the rules of a policy: in pages, so that an edit leaves most of them as they are.

use std::fmt;
use std::ops::{Index, Range};
use std::sync::Arc;

use fw_common::abi::policy::Action;

use super::digest;
use crate::level::Level;
use crate::limits::Limits;
use crate::policy::Mode;

/// A rule, a generated rule or a default, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The id in counters, metrics and logs.
    pub id: String,
    /// The id that it had before, under which it has been counted; may be empty.
    pub renamed_from: String,
    /// The position: lower ones are matched first.
    pub ordinal: u32,
    /// What it does, or would do.
    pub action: Action,
    /// Whether it decides.
    pub mode: Mode,
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
    /// As how severe its decisions are logged; `None`: not at all.
    pub log: Option<Level>,
    /// How many flows it may open.
    pub limits: Limits,
    /// Whether it matches now; else it has not started or has expired, and is in no table.
    pub active: bool,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// Where it was asked for; may be empty.
    pub ticket: String,
}

/// Rules of a page. A changed rule costs a page; every page costs a comparison.
const PAGE: usize = 64;

/// The rules of a policy by position. A clone is one count more, and two policies share what is told of rules that they have
/// in common.
#[derive(Clone, Default)]
pub struct RuleInfos {
    pages: Arc<[Arc<Page>]>,
}

/// Consecutive rules: [`PAGE`] of them, but for the last page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) infos: Vec<RuleInfo>,
    /// Of everything that is told of them.
    pub(super) digest: [u8; 32],
}

impl RuleInfos {
    /// So many rules. `known` gives the page of a run of positions where an earlier one is right, and `info` a rule.
    pub(super) fn new(
        len: usize,
        known: impl Fn(Range<usize>) -> Option<Arc<Page>>,
        info: impl Fn(usize) -> RuleInfo,
    ) -> Self {
        let page = |start: usize| {
            let range = start..len.min(start + PAGE);
            known(range.clone()).unwrap_or_else(|| {
                let infos: Vec<RuleInfo> = range.map(&info).collect();
                Arc::new(Page { digest: digest::of_rules(&infos), infos })
            })
        };
        Self { pages: (0..len).step_by(PAGE).map(page).collect() }
    }

    /// The page that holds exactly these positions.
    pub(super) fn page(&self, range: Range<usize>) -> Option<Arc<Page>> {
        let page = self.pages.get(range.start / PAGE)?;
        (range.start.is_multiple_of(PAGE) && page.infos.len() == range.len()).then(|| Arc::clone(page))
    }

    /// All pages.
    pub(super) fn pages(&self) -> impl ExactSizeIterator<Item = &Page> {
        self.pages.iter().map(Arc::as_ref)
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.infos.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The rule at a position.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&RuleInfo> {
        self.pages.get(position / PAGE)?.infos.get(position % PAGE)
    }

    /// All rules by position.
    pub fn iter(&self) -> impl Iterator<Item = &RuleInfo> {
        self.pages.iter().flat_map(|page| &page.infos)
    }

    /// Whether both are rules with the same ids, one after the other. Rules that are shared are not looked at.
    #[must_use]
    pub fn have_ids_of(&self, other: &Self) -> bool {
        self.alike(other, |one, other| one.iter().map(|rule| &rule.id).eq(other.iter().map(|rule| &rule.id)))
    }

    fn alike(&self, other: &Self, alike: impl Fn(&[RuleInfo], &[RuleInfo]) -> bool) -> bool {
        let alike = |(one, other): (&Arc<Page>, &Arc<Page>)| Arc::ptr_eq(one, other) || alike(&one.infos, &other.infos);
        self.pages.len() == other.pages.len() && self.pages.iter().zip(other.pages.iter()).all(alike)
    }
}

impl PartialEq for RuleInfos {
    fn eq(&self, other: &Self) -> bool {
        self.alike(other, |one, other| one == other)
    }
}

impl Eq for RuleInfos {}

impl Index<usize> for RuleInfos {
    type Output = RuleInfo;

    /// # Panics
    /// If there is no such rule.
    fn index(&self, position: usize) -> &RuleInfo {
        &self.pages[position / PAGE].infos[position % PAGE]
    }
}

impl fmt::Debug for RuleInfos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
