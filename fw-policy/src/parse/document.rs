//! The top level of a file, and its smaller tables.

use fw_common::abi::policy::Action;
use toml::de::{DeTable, DeValue};

use super::definitions::{DefaultsDefinition, Definitions, RuleDefinition, ZoneDefinition, ZonePairDefinition};
use super::feed::FEED;
use super::invariant::INVARIANT;
use super::rule::RULE;
use super::schema::{Schema, Takes, key, words};
use super::table::{TableReader, in_written_order};
use super::terms::reported;
use super::test::TEST;
use super::{feed, invariant, rule, test};
use crate::Code;
use crate::diagnostic::{Applicability, Report};
use crate::level::Level;
use crate::set::SetDefinition;
use crate::set::address::parse_network;
use crate::source::{Location, Spanned};

/// A policy file.
pub(crate) const FILE: Schema = Schema {
    what: "a policy file",
    keys: &[
        // Whether it is there is not asked as of other keys: it has a code of its own.
        key("version", Takes::Version, "The version of the language that the file is written in."),
        key(
            "include",
            Takes::Directories,
            "Directories below the policy directory whose files are read right behind this one, each once.",
        ),
        key(
            "defaults",
            Takes::Table(&DEFAULTS),
            "What happens to packets that nothing else decides; once in all files.",
        ),
        key("zones", Takes::Named(&ZONE), "Zones by name: places behind interfaces, told apart by address."),
        key("addresses", Takes::AddressSets, "Sets of addresses by name; `@name` in rules and other sets."),
        key("services", Takes::ServiceSets, "Sets of services by name; `@name` in rules and other sets."),
        key(
            "feed",
            Takes::Tables(&FEED),
            "Sets of addresses that are kept fresh from elsewhere; `@name` in rules and sets.",
        ),
        key("rule", Takes::Tables(&RULE), "Rules; the first that matches decides."),
        key("zone_pair", Takes::Tables(&ZONE_PAIR), "What happens between two zones if no rule matches."),
        key(
            "test",
            Takes::Tables(&TEST),
            "What must hold: run by `fwctl policy test`, and before a policy is applied.",
        ),
        key(
            "invariant",
            Takes::Tables(&INVARIANT),
            "What must hold of all packets, whatever the rules are; decided where tests are run.",
        ),
    ],
    later: &[],
};
const DEFAULTS: Schema = Schema {
    what: "`[defaults]`",
    keys: &[
        key("action", Takes::Words(&DEFAULT_WORDS), "What is done with the packet; a reject tells the sender.")
            .required("\"drop\""),
        key("log", Takes::Logging, "Whether it is logged, or as how severe; true if left out."),
    ],
    later: &[],
};
const ZONE: Schema = Schema {
    what: "a zone",
    keys: &[
        key("description", Takes::Text, "What the zone is."),
        key("networks", Takes::Networks, "Its networks; left out, it is the rest of its interface."),
    ],
    later: &[],
};
const ZONE_PAIR: Schema = Schema {
    what: "a zone pair",
    keys: &[
        key("from", Takes::Zone, "The zone that packets come from.").required("\"ZONE\""),
        key("to", Takes::Zone, "The zone that they go to.").required("\"ZONE\""),
        key("description", Takes::Text, "What it is for."),
        key("action", Takes::Words(&DEFAULT_WORDS), "What is done with the packet.").required("\"reject\""),
        key("log", Takes::Logging, "Whether it is logged, or as how severe; as `[defaults]` says if left out."),
    ],
    later: &[],
};

/// What a default can do: it never allows.
const DEFAULT_ACTIONS: [(&str, Action); 2] = [("drop", Action::Drop), ("reject", Action::Reject)];
const DEFAULT_WORDS: [&str; 2] = words(&DEFAULT_ACTIONS);

