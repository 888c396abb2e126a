//! What `aws ec2 describe-security-groups` answers, with `NetworkInterfaces` of `describe-network-interfaces` beside it if the members
//! of the groups are to be known.
//!
//! A security group allows; between two members both groups must. So rules for what comes in are carried over towards the members of a
//! group, but not from members of groups that restrict what goes out; and rules for what goes out are, towards what is
//! in no group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fw_common::abi::policy::Action;
use serde_json::Value;

use super::draft::{Draft, Origin, name};
use super::matching::{Match, addresses, all_of, icmp, intersection, opening, ports, protocol};
use super::{ImportError, Outcome};
use crate::set::SetAlgebra;
use crate::set::address::AddressSet;
use crate::set::interval::Family;
use crate::set::service::ServiceSet;

/// Addresses for documentation (RFC 5737; of IPv6 RFC 3849), which no packet has: they stand in sets whose members are not known.
const NOBODY: [&str; 3] = ["192.0.2", "198.51.100", "203.0.113"];

pub(super) fn read(text: &str) -> Result<Draft, ImportError> {
    let not_that = |why: &str| ImportError::NotThat(format!("these are no security groups: {why}"));
    let answer: Value = serde_json::from_str(text).map_err(|error| not_that(&error.to_string()))?;
    let groups = answer["SecurityGroups"].as_array().ok_or_else(|| not_that("there is no list `SecurityGroups`"))?;
    let mut draft = Draft::default();
    draft.about.push("Imported from AWS security groups; the report says what could not be carried over.".to_owned());
    draft.about.push("Groups know no zones: split `imported`, and name zones in `from` and `to`.".to_owned());
    draft.zones.insert("imported".to_owned());
    let groups = Groups::new(groups, &answer, &mut draft);
    for group in &groups.groups {
        groups.ingress(group, &mut draft);
    }
    for group in &groups.groups {
        groups.egress(group, &mut draft);
    }
    Ok(draft)
}

struct Group<'g> {
    id: &'g str,
    /// The name of the set of its members.
    set: String,
    json: &'g Value,
    /// Whether members may open anything to anybody, by family.
    open: [bool; 2],
    /// Whether the input says who the members are.
    is_known: bool,
}

struct Groups<'g> {
    groups: Vec<Group<'g>>,
}

/// One source or destination of a permission.
enum Peer {
    Addresses(AddressSet),
    /// The members of a group, by its id.
    Members(String),
    Unknown(String),
}

impl<'g> Groups<'g> {
    fn new(json: &'g [Value], answer: &Value, draft: &mut Draft) -> Self {
        let members = members(answer);
        let mut taken = BTreeSet::new();
        let mut groups = Vec::new();
        for (position, group) in json.iter().enumerate() {
            let id = group["GroupId"].as_str().unwrap_or_default();
            let wanted = name(if id.is_empty() { "group" } else { id }, 40);
            let set = (1..).map(|number| if number == 1 { wanted.clone() } else { format!("{wanted}.{number}") });
            let set = set.into_iter().find(|set| !taken.contains(set)).unwrap_or_default();
            taken.insert(set.clone());
            let title = format!("{id} {}", group["GroupName"].as_str().unwrap_or_default());
            let elements = members.get(id).cloned().unwrap_or_else(|| {
                let origin = Origin { line: None, text: title.clone(), id: String::new(), description: String::new() };
                let reason = "its members are not in the input: its set holds an address that nobody has, until they are written there";
                draft.note(&origin, Outcome::Assumed, reason);
                let v4 = format!("{}.{}", NOBODY[position / 254 % NOBODY.len()], position % 254 + 1);
                vec![v4, format!("2001:db8::{:x}", position + 1)]
            });
            draft.sets.insert(set.clone(), (format!("Members of {title}"), elements));
            let open = Family::ALL.map(|family| is_open(group, family));
            groups.push(Group { id, set, json: group, open, is_known: members.contains_key(id) });
        }
        Self { groups }
    }

