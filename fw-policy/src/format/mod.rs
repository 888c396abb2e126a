//! Policy files in their canonical form, for `fwctl policy fmt`.
//!
//! In: text that is TOML. Out: text that means the same. The form:
//!
//! - a blank line in front of each header, none at the top, and elsewhere at most one where the author left some;
//! - keys as `key = value`, in the order of the language ([`Schema`]) where the language knows them, and else as they were;
//! - arrays on one line if they fit into [`WIDTH`] characters, else one element a line; also if the author left a comma behind the last
//!   element, or a comment among them;
//! - strings in quotation marks where that takes no backslash; numbers and dates as they were;
//! - comments where they were: above a key or header, or behind a value. They move with their key.
//!
//! Tables, and keys that are names, are never moved: the order of rules decides, and that of zones numbers them.

mod value;

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostics, Report};
use crate::parse::FILE;
use crate::parse::recover::{self, Statement};
use crate::parse::schema::{Schema, Takes};
use crate::source::{Location, SourceFile, Sources};
use value::Node;

/// How long a line with an array may be, in characters.
const WIDTH: usize = 100;

/// The texts of the files in canonical form.
///
/// # Errors
///
/// Every mistake of syntax in any of the files, at once.
pub fn format(files: &[SourceFile]) -> Result<Vec<String>, Diagnostics> {
    let sources = Arc::new(Sources::new(files));
    let mut report = Report::new(Arc::clone(&sources));
    let mut texts = Vec::with_capacity(files.len());
    for (file, source) in sources.files() {
        match canonical(&source.text) {
            Some(text) => texts.push(text),
            None => {
                recover::readable(file, &source.text, &mut report);
                if !report.has_errors() {
                    // The parser and this module do not agree on where a value ends: the text is not touched.
                    report.at(Code::Syntax, Location::new(file, 0..0), "the file cannot be put into canonical form");
                }
            }
        }
    }
    report.finish().map(|_| texts)
}

/// A text in canonical form; `None` if it is not TOML.
fn canonical(text: &str) -> Option<String> {
    let before: toml::Table = text.parse().ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let formatted = Document::read(text)?.print();
    let after: toml::Table = formatted.parse().ok()?;
    // The text of values tells also what is not equal to itself.
    (format!("{before:?}") == format!("{after:?}")).then_some(formatted)
}

/// A key with its value, or a header, with the comments that belong to it.
#[derive(Debug)]
struct Entry {
    /// Comments above it; an empty one is a blank line.
    above: Vec<String>,
    keys: Vec<String>,
    content: Content,
    /// The comment behind it.
    beside: Option<String>,
}

#[derive(Debug)]
enum Content {
    Table,
    ArrayOfTables,
    Value(Node),
}

#[derive(Debug)]
struct Document {
    entries: Vec<Entry>,
    /// What stands behind the last one.
    end: Vec<String>,
}

impl Document {
    fn read(text: &str) -> Option<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut behind = 0;
        for Statement { range, is_header, .. } in recover::statements(text, recover::Brackets::Closed) {
            let mut above = comments(&text[behind..range.start], entries.is_empty());
            let is_first = entries.last().is_none_or(|last| !matches!(last.content, Content::Value(_)));
            if is_first && !is_header && above.first().is_some_and(String::is_empty) {
                above.remove(0);
            }
            behind = range.end;
            let statement = &text[range];
            entries.push(if is_header { header(above, statement)? } else { key_and_value(above, statement)? });
        }
        let end = comments(&text[behind..], entries.is_empty());
        Some(Self { entries, end })
    }

    fn print(mut self) -> String {
        let mut start = 0;
        let mut path: Vec<String> = Vec::new();
        while start < self.entries.len() {
            let is_value = |entry: &Entry| matches!(entry.content, Content::Value(_));
            if !is_value(&self.entries[start]) {
                path.clone_from(&self.entries[start].keys);
                start += 1;
            }
            let behind = self.entries[start..].iter().position(|entry| !is_value(entry));
            let end = behind.map_or(self.entries.len(), |length| start + length);
            if let Some(schema) = schema_of(&path) {
                order(&mut self.entries[start..end], schema);
            }
            start = end;
        }
        let mut lines = Lines::default();
        for entry in &self.entries {
            lines.entry(entry);
        }
        lines.comments(&self.end);
        lines.finish()
    }
}