/// Reads a file into the definitions.
pub(crate) fn read(file: u32, root: &DeTable<'_>, definitions: &mut Definitions, report: &mut Report) {
    let mut reader = TableReader::new(&FILE, root, Location::new(file, 0..0), report);
    check_version(&mut reader);
    definitions.includes.extend(reader.strings("include").into_iter().flat_map(|names| names.value));
    if let Some((table, at)) = subtable(&mut reader, "defaults") {
        definitions.defaults.push(defaults(table, at, reader.report));
    }
    if let Some((zones, _)) = subtable(&mut reader, "zones") {
        for (name, value) in in_written_order(zones) {
            let name = Spanned::new(name.get_ref().clone().into_owned(), reader.place(name));
            let value = Spanned::new(value.get_ref(), reader.place(value));
            let DeValue::Table(table) = value.value else {
                reader.wrong_type(&name.value, "a table", &value);
                continue;
            };
            definitions.zones.push(zone(name, table, value.at, reader.report));
        }
    }
    read_sets(&mut reader, definitions);
    for (table, at) in tables(&mut reader, "feed") {
        definitions.feeds.extend(feed::read(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "rule") {
        definitions.rules.push(rule::read(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "zone_pair") {
        definitions.zone_pairs.push(zone_pair(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "test") {
        definitions.tests.extend(test::read(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "invariant") {
        definitions.invariants.extend(invariant::read(table, at, reader.report));
    }
}

/// The directories that a file includes, without a word on what is wrong with them.
pub(super) fn included(root: &DeTable<'_>) -> Vec<String> {
    let value = root.get("include").map(toml::Spanned::get_ref);
    let elements = value.and_then(DeValue::as_array).into_iter().flat_map(|array| array.iter());
    elements.filter_map(|element| element.get_ref().as_str()).map(str::to_owned).collect()
}

/// Reads the rules of a table that holds nothing else; else `None`.
pub(super) fn read_rules(file: u32, root: &DeTable<'_>, report: &mut Report) -> Option<Vec<RuleDefinition>> {
    if root.len() != 1 {
        return None;
    }
    let mut reader = TableReader::new(&FILE, root, Location::new(file, 0..0), report);
    reader.value("rule")?;
    Some(tables(&mut reader, "rule").into_iter().map(|(table, at)| rule::read(table, at, reader.report)).collect())
}

fn check_version(reader: &mut TableReader<'_, '_, '_>) {
    let Some(version) = reader.value("version") else {
        let at = reader.location();
        reader
            .report
            .at(Code::Version, at, "the file does not say which version of the language it is written in")
            .help("write `version = 1` at its top")
            .fix(Location { end: at.start, ..at }, "version = 1\n", Applicability::MachineApplicable);
        return;
    };
    let DeValue::Integer(number) = version.value else {
        reader.wrong_type("version", "an integer", &version);
        return;
    };
    if number.to_string() != "1" {
        let message = format!("version {number} of the language is not known");
        reader.report.at(Code::Version, version.at, message).help("write `version = 1`");
    }
}

/// The table that a key holds.
pub(super) fn subtable<'t, 'i>(reader: &mut TableReader<'t, 'i, '_>, key: &str) -> Option<(&'t DeTable<'i>, Location)> {
    let value = reader.value(key)?;
    let DeValue::Table(table) = value.value else {
        reader.wrong_type(key, "a table", &value);
        return None;
    };
    Some((table, value.at))
}

/// The tables that a key holds, written as `[[key]]`.
fn tables<'t, 'i>(reader: &mut TableReader<'t, 'i, '_>, key: &str) -> Vec<(&'t DeTable<'i>, Location)> {
    let expected = format!("tables, each headed `[[{key}]]`");
    let Some(array) = reader.array(key, &expected) else { return Vec::new() };
    let mut tables = Vec::with_capacity(array.value.len());
    for element in array.value.iter() {
        let value = Spanned::new(element.get_ref(), reader.place(element));
        match value.value {
            DeValue::Table(table) => tables.push((table, value.at)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => reader.wrong_type(key, &expected, &value),
        }
    }
    tables
}

fn defaults(table: &DeTable<'_>, at: Location, report: &mut Report) -> DefaultsDefinition {
    let mut reader = TableReader::new(&DEFAULTS, table, at, report);
    DefaultsDefinition {
        action: reader.choice("action", &DEFAULT_ACTIONS),
        log: reader.logging("log").map_or(Some(Level::default()), |log| log.value),
        at,
    }
}

fn zone(name: Spanned<String>, table: &DeTable<'_>, at: Location, report: &mut Report) -> ZoneDefinition {
    let mut reader = TableReader::new(&ZONE, table, at, report);
    let networks = reader.strings("networks").map(|networks| {
        let parsed = networks.value.iter().filter_map(|text| {
            let network = reported(parse_network(&text.value), text.at, reader.report)?;
            Some(Spanned::new(network, text.at))
        });
        parsed.collect()
    });
    ZoneDefinition { name, description: reader.text("description"), networks }
}

fn zone_pair(table: &DeTable<'_>, at: Location, report: &mut Report) -> ZonePairDefinition {
    let mut reader = TableReader::new(&ZONE_PAIR, table, at, report);
    ZonePairDefinition {
        from: reader.string("from"),
        to: reader.string("to"),
        description: reader.text("description"),
        action: reader.choice("action", &DEFAULT_ACTIONS),
        log: reader.logging("log").map(|log| log.value),
        at,
    }
}

/// Reads `[addresses]` and `[services]`, whose keys are names and whose values are arrays of terms.
fn read_sets(reader: &mut TableReader<'_, '_, '_>, definitions: &mut Definitions) {
    // The keys of these two tables are names that the author chooses, so their schema is never asked.
    const SETS: Schema = Schema { what: "a table of sets", keys: &[], later: &[] };
    if let Some((table, at)) = subtable(reader, "addresses") {
        let mut sets = TableReader::of_names(&SETS, table, at, reader.report);
        for (name, _) in in_written_order(table) {
            let (name, at) = (name.get_ref(), sets.place(name));
            let terms = sets.address_terms(name).map(|terms| terms.value).unwrap_or_default();
            definitions.addresses.push(SetDefinition { name: Spanned::new(name.clone().into_owned(), at), terms });
        }
    }
    if let Some((table, at)) = subtable(reader, "services") {
        let mut sets = TableReader::of_names(&SETS, table, at, reader.report);
        for (name, _) in in_written_order(table) {
            let (name, at) = (name.get_ref(), sets.place(name));
            let terms = sets.service_terms(name).map(|terms| terms.value).unwrap_or_default();
            definitions.services.push(SetDefinition { name: Spanned::new(name.clone().into_owned(), at), terms });
        }
    }
}
