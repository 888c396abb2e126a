//! Compiled policies against a linear firewall that shares nothing with the compiler: it matches terms one by one, in the
//! order in which they are written. Both must decide alike on any policy and any packet.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::policy::{self, Decision, Lookup, Query};
use fw_policy::{Binding, Compiled, InterfaceBinding, SourceFile, Tables, load};
use proptest::prelude::*;
use time::macros::datetime;

const ZONES: [&str; 3] = ["a", "b", "c"];

/// A packet that opens a flow. Zones are positions in [`ZONES`]; 3 is the firewall itself.
#[derive(Clone, Debug)]
struct Packet {
    from: usize,
    to: usize,
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    src_port: u16,
    dst_port: u16,
}

#[derive(Clone, Debug)]
enum AddressTerm {
    Prefix(IpAddr, u8),
    Range(IpAddr, IpAddr),
    Set(usize),
}

#[derive(Clone, Debug)]
enum ServiceTerm {
    Protocol(u8),
    Ports { tcp: bool, first: u16, last: u16 },
    Table { source: (u16, u16), destination: (u16, u16) },
    Icmp { icmpv6: bool, kind: u8, code: Option<u8> },
    Set(usize),
}

/// Terms, each with whether it is an exclusion.
type Terms<T> = Vec<(bool, T)>;

#[derive(Clone, Debug)]
struct Rule {
    from: Vec<usize>,
    to: Vec<usize>,
    source: Option<Terms<AddressTerm>>,
    destination: Option<Terms<AddressTerm>>,
    services: Option<Terms<ServiceTerm>>,
    action: &'static str,
    log: bool,
    observes: bool,
}

/// Set `n` may name the sets below `n` only, so there are no cycles.
#[derive(Clone, Debug)]
struct Model {
    addresses: Vec<Terms<AddressTerm>>,
    services: Vec<Terms<ServiceTerm>>,
    rules: Vec<Rule>,
    zone_pairs: std::collections::BTreeMap<(usize, usize), &'static str>,
    default: &'static str,
}

// The linear firewall.

fn within(terms: &Terms<AddressTerm>, addr: IpAddr, model: &Model) -> bool {
    let holds = |term: &AddressTerm| match term {
        AddressTerm::Prefix(base, len) => masked(*base, *len) == masked(addr, *len) && base.is_ipv4() == addr.is_ipv4(),
        AddressTerm::Range(first, last) => first.is_ipv4() == addr.is_ipv4() && *first <= addr && addr <= *last,
        AddressTerm::Set(set) => within(&model.addresses[*set], addr, model),
    };
    listed(terms, holds)
}

fn serves(terms: &Terms<ServiceTerm>, packet: &Packet, model: &Model) -> bool {
    let holds = |term: &ServiceTerm| match term {
        ServiceTerm::Protocol(number) => packet.protocol == *number && exists(*number, packet.src.is_ipv4()),
        ServiceTerm::Ports { tcp, first, last } => {
            packet.protocol == if *tcp { 6 } else { 17 } && (*first..=*last).contains(&packet.dst_port)
        }
        ServiceTerm::Table { source, destination } => {
            packet.protocol == 6
                && (source.0..=source.1).contains(&packet.src_port)
                && (destination.0..=destination.1).contains(&packet.dst_port)
        }
        ServiceTerm::Icmp { icmpv6, kind, code } => {
            let [packet_kind, packet_code] = packet.dst_port.to_be_bytes();
            packet.protocol == if *icmpv6 { 58 } else { 1 }
                && packet.src.is_ipv4() != *icmpv6
                && packet_kind == *kind
                && code.is_none_or(|code| code == packet_code)
        }
        ServiceTerm::Set(set) => serves(&model.services[*set], packet, model),
    };
    listed(terms, holds)
}

/// ICMP exists in IPv4 only, ICMPv6 in IPv6 only.
fn exists(protocol: u8, ipv4: bool) -> bool {
    !(protocol == 1 && !ipv4 || protocol == 58 && ipv4)
}

fn listed<T>(terms: &Terms<T>, holds: impl Fn(&T) -> bool) -> bool {
    let only_exclusions = terms.iter().all(|(negated, _)| *negated);
    let included = only_exclusions || terms.iter().any(|(negated, term)| !negated && holds(term));
    included && !terms.iter().any(|(negated, term)| *negated && holds(term))
}