/// The keys of the table that a header opens; `None` where the author chooses them.
fn schema_of(path: &[String]) -> Option<&'static Schema> {
    let mut schema = &FILE;
    let mut keys = path.iter();
    while let Some(key) = keys.next() {
        let takes = schema.key(key)?.takes;
        schema = if let Takes::Table(inner) | Takes::Tables(inner) | Takes::TableOrTables(inner) = takes {
            inner
        } else if let Takes::Named(inner) = takes {
            keys.next()?;
            inner
        } else {
            return None;
        };
    }
    Some(schema)
}

/// Puts the entries of a table into the order of its schema; what it does not know stays behind, as it was.
fn order(entries: &mut [Entry], schema: &'static Schema) {
    entries.sort_by_key(|entry| position(&entry.keys, schema));
    for entry in entries {
        let (Some(key), Content::Value(node)) = (entry.keys.first(), &mut entry.content) else { continue };
        if let Some(key) = schema.key(key).filter(|_| entry.keys.len() == 1) {
            node.order(key.takes);
        }
    }
}

fn position(keys: &[String], schema: &Schema) -> usize {
    let position = keys.first().and_then(|first| schema.keys.iter().position(|key| key.name == first));
    position.unwrap_or(schema.keys.len())
}

/// The comments of a text that holds nothing else; runs of blank lines are one empty comment. Unless it is the start of the
/// file, the first piece is what is left of the line in front.
fn comments(text: &str, is_start: bool) -> Vec<String> {
    let mut lines: Vec<&str> = text.split('\n').skip(usize::from(!is_start)).map(str::trim).collect();
    // The indentation of what follows, or what is behind the end of the last line.
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
    lines.into_iter().map(str::to_owned).collect()
}

fn header(above: Vec<String>, text: &str) -> Option<Entry> {
    let is_array = text.starts_with("[[");
    let (keys, rest) = value::keys(text.trim_start_matches('['))?;
    let rest = rest.trim_start_matches([']', ' ', '\t']).trim();
    let content = if is_array { Content::ArrayOfTables } else { Content::Table };
    Some(Entry { above, keys, content, beside: (!rest.is_empty()).then(|| rest.to_owned()) })
}

fn key_and_value(above: Vec<String>, text: &str) -> Option<Entry> {
    let (keys, rest) = value::keys(text)?;
    let (node, rest) = Node::read(rest.strip_prefix('=')?)?;
    let rest = rest.trim();
    Some(Entry { above, keys, content: Content::Value(node), beside: (!rest.is_empty()).then(|| rest.to_owned()) })
}

/// The text while it is put together.
#[derive(Default)]
struct Lines {
    text: String,
    /// Whether the last line is a header.
    behind_header: bool,
}

impl Lines {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            // No blank lines at the top, behind a header, or two of them.
            let is_needless = self.text.is_empty() || self.behind_header || self.text.ends_with("\n\n");
            if !(comment.is_empty() && is_needless) {
                self.line(comment);
            }
            self.behind_header &= comment.is_empty();
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let Entry { above, keys, content, beside } = entry;
        let is_header = !matches!(content, Content::Value(_));
        if is_header && !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.behind_header = false;
            self.line("");
        }
        self.comments(above);
        let key = keys.iter().map(|key| value::printed_key(key)).collect::<Vec<_>>().join(".");
        let line = match content {
            Content::Table => format!("[{key}]"),
            Content::ArrayOfTables => format!("[[{key}]]"),
            Content::Value(node) => format!("{key} = {}", node.print(key.chars().count() + " = ".len(), 0)),
        };
        match beside {
            Some(comment) => self.line(&format!("{line} {comment}")),
            None => self.line(&line),
        }
        self.behind_header = is_header;
    }

    fn finish(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches('\n').len());
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text
    }
}
