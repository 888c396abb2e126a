//! The top level of a file, and its smaller tables.

use fw_common::abi::policy::Action;
use toml::de::{DeTable, DeValue};

use super::definitions::{DefaultsDefinition, Definitions, RuleDefinition, ZoneDefinition, ZonePairDefinition};
use super::table::{Schema, TableReader, in_written_order};
use super::terms::reported;
use super::{rule, test};
use crate::Code;
use crate::diagnostic::{Applicability, Report};
use crate::set::SetDefinition;
use crate::set::address::parse_network;
use crate::source::{Location, Spanned};

const FILE: Schema = Schema {
    what: "a policy file",
    keys: &["version", "defaults", "zones", "addresses", "services", "rule", "zone_pair", "test"],
    later: &["feed", "invariant", "include"],
};
const DEFAULTS: Schema = Schema { what: "`[defaults]`", keys: &["action", "log"], later: &[] };
const ZONE: Schema = Schema { what: "a zone", keys: &["description", "networks"], later: &[] };
const ZONE_PAIR: Schema =
    Schema { what: "a zone pair", keys: &["from", "to", "description", "action", "log"], later: &[] };

/// What a default can do: it never allows.
const DEFAULT_ACTIONS: &[(&str, Action)] = &[("drop", Action::Drop), ("reject", Action::Reject)];

/// Reads a file into the definitions.
pub(crate) fn read(file: u32, root: &DeTable<'_>, definitions: &mut Definitions, report: &mut Report) {
    let mut reader = TableReader::new(&FILE, root, Location::new(file, 0..0), report);
    check_version(&mut reader);
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
    for (table, at) in tables(&mut reader, "rule") {
        definitions.rules.push(rule::read(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "zone_pair") {
        definitions.zone_pairs.push(zone_pair(table, at, reader.report));
    }
    for (table, at) in tables(&mut reader, "test") {
        definitions.tests.extend(test::read(table, at, reader.report));
    }
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
    reader.require("action", "\"drop\"");
    DefaultsDefinition {
        action: reader.choice("action", DEFAULT_ACTIONS),
        log: reader.boolean("log").is_none_or(|log| log.value),
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
    reader.require("from", "\"ZONE\"");
    reader.require("to", "\"ZONE\"");
    reader.require("action", "\"reject\"");
    ZonePairDefinition {
        from: reader.string("from"),
        to: reader.string("to"),
        description: reader.text("description"),
        action: reader.choice("action", DEFAULT_ACTIONS),
        log: reader.boolean("log").map(|log| log.value),
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
