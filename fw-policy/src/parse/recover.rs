//! Goes on behind a syntax error.
//!
//! A file is taken apart into statements, headers of tables and keys with their values. Of each statement that is not TOML the
//! first error is reported; then it is blanked, so that what stands behind it is read as it was meant. A header that is wrong
//! takes its table along, whose keys would come under the table in front of it. Blanks leave every other byte in its place.

use std::ops::Range;

use toml::de::DeTable;

use super::syntax;
use crate::Code;
use crate::diagnostic::Report;
use crate::source::Location;

/// How often a text is read again after statements were blanked; each time, errors may show that others had hidden.
const ROUNDS: usize = 32;

/// Reports the syntax errors of a file; the text without what is wrong.
pub(crate) fn readable(file: u32, text: &str, report: &mut Report) -> String {
    let mut rest = text.to_owned();
    for _ in 0..ROUNDS {
        let (_, errors) = DeTable::parse_recoverable(&rest);
        let (duplicates, mut broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| syntax::is_duplicate(error));
        if broken.is_empty() {
            duplicates.into_iter().for_each(|error| syntax::report_error(file, text, error, report));
            break;
        }
        broken.sort_by_key(|error| place(error, &rest));
        let statements = statements(&rest, Brackets::Open);
        let blanked = match statements.iter().find(|statement| statement.unclosed.is_some()) {
            // The parser has read on within the bracket: what it says of the rest is worth nothing.
            Some(statement) => {
                let first_line = statement.range.start..line_at(&rest, statement.range.start).end;
                match broken.iter().find(|error| first_line.contains(&place(error, &rest))) {
                    // Something else is wrong: a string that is not closed, say, has swallowed the bracket.
                    Some(error) => syntax::report_error(file, text, error, report),
                    None => report_unclosed(file, text, statement, report),
                }
                vec![statement.range.clone()]
            }
            None => report_first(file, text, &rest, &statements, &broken, report),
        };
        let before = rest.clone();
        blanked.into_iter().for_each(|range| blank(&mut rest, range));
        if rest == before {
            break;
        }
    }
    rest
}

fn place(error: &toml::de::Error, text: &str) -> usize {
    error.span().map_or(text.len(), |span| span.start)
}

/// Reports the first error of each statement; what is to be blanked.
fn report_first(
    file: u32,
    text: &str,
    rest: &str,
    statements: &[Statement],
    errors: &[&toml::de::Error],
    report: &mut Report,
) -> Vec<Range<usize>> {
    let mut blanked: Vec<Range<usize>> = Vec::new();
    for error in errors {
        let at = place(error, rest);
        if blanked.iter().any(|range| range.contains(&at) || range.end == at) {
            continue;
        }
        syntax::report_error(file, text, error, report);
        let position = statements.partition_point(|statement| statement.range.start <= at);
        let statement = position.checked_sub(1).map(|position| &statements[position]);
        blanked.push(match statement.filter(|statement| at <= statement.range.end) {
            Some(Statement { range, is_header: true, .. }) => {
                let next = statements[position..].iter().find(|next| next.is_header);
                range.start..next.map_or(rest.len(), |next| next.range.start)
            }
            Some(statement) => statement.range.clone(),
            // What is not within a statement is a comment, or a character that stands nowhere.
            None => line_at(rest, at),
        });
    }
    blanked
}

fn report_unclosed(file: u32, text: &str, statement: &Statement, report: &mut Report) {
    let Some(bracket) = statement.unclosed else { return };
    let rest = &text.as_bytes()[bracket..];
    let (what, opening, closing, last) = match rest {
        [b'{', ..] => ("table", "{", "}", "element"),
        [b'[', ..] => ("array", "[", "]", "element"),
        [quote, second, ..] if quote != second => {
            let quote = &text[bracket..=bracket];
            ("string", quote, quote, "character")
        }
        [b'\'', ..] => ("string", "\'\'\'", "\'\'\'", "line"),
        _ => ("string", "\"\"\"", "\"\"\"", "line"),
    };
    report
        .at(Code::Syntax, Location::new(file, bracket..bracket + opening.len()), format!("the {what} is not closed"))
        .label("opened here")
        .help(format!("write `{closing}` behind its last {last}"));
}

/// The line that a byte is in, without its end.
fn line_at(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| at + newline);
    start..end
}

/// Replaces everything but line breaks by blanks, byte for byte.
fn blank(text: &mut String, range: Range<usize>) {
    let blanks = text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect::<String>();
    text.replace_range(range, &blanks);
}

/// A header or a key with its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) range: Range<usize>,
    pub(crate) is_header: bool,
    /// Where the innermost bracket, or the string of several lines, opens that is not closed.
    unclosed: Option<usize>,
}

/// What is known of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brackets {
    /// It is TOML.
    Closed,
    /// Some of its brackets may be open.
    Open,
}

/// The statements of a text. A text that is not TOML has no certain ones: a bracket that is open where a line begins as a new
/// statement would is taken as not closed.
pub(crate) fn statements(text: &str, brackets: Brackets) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = line_at(text, at);
        let written = text[line.clone()].trim_start();
        if written.is_empty() || written.starts_with('#') {
            at = line.end + 1;
            continue;
        }
        let start = line.end - written.len();
        let is_header = written.starts_with('[');
        let (end, unclosed) = if is_header { (line.end, None) } else { end_of_value(text, start, brackets) };
        statements.push(Statement { range: start..end, is_header, unclosed });
        at = end + 1;
    }
    statements
}