    /// What comes in to the members of a group.
    fn ingress(&self, group: &Group<'_>, draft: &mut Draft) {
        for Permission { origin, services, peer } in permissions(group, "in") {
            let source = match peer {
                Peer::Addresses(set) => self.without(set, |other, set| !other.is_open_for(set)),
                Peer::Members(id) => match self.groups.iter().find(|other| other.id == id) {
                    Some(other) if other.open == [true; 2] => {
                        Ok((AddressSet::everything(), vec![format!("@{}", other.set)]))
                    }
                    Some(_) => {
                        Err("members of that group may not open everything, and both groups must allow it".to_owned())
                    }
                    None => Err(format!("group {id} is not in the input")),
                },
                Peer::Unknown(why) => Err(why),
            };
            let destination = (AddressSet::everything(), vec![format!("@{}", group.set)]);
            add(draft, &origin, services, source, Ok(destination));
        }
    }

    /// Addresses without the members of some groups, where these are known.
    fn without(&self, set: AddressSet, is_excepted: impl Fn(&Group<'_>, &AddressSet) -> bool) -> Result<Side, String> {
        let excepted: Vec<&Group<'_>> = self.groups.iter().filter(|other| is_excepted(other, &set)).collect();
        match excepted.iter().find(|other| !other.is_known) {
            Some(other) => Err(format!("members of {} must be excepted, and are not in the input", other.id)),
            None => Ok((set, excepted.iter().map(|other| format!("!@{}", other.set)).collect())),
        }
    }

    /// What members of a group open to what is in no group.
    fn egress(&self, group: &Group<'_>, draft: &mut Draft) {
        for Permission { origin, services, peer } in permissions(group, "out") {
            let destination = match peer {
                Peer::Addresses(set) => self.without(set, |_, _| true),
                Peer::Members(_) => {
                    Err("between members both groups must allow it: the rules for what comes in do".to_owned())
                }
                Peer::Unknown(why) => Err(why),
            };
            let source = (AddressSet::everything(), vec![format!("@{}", group.set)]);
            add(draft, &origin, services, Ok(source), destination);
        }
    }
}

impl Group<'_> {
    /// Whether members may open everything of the families of these addresses.
    fn is_open_for(&self, set: &AddressSet) -> bool {
        Family::ALL.into_iter().zip(self.open).all(|(family, open)| open || set.family(family).is_empty())
    }
}

/// One side of a rule: addresses, and named sets beside them.
type Side = (AddressSet, Vec<String>);

/// Adds a rule that allows, or says why there is none.
fn add(
    draft: &mut Draft,
    origin: &Origin,
    services: Result<ServiceSet, String>,
    source: Result<Side, String>,
    destination: Result<Side, String>,
) {
    let parts = services.and_then(|services| Ok((services, source?, destination?)));
    let (services, (source, source_named), (destination, destination_named)) = match parts {
        Ok(parts) => parts,
        Err(why) => return draft.leave_out(origin, why),
    };
    let is_reply = opening(&services).is_empty() && !services.is_empty();
    if is_reply {
        return draft.note(origin, Outcome::Implied, "ICMP replies and errors pass with their flow");
    }
    let matching = Match { source, destination, services: Arc::new(services), ..Match::any() };
    draft.add(origin, &matching, [source_named, destination_named], Action::Allow);
}

/// What a group allows, to or from one peer.
struct Permission {
    origin: Origin,
    services: Result<ServiceSet, String>,
    peer: Peer,
}

fn permissions(group: &Group<'_>, way: &str) -> Vec<Permission> {
    let (key, ranges) = if way == "in" { ("IpPermissions", "from") } else { ("IpPermissionsEgress", "to") };
    let mut found = Vec::new();
    for permission in group.json[key].as_array().into_iter().flatten() {
        for (peer, called, description) in peers(permission) {
            let protocol = permission["IpProtocol"].as_str().unwrap_or("?");
            let ports = format!("{}-{}", permission["FromPort"], permission["ToPort"]);
            let text = format!("{} {way}: protocol {protocol}, ports {ports}, {ranges} {called}", group.id);
            let id = format!("{}-{way}", group.set);
            found.push(Permission {
                origin: Origin { line: None, text, id, description },
                services: services(permission),
                peer,
            });
        }
    }
    found
}

