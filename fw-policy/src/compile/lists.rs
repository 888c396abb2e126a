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
}

impl Candidate {
    pub(super) fn new(services: Services, position: u32, clause: &Clause) -> Self {
        Self { services, clause: position, from_zones: clause.from_zones, to_zones: clause.to_zones }
    }

    /// Whether everything that matches `other` matches `self`, in the dimensions whose bits `decided` does not have.
    pub(super) const fn covers(&self, other: &Self, decided: u32) -> bool {
        let service = decided & 1 << dimension::SERVICE != 0
            || (self.services.first <= other.services.first && other.services.last <= self.services.last);
        let (own, others) = (self.services.src_port, other.services.src_port);
        let source = decided & 1 << dimension::SOURCE_PORT != 0 || (own.0 <= others.0 && others.1 <= own.1);
        let zones = decided & 1 << dimension::ZONES != 0
            || (other.from_zones & !self.from_zones == 0 && other.to_zones & !self.to_zones == 0);
        service && source && zones
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

/// The lists would take more memory than they may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfMemory;

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
    pub(super) fn write(&mut self, list: &[Candidate], most_bytes: usize) -> Result<u32, OutOfMemory> {
        self.write_undecided(list, 0, most_bytes)
    }

    /// The same, with the dimensions in `decided` already split.
    fn write_undecided(&mut self, list: &[Candidate], decided: u32, most_bytes: usize) -> Result<u32, OutOfMemory> {
        if self.bytes() > most_bytes {
            return Err(OutOfMemory);
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
            None => Err(OutOfMemory),
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

    fn split(&mut self, list: &[Candidate], cut: &Cut, decided: u32, most_bytes: usize) -> Result<u32, OutOfMemory> {
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
};

/// Leaves out what comes behind an entry that matches all of it.
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
mod tests {
    use super::*;
    use fw_common::abi::policy::zone;
    use fw_common::abi::tables::{DefaultLine, HeaderLine, MAX_SERVICE, PairSlot, RootLine};
    use fw_common::policy::Query;
    use fw_common::wire::Address;
    use proptest::prelude::*;

    use crate::tables::Tables;

    /// Tables in which every packet meets this list.
    fn tables(list: &[Candidate]) -> Tables {
        let mut lists = Lists::default();
        let first = lists.write(list, usize::MAX).unwrap();
        let slot = PairSlot { source: 1, destination: 1, list: first, first_clause: list[0].clause };
        let clauses = list.iter().map(|candidate| (candidate.clause, candidate));
        let mut table: Vec<fw_common::abi::tables::Clause> = Vec::new();
        for (position, candidate) in clauses {
            table.resize(position as usize + 1, fw_common::abi::tables::Clause::default());
            table[position as usize] = fw_common::abi::tables::Clause {
                from_zones: candidate.from_zones,
                to_zones: candidate.to_zones,
                rule: position,
                action: 1,
                ..fw_common::abi::tables::Clause::default()
            };
        }
        let mut roots = Column::<RootLine>::new();
        let line = RootLine { roots: [fw_common::abi::tables::ROOT_IS_CLASS; 16] };
        roots.extend_whole(std::iter::repeat_n(line, 4 << 12));
        let marked = 1 | fw_common::abi::tables::PAIRS_SPECIFIC;
        let class = fw_common::abi::tables::AddressClass { specific: marked, wide: 0 };
        let none = fw_common::abi::policy::ZoneDefault { rule: u32::MAX, ..Default::default() };
        Tables {
            header: HeaderLine { pair_buckets: 1, ..HeaderLine::default() },
            roots,
            classes: std::iter::once(class).collect(),
            pairs: crate::compile::pair_table::PairTable::following(None, &[slot]).buckets,
            splits: lists.splits,
            entries: lists.entries,
            clauses: table.into_iter().collect(),
            zone_defaults: std::iter::repeat_n(none, zone::COUNT * zone::COUNT).collect::<Column<DefaultLine>>(),
            ..Tables::default()
        }
    }

    fn linear(list: &[Candidate], query: &Query) -> u32 {
        let service = u32::from(query.protocol) << 16 | u32::from(query.dst_port);
        let matches = |one: &&Candidate| {
            (one.services.first..=one.services.last).contains(&service)
                && (one.services.src_port.0..=one.services.src_port.1).contains(&query.src_port)
                && one.from_zones & zone::bit(query.from_zone) != 0
                && one.to_zones & zone::bit(query.to_zone) != 0
        };
        list.iter().find(matches).map_or(u32::MAX, |one| one.clause)
    }

    fn candidates(longest: usize) -> impl Strategy<Value = Vec<Candidate>> {
        let range = |highest: u32| (0..=highest, 0..=highest).prop_map(|(a, b)| (a.min(b), a.max(b)));
        let services = prop_oneof![
            4 => (0u32..2, 0u32..40).prop_map(|(protocol, port)| (protocol << 16 | port, protocol << 16 | port)),
            2 => range(1 << 16 | 40),
            1 => Just((0, MAX_SERVICE)),
        ];
        let src_port = prop_oneof![3 => Just((0, u32::from(u16::MAX))), 1 => range(40)];
        let zones = prop_oneof![2 => Just(u64::MAX), 1 => 0u64..16];
        let one = (services, src_port, zones.clone(), zones, 0u32..2);
        prop::collection::vec(one, 1..longest).prop_map(|list| {
            let mut clause = 0;
            list.into_iter()
                .map(|((first, last), (from, to), from_zones, to_zones, step)| {
                    clause += step;
                    let port = |number: u32| u16::try_from(number).unwrap();
                    let services = Services { first, last, src_port: (port(from), port(to)) };
                    Candidate { services, clause, from_zones, to_zones }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_list_finds_what_plain_search_finds(
            // Zones belong to a clause, so all entries of one have the same.
            list in candidates(200).prop_map(one_clause_each),
            queries in prop::collection::vec((0u8..2, 0u16..42, 0u16..42, 0u8..5, 0u8..5), 100),
        ) {
            let tables = tables(&list);
            for (protocol, dst_port, src_port, from_zone, to_zone) in queries {
                let addr = Address::v4([10, 0, 0, 1]);
                let query = Query { src_addr: addr, dst_addr: addr, from_zone, to_zone, protocol, src_port, dst_port };
                prop_assert_eq!(tables.classify(&query).rule, linear(&list, &query), "{:?}", query);
            }
        }
    }

    fn one_clause_each(list: Vec<Candidate>) -> Vec<Candidate> {
        list.into_iter().zip(0..).map(|(one, clause)| Candidate { clause, ..one }).collect()
    }

    fn of_port(clause: u32, port: u32) -> Candidate {
        let services = Services { first: 6 << 16 | port, last: 6 << 16 | port, src_port: (0, u16::MAX) };
        Candidate { services, clause, from_zones: u64::MAX, to_zones: u64::MAX }
    }

    #[test]
    fn sixty_thousand_services_are_found_in_a_few_lines() {
        let list: Vec<Candidate> = (0..60_000).map(|clause| of_port(clause, 60_000 - clause)).collect();
        let tables = tables(&list);
        for port in [0u16, 1, 2, 15, 16, 17, 255, 256, 4095, 4096, 30_000, 59_999, 60_000, 60_001, u16::MAX] {
            let addr = Address::v4([10, 0, 0, 1]);
            let query = Query {
                src_addr: addr,
                dst_addr: addr,
                from_zone: 1,
                to_zone: 1,
                protocol: 6,
                src_port: 7,
                dst_port: port,
            };
            assert_eq!(tables.classify(&query).rule, linear(&list, &query), "port {port}");
        }
        let head = tables.splits.lines()[(tables.pairs[0].slots[0].list & !LIST_IS_SPLIT) as usize];
        assert_eq!(head.words[0] >> 8, 4, "levels");
    }

    #[test]
    fn rules_that_cross_in_services_and_source_ports_are_told_apart() {
        // Each overlaps all others, and none holds another: the worst for any split.
        let crossing = |clause: u32| {
            let port = u16::try_from(400 - clause).unwrap();
            let services =
                Services { first: 6 << 16 | clause, last: 6 << 16 | (clause + 400), src_port: (port, port + 400) };
            Candidate { services, ..of_port(clause, 0) }
        };
        let list: Vec<Candidate> = (0..400).map(crossing).collect();
        let tables = tables(&list);
        for (src_port, dst_port) in (0..900).step_by(13).flat_map(|src| (0..900).step_by(17).map(move |dst| (src, dst)))
        {
            let addr = Address::v4([10, 0, 0, 1]);
            let query =
                Query { src_addr: addr, dst_addr: addr, from_zone: 1, to_zone: 1, protocol: 6, src_port, dst_port };
            assert_eq!(tables.classify(&query).rule, linear(&list, &query), "{src_port} > {dst_port}");
        }
    }
}
