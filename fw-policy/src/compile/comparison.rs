//! Where a packet and a rule part: the first field of the rule that the packet does not match.
//!
//! What decides is in the tables ([`Compiled::tables`]); this looks at the rules that they were made of, to say why.

use fw_common::abi::policy::zone;
use fw_common::policy::Query;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Compiled;
use super::clause::Clause;
use super::system_rules;
use super::zones::ZoneIds;
use crate::diagnostic::Report;
use crate::policy::{Policy, Rule};
use crate::set::address::{self, AddressSet};
use crate::set::interval::Family;
use crate::set::service::{Ports, ServiceRange, ServiceSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a rule says of a packet, in the order in which it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The zone of the source.
    FromZone,
    /// The zone of the destination.
    ToZone,
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// Protocol and ports.
    Service,
    /// When the rule matches.
    Schedule,
}

impl Field {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromZone => "from",
            Self::ToZone => "to",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Service => "service",
            Self::Schedule => "schedule",
        }
    }
}

/// Elements of a set that are shown; the others are counted.
const SHOWN: usize = 4;

/// The rules of a policy as they are compared with one packet: generated ones first, defaults not among them.
pub(crate) struct Comparison<'p> {
    policy: &'p Policy,
    compiled: &'p Compiled,
    query: Query,
    src_addr: IpAddr,
    dst_addr: IpAddr,
    clauses: Vec<Clause>,
    /// Position of the first rule of the policy.
    first: u32,
}

impl<'p> Comparison<'p> {
    /// `compiled` is this policy.
    pub(crate) fn new(policy: &'p Policy, compiled: &'p Compiled, query: &Query) -> Self {
        let ids = ZoneIds::assign(&policy.zones, &compiled.options.previous_zones);
        // What it would report has been reported when the policy was compiled.
        let mut report = Report::new(Arc::clone(&policy.sources));
        let generated = system_rules::generate(&compiled.binding, &ids, &mut report);
        let first = u32::try_from(generated.len()).unwrap_or(u32::MAX);
        let mut clauses: Vec<Clause> =
            generated.into_iter().zip(0..).flat_map(|(rule, position)| rule.clauses(position)).collect();
        clauses.extend(policy.rules.iter().zip(first..).map(|(rule, position)| Clause::of_rule(rule, position, &ids)));
        let (src_addr, dst_addr) = (query.src_addr.into(), query.dst_addr.into());
        Self { policy, compiled, query: *query, src_addr, dst_addr, clauses, first }
    }

    /// Each rule's position, and the first field that the packet does not match. Of a generated rule that matches several
    /// things, the one that the packet gets furthest with counts.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (u32, Option<Field>)> {
        self.clauses.chunk_by(|one, other| one.rule == other.rule).map(|clauses| {
            let position = clauses[0].rule;
            let fields = clauses.iter().map(|clause| self.first_mismatch(clause));
            // A match is behind every field.
            let furthest = fields.max_by_key(|field| field.map_or((true, Field::Schedule), |field| (false, field)));
            (position, furthest.flatten())
        })
    }

    fn first_mismatch(&self, clause: &Clause) -> Option<Field> {
        let query = &self.query;
        let services = clause.services.family(self.family());
        let checks = [
            (Field::FromZone, clause.from_zones & zone::bit(query.from_zone) != 0),
            (Field::ToZone, clause.to_zones & zone::bit(query.to_zone) != 0),
            (Field::Source, clause.source.contains(self.src_addr)),
            (Field::Destination, clause.destination.contains(self.dst_addr)),
            (Field::Service, services.contains(query.protocol, query.src_port, query.dst_port)),
            (Field::Schedule, self.compiled.rules.get(clause.rule as usize).is_some_and(|rule| rule.active)),
        ];
        checks.into_iter().find(|(_, matches)| !matches).map(|(field, _)| field)
    }

    fn family(&self) -> Family {
        if self.query.src_addr.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// What a rule has in a field, for a person: of sets, the part of the packet's family.
    pub(crate) fn has(&self, position: u32, field: Field) -> String {
        let info = self.compiled.rules.get(position as usize);
        let clauses: Vec<&Clause> = self.clauses.iter().filter(|clause| clause.rule == position).collect();
        let family = self.family();
        let sets = |of: fn(&Clause) -> &AddressSet| {
            joined(clauses.iter().flat_map(|clause| addresses(of(clause), family)).collect(), " and ")
        };
        match field {
            Field::FromZone => info.map_or_else(String::new, |info| info.from.clone()),
            Field::ToZone => info.map_or_else(String::new, |info| info.to.clone()),
            Field::Source => sets(|clause| &clause.source),
            Field::Destination => sets(|clause| &clause.destination),
            Field::Service => {
                joined(clauses.iter().flat_map(|clause| services(&clause.services, family)).collect(), " and ")
            }
            Field::Schedule => {
                let rule = position.checked_sub(self.first).and_then(|place| self.policy.rules.get(place as usize));
                rule.map_or_else(String::new, |rule| schedule(rule))
            }
        }
    }
}

