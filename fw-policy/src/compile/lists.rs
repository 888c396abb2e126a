//! Writes the lists of pairs: runs of entries, or splits that lead to them, as [`fw_common::policy::list`] reads them.

use std::ops::Range;

use fw_common::abi::tables::{
    Entry, EntryLine, LAST_ENTRY, LIST_IS_SPLIT, MAX_LIST, MAX_SPLIT_LEVELS, SMALL_SPLIT, SplitLine, dimension,
};

use super::clause::Clause;
use super::hash::IdMap;
use super::operands::Services;
use super::split::{self, Cut};
use crate::tables::Column;

/// A list up to this length is walked; a longer one is split, unless that does not make it shorter. Entries lie four to a
/// line, so this is two lines: what a split costs to pass.
pub(super) const SHORT: usize = 8;
/// How many intervals a split can have.
const MAX_INTERVALS: usize = 16usize.pow(MAX_SPLIT_LEVELS);

/// One service of one clause, with its zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) services: Services,
    pub(super) clause: u32,
    pub(super) from_zones: u64,
    pub(super) to_zones: u64,
    /// What matches it is matched by the entries behind it, too.
    pub(super) observes: bool,
}

impl Candidate {
    pub(super) fn new(services: Services, position: u32, clause: &Clause) -> Self {
        let Clause { from_zones, to_zones, observes, .. } = *clause;
        Self { services, clause: position, from_zones, to_zones, observes }
    }

    /// Whether everything that matches `other` matches `self` and is decided by it, in the dimensions whose bits `decided` does not have.
    pub(super) const fn covers(&self, other: &Self, decided: u32) -> bool {
        let service = decided & 1 << dimension::SERVICE != 0
            || (self.services.first <= other.services.first && other.services.last <= self.services.last);
        let (own, others) = (self.services.src_port, other.services.src_port);
        let source = decided & 1 << dimension::SOURCE_PORT != 0 || (own.0 <= others.0 && others.1 <= own.1);
        let zones = decided & 1 << dimension::ZONES != 0
            || (other.from_zones & !self.from_zones == 0 && other.to_zones & !self.to_zones == 0);
        !self.observes && service && source && zones
    }
}

/// The tables of lists, while they grow.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) entries: Column<EntryLine>,
    pub(super) splits: Column<SplitLine>,
    /// Runs that are written, by what is in them; those of one entry apart, as most are.
    written: IdMap<Vec<Item>, u32>,
    written_alone: IdMap<Item, u32>,
    /// By clause: the first of its services that was written alone. Most clauses have one.
    first_alone: Vec<Option<(Services, u32)>>,
}

/// What an entry is: a clause and services of it.
type Item = (u32, Services);

/// Why a list cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListFault {
    /// The lists would take more memory than they may.
    OutOfMemory,
    /// More than [`MAX_LIST`] entries are left that no split tells apart: rules that observe, and the one that decides, of which all
    /// match the same packets.
    TooLong {
        /// The clause of the first of them.
        first: u32,
    },
}

impl Lists {
    /// Makes room for lists of one entry of so many clauses.
    pub(super) fn reserve(&mut self, clauses: usize) {
        self.first_alone.resize(clauses.max(self.first_alone.len()), None);
    }

    /// Bytes that the lists take so far.
    fn bytes(&self) -> usize {
        (self.entries.lines().len() + self.splits.lines().len()) * fw_common::abi::tables::LINE
    }

    /// Writes a list of at least one candidate, which ascend by clause. What can never match is left out.
    pub(super) fn write(&mut self, list: &[Candidate], most_bytes: usize) -> Result<u32, ListFault> {
        self.write_undecided(list, 0, most_bytes)
    }

    /// The same, with the dimensions in `decided` already split.
    fn write_undecided(&mut self, list: &[Candidate], decided: u32, most_bytes: usize) -> Result<u32, ListFault> {
        if self.bytes() > most_bytes {
            return Err(ListFault::OutOfMemory);
        }
        if let [_] = list {
            return Ok(self.run(list));
        }
        let list = without_covered(list, decided);
        if list.len() <= SHORT {
            return Ok(self.run(&list));
        }
        let cuts = split::cuts(&list, decided);
        // A cut that leaves lists nearly as long as they were costs more than it saves, but for a list that is too long to be
        // walked. Where all three dimensions are cut, whatever is left matches, and so only the first entry is.
        let must = list.len() > MAX_LIST as usize;
        let possible = |cut: &Cut| cut.lists.len() <= MAX_INTERVALS && (must || cut.is_worth_it(list.len()));
        match cuts.into_iter().filter(possible).min_by_key(Cut::cost) {
            Some(cut) => self.split(&list, &cut, decided, most_bytes),
            None if list.len() <= MAX_LIST as usize => Ok(self.run(&list)),
            None => Err(ListFault::TooLong { first: list[0].clause }),
        }
    }

