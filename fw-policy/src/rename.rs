//! Gives a set, a zone or a rule another name, wherever it is named, for `fwctl policy rename`.
//!
//! The key tables of the parser tell which values are names of what ([`Takes`]). Only these bytes change, so that the rest of the
//! files stays as its authors wrote it. The result is compiled, and must decide as before.

use std::ops::Range;

use time::OffsetDateTime;
use toml::de::{DeTable, DeValue};

use crate::binding::Binding;
use crate::diagnostic::{Diagnostics, nearest};
use crate::parse::FILE;
use crate::parse::schema::{Schema, Takes};
use crate::policy::Policy;
use crate::source::SourceFile;
use crate::validate::name_fault;

/// What is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// An address set, or a feed.
    Set,
    /// A service set.
    Service,
    /// A zone.
    Zone,
    /// A rule.
    Rule,
}

impl Renamed {
    /// What it is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "address set",
            Self::Service => "service set",
            Self::Zone => "zone",
            Self::Rule => "rule",
        }
    }
}

/// Why nothing is renamed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// There is nothing with the old name.
    #[error("there is no {} `{old}`{}", kind.name(), nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// What was to be renamed.
        kind: Renamed,
        /// The name that nothing has.
        old: String,
        /// A name that something has.
        nearest: Option<String>,
    },
    /// Something has the new name.
    #[error("the name `{new}` is taken: an existing {} has it", kind.name())]
    Taken {
        /// What was to be renamed.
        kind: Renamed,
        /// The name that is taken.
        new: String,
    },
    /// The new name cannot be one.
    #[error("{0}")]
    Name(String),
    /// The policy is invalid as it is.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The result would decide otherwise: the name stands somewhere where it was not found.
    #[error(
        "`{0}` is named in a way that is not understood, so nothing is renamed; it may be a key with points in it: write a header"
    )]
    NotFound(String),
}

/// The files that change, with their new texts.
///
/// # Errors
///
/// If there is nothing to rename, if the new name cannot be taken, or if the policy is invalid.
pub fn rename(
    files: &[SourceFile],
    kind: Renamed,
    old: &str,
    new: &str,
    now: OffsetDateTime,
) -> Result<Vec<SourceFile>, RenameError> {
    let policy = crate::load(files).map_err(RenameError::Invalid)?;
    let names = names(&policy, kind);
    if !names.iter().any(|name| name == old) {
        let nearest = nearest(old, names.iter().map(String::as_str)).map(str::to_owned);
        return Err(RenameError::Unknown { kind, old: old.to_owned(), nearest });
    }
    if names.iter().any(|name| name == new) {
        return Err(RenameError::Taken { kind, new: new.to_owned() });
    }
    if let Some((fault, help)) = name_fault(kind.name(), kind == Renamed::Zone, new) {
        return Err(RenameError::Name(help.map_or_else(|| fault.clone(), |help| format!("{fault}: {help}"))));
    }
    let change = Change { kind, old, new };
    let texts: Vec<SourceFile> =
        files.iter().map(|file| SourceFile { name: file.name.clone(), text: change.made_in(&file.text) }).collect();
    let binding = Binding::offline(&policy);
    let before = policy.compile(&binding, now).map_err(RenameError::Invalid)?;
    let after = crate::load(&texts).and_then(|policy| policy.compile(&Binding::offline(&policy), now));
    if after.is_ok_and(|after| after.tables == before.tables) {
        let changed = files.iter().zip(texts).filter(|(file, renamed)| **file != *renamed);
        Ok(changed.map(|(_, renamed)| renamed).collect())
    } else {
        Err(RenameError::NotFound(old.to_owned()))
    }
}

fn names(policy: &Policy, kind: Renamed) -> Vec<String> {
    match kind {
        Renamed::Set => policy.addresses.names().map(str::to_owned).collect(),
        Renamed::Service => policy.services.names().map(str::to_owned).collect(),
        Renamed::Zone => policy.zones.iter().map(|zone| zone.name.clone()).collect(),
        Renamed::Rule => policy.rules().map(|rule| rule.id.clone()).collect(),
    }
}

/// The key of a rule that says which id it had.
const WAS: &str = "renamed_from";

struct Change<'c> {
    kind: Renamed,
    old: &'c str,
    new: &'c str,
}

