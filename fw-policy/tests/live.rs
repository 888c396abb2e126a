//! Policies whose address sets change against the same policies read from the start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::policy::Query;
use fw_policy::{Binding, Compiled, LiveSets, Options, Policy, SetChangeError, SourceFile, load};
use proptest::prelude::*;
use time::OffsetDateTime;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

type Prefix = (IpAddr, u8);

fn array(prefixes: &[Prefix]) -> String {
    let quoted: Vec<String> = prefixes.iter().map(|(addr, len)| format!("\"{addr}/{len}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Rules for single prefixes, between rules for the sets: one alone, one with another set and an exclusion.
fn text(first: &[Prefix], second: &[Prefix], others: &[(Prefix, Prefix)]) -> String {
    let mut text = format!(
        "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[addresses]\nfirst = {}\nsecond = {}\n\
         both = [\"@first\", \"@second\", \"!10.0.0.0/30\"]\n",
        array(first),
        array(second)
    );
    let mut rule = |id: String, keys: String| {
        text.push_str(&format!("[[rule]]\nid = \"{id}\"\nfrom = [\"a\"]\nto = [\"a\"]\naction = \"allow\"\n{keys}\n"));
    };
    for (number, (source, destination)) in others.iter().enumerate() {
        let (source, destination) = (array(&[*source]), array(&[*destination]));
        rule(format!("r-{number}"), format!("source = {source}\ndestination = {destination}\nservices = [\"tcp/80\"]"));
        if number == 1 {
            rule("from-first".to_owned(), format!("source = [\"@first\"]\ndestination = {destination}"));
            rule("to-second".to_owned(), "destination = [\"@second\"]\nservices = [\"udp\"]".to_owned());
        }
    }
    rule("both-ways".to_owned(), "source = [\"@both\"]\ndestination = [\"@first\"]".to_owned());
    text
}

fn policy(text: String) -> Policy {
    load(&[SourceFile { name: "live.toml".to_owned(), text }]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn compile(policy: &Policy) -> Compiled {
    policy.compile(&Binding::offline(policy), NOW).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn live(policy: Policy, options: &Options) -> LiveSets {
    let binding = Binding::offline(&policy);
    LiveSets::new(policy, &binding, NOW, options).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

fn decided(compiled: &Compiled, src: IpAddr, dst: IpAddr, protocol: u8) -> String {
    let query = Query {
        src_addr: src.into(),
        dst_addr: dst.into(),
        from_zone: 1,
        to_zone: 1,
        protocol,
        src_port: 7,
        dst_port: 80,
    };
    compiled.rules[compiled.tables.classify(&query).rule as usize].id.clone()
}

fn v4(high: u32, low: u32) -> IpAddr {
    Ipv4Addr::from_bits(10 << 24 | high << 8 | low).into()
}

fn v6(high: u128, low: u128) -> IpAddr {
    Ipv6Addr::from_bits(0xfd << 120 | high << 80 | low).into()
}

fn addr() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0u32..3, 0u32..8).prop_map(|(high, low)| v4(high, low)),
        1 => (0u128..3, 0u128..4).prop_map(|(high, low)| v6(high, low)),
    ]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let v4_prefix = (0u32..3, 0u32..8, 20u8..=32).prop_map(|(high, low, len)| {
        let bits = (10 << 24 | high << 8 | low) & u32::MAX << (32 - u32::from(len));
        (IpAddr::from(Ipv4Addr::from_bits(bits)), len)
    });
    let v6_prefix = (0u128..3, 0u128..4, 40u8..=128).prop_map(|(high, low, len)| {
        let bits = (0xfd << 120 | high << 80 | low) & u128::MAX << (128 - u32::from(len));
        (IpAddr::from(Ipv6Addr::from_bits(bits)), len)
    });
    prop_oneof![3 => v4_prefix, 1 => v6_prefix]
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    prop::collection::vec(prefix(), 1..8)
}

/// Pairs of prefixes of one family.
fn pair() -> impl Strategy<Value = (Prefix, Prefix)> {
    (prefix(), prefix()).prop_map(|(source, destination)| {
        let alike = source.0.is_ipv4() == destination.0.is_ipv4();
        (source, if alike { destination } else { source })
    })
}

proptest! {
    #[test]
    fn a_changed_set_decides_as_if_it_had_been_written_so(
        (first, second) in (prefixes(), prefixes()),
        others in prop::collection::vec(pair(), 2..6),
        changes in prop::collection::vec((any::<bool>(), prefixes()), 1..6),
        queries in prop::collection::vec((addr(), addr(), prop::sample::select(vec![6u8, 17])), 40),
    ) {
        let (mut first, mut second) = (first, second);
        let mut live = live(policy(text(&first, &second, &others)), &Options::default());
        for (of_first, prefixes) in changes {
            let name = if of_first { "first" } else { "second" };
            live.replace(name, prefixes.iter().copied()).unwrap();
            *(if of_first { &mut first } else { &mut second }) = prefixes;
            let written = compile(&policy(text(&first, &second, &others)));
            for (src, dst, protocol) in &queries {
                if src.is_ipv4() == dst.is_ipv4() {
                    let (got, expected) =
                        (decided(live.compiled(), *src, *dst, *protocol), decided(&written, *src, *dst, *protocol));
                    prop_assert_eq!(got, expected, "{} > {} over {}\n{}", src, dst, protocol, text(&first, &second, &others));
                }
            }
        }
    }
}

#[test]
fn the_digest_follows_a_change() {
    let before = [(v4(0, 0), 32)];
    let mut live = live(policy(text(&before, &before, &[((v4(1, 0), 32), (v4(2, 0), 32)); 2])), &Options::default());
    let digest = live.compiled().digest;
    live.replace("first", [(v4(0, 0), 32), (v4(0, 7), 32)].into_iter()).unwrap();
    assert_ne!(live.compiled().digest, digest);
}

#[test]
fn what_cannot_be_changed_changes_nothing() {
    let before = [(v4(0, 0), 32)];
    let policy = policy(text(&before, &before, &[((v4(1, 0), 32), (v4(2, 0), 32)); 2]));
    let memory = compile(&policy).memory.total();
    let options = Options { memory_budget: memory + (64 << 10), ..Options::default() };
    let mut live = live(policy, &options);
    let tables = live.compiled().tables.clone();
    assert!(
        matches!(live.replace("third", std::iter::empty()), Err(SetChangeError::UnknownSet(name)) if name == "third")
    );
    let many = (0..20_000).map(|n| (v4(n, 1), 32));
    assert!(matches!(live.replace("first", many), Err(SetChangeError::Refused(_))));
    assert_eq!(live.compiled().tables, tables);
    live.replace("first", std::iter::empty()).unwrap();
    assert_eq!(decided(live.compiled(), v4(0, 0), v4(0, 0), 6), "default", "an empty set matches nothing");
    live.replace("first", before.into_iter()).unwrap();
    assert_eq!(live.compiled().tables, tables);
}