/// The peers of a permission, each with what it is called and its description.
fn peers(permission: &Value) -> Vec<(Peer, String, String)> {
    let mut peers = Vec::new();
    let lists = [
        ("IpRanges", "CidrIp"),
        ("Ipv6Ranges", "CidrIpv6"),
        ("UserIdGroupPairs", "GroupId"),
        ("PrefixListIds", "PrefixListId"),
    ];
    for (list, key) in lists {
        for element in permission[list].as_array().into_iter().flatten() {
            let called = element[key].as_str().unwrap_or_default().to_owned();
            let peer = match list {
                "UserIdGroupPairs" => Peer::Members(called.clone()),
                "PrefixListIds" => Peer::Unknown(format!("what is in prefix list {called} is not in the input")),
                _ => addresses(&called)
                    .map_or_else(|| Peer::Unknown(format!("`{called}` is no prefix")), Peer::Addresses),
            };
            peers.push((peer, called, element["Description"].as_str().unwrap_or_default().to_owned()));
        }
    }
    peers
}

/// Protocol and ports of a permission; for ICMP these are type and code.
fn services(permission: &Value) -> Result<ServiceSet, String> {
    let written = permission["IpProtocol"].as_str().unwrap_or_default();
    if written == "-1" {
        return Ok(ServiceSet::everything());
    }
    let of = protocol(written).ok_or_else(|| format!("`{written}` is no protocol"))?;
    let number = |key: &str| permission[key].as_i64();
    let (from, to) = (number("FromPort").unwrap_or(-1), number("ToPort").unwrap_or(-1));
    if (from, to) == (-1, -1) {
        return Ok(of);
    }
    let unknown = || format!("`{from}` to `{to}` are no ports of `{written}`");
    match written {
        "icmp" | "1" | "icmpv6" | "58" => {
            let is_v6 = matches!(written, "icmpv6" | "58");
            let kind = u8::try_from(from).map_err(|_| unknown())?;
            let code = if to == -1 { None } else { Some(u8::try_from(to).map_err(|_| unknown())?) };
            Ok(icmp(is_v6, kind, code))
        }
        "tcp" | "6" | "udp" | "17" | "sctp" | "132" => {
            let port = |port: i64| u16::try_from(port).map_err(|_| unknown());
            let range = (port(from)?, port(to)?);
            if range.0 > range.1 {
                return Err(unknown());
            }
            Ok(intersection(&of, &ports(&[], &[range])))
        }
        _ => Ok(of),
    }
}

/// Whether a group lets its members open everything to all addresses of a family.
fn is_open(group: &Value, family: Family) -> bool {
    let permissions = group["IpPermissionsEgress"].as_array().into_iter().flatten();
    let all = permissions.filter(|permission| permission["IpProtocol"] == "-1").flat_map(peers);
    let sets = all.filter_map(|(peer, ..)| match peer {
        Peer::Addresses(set) => Some(set),
        Peer::Members(_) | Peer::Unknown(_) => None,
    });
    let open = AddressSet::union(sets.collect::<Vec<_>>().iter());
    all_of(family).subtract(&open).is_empty()
}

/// The addresses of the interfaces in each group.
fn members(answer: &Value) -> BTreeMap<&str, Vec<String>> {
    let mut members: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for interface in answer["NetworkInterfaces"].as_array().into_iter().flatten() {
        let list = |key: &str, inner: &'static str| {
            let elements = interface[key].as_array().into_iter().flatten();
            elements.filter_map(move |element| element[inner].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        let found = [list("PrivateIpAddresses", "PrivateIpAddress"), list("Ipv6Addresses", "Ipv6Address")].concat();
        let found = found.into_iter().filter(|address| addresses(address).is_some());
        let found: Vec<String> = found.collect();
        for group in interface["Groups"].as_array().into_iter().flatten() {
            if let Some(id) = group["GroupId"].as_str() {
                members.entry(id).or_default().extend(found.iter().cloned());
            }
        }
    }
    members
        .into_iter()
        .filter(|(_, found)| !found.is_empty())
        .map(|(id, found)| (id, found.into_iter().collect()))
        .collect()
}
