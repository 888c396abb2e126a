//! Reads the keys of one table, and reports each that is unknown, missing or of the wrong type.

use std::borrow::Cow;

use toml::de::{DeArray, DeTable, DeValue};

use super::schema::Schema;
use crate::Code;
use crate::diagnostic::{Applicability, Report, nearest};
use crate::level::Level;
use crate::source::{Location, Spanned};

/// How messages begin to say that an array is expected.
const AN_ARRAY: &str = "an array";

/// A key of a table, with its value.
pub(crate) type Item<'t, 'i> = (&'t toml::Spanned<Cow<'i, str>>, &'t toml::Spanned<DeValue<'i>>);

/// The keys of a table in the order in which they were written.
pub(crate) fn in_written_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Item<'t, 'i>> {
    let mut items: Vec<_> = table.iter().collect();
    items.sort_by_key(|(key, _)| key.span().start);
    items
}

/// One table while it is read.
pub(crate) struct TableReader<'t, 'i, 'r> {
    schema: &'static Schema,
    table: &'t DeTable<'i>,
    file: u32,
    at: Location,
    pub(crate) report: &'r mut Report,
}

impl<'t, 'i, 'r> TableReader<'t, 'i, 'r> {
    /// Starts reading, and reports keys that the schema does not have, and those that must be there and are not.
    pub(crate) fn new(schema: &'static Schema, table: &'t DeTable<'i>, at: Location, report: &'r mut Report) -> Self {
        let mut reader = Self::of_names(schema, table, at, report);
        for (key, _) in in_written_order(table) {
            reader.check_key(key.get_ref(), Location::new(at.file, key.span()));
        }
        for key in schema.keys {
            if let Some(example) = key.example {
                reader.require(key.name, example);
            }
        }
        reader
    }

    /// Starts reading a table whose keys are names that the author of the policy chooses.
    pub(crate) const fn of_names(
        schema: &'static Schema,
        table: &'t DeTable<'i>,
        at: Location,
        report: &'r mut Report,
    ) -> Self {
        Self { schema, table, file: at.file, at, report }
    }

    fn check_key(&mut self, key: &str, at: Location) {
        let Schema { what, keys, later } = *self.schema;
        if later.contains(&key) {
            let message = format!("`{key}` is not supported in this version");
            self.report.at(Code::Unsupported, at, message).label("belongs to a later version of the language");
        } else if self.schema.key(key).is_none() {
            let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            self.report
                .at(Code::UnknownKey, at, format!("{what} has no key `{key}`"))
                .help(format!("the keys of {what} are {}", quoted(&names)))
                .did_you_mean(key, nearest(key, names.iter().copied()));
        }
    }

    pub(crate) const fn location(&self) -> Location {
        self.at
    }

    /// Where something in the same file stands.
    pub(crate) fn place<T>(&self, spanned: &toml::Spanned<T>) -> Location {
        Location::new(self.file, spanned.span())
    }

    /// The value of a key, if it is there.
    pub(crate) fn value(&self, key: &str) -> Option<Spanned<&'t DeValue<'i>>> {
        debug_assert!(self.schema.keys.is_empty() || self.schema.key(key).is_some(), "{key} is not in the schema");
        let value = self.table.get(key)?;
        Some(Spanned::new(value.get_ref(), self.place(value)))
    }

    /// Where a key stands: for what is wrong with its presence.
    pub(crate) fn key_location(&self, key: &str) -> Location {
        self.table.get_key_value(key).map_or(self.at, |(key, _)| self.place(key))
    }

    /// Reports a key that must be there, with an example of how to write it.
    pub(super) fn require(&mut self, key: &str, example: &str) {
        if !self.table.contains_key(key) {
            let message = format!("{} needs the key `{key}`", self.schema.what);
            self.report.at(Code::MissingKey, self.at, message).help(format!("write `{key} = {example}`"));
        }
    }

    pub(crate) fn wrong_type(&mut self, key: &str, expected: &str, found: &Spanned<&DeValue<'_>>) {
        let message = format!("`{key}` takes {expected}, not {}", type_name(found.value));
        let finding = self.report.at(Code::WrongType, found.at, message).label(format!("expected {expected}"));
        if let DeValue::String(_) = found.value
            && expected.starts_with(AN_ARRAY)
            && let Some(text) = finding.text().map(str::to_owned)
        {
            finding.help("put it into brackets").fix(found.at, format!("[{text}]"), Applicability::MachineApplicable);
        }
    }