/// Action, id and whether it is logged; and the rules that observe the packet.
type Decided = (String, String, bool, Vec<String>);

fn decide(model: &Model, packet: &Packet) -> Decided {
    let matching = |rule: &Rule| {
        let addresses = |terms: &Option<Terms<AddressTerm>>, addr| match terms {
            Some(terms) => within(terms, addr, model),
            None => true,
        };
        rule.from.contains(&packet.from)
            && rule.to.contains(&packet.to)
            && addresses(&rule.source, packet.src)
            && addresses(&rule.destination, packet.dst)
            && rule.services.as_ref().is_none_or(|terms| serves(terms, packet, model))
    };
    let mut observing = Vec::new();
    for (position, rule) in model.rules.iter().enumerate().filter(|(_, rule)| matching(rule)) {
        if !rule.observes {
            return (rule.action.to_owned(), format!("r-{position}"), rule.log, observing);
        }
        observing.push(format!("r-{position}"));
    }
    let (action, default) = match model.zone_pairs.get(&(packet.from, packet.to)) {
        Some(action) => (*action, format!("default:{}>{}", name(packet.from), name(packet.to))),
        None => (model.default, "default".to_owned()),
    };
    (action.to_owned(), default, true, observing)
}

// The model as a policy file.

fn name(zone: usize) -> &'static str {
    ZONES.get(zone).copied().unwrap_or("local")
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn address_terms(terms: &Terms<AddressTerm>) -> String {
    array(terms.iter().map(|(negated, term)| {
        let not = if *negated { "!" } else { "" };
        match term {
            AddressTerm::Prefix(addr, len) => format!("\"{not}{}/{len}\"", masked(*addr, *len)),
            AddressTerm::Range(first, last) => format!("\"{not}{first}-{last}\""),
            AddressTerm::Set(set) => format!("\"{not}@s{set}\""),
        }
    }))
}

fn service_terms(terms: &Terms<ServiceTerm>) -> String {
    array(terms.iter().map(|(negated, term)| {
        let not = if *negated { "!" } else { "" };
        match term {
            ServiceTerm::Protocol(number) => format!("\"{not}proto/{number}\""),
            ServiceTerm::Ports { tcp, first, last } => {
                format!("\"{not}{}/{first}-{last}\"", if *tcp { "tcp" } else { "udp" })
            }
            ServiceTerm::Table { source, destination } => format!(
                "{{ proto = \"tcp\", port = [\"{}-{}\"], source_port = [\"{}-{}\"] }}",
                destination.0, destination.1, source.0, source.1
            ),
            ServiceTerm::Icmp { icmpv6, kind, code } => {
                let code = code.map(|code| format!("/{code}")).unwrap_or_default();
                format!("\"{not}{}/{kind}{code}\"", if *icmpv6 { "icmpv6" } else { "icmp" })
            }
            ServiceTerm::Set(set) => format!("\"{not}@s{set}\""),
        }
    }))
}

fn text(model: &Model) -> String {
    let mut text = format!("version = 1\n[defaults]\naction = \"{}\"\n", model.default);
    for (position, zone) in ZONES.iter().enumerate() {
        let _ = writeln!(text, "[zones.{zone}]\nnetworks = [\"100.{position}.0.0/16\"]");
    }
    text.push_str("[addresses]\n");
    for (number, terms) in model.addresses.iter().enumerate() {
        let _ = writeln!(text, "s{number} = {}", address_terms(terms));
    }
    text.push_str("[services]\n");
    for (number, terms) in model.services.iter().enumerate() {
        let _ = writeln!(text, "s{number} = {}", service_terms(terms));
    }
    for (position, rule) in model.rules.iter().enumerate() {
        let zones = |zones: &[usize]| array(zones.iter().map(|zone| format!("\"{}\"", name(*zone))));
        let _ = writeln!(
            text,
            "[[rule]]\nid = \"r-{position}\"\nfrom = {}\nto = {}\naction = \"{}\"\nlog = {}\nmode = \"{}\"",
            zones(&rule.from),
            zones(&rule.to),
            rule.action,
            rule.log,
            if rule.observes { "observe" } else { "enforce" }
        );
        for (key, terms) in [("source", &rule.source), ("destination", &rule.destination)] {
            if let Some(terms) = terms {
                let _ = writeln!(text, "{key} = {}", address_terms(terms));
            }
        }
        if let Some(terms) = &rule.services {
            let _ = writeln!(text, "services = {}", service_terms(terms));
        }
    }
    for ((from, to), action) in &model.zone_pairs {
        let (from, to) = (name(*from), name(*to));
        let _ = writeln!(text, "[[zone_pair]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"{action}\"");
    }
    text
}

