//! `[[invariant]]`.

use toml::de::{DeTable, DeValue};

use super::definitions::{InvariantDefinition, ScopeDefinition};
use super::table::{Schema, TableReader};
use crate::Code;
use crate::diagnostic::Report;
use crate::invariant::Wants;
use crate::source::{Location, Spanned};

const INVARIANT: Schema =
    Schema { what: "an invariant", keys: &["name", "description", "deny_all", "allow_all"], later: &[] };
const SCOPE: Schema = Schema {
    what: "the scope of an invariant",
    keys: &["from", "to", "source", "destination", "services", "except"],
    later: &[],
};
const EXCEPTION: Schema =
    Schema { what: "an exception", keys: &["from", "to", "source", "destination", "services"], later: &[] };

/// Reads an invariant; one that is not complete is reported and left out.
pub(super) fn read(table: &DeTable<'_>, at: Location, report: &mut Report) -> Option<InvariantDefinition> {
    let mut reader = TableReader::new(&INVARIANT, table, at, report);
    let name = reader.string("name");
    // Told to people who read the file; nobody else asks for it.
    reader.text("description");
    let kinds = [("deny_all", Wants::Denied), ("allow_all", Wants::Allowed)];
    let present: Vec<(&str, Wants)> = kinds.into_iter().filter(|(key, _)| reader.value(key).is_some()).collect();
    let [(key, wants)] = present.as_slice() else {
        if present.is_empty() {
            reader.require("deny_all", "{ from = [\"ZONE\"], to = [\"ZONE\"] }");
        } else {
            let (first, second) = (reader.key_location("deny_all"), reader.key_location("allow_all"));
            reader
                .report
                .at(Code::Contradiction, second, "an invariant has either `deny_all` or `allow_all`")
                .related(first, "the other one");
        }
        return None;
    };
    let mut reader = reader.inner(key, &SCOPE)?;
    reader.require("from", "[\"ZONE\"]");
    reader.require("to", "[\"ZONE\"]");
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