    /// Writes a list of one entry.
    pub(super) fn write_one(&mut self, clause: u32, services: Services) -> u32 {
        let item = (clause, services);
        match self.first_alone.get_mut(clause as usize) {
            Some(Some((first, start))) if *first == services => *start,
            Some(first @ None) => first.insert((services, new_run(&mut self.entries, &[item]))).1,
            Some(Some(_)) | None => {
                *self.written_alone.entry(item).or_insert_with(|| new_run(&mut self.entries, &[item]))
            }
        }
    }

    fn run(&mut self, list: &[Candidate]) -> u32 {
        if let [Candidate { clause, services, .. }] = list {
            return self.write_one(*clause, *services);
        }
        let items: Vec<Item> = list.iter().map(|candidate| (candidate.clause, candidate.services)).collect();
        if let Some(start) = self.written.get(&items) {
            return *start;
        }
        let start = new_run(&mut self.entries, &items);
        self.written.insert(items, start);
        start
    }

    fn split(&mut self, list: &[Candidate], cut: &Cut, decided: u32, most_bytes: usize) -> Result<u32, ListFault> {
        let decided = decided | 1 << cut.dimension;
        let mut known: IdMap<&[u32], u32> = IdMap::default();
        let mut lists = Vec::with_capacity(cut.lists.len());
        for members in &cut.lists {
            let written = match known.get(members.as_slice()) {
                Some(written) => *written,
                None => {
                    let part: Vec<Candidate> = members.iter().map(|member| list[*member as usize]).collect();
                    // Where no entry matches, any that does not match either will do: the list is never empty.
                    let part = if part.is_empty() { vec![NEVER] } else { part };
                    self.write_undecided(&part, decided, most_bytes)?
                }
            };
            known.insert(members, written);
            lists.push(written);
        }
        let head = if lists.len() <= SMALL_SPLIT { self.small(cut, &lists) } else { self.large(cut, &lists) };
        Ok(u32::try_from(head).unwrap_or(0) | LIST_IS_SPLIT)
    }

    /// A split that is one line; its position.
    fn small(&mut self, cut: &Cut, lists: &[u32]) -> usize {
        let head = self.lines(1);
        let mut words = [u32::MAX; 16];
        words[0] = cut.dimension;
        words[1..].iter_mut().zip(&cut.keys[1..]).for_each(|(word, key)| *word = *key);
        words[SMALL_SPLIT..].iter_mut().zip(lists).for_each(|(word, list)| *word = *list);
        self.put(head, &words);
        head
    }

    fn large(&mut self, cut: &Cut, lists: &[u32]) -> usize {
        // The levels from the last to the first: each has the first key of every line of the one behind.
        let mut levels = vec![cut.keys.clone()];
        while let Some(level) = levels.last()
            && level.len() > 16
        {
            levels.push(level.chunks(16).map(|line| line[0]).collect());
        }
        let head = self.lines(1);
        let mut words = [0; 16];
        words[0] = cut.dimension | u32::try_from(levels.len()).unwrap_or(0) << 8;
        words[1] = self.written_lines(lists, 0);
        for (word, level) in words[2..].iter_mut().zip(levels.iter().rev()) {
            *word = self.written_lines(level, u32::MAX);
        }
        self.put(head, &words);
        head
    }

    /// Adds lines; the position of the first.
    fn lines(&mut self, count: usize) -> usize {
        self.splits.grow(count * 16) / 16
    }

    fn put(&mut self, line: usize, words: &[u32]) {
        words.iter().zip(line * 16..).for_each(|(word, at)| self.splits.set(at, *word));
    }

    /// Adds words, and what fills the last line; the position of the first line.
    fn written_lines(&mut self, words: &[u32], fill: u32) -> u32 {
        let first = self.lines(words.len().div_ceil(16));
        self.put(first, words);
        let behind: Range<usize> = first * 16 + words.len()..self.splits.len();
        behind.for_each(|at| self.splits.set(at, fill));
        u32::try_from(first).unwrap_or(0)
    }
}

/// Adds entries; the position of the first.
fn new_run(entries: &mut Column<EntryLine>, run: &[Item]) -> u32 {
    // A run that fits into a line lies in one.
    let taken = entries.len() % 4;
    if taken != 0 && taken + run.len() > 4 && run.len() <= 4 {
        entries.align();
    }
    let start = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    for (position, (clause, services)) in run.iter().enumerate() {
        let last = if position + 1 == run.len() { LAST_ENTRY } else { 0 };
        entries.push(Entry {
            services: [services.first, services.last | last],
            src_port: [services.src_port.0, services.src_port.1],
            clause: *clause,
        });
    }
    start
}

/// Matches nothing: the service ends before it begins.
const NEVER: Candidate = Candidate {
    services: Services { first: 1, last: 0, src_port: (0, 0) },
    clause: u32::MAX - 1,
    from_zones: 0,
    to_zones: 0,
    observes: false,
};

/// Leaves out what comes behind an entry that matches all of it and decides.
fn without_covered(list: &[Candidate], decided: u32) -> Vec<Candidate> {
    /// How many entries before each are looked at.
    const LOOK_BACK: usize = 32;
    let mut kept: Vec<Candidate> = Vec::with_capacity(list.len());
    for candidate in list {
        if !kept.iter().take(LOOK_BACK).any(|before| before.covers(candidate, decided)) {
            kept.push(*candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