fn compile(model: &Model) -> Compiled {
    let interface = |zone: &&str| InterfaceBinding { name: (*zone).to_owned(), zones: vec![(*zone).to_owned()] };
    let disabled = ["system-dhcp", "system-dhcpv6", "system-metadata", "system-dns", "system-time"];
    let binding = Binding {
        interfaces: ZONES.iter().map(interface).collect(),
        management: None,
        disabled_system_rules: disabled.map(str::to_owned).into(),
        ..Binding::default()
    };
    let policy = load(&[SourceFile { name: "model.toml".to_owned(), text: text(model) }]);
    let policy = policy.unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    policy.compile(&binding, datetime!(2026-07-01 0:00 UTC)).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn classified(compiled: &Compiled, packet: &Packet) -> Decided {
    let id = |zone| compiled.zones.iter().find(|known| known.name == name(zone)).expect("every zone has an id").id;
    let query = Query {
        src_addr: packet.src.into(),
        dst_addr: packet.dst.into(),
        from_zone: id(packet.from),
        to_zone: id(packet.to),
        protocol: packet.protocol,
        src_port: packet.src_port,
        dst_port: packet.dst_port,
    };
    let decision = compiled.tables.classify(&query);
    assert_eq!(from_known_lists(&compiled.tables, &query).unwrap_or(decision), decision, "{query:?}");
    let rule = compiled.rules[decision.rule as usize].id.clone();
    let observing = compiled.tables.observing(&query);
    let observing = observing.into_iter().map(|rule| compiled.rules[rule as usize].id.clone()).collect();
    (decision.action.name().to_owned(), rule, decision.log, observing)
}

/// The same from the lists alone that were found for another packet between the two addresses, if there is room for them.
fn from_known_lists(tables: &Tables, query: &Query) -> Option<Decision> {
    let other = Query { protocol: 1, src_port: 0, dst_port: 0, from_zone: 0, to_zone: 0, ..*query };
    let (mut first, mut second) = (Lookup::default(), Lookup::default());
    policy::find_lists(tables, &mut first, &other);
    let known = second.know_lists(first.lists());
    assert!(known || first.list_count() == 4, "there is room for three");
    known.then(|| policy::search(tables, &mut second, query))
}

// Models and packets: few distinct values, so that they meet.

fn masked(addr: IpAddr, len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(addr.to_bits() & mask).into()
        }
        IpAddr::V6(addr) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(addr.to_bits() & mask).into()
        }
    }
}

