//! Rule sets like those of ClassBench, and packets for them.
//!
//! In: a style, a family, a number of rules and a seed. Out: a [`RuleSet`], the same for the same input, which can be
//! written as policy files ([`RuleSet::files`]) and walked with packets ([`RuleSet::trace`]). The model is that of the
//! paper (see `seed`): protocol, then classes of ports, then ports and prefix lengths, and addresses from two trees that
//! branch as those of the measured sets do. Two things differ from the published program: ICMP is kept as any ICMP, because
//! the paper has no types; and the sets of 10,000 rules and more have as many rules as were asked for, because duplicates
//! are replaced.

mod addresses;
pub mod bed;
pub mod measure;
mod random;
mod seed;
mod text;
mod trace;

use std::collections::HashSet;

pub use random::Random;
pub use text::{INSIDE, OUTSIDE};
pub use trace::{Header, Trace};

use seed::PortClass;

/// What a rule set is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// Access lists: specific prefixes, few wildcards, many exact destination ports.
    Acl,
    /// Firewalls: one side is often open, port ranges.
    Fw,
    /// Packet filters of hosts: mixed.
    Ipc,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];

    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Fw => "fw",
            Self::Ipc => "ipc",
        }
    }
}

/// Address family of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6: the tree of the IPv4 addresses, stretched to the lengths that IPv6 networks and hosts have.
    V6,
}

/// A prefix, as a left-aligned number: the first bit of the address is the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address; the bits behind the prefix are zero.
    pub first: u128,
    /// Length in bits.
    pub len: u8,
}

impl Prefix {
    /// The bits behind the prefix, in an address of 128 bits.
    const fn host_mask(self) -> u128 {
        match u128::MAX.checked_shr(self.len as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// Whether the prefix holds a left-aligned address.
    #[must_use]
    pub const fn holds(self, addr: u128) -> bool {
        addr & !self.host_mask() == self.first
    }
}

/// A rule of the set. What is 0 or whole matches everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Source prefix.
    pub source: Prefix,
    /// Destination prefix.
    pub destination: Prefix,
    /// Source ports, both ends included.
    pub src_port: (u16, u16),
    /// Destination ports, likewise.
    pub dst_port: (u16, u16),
    /// Protocol number; `None`: any.
    pub protocol: Option<u8>,
    /// Whether it allows; else it drops.
    pub allow: bool,
}

/// All ports.
pub const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// The rules in the order in which they are matched.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// Style.
    pub style: Style,
    /// Family.
    pub family: Family,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl RuleSet {
    /// Makes a set of `count` rules.
    #[must_use]
    pub fn generate(style: Style, family: Family, count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed ^ ((style as u64 + 1) << 56));
        let mut rules: Vec<Rule> = Vec::with_capacity(count);
        let mut known: HashSet<Rule> = HashSet::with_capacity(count);
        // Duplicates are replaced by rules of further, smaller sets of the same style.
        let mut missing = count;
        while missing > 0 {
            let drafts = drafts(style, missing + missing / 8 + 1, count, &mut random);
            for rule in drafts {
                let rule = if family == Family::V6 { stretched(rule) } else { rule };
                if rules.len() < count && known.insert(rule) {
                    rules.push(rule);
                }
            }
            missing = count - rules.len();
        }
        // As the published program does: no rule stands behind one that contains it.
        rules.sort_by_key(|rule| std::cmp::Reverse(specificity(rule)));
        for rule in &mut rules {
            rule.allow = random.below(10) < 7;
        }
        Self { style, family, rules }
    }

    /// The same rules, all of which allow.
    #[must_use]
    pub fn allowing(mut self) -> Self {
        self.rules.iter_mut().for_each(|rule| rule.allow = true);
        self
    }

    /// The same rules before one that allows everything.
    #[must_use]
    pub fn before_allow_all(mut self) -> Self {
        let (any, ports) = (Prefix::any(), ANY_PORT);
        let last =
            Rule { source: any, destination: any, src_port: ports, dst_port: ports, protocol: None, allow: true };
        self.rules.push(last);
        self
    }
}

/// Rules as the seed describes them, some of them twice.
fn drafts(style: Style, count: usize, scale: usize, random: &mut Random) -> Vec<Rule> {
    let seed = seed::of(style);
    let protocols: Vec<_> =
        seed.protocols.iter().map(|(number, weight, classes)| ((*number, *classes), *weight)).collect();
    let mut rules: Vec<Rule> = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, classes) = random.pick(&protocols).unwrap_or((0, &[]));
        let classes = random.pick(classes).unwrap_or((PortClass::Wildcard, PortClass::Wildcard));
        let lengths = seed.lengths.iter().find(|(of, _)| *of == classes).map_or(&[][..], |(_, lengths)| lengths);
        let (source_len, destination_len) = random.pick(lengths).unwrap_or((32, 32));
        // Smoothness: a seed has few lengths, and other sets of its style have those beside them (section IV.A).
        rules.push(Rule {
            source: Prefix { first: 0, len: addresses::smoothed(source_len, random) },
            destination: Prefix { first: 0, len: addresses::smoothed(destination_len, random) },
            src_port: port(classes.0, seed.source_ranges, seed.source_ports, random),
            dst_port: port(classes.1, seed.destination_ranges, seed.destination_ports, random),
            protocol: (number != 0).then_some(number),
            allow: false,
        });
    }
    addresses::assign(&mut rules, seed, scale, random);
    rules
}

fn port(
    class: PortClass,
    ranges: seed::Weighted<(u16, u16)>,
    ports: seed::Weighted<(u16, u16)>,
    random: &mut Random,
) -> (u16, u16) {
    match class {
        PortClass::Wildcard => ANY_PORT,
        PortClass::High => (1024, u16::MAX),
        PortClass::Arbitrary => random.pick(ranges).unwrap_or((1024, u16::MAX)),
        PortClass::Exact => random.pick(ports).unwrap_or((80, 80)),
    }
}

/// More for a rule than for any that contains it.
fn specificity(rule: &Rule) -> u64 {
    let ports = |(first, last): (u16, u16)| u64::from(u16::MAX - (last - first));
    let bits = u64::from(rule.source.len) + u64::from(rule.destination.len) + u64::from(rule.protocol.is_some());
    // Ports decide between rules of equal prefixes only where one contains the other, so any order of sums does.
    bits * 200_000 + ports(rule.src_port) + ports(rule.dst_port)
}

/// The same rule in IPv6: each bit of an IPv4 network becomes two behind 2001::/16, so /24 becomes /64, and each bit of a
/// host's number becomes eight, so /32 becomes /128. What contains what stays as it is.
fn stretched(rule: Rule) -> Rule {
    Rule { source: stretched_prefix(rule.source), destination: stretched_prefix(rule.destination), ..rule }
}

fn stretched_prefix(prefix: Prefix) -> Prefix {
    if prefix.len == 0 {
        return prefix;
    }
    let bit = |position: u32| (prefix.first >> (127 - position)) & 1;
    let mut first: u128 = 0x2001 << 112;
    for position in 0..u32::from(prefix.len) {
        let at = if position < 24 { 16 + 2 * position } else { 64 + 8 * (position - 24) };
        first |= bit(position) << (127 - at);
    }
    let len = prefix.len;
    Prefix { first, len: if len <= 24 { 16 + 2 * len } else { 64 + 8 * (len - 24) } }
}
