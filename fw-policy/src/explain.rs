//! What a policy does with one packet, and why: the way through the pipeline as far as files know it.
//!
//! In: a policy with its tables, and a parsed packet with where it comes in. Out: the steps, the rules that could have
//! matched with the field that did not, and the verdict. Zones come from the compiled tries and the verdict from the function
//! that the data plane runs; routes, flows and the firewall's own addresses are not in files, so the question says them.

use std::fmt;

use fw_common::abi::policy::{Action, zone};
use fw_common::anomaly::{self, Cast, is_link_local};
use fw_common::conntrack::{self, Opening};
use fw_common::policy::Query;
use fw_common::wire::parse::Kind;
use fw_common::wire::{Address, Packet, protocol};
use fw_common::{DropReason, conntrack::State};

use crate::compile::{Comparison, Field};
use crate::parse::one_packet;
use crate::policy::Policy;
use crate::set::service_term;
use crate::{Compiled, RuleInfo};

/// Rules that are listed unless all are asked for: those next to the one that decides.
const LISTED: usize = 100;

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where the packet comes in.
    pub from: Ingress,
    /// The zone of its destination, where the networks of the zones do not tell it; `local` is the firewall itself.
    pub to: Option<String>,
    /// The packet, as the originator of the flow sends it.
    pub packet: Packet,
    /// It belongs to a flow that is open.
    pub established: bool,
    /// Every rule is listed.
    pub all: bool,
}

/// Where a packet comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// By an interface of this zone; `local` is the firewall itself, `management` what is behind its management interface.
    Zone(String),
    /// By the interface of this name.
    Interface(String),
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A zone that there is not.
    #[error("there is no zone `{0}`; there are {1}")]
    NoZone(String, String),
    /// An interface that there is not.
    #[error("there is no interface `{0}`; there are {1}")]
    NoInterface(String, String),
    /// Several zones could be that of the destination.
    #[error("the destination may be in {0}, by where its route leads: say which with --to")]
    Ambiguous(String),
    /// A service that is not one packet.
    #[error("{0}")]
    Service(String),
}

/// A step of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Are the addresses ones that packets have?
    Addresses,
    /// The zone of the source, and whether the source is spoofed.
    Source,
    /// Does it belong to a flow, or may it open one?
    Flow,
    /// The zone of the destination.
    Destination,
    /// Which rule is first to match?
    Policy,
}

impl Stage {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Source => "source",
            Self::Flow => "flow",
            Self::Destination => "destination",
            Self::Policy => "policy",
        }
    }
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// Why the packet goes no further, if it does not.
    pub drop: Option<DropReason>,
    /// What was found, in one sentence.
    pub found: String,
}

/// A rule, and why it did not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its position in [`Compiled::rules`].
    pub position: u32,
    /// The first field that the packet does not match, with what the rule has there; none of a rule that matches, which decides or
    /// observes.
    pub mismatch: Option<(Field, String)>,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It goes to the host's stack without a look at the policy: neighbour discovery.
    Host,
    /// It was dropped before the policy was asked.
    Dropped(DropReason),
    /// The policy has decided.
    Decided {
        /// How.
        action: Action,
        /// Position of the rule in [`Compiled::rules`].
        rule: u32,
        /// Why it is dropped, if it is.
        drop: Option<DropReason>,
    },
}

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the policy was asked, if it was.
    pub query: Option<Query>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Rules whose zones fit, in front of the one that decides and with it; or all rules.
    pub candidates: Vec<Candidate>,
    /// Rules in front of those that are left out.
    pub omitted: usize,
    /// The rules that match it in front of the one that decides, and only observe: positions in [`Compiled::rules`].
    pub observing: Vec<u32>,
    /// What becomes of it.
    pub conclusion: Conclusion,
}

/// A service that is one packet: protocol, source port and destination port, for ICMP `type << 8 | code`. Without a source port it
/// is 49152, the first of the dynamic ones (RFC 6335, section 6).
///
/// # Errors
/// What is no service, or more than one packet.
pub fn service(written: &str, src_port: Option<u16>) -> Result<(u8, u16, u16), QuestionError> {
    let set = service_term::parse_literal(written).map_err(|error| {
        let help = error.help.map(|help| format!(": {help}")).unwrap_or_default();
        QuestionError::Service(format!("{}{help}", error.message))
    })?;
    let packet = one_packet(&set, src_port).ok_or_else(|| {
        QuestionError::Service(format!(
            "`{written}` is more than one packet: name one port or ICMP type, such as `tcp/502` or `icmp/echo-request`"
        ))
    })?;
    Ok((packet.protocol, packet.src_port, packet.dst_port))
}