    pub(crate) fn string(&mut self, key: &str) -> Option<Spanned<String>> {
        let value = self.value(key)?;
        let DeValue::String(text) = value.value else {
            self.wrong_type(key, "a string", &value);
            return None;
        };
        Some(Spanned::new(text.clone().into_owned(), value.at))
    }

    /// Free text, empty if the key is not there.
    pub(crate) fn text(&mut self, key: &str) -> String {
        self.string(key).map(|text| text.value).unwrap_or_default()
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<Spanned<bool>> {
        let value = self.value(key)?;
        let DeValue::Boolean(boolean) = value.value else {
            self.wrong_type(key, "true or false", &value);
            return None;
        };
        Some(Spanned::new(*boolean, value.at))
    }

    /// Whether something is logged, and how severe it is.
    pub(crate) fn logging(&mut self, key: &str) -> Option<Spanned<Option<Level>>> {
        let value = self.value(key)?;
        match value.value {
            DeValue::Boolean(logs) => Some(Spanned::new(logs.then(Level::default), value.at)),
            DeValue::String(_) => {
                self.choice(key, &Level::WORDS).map(|level| Spanned::new(Some(level.value), level.at))
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type(key, "true, false or a level", &value);
                None
            }
        }
    }

    /// The elements of an array that is not empty.
    pub(crate) fn array(&mut self, key: &str, expected: &str) -> Option<Spanned<&'t DeArray<'i>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.value else {
            self.wrong_type(key, expected, &value);
            return None;
        };
        if array.is_empty() {
            self.report
                .at(Code::EmptyArray, value.at, format!("`{key}` is empty"))
                .help("leave the key out, or list what is meant");
            return None;
        }
        Some(Spanned::new(array, value.at))
    }

    /// An array of strings; elements of another type are reported and left out.
    pub(crate) fn strings(&mut self, key: &str) -> Option<Spanned<Vec<Spanned<String>>>> {
        let array = self.array(key, "an array of strings")?;
        let mut strings: Vec<Spanned<String>> = Vec::with_capacity(array.value.len());
        for element in array.value.iter() {
            let element = Spanned::new(element.get_ref(), self.place(element));
            let DeValue::String(text) = element.value else {
                self.wrong_type(key, "an array of strings", &element);
                continue;
            };
            strings.push(Spanned::new(text.clone().into_owned(), element.at));
        }
        warn_about_repetitions(key, &strings, self.report);
        Some(Spanned::new(strings, array.at))
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<Spanned<T>> {
        let written = self.string(key)?;
        let found = choices.iter().find(|(word, _)| *word == written.value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.report
                .at(Code::InvalidValue, written.at, format!("`{key}` cannot be `{}`", written.value))
                .help(format!("write one of {}", quoted(&words)))
                .did_you_mean(&written.value, nearest(&written.value, words.iter().copied()));
        }
        found.map(|(_, choice)| Spanned::new(*choice, written.at))
    }
}

/// Warns about each element that stands in an array a second time.
pub(crate) fn warn_about_repetitions(key: &str, strings: &[Spanned<String>], report: &mut Report) {
    let mut seen = std::collections::BTreeMap::new();
    for (position, string) in strings.iter().enumerate() {
        if let Some(first) = seen.insert(string.value.as_str(), string.at) {
            let finding = report
                .at(Code::ListedTwice, string.at, format!("`{}` stands twice in `{key}`", string.value))
                .related(first, "first listed here");
            // Together with the comma in front of it, unless something else stands between the two.
            let before = strings[position.saturating_sub(1)].at;
            let between = Location { start: before.end, end: string.at.start, ..string.at };
            if finding.excerpt(between).trim() == "," {
                let with_comma = Location { start: before.end, ..string.at };
                finding.help("remove one of them").fix(with_comma, "", Applicability::MachineApplicable);
            }
        }
    }
}

/// `a`, `b`, `c`.
fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

const fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
