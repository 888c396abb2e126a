//! What the TOML parser says, in our words.

use std::ops::Range;

use crate::Code;
use crate::diagnostic::Report;
use crate::source::Location;

/// Whether a key or table stands twice; the parser goes on with one of them.
pub(super) fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

/// Reports a syntax error of a file.
pub(crate) fn report_error(file: u32, text: &str, error: &toml::de::Error, report: &mut Report) {
    let span = error.span().unwrap_or(text.len()..text.len());
    let at = Location::new(file, span.clone());
    if !is_duplicate(error) {
        report.at(Code::Syntax, at, error.message());
        return;
    }
    let key = text.get(span.clone()).unwrap_or("");
    let finding = report.at(Code::Duplicate, at, format!("`{key}` is defined twice")).label("defined again here");
    if let Some(first) = first_definition(text, &span) {
        finding.related(Location::new(file, first), "first defined here");
    }
}

/// Where the key at `duplicate` was defined before. The parser knows, but does not say: so the nearest line above that
/// starts alike is taken, for a key within its table, for a header in the whole file.
fn first_definition(text: &str, duplicate: &Range<usize>) -> Option<Range<usize>> {
    let line_start = text.get(..duplicate.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let beginning = text.get(line_start..duplicate.end)?.trim_start();
    let is_header = beginning.starts_with('[');
    let mut end = line_start;
    for line in text[..line_start].split_inclusive('\n').rev() {
        let start = end - line.len();
        end = start;
        let trimmed = line.trim_start();
        let after = trimmed.strip_prefix(beginning).map(str::trim_start);
        if after.is_some_and(|after| after.starts_with(if is_header { ']' } else { '=' })) {
            let key_end = start + (line.len() - trimmed.len()) + beginning.len();
            return Some(key_end - (duplicate.end - duplicate.start)..key_end);
        }
        if !is_header && trimmed.starts_with('[') {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first<'t>(text: &'t str, key: &str) -> Option<&'t str> {
        let at = text.rfind(key).unwrap();
        first_definition(text, &(at..at + key.len())).map(|span| {
            assert!(span.end <= at);
            &text[span]
        })
    }

    #[test]
    fn the_first_of_two_keys_or_headers_is_found() {
        assert_eq!(first("[a]\nid = 1\nid = 2\n", "id"), Some("id"));
        assert_eq!(first("[zones.ot]\n[zones.it]\n[zones.ot]\n", "ot"), Some("ot"));
        assert_eq!(first("[a]\nid = 1\n[b]\nid = 2\n", "id"), None);
        assert_eq!(first("x = { id = 1, id = 2 }", "id"), None);
    }
}
