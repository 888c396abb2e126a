//! Arrays of address terms and of service terms.

use toml::de::{DeTable, DeValue};

use super::definitions::Terms;
use super::schema::{Schema, Takes, key};
use super::table::{TableReader, warn_about_repetitions};
use crate::diagnostic::{Applicability, Report};
use crate::set::address::{self, AddressSet};
use crate::set::service::{ALL_PORTS, PortRange, Ports, ServiceSet};
use crate::set::{Term, TermBody, TermError, parse_term, service_term};
use crate::source::{Location, Spanned};

/// A service that is told apart by source port, too.
pub(crate) const SERVICE_TABLE: Schema = Schema {
    what: "a service table",
    keys: &[
        key("proto", Takes::Protocol, "The protocol.").required("\"tcp\""),
        key("port", Takes::Ports, "Destination ports; any if left out."),
        key("source_port", Takes::Ports, "Source ports; any if left out."),
    ],
    later: &[],
};

impl TableReader<'_, '_, '_> {
    pub(crate) fn address_terms(&mut self, key: &str) -> Option<Terms<AddressSet>> {
        let strings = self.strings(key)?;
        let terms = strings.value.iter().filter_map(|text| {
            let term = parse_term(&text.value, address::parse_literal);
            reported(term, text.at, self.report).map(|term| Spanned::new(term, text.at))
        });
        Some(Spanned::new(terms.collect(), strings.at))
    }

    pub(crate) fn service_terms(&mut self, key: &str) -> Option<Terms<ServiceSet>> {
        const EXPECTED: &str = "an array of strings and tables";
        let array = self.array(key, EXPECTED)?;
        let mut terms = Vec::with_capacity(array.value.len());
        let mut texts = Vec::new();
        for element in array.value.iter() {
            let at = self.place(element);
            let term = match element.get_ref() {
                DeValue::String(text) => {
                    texts.push(Spanned::new(text.clone().into_owned(), at));
                    reported(parse_term(text, service_term::parse_literal), at, self.report)
                }
                DeValue::Table(table) => service_table(table, at, self.report),
                other @ (DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)) => {
                    self.wrong_type(key, EXPECTED, &Spanned::new(other, at));
                    None
                }
            };
            terms.extend(term.map(|term| Spanned::new(term, at)));
        }
        warn_about_repetitions(key, &texts, self.report);
        Some(Spanned::new(terms, array.at))
    }
}

/// Reports why a term is not one.
pub(crate) fn reported<T>(term: Result<T, TermError>, at: Location, report: &mut Report) -> Option<T> {
    match term {
        Ok(term) => Some(term),
        Err(error) => {
            let finding = report.at(error.code, at, error.message).help_if(error.help);
            if let Some((wrong, right)) = &error.fix {
                finding.fix_within(wrong, right, Applicability::MachineApplicable);
            }
            None
        }
    }
}

/// `{ proto = "tcp", port = ["135", "49152-65535"], source_port = ["1024-65535"] }`.
fn service_table(table: &DeTable<'_>, at: Location, report: &mut Report) -> Option<Term<ServiceSet>> {
    let mut reader = TableReader::new(&SERVICE_TABLE, table, at, report);
    let destinations = port_ranges(&mut reader, "port");
    let sources = port_ranges(&mut reader, "source_port");
    let proto = reader.string("proto")?;
    let number = reported(service_term::protocol_with_ports(&proto.value), proto.at, reader.report)?;
    let mut ports = Vec::new();
    for source in sources? {
        ports.extend(destinations.as_ref()?.iter().map(|destination| Ports { source, destination: *destination }));
    }
    Some(Term { negated: false, body: TermBody::Literal(ServiceSet::of(number, &ports)) })
}

/// The ranges of a key, every port if it is not there, `None` if one of them is wrong.
fn port_ranges(reader: &mut TableReader<'_, '_, '_>, key: &str) -> Option<Vec<PortRange>> {
    if reader.value(key).is_none() {
        return Some(vec![ALL_PORTS]);
    }
    let strings = reader.strings(key)?;
    let parsed =
        strings.value.iter().map(|text| reported(service_term::parse_ports(&text.value), text.at, reader.report));
    // All of them are read before one that is wrong decides, so that each is reported.
    parsed.collect::<Vec<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set::interval::Family;
    use crate::source::Sources;
    use std::sync::Arc;

    #[test]
    fn a_table_is_the_product_of_its_ports() {
        let root = DeTable::parse(r#"s = { proto = "tcp", port = ["135", "500-600"], source_port = ["1024-65535"] }"#);
        let root = root.unwrap();
        let DeValue::Table(table) = root.get_ref()["s"].get_ref() else { panic!("a table was written") };
        let mut report = Report::new(Arc::new(Sources::default()));
        let term = service_table(table, Location { file: 0, start: 0, end: 0 }, &mut report).unwrap();
        let TermBody::Literal(set) = term.body else { panic!("a table is a literal") };
        let holds = |source, destination| set.family(Family::V4).contains(6, source, destination);
        assert!(holds(1024, 135) && holds(5000, 600) && !holds(1023, 135) && !holds(5000, 601));
        assert!(!report.has_errors());
    }
}
