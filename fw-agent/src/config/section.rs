//! One table of `agent.toml`, read key by key: what has another type than is asked for, and what nobody has asked for, is
//! reported.

use std::ops::{Range, RangeInclusive};

use fw_policy::Code;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use crate::text::nearest;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table that is being read.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    /// Its header, as in messages.
    title: String,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn new(title: impl Into<String>, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self { table, title: title.into(), span, asked: Vec::new() }
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The key is there, whatever its value.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A value of one type; another type is reported.
    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        report: &mut Report<'_>,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        let Some(read) = read(value.get_ref()) else {
            wrong_type(key, value, expected, report);
            return None;
        };
        Some(At { value: read, span: value.span() })
    }

    pub(super) fn string(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<At<&'t str>> {
        self.typed(key, "a string", report, DeValue::as_str)
    }

    pub(super) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<At<bool>> {
        self.typed(key, "true or false", report, DeValue::as_bool)
    }

    /// An integer within a range, which is reported if the value is outside.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        report: &mut Report<'_>,
    ) -> Option<At<u64>> {
        let number = self.typed(key, "an integer", report, |value| {
            let integer = value.as_integer()?;
            Some(i128::from_str_radix(integer.as_str(), integer.radix()).ok())
        })?;
        let value = number.value.and_then(|value| u64::try_from(value).ok()).filter(|value| range.contains(value));
        if value.is_none() {
            report.add(Code::InvalidValue, number.span.clone(), format!("`{key}` is out of range")).expected(format!(
                "expected {} to {}",
                range.start(),
                range.end()
            ));
        }
        Some(At { value: value?, span: number.span })
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<At<&'t str>>> {
        let array = self.typed(key, "an array of strings", report, DeValue::as_array)?;
        let mut strings = Vec::new();
        for element in array.value.iter() {
            match element.get_ref().as_str() {
                Some(value) => strings.push(At { value, span: element.span() }),
                None => wrong_type(key, element, "a string", report),
            }
        }
        Some(strings)
    }

    /// A table, `[key]`.
    pub(super) fn table(&mut self, key: &'static str, title: &str, report: &mut Report<'_>) -> Option<Section<'t>> {
        let table = self.typed(key, "a table", report, DeValue::as_table)?;
        Some(Section::new(title, table.value, table.span))
    }

    /// An array of tables, `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Section<'t>> {
        let expected = format!("one or more `[[{key}]]`");
        let Some(array) = self.typed(key, &expected, report, DeValue::as_array) else { return Vec::new() };
        let mut sections = Vec::new();
        for element in array.value.iter() {
            match element.get_ref().as_table() {
                Some(table) => sections.push(Section::new(format!("[[{key}]]"), table, element.span())),
                None => wrong_type(key, element, "a table", report),
            }
        }
        sections
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, key: &str, expected: &str, report: &mut Report<'_>) {
        report
            .add(Code::MissingKey, self.span(), format!("{} lacks `{key}`", self.title))
            .expected(format!("expected {expected}"));
    }

    /// Reports the keys that nobody has asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for key in self.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let finding = report.add(Code::UnknownKey, key.span(), format!("{} has no key `{name}`", self.title));
            match nearest(name, &self.asked) {
                Some(near) => finding.expected(format!("did you mean `{near}`?")),
                None => finding.expected("unknown key").help(format!("known keys: {}", self.asked.join(", "))),
            };
        }
    }
}

fn wrong_type(key: &str, value: &Spanned<DeValue<'_>>, expected: &str, report: &mut Report<'_>) {
    let found = value.get_ref().type_str();
    report
        .add(Code::WrongType, value.span(), format!("`{key}` is of the wrong type: {found}"))
        .expected(format!("expected {expected}"));
}
