//! Lists against plain search: what decides, and what observes in front of it.

use super::*;
use fw_common::abi::policy::zone;
use fw_common::abi::tables::{DefaultLine, HeaderLine, MAX_SERVICE, OBSERVES, PairSlot, RootLine};
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
            flags: if candidate.observes { OBSERVES } else { 0 },
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

/// The clause that decides, and those in front of it that observe.
fn linear(list: &[Candidate], query: &Query) -> (u32, Vec<u32>) {
    let service = u32::from(query.protocol) << 16 | u32::from(query.dst_port);
    let matches = |one: &&Candidate| {
        (one.services.first..=one.services.last).contains(&service)
            && (one.services.src_port.0..=one.services.src_port.1).contains(&query.src_port)
            && one.from_zones & zone::bit(query.from_zone) != 0
            && one.to_zones & zone::bit(query.to_zone) != 0
    };
    let mut matching = list.iter().filter(matches);
    let observing = matching.by_ref().take_while(|one| one.observes).map(|one| one.clause).collect();
    let decides = list.iter().filter(matches).find(|one| !one.observes);
    (decides.map_or(u32::MAX, |one| one.clause), observing)
}

fn found(tables: &Tables, query: &Query) -> (u32, Vec<u32>) {
    (tables.classify(query).rule, tables.observing(query))
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
    let one = (services, src_port, zones.clone(), zones, 0u32..2, prop::bool::weighted(0.2));
    prop::collection::vec(one, 1..longest).prop_map(|list| {
        let mut clause = 0;
        list.into_iter()
            .map(|((first, last), (from, to), from_zones, to_zones, step, observes)| {
                clause += step;
                let port = |number: u32| u16::try_from(number).unwrap();
                let services = Services { first, last, src_port: (port(from), port(to)) };
                Candidate { services, clause, from_zones, to_zones, observes }
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
            prop_assert_eq!(found(&tables, &query), linear(&list, &query), "{:?}", query);
        }
    }
}

fn one_clause_each(list: Vec<Candidate>) -> Vec<Candidate> {
    list.into_iter().zip(0..).map(|(one, clause)| Candidate { clause, ..one }).collect()
}

fn of_port(clause: u32, port: u32) -> Candidate {
    let services = Services { first: 6 << 16 | port, last: 6 << 16 | port, src_port: (0, u16::MAX) };
    Candidate { services, clause, from_zones: u64::MAX, to_zones: u64::MAX, observes: false }
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
        assert_eq!(found(&tables, &query), linear(&list, &query), "port {port}");
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
    for (src_port, dst_port) in (0..900).step_by(13).flat_map(|src| (0..900).step_by(17).map(move |dst| (src, dst))) {
        let addr = Address::v4([10, 0, 0, 1]);
        let query = Query { src_addr: addr, dst_addr: addr, from_zone: 1, to_zone: 1, protocol: 6, src_port, dst_port };
        assert_eq!(found(&tables, &query), linear(&list, &query), "{src_port} > {dst_port}");
    }
}

#[test]
fn thousands_of_rules_that_observe_one_packet_are_all_found_and_more_are_refused() {
    let observing = |count: u32| {
        let everything = |clause: u32| Candidate {
            services: Services { first: 0, last: MAX_SERVICE, src_port: (0, u16::MAX) },
            observes: clause < count,
            ..of_port(clause, 0)
        };
        (0..=count).map(everything).collect::<Vec<Candidate>>()
    };
    let addr = Address::v4([10, 0, 0, 1]);
    let query =
        Query { src_addr: addr, dst_addr: addr, from_zone: 1, to_zone: 1, protocol: 6, src_port: 7, dst_port: 80 };
    let list = observing(MAX_LIST - 1);
    assert_eq!(found(&tables(&list), &query), (MAX_LIST - 1, (0..MAX_LIST - 1).collect()));
    assert_eq!(Lists::default().write(&observing(MAX_LIST), usize::MAX), Err(ListFault::TooLong { first: 0 }));
}
