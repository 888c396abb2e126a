//! The limits of a rule.

use toml::de::DeValue;

use super::schema::{Schema, Takes, key, words};
use super::table::TableReader;
use crate::Code;
use crate::limits::{MaxFlows, Per, Rate, UNITS};
use crate::source::Spanned;

pub(super) const RATE: Schema = Schema {
    what: "a rate",
    keys: &[
        key("new_flows", Takes::Rate, "New flows in a time.").required("\"100/s\""),
        key(
            "burst",
            Takes::Number { lowest: 1, highest: LARGEST_RATE },
            "New flows that may come at once; as many as `new_flows` says if left out.",
        ),
        key("per", Takes::Words(&PER), "What it counts for; the whole rule if left out."),
    ],
    later: &[],
};
pub(super) const MAX_FLOWS: Schema = Schema {
    what: "a limit of flows",
    keys: &[
        key("limit", Takes::Number { lowest: 1, highest: LARGEST_LIMIT }, "Flows at once.").required("1000"),
        key("per", Takes::Words(&PER), "What it counts for; the whole rule if left out."),
    ],
    later: &[],
};
const PER: [&str; 3] = words(&Per::WORDS);

/// The largest number of a rate, and the largest burst.
const LARGEST_RATE: u32 = 1_000_000;
/// The largest limit: as many flows as a table can hold.
const LARGEST_LIMIT: u32 = 16_777_216;

/// `rate = { new_flows = "100/s", burst = 200, per = "source" }`. Without `burst`, the number of `new_flows`.
pub(super) fn rate(reader: &mut TableReader<'_, '_, '_>) -> Option<Spanned<Rate>> {
    let mut reader = reader.inner("rate", &RATE)?;
    let burst = reader.whole_number("burst", 1..=LARGEST_RATE);
    let per = reader.choice("per", &Per::WORDS);
    let written = reader.string("new_flows")?;
    let Some((new_flows, seconds)) = parse_rate(&written.value) else {
        let message = format!("`{}` is not a rate", written.value);
        let help = format!("write a number from 1 to {LARGEST_RATE} and a unit, such as `100/s` or `5/m`");
        reader.report.at(Code::InvalidRate, written.at, message).help(help);
        return None;
    };
    let burst = burst.map_or(new_flows, |burst| burst.value);
    let per = per.map(|per| per.value).unwrap_or_default();
    Some(Spanned::new(Rate { new_flows, seconds, burst, per }, reader.location()))
}

/// `max_flows = { limit = 1000, per = "source" }`.
pub(super) fn max_flows(reader: &mut TableReader<'_, '_, '_>) -> Option<Spanned<MaxFlows>> {
    let mut reader = reader.inner("max_flows", &MAX_FLOWS)?;
    let per = reader.choice("per", &Per::WORDS).map(|per| per.value).unwrap_or_default();
    let limit = reader.whole_number("limit", 1..=LARGEST_LIMIT)?.value;
    Some(Spanned::new(MaxFlows { limit, per }, reader.location()))
}

/// A number and the seconds of its unit.
fn parse_rate(text: &str) -> Option<(u32, u64)> {
    let (number, unit) = text.split_once('/')?;
    let (_, seconds) = UNITS.iter().find(|(known, _)| *known == unit)?;
    // `parse` takes a sign as well.
    let number = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())??;
    (1..=LARGEST_RATE).contains(&number).then_some((number, *seconds))
}

impl<'t, 'i> TableReader<'t, 'i, '_> {
    /// The table that a key has as its value.
    pub(super) fn inner(&mut self, key: &str, schema: &'static Schema) -> Option<TableReader<'t, 'i, '_>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.value else {
            self.wrong_type(key, "a table", &value);
            return None;
        };
        Some(TableReader::new(schema, table, value.at, self.report))
    }

    /// An integer in a range.
    pub(super) fn whole_number(&mut self, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<Spanned<u32>> {
        let value = self.value(key)?;
        let DeValue::Integer(integer) = value.value else {
            self.wrong_type(key, "an integer", &value);
            return None;
        };
        let number =
            u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| range.contains(number));
        if number.is_none() {
            let help = format!("write a number from {} to {}", range.start(), range.end());
            self.report.at(Code::InvalidValue, value.at, format!("`{key}` is out of range")).help(help);
        }
        Some(Spanned::new(number?, value.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        assert_eq!(parse_rate("100/s"), Some((100, 1)));
        assert_eq!(parse_rate("5/d"), Some((5, 86_400)));
        for wrong in
            ["", "100", "/s", "0/s", "-1/s", "+1/s", "1 /s", "1/w", "1/ms", "1000001/s", "99999999999/s", "1/s/s"]
        {
            assert_eq!(parse_rate(wrong), None, "{wrong}");
        }
    }
}
