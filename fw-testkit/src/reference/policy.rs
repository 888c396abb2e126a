//! Policy files, read anew and searched from the first rule to the last.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fw_common::abi::policy::Action;
use toml::{Table, Value};

use super::address::{AddressTerm, Prefix};
use super::service::{Asked, ServiceTerm};

/// A policy that this reader does not understand; `fw_policy` says where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

fn error(what: &str) -> PolicyError {
    PolicyError(format!("not understood: {what}"))
}

/// Where an address is, seen from an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a zone of the policy.
    Zone(String),
    /// Behind the management interface.
    Management,
    /// An own address.
    Local,
}

/// A set as it is written.
type Set<T> = Vec<Element<T>>;

#[derive(Clone, Debug)]
struct Element<T> {
    excluded: bool,
    what: What<T>,
}

#[derive(Clone, Debug)]
enum What<T> {
    Literal(T),
    Named(String),
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    from: Vec<String>,
    to: Vec<String>,
    source: Option<Set<AddressTerm>>,
    destination: Option<Set<AddressTerm>>,
    services: Option<Set<ServiceTerm>>,
    action: Action,
    observes: bool,
}

/// What a policy says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) action: Action,
    /// The ids of the rules that match in front of what decides, and only observe.
    pub(super) observing: Vec<String>,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    zones: BTreeMap<String, Option<Vec<Prefix>>>,
    addresses: BTreeMap<String, Set<AddressTerm>>,
    services: BTreeMap<String, Set<ServiceTerm>>,
    rules: Vec<Rule>,
    pairs: Vec<(String, String, Action)>,
    default: Action,
}

impl Policy {
    /// Reads one policy file.
    ///
    /// # Errors
    /// The text is no policy, or uses what this reader does not know.
    pub fn read(text: &str) -> Result<Self, PolicyError> {
        let root: Table = text.parse().map_err(|error| PolicyError(format!("{error}")))?;
        let mut policy = Self {
            zones: BTreeMap::new(),
            addresses: sets(&root, "addresses", AddressTerm::read, |_| None)?,
            services: sets(&root, "services", ServiceTerm::read, ServiceTerm::read_table)?,
            rules: tables(&root, "rule").map(rule).collect::<Result<_, _>>()?,
            pairs: tables(&root, "zone_pair").map(pair).collect::<Result<_, _>>()?,
            default: root.get("defaults").and_then(Value::as_table).map_or(Ok(Action::Drop), action)?,
        };
        for (name, zone) in root.get("zones").and_then(Value::as_table).ok_or_else(|| error("zones"))? {
            let networks = zone.get("networks").map(|networks| strings(networks)?.map(Prefix::read).collect());
            let networks = networks.map(|networks: Option<Vec<_>>| networks.ok_or_else(|| error(name)));
            policy.zones.insert(name.clone(), networks.transpose()?);
        }
        Ok(policy)
    }

    /// The zone of an address behind an interface that carries `carried`: the one whose network has it, or the one without
    /// networks. An address of a zone that another interface carries is in none.
    pub(super) fn zone_of(&self, carried: &[String], addr: IpAddr) -> Option<Place> {
        let zone = |name: &String| Some(Place::Zone(name.clone()));
        let has = |networks: &Vec<Prefix>| networks.iter().any(|network| network.holds(addr));
        match self.zones.iter().find(|(_, networks)| networks.as_ref().is_some_and(has)) {
            Some((name, _)) if carried.contains(name) => zone(name),
            Some(_) => None,
            None => carried.iter().find(|name| matches!(self.zones.get(*name), Some(None))).and_then(zone),
        }
    }

    /// What the first rule that matches and decides says, or the default of the pair of zones, or that of everything.
    pub(super) fn decide(&self, from: &Place, to: &Place, src: IpAddr, dst: IpAddr, asked: &Asked) -> Answer {
        let matches = |rule: &&Rule| {
            names(&rule.from, from)
                && names(&rule.to, to)
                && rule.source.as_ref().is_none_or(|set| self.has_address(set, src))
                && rule.destination.as_ref().is_none_or(|set| self.has_address(set, dst))
                && rule.services.as_ref().is_none_or(|set| self.has_service(set, asked))
        };
        let mut observing = Vec::new();
        for rule in self.rules.iter().filter(matches) {
            if !rule.observes {
                return Answer { action: rule.action, observing };
            }
            observing.push(rule.id.clone());
        }
        let names_pair = |(one, other, _): &&(String, String, Action)| name_is(one, from) && name_is(other, to);
        let action = self.pairs.iter().find(names_pair).map_or(self.default, |(_, _, action)| *action);
        Answer { action, observing }
    }