/// Where the packet comes in, as the tables see it.
enum Side {
    Host,
    Slot(u32),
}

impl Policy {
    /// Explains what this policy, compiled as `compiled`, does with a packet.
    ///
    /// # Errors
    /// A question that names what there is not, or whose answer depends on routes.
    pub fn explain(&self, compiled: &Compiled, question: &Question) -> Result<Explanation, QuestionError> {
        let mut way = Way { compiled, steps: Vec::new(), query: None };
        let ingress = way.ingress(&question.from)?;
        let conclusion = match way.judge(question, &ingress)? {
            Ok(conclusion) => conclusion,
            Err(reason) => Conclusion::Dropped(reason),
        };
        let Way { steps, query, .. } = way;
        let decided = match conclusion {
            Conclusion::Decided { rule, .. } => query.map(|query| (query, rule)),
            Conclusion::Host | Conclusion::Dropped(_) => None,
        };
        let (candidates, omitted) = decided
            .map_or_else(Default::default, |(query, rule)| self.candidates(compiled, &query, rule, question.all));
        let observing = decided.map_or_else(Vec::new, |(query, _)| compiled.tables.observing(&query));
        Ok(Explanation { query, steps, candidates, omitted, observing, conclusion })
    }

    fn candidates(&self, compiled: &Compiled, query: &Query, decides: u32, all: bool) -> (Vec<Candidate>, usize) {
        let comparison = Comparison::new(self, compiled, query);
        let is_listed = |(position, field): &(u32, Option<Field>)| {
            let zones_fit = !matches!(field, Some(Field::FromZone | Field::ToZone));
            all || (zones_fit && *position <= decides)
        };
        let listed: Vec<(u32, Option<Field>)> = comparison.rules().filter(is_listed).collect();
        let omitted = if all { 0 } else { listed.len().saturating_sub(LISTED) };
        let candidate = |(position, field): &(u32, Option<Field>)| Candidate {
            position: *position,
            mismatch: field.map(|field| (field, comparison.has(*position, field))),
        };
        (listed[omitted..].iter().map(candidate).collect(), omitted)
    }
}

/// A way that is being followed.
struct Way<'c> {
    compiled: &'c Compiled,
    steps: Vec<Step>,
    query: Option<Query>,
}