fn v4() -> impl Strategy<Value = IpAddr> {
    let high = prop::sample::select(vec![0u32, 10, 11, 127, 128, 255]);
    (high, 0u32..3, 0u32..4).prop_map(|(high, middle, low)| Ipv4Addr::from_bits(high << 24 | middle << 14 | low).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let high = prop::sample::select(vec![0u128, 0xfd, 0xfc, 0xff]);
    (high, 0u128..3, 0u128..4)
        .prop_map(|(high, middle, low)| Ipv6Addr::from_bits(high << 120 | middle << 71 | low).into())
}

fn address_term(sets: usize) -> BoxedStrategy<AddressTerm> {
    let prefix = prop_oneof![
        (v4(), 0u8..=32).prop_map(|(addr, len)| AddressTerm::Prefix(addr, len)),
        (v6(), 0u8..=128).prop_map(|(addr, len)| AddressTerm::Prefix(addr, len)),
    ];
    let range = prop_oneof![(v4(), v4()), (v6(), v6())].prop_map(|(a, b)| AddressTerm::Range(a.min(b), a.max(b)));
    if sets == 0 {
        return prop_oneof![3 => prefix, 1 => range].boxed();
    }
    prop_oneof![3 => prefix, 1 => range, 2 => (0..sets).prop_map(AddressTerm::Set)].boxed()
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![1u16..6, Just(u16::MAX)]
}

fn service_term(sets: usize) -> BoxedStrategy<ServiceTerm> {
    let range = || (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let literal = prop_oneof![
        prop::sample::select(vec![1u8, 6, 17, 47, 58]).prop_map(ServiceTerm::Protocol),
        (any::<bool>(), range()).prop_map(|(tcp, (first, last))| ServiceTerm::Ports { tcp, first, last }),
        (range(), range()).prop_map(|(source, destination)| ServiceTerm::Table { source, destination }),
        (any::<bool>(), prop::option::of(0u8..2)).prop_map(|(icmpv6, code)| {
            let kind = if icmpv6 { 128 } else { 8 };
            ServiceTerm::Icmp { icmpv6, kind, code }
        }),
    ];
    if sets == 0 {
        return literal.boxed();
    }
    prop_oneof![3 => literal, 2 => (0..sets).prop_map(ServiceTerm::Set)].boxed()
}

fn terms<T: std::fmt::Debug + Clone>(term: BoxedStrategy<T>) -> impl Strategy<Value = Terms<T>> {
    prop::collection::vec((prop::bool::weighted(0.3), term), 1..5)
}

/// A table of ports has no negated form.
fn all_services(sets: usize) -> impl Strategy<Value = Terms<ServiceTerm>> {
    terms(service_term(sets)).prop_map(|terms| {
        let negatable = |term: &ServiceTerm| !matches!(term, ServiceTerm::Table { .. });
        terms.into_iter().map(|(negated, term)| (negated && negatable(&term), term)).collect()
    })
}

fn zones() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::subsequence(vec![0usize, 1, 2, 3], 1..=4)
}

fn rule() -> impl Strategy<Value = Rule> {
    let addresses = || prop::option::weighted(0.8, terms(address_term(3)));
    let action = prop::sample::select(vec!["allow", "drop", "reject"]);
    let said = (action, any::<bool>(), prop::bool::weighted(0.3));
    (zones(), zones(), addresses(), addresses(), prop::option::weighted(0.7, all_services(2)), said).prop_map(
        |(from, to, source, destination, services, (action, log, observes))| Rule {
            from,
            to,
            source,
            destination,
            services,
            action,
            log,
            observes,
        },
    )
}

fn model() -> impl Strategy<Value = Model> {
    let drop_or_reject = || prop::sample::select(vec!["drop", "reject"]);
    let addresses = (terms(address_term(0)), terms(address_term(1)), terms(address_term(2)));
    let services = (all_services(0), all_services(1));
    let zone_pairs = prop::collection::btree_map((0usize..4, 0usize..4), drop_or_reject(), 0..4);
    (addresses, services, prop::collection::vec(rule(), 0..10), zone_pairs, drop_or_reject()).prop_map(
        |((a, b, c), (d, e), rules, zone_pairs, default)| Model {
            addresses: vec![a, b, c],
            services: vec![d, e],
            rules,
            zone_pairs,
            default,
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let addresses = prop_oneof![(v4(), v4()), (v6(), v6())];
    let protocol = prop::sample::select(vec![1u8, 6, 17, 47, 58]);
    (0usize..4, 0usize..4, addresses, protocol, port(), port(), 0u16..2).prop_map(
        |(from, to, (src, dst), protocol, src_port, dst_port, code)| {
            let (src_port, dst_port) = match protocol {
                1 => (0, 8 << 8 | code),
                58 => (0, 128 << 8 | code),
                47 => (0, 0),
                _ => (src_port, dst_port),
            };
            Packet { from, to, src, dst, protocol, src_port, dst_port }
        },
    )
}

proptest! {
    #[test]
    fn compiled_policies_decide_like_a_linear_firewall(
        model in model(),
        packets in prop::collection::vec(packet(), 40),
    ) {
        let compiled = compile(&model);
        for packet in packets {
            prop_assert_eq!(classified(&compiled, &packet), decide(&model, &packet), "{:?}\n{}", packet, text(&model));
        }
    }

    #[test]
    fn a_policy_compiles_to_the_same_tables_every_time(model in model()) {
        let (one, other) = (compile(&model), compile(&model));
        prop_assert_eq!(&one.tables, &other.tables);
        prop_assert_eq!(one.digest, other.digest);
    }
}
