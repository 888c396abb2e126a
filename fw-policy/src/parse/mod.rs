//! From text to definitions: TOML is read, keys and values are checked one by one, names are not looked up yet.
//!
//! In: all files. Out: [`Definitions`], and in the report every mistake that shows without looking at other definitions.

mod definitions;
mod document;
mod feed;
mod invariant;
mod limits;
mod moment;
pub(crate) mod recover;
mod rule;
pub(crate) mod schema;
mod syntax;
mod table;
mod terms;
mod test;

pub(crate) use definitions::{
    DefaultsDefinition, Definitions, FeedDefinition, FlowState, InvariantDefinition, Packet, RuleDefinition,
    ScopeDefinition, Terms, TestDefinition, ZoneDefinition, ZonePairDefinition,
};
pub(crate) use test::one_packet;

pub(crate) use document::FILE;
pub(crate) use terms::SERVICE_TABLE;

use std::sync::Arc;

use toml::de::DeTable;

use crate::diagnostic::Report;
use crate::source::Sources;

/// Reads all files, in their order.
pub(crate) fn parse(sources: &Sources, report: &mut Report) -> Definitions {
    let mut definitions = Definitions::default();
    for (file, source) in sources.files() {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            document::read(file, root.get_ref(), &mut definitions, report);
        } else {
            let readable = recover::readable(file, &source.text, report);
            let (root, _) = DeTable::parse_recoverable(&readable);
            document::read(file, root.get_ref(), &mut definitions, report);
        }
    }
    definitions
}

/// The directories that a file includes, as [`parse`] finds them; what it refuses of them is left out.
pub(crate) fn included(text: &str) -> Vec<String> {
    // The keys of the file itself stand in front of its first header, and nearly all of a large file behind it.
    let (root, errors) = DeTable::parse_recoverable(&text[..first_header(text)]);
    if errors.is_empty() {
        return document::included(root.get_ref());
    }
    let mut unheard = Report::new(Arc::default());
    let readable = recover::readable(0, text, &mut unheard);
    let (root, _) = DeTable::parse_recoverable(&readable);
    document::included(root.get_ref())
}

/// Where the first line begins that may be a header. If what is in front of it is whole, it is one.
fn first_header(text: &str) -> usize {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start_matches([' ', '\t']).starts_with('[') {
            return start;
        }
        start += line.len();
    }
    start
}

/// Reads rules by themselves; `None` if the text is not TOML, or holds anything else. Locations count from its start.
pub(crate) fn parse_rules(file: u32, text: &str, report: &mut Report) -> Option<Vec<RuleDefinition>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return None;
    }
    document::read_rules(file, root.get_ref(), report)
}