    fn has_address(&self, set: &Set<AddressTerm>, addr: IpAddr) -> bool {
        holds(set, &|term| term.holds(addr), &|name| {
            self.addresses.get(name).is_some_and(|set| self.has_address(set, addr))
        })
    }

    fn has_service(&self, set: &Set<ServiceTerm>, asked: &Asked) -> bool {
        holds(set, &|term| term.holds(asked), &|name| {
            self.services.get(name).is_some_and(|set| self.has_service(set, asked))
        })
    }
}

/// A set has what one of its elements has and none that is excluded; one of exclusions only has everything else.
fn holds<T>(set: &Set<T>, literal: &dyn Fn(&T) -> bool, named: &dyn Fn(&String) -> bool) -> bool {
    let has = |element: &Element<T>| match &element.what {
        What::Literal(term) => literal(term),
        What::Named(name) => named(name),
    };
    let mut listed = set.iter().filter(|element| !element.excluded).peekable();
    let included = listed.peek().is_none() || listed.any(has);
    included && !set.iter().filter(|element| element.excluded).any(has)
}

/// Whether the zones of a rule have the place. "any" is every zone of the policy.
fn names(zones: &[String], place: &Place) -> bool {
    zones.iter().any(|zone| name_is(zone, place) || (zone == "any" && matches!(place, Place::Zone(_))))
}

fn name_is(zone: &str, place: &Place) -> bool {
    match place {
        Place::Zone(name) => zone == name,
        Place::Local => zone == "local",
        Place::Management => false,
    }
}

fn tables<'t>(root: &'t Table, key: &str) -> impl Iterator<Item = &'t Table> {
    root.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn strings(value: &Value) -> Option<impl Iterator<Item = &str>> {
    Some(value.as_array()?.iter().filter_map(Value::as_str))
}

fn action(table: &Table) -> Result<Action, PolicyError> {
    match table.get("action").and_then(Value::as_str) {
        Some("allow") => Ok(Action::Allow),
        Some("drop") => Ok(Action::Drop),
        Some("reject") => Ok(Action::Reject),
        other => Err(error(other.unwrap_or("a rule without an action"))),
    }
}

fn rule(table: &Table) -> Result<Rule, PolicyError> {
    let zones = |key: &str| -> Result<Vec<String>, PolicyError> {
        let zones = table.get(key).and_then(strings).ok_or_else(|| error(key))?;
        Ok(zones.map(str::to_owned).collect())
    };
    let addresses = |key| table.get(key).map(|value| set(value, AddressTerm::read, |_| None)).transpose();
    let services = table.get("services").map(|value| set(value, ServiceTerm::read, ServiceTerm::read_table));
    let observes = match table.get("mode").map(Value::as_str) {
        None | Some(Some("enforce")) => false,
        Some(Some("observe")) => true,
        Some(_) => return Err(error("mode")),
    };
    let id = table.get("id").and_then(Value::as_str).ok_or_else(|| error("a rule without an id"))?;
    Ok(Rule {
        id: id.to_owned(),
        observes,
        from: zones("from")?,
        to: zones("to")?,
        source: addresses("source")?,
        destination: addresses("destination")?,
        services: services.transpose()?,
        action: action(table)?,
    })
}

fn pair(table: &Table) -> Result<(String, String, Action), PolicyError> {
    let zone = |key| table.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| error(key));
    Ok((zone("from")?, zone("to")?, action(table)?))
}

fn sets<T>(
    root: &Table,
    key: &str,
    literal: fn(&str) -> Option<T>,
    table: fn(&Table) -> Option<T>,
) -> Result<BTreeMap<String, Set<T>>, PolicyError> {
    let defined = root.get(key).and_then(Value::as_table).into_iter().flatten();
    defined.map(|(name, value)| Ok((name.clone(), set(value, literal, table)?))).collect()
}

fn set<T>(
    value: &Value,
    literal: fn(&str) -> Option<T>,
    table: fn(&Table) -> Option<T>,
) -> Result<Set<T>, PolicyError> {
    let element = |value: &Value| {
        if let Some(table_value) = value.as_table() {
            return Some(Element { excluded: false, what: What::Literal(table(table_value)?) });
        }
        let text = value.as_str()?;
        let (excluded, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let what = match text.strip_prefix('@') {
            Some(name) => What::Named(name.to_owned()),
            None => What::Literal(literal(text)?),
        };
        Some(Element { excluded, what })
    };
    let elements = value.as_array().ok_or_else(|| error("a set"))?;
    elements.iter().map(|value| element(value).ok_or_else(|| error(&value.to_string()))).collect()
}