/// Where a key's value ends, and the bracket that is open there.
fn end_of_value(text: &str, start: usize, brackets: Brackets) -> (usize, Option<usize>) {
    let bytes = text.as_bytes();
    let mut open: Vec<usize> = Vec::new();
    // The last string that is not closed on its line, and may have swallowed a bracket.
    let mut string = None;
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => match end_of_string(text, at) {
                Some(end) => {
                    if !text[at + 1..end].ends_with(char::from(bytes[at])) {
                        string = Some(at);
                    }
                    at = end;
                    continue;
                }
                None => return (line_at(text, at).end, Some(at)),
            },
            b'#' => {
                at = line_at(text, at).end;
                continue;
            }
            b'[' | b'{' => open.push(at),
            // Brackets and braces lie two behind what they close in ASCII; one that closes something else closes nothing.
            b']' | b'}' if open.last().is_some_and(|bracket| bytes[*bracket] + 2 == bytes[at]) => {
                open.pop();
            }
            b'\n' => match open.last() {
                None => return (at, None),
                Some(bracket)
                    if brackets == Brackets::Open
                        && begins_statement(&text[start..at], &text[at + 1..], bytes[*bracket]) =>
                {
                    return (at, string.or(Some(*bracket)));
                }
                Some(_) => {}
            },
            _ => {}
        }
        at += 1;
    }
    (bytes.len(), open.last().map(|bracket| string.unwrap_or(*bracket)))
}

/// The first byte behind a string. One that is not closed on its line ends there; `None` for one of several lines that is not
/// closed at all.
pub(crate) fn end_of_string(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = &text[start..=start];
    if text[start..].starts_with(&quote.repeat(3)) {
        return end_of_long_string(bytes, start);
    }
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'\n' {
        match bytes[at] {
            b'\\' if quote == "\"" => at += 1,
            byte if byte == bytes[start] => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    Some(at.min(bytes.len()))
}

/// The same of a string of several lines. Up to two quotation marks may stand in front of those that close it.
fn end_of_long_string(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = bytes[start];
    let mut at = start + 3;
    while at < bytes.len() {
        let marks = bytes[at..].iter().take_while(|byte| **byte == quote).count();
        if marks >= 3 {
            return Some(at + marks.min(5));
        }
        let escapes = bytes[at] == b'\\' && quote == b'"';
        at += marks.max(1) + usize::from(escapes);
    }
    None
}

/// Whether the next line looks like a statement of its own, and not like what goes on within the bracket.
fn begins_statement(so_far: &str, next: &str, bracket: u8) -> bool {
    let line = next.lines().next().unwrap_or_default().trim();
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
    };
    let header = line.strip_prefix('[').map(|rest| rest.strip_prefix('[').unwrap_or(rest));
    if header.is_some_and(|name| is_name(name.split(']').next().unwrap_or(name).trim())) {
        return true;
    }
    let is_key = line.split_once('=').is_some_and(|(key, _)| is_name(key.trim()));
    // Within an inline table keys go on as well, behind a comma.
    let goes_on = bracket == b'{' && so_far.trim_end().ends_with([',', '{']);
    is_key && !goes_on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(text: &str) -> Vec<(&str, bool)> {
        statements(text, Brackets::Open)
            .into_iter()
            .map(|found| (&text[found.range], found.unclosed.is_some()))
            .collect()
    }

    #[test]
    fn a_text_is_taken_apart_into_statements() {
        let text =
            "# c\na = 1\n\n  [t] # x\nb = [\n  1, # ]\n  \"]\",\n]\nc = \"\"\"\n[x]\n\"\"\"\nd = { e = 1,\nf = 2 }\n";
        let expected =
            ["a = 1", "[t] # x", "b = [\n  1, # ]\n  \"]\",\n]", "c = \"\"\"\n[x]\n\"\"\"", "d = { e = 1,\nf = 2 }"];
        assert_eq!(taken_apart(text), expected.map(|text| (text, false)));
    }

    #[test]
    fn a_bracket_that_is_not_closed_ends_where_the_next_statement_begins() {
        assert_eq!(taken_apart("a = [1,\n2\nb = 1"), [("a = [1,\n2", true), ("b = 1", false)]);
        assert_eq!(
            taken_apart("a = [\"x\n[[rule]]\nid = 1"),
            [("a = [\"x", true), ("[[rule]]", false), ("id = 1", false)]
        );
        assert_eq!(taken_apart("a = { b = 1\nc = 2"), [("a = { b = 1", true), ("c = 2", false)]);
        assert_eq!(taken_apart("a = [[1],\n[2]]\nb = 1"), [("a = [[1],\n[2]]", false), ("b = 1", false)]);
        assert_eq!(taken_apart("a = \"\"\"x\nb = 1"), [("a = \"\"\"x", true), ("b = 1", false)]);
        assert_eq!(taken_apart("a = ["), [("a = [", true)]);
        assert_eq!(taken_apart("a = { 1 ]\n[b]\n"), [("a = { 1 ]", true), ("[b]", false)]);
    }

    #[test]
    fn long_strings_end_behind_their_last_quotation_marks() {
        let written = [
            r##""""a""""##,
            r##""""a"""""##,
            r##""""a""""""##,
            r##""""a\"""b""""##,
            r##""""a"b""c""""##,
            r##"'''a\'''"##,
            r##"''''a'''''"##,
            r##""""""""##,
        ];
        for text in written {
            assert_eq!(end_of_string(&format!("{text} # x"), 0), Some(text.len()), "{text}");
            assert!(format!("a = {text}").parse::<toml::Table>().is_ok(), "{text}");
        }
        assert_eq!(end_of_string("'''a''", 0), None);
    }

    #[test]
    fn blanks_leave_the_rest_in_its_place() {
        let mut text = "é = 1\nb = 2\n".to_owned();
        blank(&mut text, 0..6);
        assert_eq!(text, "      \nb = 2\n");
    }
}