impl Change<'_> {
    fn made_in(&self, text: &str) -> String {
        let (root, _) = DeTable::parse_recoverable(text);
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        self.table(root.get_ref(), &FILE, text, &mut edits);
        edits.sort_by_key(|(range, _)| range.start);
        let mut renamed = String::with_capacity(text.len());
        let mut behind = 0;
        for (range, replacement) in edits {
            renamed.push_str(text.get(behind..range.start).unwrap_or_default());
            renamed.push_str(&replacement);
            behind = range.end;
        }
        renamed + text.get(behind..).unwrap_or_default()
    }

    fn table(&self, table: &DeTable<'_>, schema: &Schema, text: &str, edits: &mut Vec<(Range<usize>, String)>) {
        if self.kind == Renamed::Rule && schema.key(WAS).is_some() {
            return self.rule(table, text, edits);
        }
        for (key, value) in table.iter() {
            if let Some(key) = schema.key(key.get_ref()) {
                self.value(value, key.takes, text, edits);
            }
        }
    }

    /// Gives a rule its new id, if it is the one that is renamed, and notes the old one beside it, under which it has been counted.
    fn rule(&self, table: &DeTable<'_>, text: &str, edits: &mut Vec<(Range<usize>, String)>) {
        let Some((key, id)) = table.get_key_value("id") else { return };
        let DeValue::String(written) = id.get_ref() else { return };
        if written != self.old {
            return;
        }
        edits.push((id.span(), replaced(text, id.span(), written, self.new)));
        let was = format!("\"{}\"", self.old);
        if let Some(known) = table.get(WAS) {
            edits.push((known.span(), was));
            return;
        }
        let line = text[..key.span().start].rfind('\n').map_or(0, |end| end + 1);
        let (at, noted) = if text[line..key.span().start].trim().is_empty() {
            let end = text[id.span().end..].find('\n').map_or(text.len(), |end| id.span().end + end);
            let (end, newline) = if text[..end].ends_with('\r') { (end - 1, "\r\n") } else { (end, "\n") };
            (end, format!("{newline}{}{WAS} = {was}", &text[line..key.span().start]))
        } else {
            // Within an inline table.
            (id.span().end, format!(", {WAS} = {was}"))
        };
        edits.push((at..at, noted));
    }

    fn value(
        &self,
        value: &toml::Spanned<DeValue<'_>>,
        takes: Takes,
        text: &str,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        match value.get_ref() {
            DeValue::String(written) => {
                if let Some(renamed) = self.name(written, takes) {
                    edits.push((value.span(), replaced(text, value.span(), written, &renamed)));
                }
            }
            DeValue::Array(elements) => elements.iter().for_each(|element| self.value(element, takes, text, edits)),
            DeValue::Table(table) => {
                if let Takes::Table(schema) | Takes::Tables(schema) | Takes::TableOrTables(schema) = takes {
                    self.table(table, schema, text, edits);
                }
                if let Some((kind, inner)) = takes.of_names() {
                    self.named(table, kind, inner, text, edits);
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    /// A table whose keys are names.
    fn named(
        &self,
        table: &DeTable<'_>,
        kind: Renamed,
        inner: Takes,
        text: &str,
        edits: &mut Vec<(Range<usize>, String)>,
    ) {
        for (key, value) in table.iter() {
            if kind == self.kind && key.get_ref() == self.old {
                edits.push((key.span(), replaced_key(text, key.span(), self.old, self.new)));
            }
            self.value(value, inner, text, edits);
        }
    }

    /// What a text is with the new name; `None` if the old one is not in it.
    fn name(&self, written: &str, takes: Takes) -> Option<String> {
        let renamed = |name: &str| if name == self.old { self.new } else { name }.to_owned();
        let renamed = match (takes, self.kind) {
            (Takes::RuleId, Renamed::Rule)
            | (Takes::Zone | Takes::Zones, Renamed::Zone)
            | (Takes::SetName, Renamed::Set) => renamed(written),
            (Takes::RuleId, Renamed::Zone) => {
                let (from, to) = written.strip_prefix("default:")?.split_once('>')?;
                crate::policy::zone_pair_id(&renamed(from), &renamed(to))
            }
            (Takes::Addresses, Renamed::Set) | (Takes::Services, Renamed::Service) => {
                let sign = if written.starts_with('!') { "!@" } else { "@" };
                format!("{sign}{}", renamed(written.strip_prefix(sign)?))
            }
            _ => return None,
        };
        (renamed != written).then_some(renamed)
    }
}

impl Takes {
    /// What the keys of a table name, if its author chooses them, and what they take.
    fn of_names(self) -> Option<(Renamed, Self)> {
        if let Self::Named(schema) = self {
            return Some((Renamed::Zone, Self::Table(schema)));
        }
        let sets =
            [(Self::AddressSets, Renamed::Set, Self::Addresses), (Self::ServiceSets, Renamed::Service, Self::Services)];
        let found =
            sets.into_iter().find(|(takes, ..)| std::mem::discriminant(takes) == std::mem::discriminant(&self))?;
        Some((found.1, found.2))
    }
}

/// The text of a string with other contents, in the quotation marks that it has.
fn replaced(text: &str, span: Range<usize>, written: &str, renamed: &str) -> String {
    let literal = text.get(span).unwrap_or_default();
    match literal.split_once(written) {
        Some((before, behind)) => format!("{before}{renamed}{behind}"),
        // Something in it is written as an escape sequence; names need none.
        None => format!("\"{renamed}\""),
    }
}

/// The same of a key. Names may have points in them, and then need quotation marks as keys.
fn replaced_key(text: &str, span: Range<usize>, written: &str, renamed: &str) -> String {
    let literal = text.get(span.clone()).unwrap_or_default();
    if literal == written && renamed.contains('.') {
        return format!("\"{renamed}\"");
    }
    replaced(text, span, written, renamed)
}
