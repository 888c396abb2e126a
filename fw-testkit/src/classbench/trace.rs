//! Packets for a rule set, and its answers by plain search.

use super::random::Random;
use super::{ANY_PORT, Family, Prefix, Rule, RuleSet};

/// How packets are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trace {
    /// As the trace generator of ClassBench: a rule by chance, then a corner of what it matches, and that address pair again
    /// as often as a Pareto distribution with `a` = 1 and this scale says. 0: each once; the paper calls 0.0001 low and 1
    /// high locality. Source ports differ, so that each packet opens a flow of its own.
    Pareto(f64),
    /// Address pairs of a few rules only, as often as Zipf's law says, with the exponent 1: what one site sees in a while.
    Zipf(usize),
    /// Addresses and ports by chance, of which few rules know.
    Uniform,
}

/// What a packet that opens a flow looks like. Addresses are left-aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Protocol number.
    pub protocol: u8,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl RuleSet {
    /// Makes `count` packets.
    #[must_use]
    pub fn trace(&self, trace: Trace, count: usize, seed: u64) -> Vec<Header> {
        let mut random = Random::new(seed);
        let mut headers = Vec::with_capacity(count);
        let sites: Vec<(Header, (u16, u16))> = match trace {
            Trace::Zipf(sites) => (0..sites).map(|_| self.of_some_rule(&mut random)).collect(),
            Trace::Pareto(_) | Trace::Uniform => Vec::new(),
        };
        while headers.len() < count {
            let ((header, src_ports), copies) = match trace {
                Trace::Uniform => ((self.uniform(&mut random), ANY_PORT), 1),
                Trace::Pareto(scale) => {
                    let copies = (scale / (1.0 - random.unit())).ceil().clamp(1.0, 1e6) as usize;
                    (self.of_some_rule(&mut random), copies)
                }
                Trace::Zipf(_) => {
                    // The rank whose share of the harmonic series is drawn, by its inverse.
                    let rank = ((sites.len() as f64 + 1.0).powf(random.unit()) - 1.0) as usize;
                    (sites[rank.min(sites.len() - 1)], 1)
                }
            };
            for _ in 0..copies.min(count - headers.len()) {
                // Another source port is another flow.
                let src_port = if header.src_port == 0 { 0 } else { random.port(src_ports).max(1) };
                headers.push(Header { src_port, ..header });
            }
        }
        headers
    }

    /// A packet that some rule matches, and the source ports that it matches, too.
    fn of_some_rule(&self, random: &mut Random) -> (Header, (u16, u16)) {
        if self.rules.is_empty() {
            return (self.uniform(random), ANY_PORT);
        }
        let rule = self.rules[random.below(self.rules.len() as u64) as usize];
        let corner = |(first, last): (u16, u16), random: &mut Random| if random.below(2) == 0 { first } else { last };
        let protocol = rule.protocol.unwrap_or(if random.below(2) == 0 { 6 } else { 17 });
        let protocol = if protocol == 1 && self.family == Family::V6 { 58 } else { protocol };
        let (src_port, dst_port) = match protocol {
            6 | 17 => (corner(rule.src_port, random).max(1), corner(rule.dst_port, random).max(1)),
            1 => (0, 8 << 8),
            58 => (0, 128 << 8),
            _ => (0, 0),
        };
        let source = self.within(rule.source, random);
        let destination = self.within(rule.destination, random);
        (Header { source, destination, protocol, src_port, dst_port }, rule.src_port)
    }

    /// Some address in a prefix.
    fn within(&self, prefix: Prefix, random: &mut Random) -> u128 {
        let bits = u128::from(random.bits()) << 64 | u128::from(random.bits());
        let addr = self.cut(prefix.first | bits & prefix.host_mask());
        // Of all IPv6 addresses, an eighth is global unicast (RFC 4291, section 2.4).
        if self.family == Family::V6 && prefix.len == 0 { addr >> 3 | 1 << 125 } else { addr }
    }

    /// Clears the bits that addresses of this family do not have.
    const fn cut(&self, addr: u128) -> u128 {
        match self.family {
            Family::V4 => addr >> 96 << 96,
            Family::V6 => addr,
        }
    }

    fn uniform(&self, random: &mut Random) -> Header {
        Header {
            source: self.within(Prefix::any(), random),
            destination: self.within(Prefix::any(), random),
            protocol: if random.below(4) == 0 { 17 } else { 6 },
            src_port: random.port((1, u16::MAX)),
            dst_port: random.port((1, u16::MAX)),
        }
    }

    /// Whether a router forwards such a packet: the addresses are unicast, not of the host and not of the link (RFC 6890; of
    /// IPv6 only global unicast is used), and the protocol is none that has to be parsed (AH, RFC 4302).
    #[must_use]
    pub const fn is_routable(&self, header: &Header) -> bool {
        const fn unicast(addr: u128, family: Family) -> bool {
            let [a, b, ..] = addr.to_be_bytes();
            match family {
                Family::V4 => a != 0 && a != 127 && a < 224 && !(a == 169 && b == 254) && !(a == 203 && b == 0),
                Family::V6 => a >> 5 == 1,
            }
        }
        unicast(header.source, self.family)
            && unicast(header.destination, self.family)
            && header.source != header.destination
            && header.protocol != 51
    }

    /// The first rule that matches, by looking at one after the other.
    #[must_use]
    pub fn first_match(&self, header: &Header) -> Option<usize> {
        self.rules.iter().position(|rule| self.matches(rule, header))
    }

    fn matches(&self, rule: &Rule, header: &Header) -> bool {
        let number = match (rule.protocol, self.family) {
            (Some(1), Family::V6) => Some(58),
            (number, _) => number,
        };
        // As written in the policy: a range starts at port 1, and protocols without ports have none to compare.
        let within =
            |(first, last): (u16, u16), port: u16| (first, last) == ANY_PORT || (first.max(1)..=last).contains(&port);
        let has_ports = matches!(header.protocol, 6 | 17);
        rule.source.holds(header.source)
            && rule.destination.holds(header.destination)
            && number.is_none_or(|number| number == header.protocol)
            && (!has_ports
                || number.is_none()
                || within(rule.src_port, header.src_port) && within(rule.dst_port, header.dst_port))
    }
}