/// The first elements, and how many there are besides.
fn joined(elements: Vec<String>, and: &str) -> String {
    if elements.is_empty() {
        return "nothing of this address family".to_owned();
    }
    let shown = elements[..elements.len().min(SHOWN)].join(", ");
    match elements.len() - elements.len().min(SHOWN) {
        0 => shown,
        more => format!("{shown}{and}{more} more"),
    }
}

/// The ranges of a set, as prefixes where they are some.
fn addresses(set: &AddressSet, family: Family) -> Vec<String> {
    let ranges = set.family(family).ranges();
    let range = |(first, last): &(u128, u128)| {
        let size = last - first;
        let is_prefix = (size & size.wrapping_add(1)) == 0 && first & size == 0;
        let address = |number| address::address(family, number);
        match (size, is_prefix) {
            (0, _) => address(*first).to_string(),
            (_, true) => format!("{}/{}", address(*first), u32::from(family.bits()) - size.trailing_ones()),
            (_, false) => format!("{}-{}", address(*first), address(*last)),
        }
    };
    ranges.iter().map(range).collect()
}

/// The services of a set, as they can be written.
fn services(set: &ServiceSet, family: Family) -> Vec<String> {
    set.family(family).ranges().iter().map(service).collect()
}

fn service(range: &ServiceRange) -> String {
    use fw_common::wire::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
    let ServiceRange { protocol, ports } = range;
    let Some(number) = protocol else { return "any".to_owned() };
    let name = match *number {
        TCP => "tcp",
        UDP => "udp",
        SCTP => "sctp",
        ICMP => "icmp",
        ICMPV6 => "icmpv6",
        other => return format!("proto/{other}"),
    };
    let Some(Ports { source, destination }) = ports else { return name.to_owned() };
    let written = |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    if matches!(*number, ICMP | ICMPV6) {
        let ([first, code], [last, _]) = (destination.0.to_be_bytes(), destination.1.to_be_bytes());
        return match (first == last, destination.0 == destination.1) {
            (_, true) => format!("{name}/{first}/{code}"),
            (true, false) => format!("{name}/{first}"),
            (false, false) => format!("{name}/{first}-{last}"),
        };
    }
    let from = if *source == (0, u16::MAX) { String::new() } else { format!(" from port {}", written(*source)) };
    match *destination {
        (0, u16::MAX) => format!("{name}{from}"),
        ports => format!("{name}/{}{from}", written(ports)),
    }
}

fn schedule(rule: &Rule) -> String {
    let written = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string());
    match (rule.starts, rule.expires) {
        (Some(starts), Some(expires)) => format!("from {} until {}", written(starts), written(expires)),
        (Some(starts), None) => format!("from {}", written(starts)),
        (None, Some(expires)) => format!("until {}", written(expires)),
        (None, None) => "always".to_owned(),
    }
}
