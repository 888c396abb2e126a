//! `[[invariant]]`.

use toml::de::{DeTable, DeValue};

use super::definitions::{InvariantDefinition, ScopeDefinition};
use super::schema::{Key, Schema, Takes, key};
use super::table::TableReader;
use crate::Code;
use crate::diagnostic::Report;
use crate::invariant::Wants;
use crate::source::{Location, Spanned};

/// `[[invariant]]`.
pub(super) const INVARIANT: Schema = Schema {
    what: "an invariant",
    keys: &[
        key("name", Takes::Text, "What must hold, in a sentence; if left out, it is named by its zones."),
        key("description", Takes::Text, "Why it must hold."),
        // One of these two must be there; which one is for the author to say.
        key(DENY_ALL, Takes::Table(&SCOPE), "Packets of which none may be allowed."),
        key(ALLOW_ALL, Takes::Table(&SCOPE), "Packets of which each must be allowed."),
    ],
    later: &[],
};
const SCOPE: Schema = Schema {
    what: "the scope of an invariant",
    keys: &[
        key("from", Takes::Zones, "The zones that the packets come from.").required("[\"ZONE\"]"),
        key("to", Takes::Zones, "The zones that they go to.").required("[\"ZONE\"]"),
        SOURCE,
        DESTINATION,
        SERVICES,
        key(
            "except",
            Takes::TableOrTables(&EXCEPTION),
            "Packets that are not spoken of: those that match all keys of a table.",
        ),
    ],
    later: &[],
};
const EXCEPTION: Schema = Schema {
    what: "an exception",
    keys: &[
        key("from", Takes::Zones, "The zones that the packets come from; any if left out."),
        key("to", Takes::Zones, "The zones that they go to; any if left out."),
        SOURCE,
        DESTINATION,
        SERVICES,
    ],
    later: &[],
};
const SOURCE: Key = key("source", Takes::Addresses, "Source addresses; any if left out.");
const DESTINATION: Key = key("destination", Takes::Addresses, "Destination addresses; any if left out.");
const SERVICES: Key = key("services", Takes::Services, "Protocols and ports; any if left out.");
const DENY_ALL: &str = "deny_all";
const ALLOW_ALL: &str = "allow_all";

/// Reads an invariant; one that is not complete is reported and left out.
pub(super) fn read(table: &DeTable<'_>, at: Location, report: &mut Report) -> Option<InvariantDefinition> {
    let mut reader = TableReader::new(&INVARIANT, table, at, report);
    let name = reader.string("name");
    // Told to people who read the file; nobody else asks for it.
    reader.text("description");
    let kinds = [(DENY_ALL, Wants::Denied), (ALLOW_ALL, Wants::Allowed)];
    let present: Vec<(&str, Wants)> = kinds.into_iter().filter(|(key, _)| reader.value(key).is_some()).collect();
    let [(key, wants)] = present.as_slice() else {
        if present.is_empty() {
            reader.require(DENY_ALL, "{ from = [\"ZONE\"], to = [\"ZONE\"] }");
        } else {
            let (first, second) = (reader.key_location(DENY_ALL), reader.key_location(ALLOW_ALL));
            reader
                .report
                .at(Code::Contradiction, second, "an invariant has either `deny_all` or `allow_all`")
                .related(first, "the other one");
        }
        return None;
    };
    let mut reader = reader.inner(key, &SCOPE)?;
    let scope = scope(&mut reader);
    let except = exceptions(&mut reader);
    (scope.from.is_some() && scope.to.is_some()).then_some(InvariantDefinition {
        name,
        wants: *wants,
        scope,
        except: except?,
        at,
    })
}

fn scope(reader: &mut TableReader<'_, '_, '_>) -> ScopeDefinition {
    ScopeDefinition {
        from: reader.strings("from").map(|zones| zones.value),
        to: reader.strings("to").map(|zones| zones.value),
        source: reader.address_terms("source"),
        destination: reader.address_terms("destination"),
        services: reader.service_terms("services"),
    }
}

/// `except = { … }`, or an array of such tables; `None` if one of them is wrong.
fn exceptions(reader: &mut TableReader<'_, '_, '_>) -> Option<Vec<ScopeDefinition>> {
    const EXPECTED: &str = "a table, or an array of tables";
    let Some(value) = reader.value("except") else { return Some(Vec::new()) };
    let tables: Vec<Spanned<&DeValue<'_>>> = match value.value {
        DeValue::Array(_) => {
            let array = reader.array("except", EXPECTED)?;
            array.value.iter().map(|element| Spanned::new(element.get_ref(), reader.place(element))).collect()
        }
        DeValue::Table(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => vec![value],
    };
    let mut exceptions = Vec::with_capacity(tables.len());
    for table in tables {
        let DeValue::Table(inner) = table.value else {
            reader.wrong_type("except", EXPECTED, &table);
            return None;
        };
        let mut inner_reader = TableReader::new(&EXCEPTION, inner, table.at, reader.report);
        if inner.is_empty() {
            inner_reader
                .report
                .at(Code::MissingKey, table.at, "an exception without keys is everything")
                .help("say what is excepted: `services = [\"tcp/443\"]`");
            return None;
        }
        exceptions.push(scope(&mut inner_reader));
    }
    Some(exceptions)
}