impl Way<'_> {
    fn pass(&mut self, stage: Stage, found: String) {
        self.steps.push(Step { stage, drop: None, found });
    }

    fn drop<T>(&mut self, stage: Stage, reason: DropReason, found: impl Into<String>) -> Result<T, DropReason> {
        self.steps.push(Step { stage, drop: Some(reason), found: found.into() });
        Err(reason)
    }

    /// The order is that of the data plane (`stage/receive.rs`, `stage/flow/open.rs`).
    fn judge(&mut self, question: &Question, ingress: &Side) -> Result<Result<Conclusion, DropReason>, QuestionError> {
        let packet = &question.packet;
        let from_host = matches!(ingress, Side::Host);
        match packet.kind {
            Kind::NeighbourDiscovery => return Ok(Ok(Conclusion::Host)),
            Kind::MulticastListener if from_host => return Ok(Ok(Conclusion::Host)),
            Kind::MulticastListener => {
                let found = "memberships of groups are not forwarded";
                return Ok(self.drop(Stage::Addresses, DropReason::Multicast, found));
            }
            Kind::Tcp
            | Kind::Udp
            | Kind::Sctp
            | Kind::IcmpQuery
            | Kind::IcmpReply
            | Kind::IcmpError
            | Kind::Fragment
            | Kind::Other => {}
        }
        // What the host sends is up to its own stack.
        let cast = if from_host { Ok(Cast::Unicast) } else { self.addresses(packet) };
        let for_host = match cast {
            Ok(cast) => cast == Cast::LimitedBroadcast,
            Err(reason) => return Ok(Err(reason)),
        };
        let from_zone = match self.source(packet, ingress) {
            Ok(zone) => zone,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(reason) = self.flow(packet, question.established) {
            return Ok(Err(reason));
        }
        let to_zone = match self.destination(question, ingress, from_zone, for_host)? {
            Ok(zone) => zone,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(Ok(self.policy(packet, from_zone, to_zone, question.established)))
    }

    fn addresses(&mut self, packet: &Packet) -> Result<Cast, DropReason> {
        match anomaly::check_addresses(packet) {
            Ok(Cast::Multicast) => self.drop(Stage::Addresses, DropReason::Multicast, "the destination is a group"),
            Ok(Cast::LimitedBroadcast) if packet.protocol != protocol::UDP => {
                self.drop(Stage::Addresses, DropReason::Broadcast, "the destination is every host of the link")
            }
            Ok(cast) => {
                self.pass(Stage::Addresses, "both addresses are ones that packets have".to_owned());
                Ok(cast)
            }
            Err(reason) => self.drop(Stage::Addresses, reason, reason.explanation()),
        }
    }

    fn source(&mut self, packet: &Packet, ingress: &Side) -> Result<u8, DropReason> {
        let Side::Slot(slot) = ingress else {
            self.pass(Stage::Source, "the firewall itself sends it: zone `local`".to_owned());
            return Ok(zone::LOCAL);
        };
        let id = self.compiled.tables.zone(*slot, &packet.src_addr);
        let (source, interface) = (shown(&packet.src_addr), self.interface(*slot));
        if id == zone::NONE {
            let found = format!("{source} is in no zone of {interface}: the source is spoofed");
            return self.drop(Stage::Source, DropReason::Spoofed, found);
        }
        self.pass(Stage::Source, format!("{source} is in zone `{}` of {interface}: not spoofed", self.zone_name(id)));
        Ok(id)
    }

    fn flow(&mut self, packet: &Packet, established: bool) -> Result<(), DropReason> {
        if established {
            let found = "a flow that is open is not judged by each packet, but once by each policy: now by this one";
            self.pass(Stage::Flow, found.to_owned());
            return Ok(());
        }
        match conntrack::opening(packet, false) {
            Opening::Flow(state) => {
                self.pass(Stage::Flow, format!("it opens a flow, if the policy allows ({})", State::name(state)));
                Ok(())
            }
            Opening::Refused(reason) => self.drop(Stage::Flow, reason, reason.explanation()),
        }
    }

    fn destination(
        &mut self,
        question: &Question,
        ingress: &Side,
        from_zone: u8,
        for_host: bool,
    ) -> Result<Result<u8, DropReason>, QuestionError> {
        let (stage, packet) = (Stage::Destination, &question.packet);
        let to_zone = question.to.as_deref().map(|name| self.zone_id(name)).transpose()?;
        if for_host || to_zone == Some(zone::LOCAL) {
            self.pass(stage, "it is for the firewall itself: zone `local`".to_owned());
            return Ok(Ok(zone::LOCAL));
        }
        if let Side::Slot(slot) = ingress {
            if self.is_management(*slot) {
                let found = "nothing is forwarded from the management interface";
                return Ok(self.drop(stage, DropReason::ManagementTransit, found));
            }
            if from_zone == zone::LINK || is_link_local(&packet.src_addr) {
                let found = "a link-local source is not forwarded";
                return Ok(self.drop(stage, DropReason::SourceLinkLocal, found));
            }
            if is_link_local(&packet.dst_addr) {
                let found = "a link-local destination is not forwarded to";
                return Ok(self.drop(stage, DropReason::LinkLocal, found));
            }
        }
        let zones = self.zones_of(&packet.dst_addr, to_zone, matches!(ingress, Side::Host));
        let destination = shown(&packet.dst_addr);
        match zones.as_slice() {
            [] => {
                let found = format!("{destination} is in no zone of the interface that it would leave by");
                Ok(self.drop(stage, DropReason::DestinationZone, found))
            }
            [id] if *id == zone::LINK && !matches!(ingress, Side::Host) => {
                Ok(self.drop(stage, DropReason::LinkLocal, "addresses of the link are not forwarded to"))
            }
            [id] => {
                let name = self.zone_name(*id);
                let back = match ingress {
                    Side::Slot(slot) if self.slots(*id) == [*slot] => {
                        "; it leaves by the interface that it came in by, which needs `hairpin = true`"
                    }
                    Side::Slot(_) | Side::Host => "",
                };
                self.pass(stage, format!("{destination} is in zone `{name}`, if a route leads there{back}"));
                Ok(Ok(*id))
            }
            several => {
                let names: Vec<String> = several.iter().map(|id| format!("`{}`", self.zone_name(*id))).collect();
                Err(QuestionError::Ambiguous(names.join(" or ")))
            }
        }
    }

    fn policy(&mut self, packet: &Packet, from_zone: u8, to_zone: u8, established: bool) -> Conclusion {
        let (src_port, dst_port) = packet.policy_ports();
        let Packet { src_addr, dst_addr, protocol, .. } = *packet;
        let query = Query { src_addr, dst_addr, from_zone, to_zone, protocol, src_port, dst_port };
        let decision = self.compiled.tables.classify(&query);
        self.query = Some(query);
        let drop = match decision.action {
            Action::Allow => None,
            Action::Drop | Action::Reject if established => Some(DropReason::PolicyChanged),
            Action::Drop => Some(DropReason::Policy),
            Action::Reject => Some(DropReason::Rejected),
        };
        let rule = self.compiled.rules.get(decision.rule as usize);
        let found = format!("`{}` decides: {}", rule.map_or("", |rule| rule.id.as_str()), decision.action.name());
        self.steps.push(Step { stage: Stage::Policy, drop, found });
        Conclusion::Decided { action: decision.action, rule: decision.rule, drop }
    }

    /// The zones that a destination may be in: of the interfaces of one zone, or of all that something can leave by.
    fn zones_of(&self, addr: &Address, of_zone: Option<u8>, from_host: bool) -> Vec<u8> {
        let interfaces = u32::try_from(self.compiled.binding.interfaces.len()).unwrap_or(u32::MAX);
        let management = self.compiled.binding.management.iter().map(|management| management.slot);
        let mut slots: Vec<u32> = match of_zone {
            Some(id) => self.slots(id).to_vec(),
            None => (0..interfaces).chain(management).collect(),
        };
        slots.retain(|slot| from_host || !self.is_management(*slot));
        let mut zones: Vec<u8> = slots.iter().map(|slot| self.compiled.tables.zone(*slot, addr)).collect();
        zones.retain(|id| *id != zone::NONE);
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    fn ingress(&self, from: &Ingress) -> Result<Side, QuestionError> {
        match from {
            Ingress::Zone(name) => match self.zone_id(name)? {
                zone::LOCAL => Ok(Side::Host),
                id => {
                    let slot = self.slots(id).first();
                    slot.map(|slot| Side::Slot(*slot)).ok_or_else(|| self.no_zone(name))
                }
            },
            Ingress::Interface(name) => {
                let interfaces = &self.compiled.binding.interfaces;
                let slot = (0u32..).zip(interfaces).find(|(_, interface)| interface.name == *name);
                slot.map(|(slot, _)| Side::Slot(slot)).ok_or_else(|| {
                    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
                    QuestionError::NoInterface(name.clone(), names.join(", "))
                })
            }
        }
    }

    /// The id of a zone that a question may name.
    fn zone_id(&self, name: &str) -> Result<u8, QuestionError> {
        let zones = &self.compiled.zones;
        let is_it = |zone: &&crate::ZoneInfo| zone.name == name || zone.name.trim_matches(['(', ')']) == name;
        zones.iter().find(is_it).map(|zone| zone.id).ok_or_else(|| self.no_zone(name))
    }

    fn no_zone(&self, name: &str) -> QuestionError {
        let known = self.compiled.zones.iter().filter(|zone| !zone.slots.is_empty() || zone.id == zone::LOCAL);
        let names: Vec<&str> = known.map(|zone| zone.name.trim_matches(['(', ')'])).collect();
        QuestionError::NoZone(name.to_owned(), names.join(", "))
    }

    fn slots(&self, id: u8) -> &[u32] {
        self.compiled.zones.iter().find(|zone| zone.id == id).map_or(&[], |zone| zone.slots.as_slice())
    }

    fn zone_name(&self, id: u8) -> &str {
        self.compiled.zones.iter().find(|zone| zone.id == id).map_or("none", |zone| zone.name.as_str())
    }

    fn is_management(&self, slot: u32) -> bool {
        self.compiled.binding.management.as_ref().is_some_and(|management| management.slot == slot)
    }

    fn interface(&self, slot: u32) -> String {
        match self.compiled.binding.interfaces.get(slot as usize) {
            Some(interface) => format!("`{}`", interface.name),
            None => "the management interface".to_owned(),
        }
    }
}

fn shown(addr: &Address) -> std::net::IpAddr {
    (*addr).into()
}

/// Where a rule stands: `50-rules.toml:12`, or that it is generated.
#[must_use]
pub fn place(rule: &RuleInfo) -> impl fmt::Display + '_ {
    struct Place<'r>(&'r RuleInfo);
    impl fmt::Display for Place<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0.file.as_str() {
                "" => formatter.write_str("generated"),
                file => write!(formatter, "{file}:{}", self.0.line),
            }
        }
    }
    Place(rule)
}
