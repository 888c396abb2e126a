//! The generated rule sets are like the published ones, and compiled they decide as plain search does.

use fw_common::policy::Query;
use fw_policy::Compiled;
use fw_testkit::classbench::{ANY_PORT, Family, Header, Rule, RuleSet, Style, Trace, measure};

fn share(set: &RuleSet, holds: impl Fn(&Rule) -> bool) -> f64 {
    set.rules.iter().filter(|rule| holds(rule)).count() as f64 / set.rules.len() as f64
}

#[test]
fn the_styles_are_those_of_the_published_parameters() {
    let [acl, fw, ipc] = Style::ALL.map(|style| RuleSet::generate(style, Family::V4, 10_000, 1));
    let exact = |rule: &Rule| rule.dst_port.0 == rule.dst_port.1;
    // Shares that the parameter files give, with room for duplicates that were replaced and for smoothness.
    let expected = [
        ("acl1: TCP", share(&acl, |rule| rule.protocol == Some(6)), 0.87),
        ("acl1: exact destination ports", share(&acl, exact), 0.58),
        ("acl1: sources of 30 bits and more", share(&acl, |rule| rule.source.len >= 30), 0.9),
        ("fw1: TCP", share(&fw, |rule| rule.protocol == Some(6)), 0.57),
        ("fw1: sources of up to 2 bits", share(&fw, |rule| rule.source.len <= 2), 0.6),
        ("fw1: destinations of 30 bits and more", share(&fw, |rule| rule.destination.len >= 30), 0.68),
        ("fw1: source ports", share(&fw, |rule| rule.src_port != ANY_PORT), 0.25),
        ("ipc1: sources of up to 2 bits", share(&ipc, |rule| rule.source.len <= 2), 0.11),
        ("ipc1: exact destination ports", share(&ipc, exact), 0.38),
    ];
    for (what, share, published) in expected {
        assert!((share - published).abs() < 0.08, "{what}: {share:.3}, published {published}");
    }
}

#[test]
fn the_same_seed_makes_the_same_set_and_another_one_another() {
    let rules = |seed| RuleSet::generate(Style::Ipc, Family::V6, 500, seed).rules;
    assert_eq!(rules(1), rules(1));
    assert_ne!(rules(1), rules(2));
    assert_eq!(
        [10, 77, 1000].map(|count| RuleSet::generate(Style::Fw, Family::V4, count, 1).rules.len()),
        [10, 77, 1000]
    );
}

fn query(set: &RuleSet, header: &Header) -> Query {
    Query {
        src_addr: set.address(header.source).into(),
        dst_addr: set.address(header.destination).into(),
        from_zone: 1,
        to_zone: 2,
        protocol: header.protocol,
        src_port: header.src_port,
        dst_port: header.dst_port,
    }
}

fn decided<'c>(compiled: &'c Compiled, query: &Query) -> &'c str {
    &compiled.rules[compiled.tables.classify(query).rule as usize].id
}

#[test]
fn every_style_decides_as_plain_search() {
    for (style, family) in Style::ALL.into_iter().flat_map(|style| [(style, Family::V4), (style, Family::V6)]) {
        let set = RuleSet::generate(style, family, 3000, 11);
        let compiled = measure::Stopwatch::default().compile(&set.files());
        let (compiled, _) = compiled.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        let mut matched = 0;
        for trace in [Trace::Pareto(0.0), Trace::Zipf(50), Trace::Uniform] {
            for header in set.trace(trace, 1000, 12) {
                let expected = set.first_match(&header).map(|rule| format!("r-{rule}"));
                matched += usize::from(expected.is_some());
                let query = query(&set, &header);
                let expected = expected.as_deref().unwrap_or("default");
                assert_eq!(decided(&compiled, &query), expected, "{style:?} {family:?} {header:?}");
            }
        }
        assert!(matched > 1500, "{style:?} {family:?}: {matched} of 3000 match");
    }
}

#[test]
fn before_a_rule_that_allows_everything_every_packet_is_allowed() {
    let set = RuleSet::generate(Style::Fw, Family::V4, 200, 1).allowing().before_allow_all();
    assert_eq!(set.rules.len(), 201);
    for header in set.trace(Trace::Uniform, 500, 3) {
        let rule = set.first_match(&header).and_then(|rule| set.rules.get(rule));
        assert!(rule.is_some_and(|rule| rule.allow), "{header:?}");
    }
}
