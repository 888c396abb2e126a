//! Values as they were written, taken apart so far that they can be written anew.

use super::WIDTH;
use crate::parse::SERVICE_TABLE;
use crate::parse::recover::end_of_string;
use crate::parse::schema::Takes;

/// How far the elements of an array stand in.
const INDENT: usize = 4;

/// A value.
#[derive(Debug)]
pub(super) enum Node {
    /// Anything without parts, or an inline table with comments, as it is written.
    Written(String),
    Array {
        elements: Vec<Element>,
        /// The comments behind the last element.
        end: Vec<String>,
        /// Whether each element stands on a line of its own.
        is_long: bool,
    },
    Table(Vec<(Vec<String>, Self)>),
}

/// An element of an array.
#[derive(Debug)]
pub(super) struct Element {
    /// Comments above it; an empty one is a blank line.
    above: Vec<String>,
    node: Node,
    /// The comment behind it.
    beside: Option<String>,
}

/// Reads the keys in front of a value or in a header, joined by points; the keys, and what is left.
pub(super) fn keys(mut rest: &str) -> Option<(Vec<String>, &str)> {
    let mut keys = Vec::new();
    loop {
        rest = rest.trim_start_matches(BLANK);
        let end = match rest.as_bytes().first()? {
            b'"' | b'\'' => end_of_string(rest, 0)?,
            _ => rest.find(|character: char| !(character.is_alphanumeric() || "_-".contains(character)))?,
        };
        keys.push(unquoted(&rest[..end])?);
        rest = rest[end..].trim_start_matches(BLANK);
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None => return Some((keys, rest)),
        }
    }
}

const BLANK: [char; 2] = [' ', '\t'];

fn unquoted(key: &str) -> Option<String> {
    if key.starts_with(['"', '\'']) { string(key) } else { Some(key.to_owned()) }
}

/// The string that something written is.
fn string(written: &str) -> Option<String> {
    let table: toml::Table = format!("s = {written}").parse().ok()?;
    table.get("s")?.as_str().map(str::to_owned)
}

/// A key with quotation marks where it needs them.
pub(super) fn printed_key(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character));
    if is_bare { key.to_owned() } else { quoted(key).unwrap_or_else(|| toml::Value::from(key).to_string()) }
}

/// A text in quotation marks; `None` if that takes backslashes.
fn quoted(text: &str) -> Option<String> {
    let is_plain = |character: char| !(character == '"' || character == '\\' || character.is_control());
    text.chars().all(is_plain).then(|| format!("\"{text}\""))
}

impl Node {
    /// Reads a value; the value, and what is left.
    pub(super) fn read(text: &str) -> Option<(Self, &str)> {
        let text = text.trim_start_matches(BLANK);
        match text.as_bytes().first()? {
            b'[' => Self::read_array(&text[1..]),
            b'{' => {
                let (end, has_comment) = end_of_table(text)?;
                let (written, rest) = text.split_at(end);
                let table = if has_comment { None } else { Self::read_table(written) };
                Some((table.unwrap_or_else(|| Self::Written(written.to_owned())), rest))
            }
            b'"' | b'\'' => {
                let (written, rest) = text.split_at(end_of_string(text, 0)?);
                let is_long = written.starts_with("\"\"\"") || written.starts_with("'''");
                let plain = if is_long { None } else { string(written).and_then(|string| quoted(&string)) };
                Some((Self::Written(plain.unwrap_or_else(|| written.to_owned())), rest))
            }
            _ => {
                let end = text.find([',', ']', '}', '#', '\n', '\r']).unwrap_or(text.len());
                let (written, rest) = text.split_at(end);
                Some((Self::Written(written.trim_end().to_owned()), rest))
            }
        }
    }

    fn read_array(mut rest: &str) -> Option<(Self, &str)> {
        let mut elements: Vec<Element> = Vec::new();
        let mut above: Vec<String> = Vec::new();
        // Whether a line has begun since the last element, and whether a comma stands behind it.
        let (mut new_line, mut comma) = (false, false);
        // Whether the line is blank so far.
        let mut blank = false;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r']);
            match rest.as_bytes().first()? {
                b'\n' => {
                    rest = &rest[1..];
                    let is_first = elements.is_empty() && above.is_empty();
                    if blank && !is_first && above.last().is_none_or(|last| !last.is_empty()) {
                        above.push(String::new());
                    }
                    (new_line, blank) = (true, true);
                }
                b'#' => {
                    blank = false;
                    let end = rest.find('\n').unwrap_or(rest.len());
                    let comment = rest[..end].trim_end().to_owned();
                    rest = &rest[end..];
                    match elements.last_mut() {
                        Some(last) if !new_line && last.beside.is_none() => last.beside = Some(comment),
                        _ => above.push(comment),
                    }
                }
                b',' => {
                    rest = &rest[1..];
                    (comma, blank) = (true, false);
                }
                b']' => {
                    let has_comment = |element: &Element| !element.above.is_empty() || element.beside.is_some();
                    let is_long = comma || !above.is_empty() || elements.iter().any(has_comment);
                    return Some((Self::Array { elements, end: above, is_long }, &rest[1..]));
                }
                _ => {
                    let (node, behind) = Self::read(rest)?;
                    rest = behind;
                    elements.push(Element { above: std::mem::take(&mut above), node, beside: None });
                    (new_line, comma, blank) = (false, false, false);
                }
            }
        }
    }

    /// Reads an inline table without comments.
    fn read_table(written: &str) -> Option<Self> {
        let mut rest = written.strip_prefix('{')?;
        let mut entries = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
            if rest == "}" {
                return Some(Self::Table(entries));
            }
            let (keys, behind) = keys(rest)?;
            let (node, behind) = Self::read(behind.strip_prefix('=')?)?;
            entries.push((keys, node));
            rest = behind;
        }
    }

    /// Puts the keys of inline tables into the order of the language.
    pub(super) fn order(&mut self, takes: Takes) {
        match (self, takes) {
            (Self::Table(entries), Takes::Table(schema) | Takes::TableOrTables(schema)) => {
                entries.sort_by_key(|(keys, _)| super::position(keys, schema));
                for (keys, node) in entries {
                    if let [key] = keys.as_slice()
                        && let Some(key) = schema.key(key)
                    {
                        node.order(key.takes);
                    }
                }
            }
            (Self::Array { elements, .. }, Takes::Services | Takes::ServiceSets) => {
                elements.iter_mut().for_each(|element| element.node.order(Takes::Table(&SERVICE_TABLE)));
            }
            (Self::Array { elements, .. }, Takes::Tables(schema) | Takes::TableOrTables(schema)) => {
                elements.iter_mut().for_each(|element| element.node.order(Takes::Table(schema)));
            }
            _ => {}
        }
    }

    /// The value on one line; `None` if it takes several.
    fn on_one_line(&self) -> Option<String> {
        match self {
            Self::Written(written) => (!written.contains('\n')).then(|| written.clone()),
            Self::Array { elements, is_long: false, .. } => {
                let elements: Option<Vec<String>> = elements.iter().map(|element| element.node.on_one_line()).collect();
                Some(format!("[{}]", elements?.join(", ")))
            }
            Self::Array { .. } => None,
            Self::Table(entries) if entries.is_empty() => Some("{}".to_owned()),
            Self::Table(entries) => {
                let entries: Option<Vec<String>> =
                    entries.iter().map(|(keys, node)| Some(key_and_value(keys, &node.on_one_line()?))).collect();
                Some(format!("{{ {} }}", entries?.join(", ")))
            }
        }
    }

    /// The value, where so many characters stand in front of it on its first line, and its lines begin so far in.
    pub(super) fn print(&self, column: usize, indent: usize) -> String {
        let line = self.on_one_line().filter(|line| {
            let may_be_long = !matches!(self, Self::Array { elements, .. } if !elements.is_empty());
            may_be_long || column + line.chars().count() <= WIDTH
        });
        match (line, self) {
            (Some(line), _) => line,
            (None, Self::Written(written)) => written.clone(),
            (None, Self::Table(entries)) => {
                let entry = |(keys, node): &(Vec<String>, Self)| key_and_value(keys, &node.print(column, indent));
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            (None, Self::Array { elements, end, .. }) => {
                let (inner, mut text) = (indent + INDENT, "[\n".to_owned());
                let mut line = |comment: &str| {
                    let blanks = if comment.is_empty() { 0 } else { inner };
                    text.push_str(&format!("{:blanks$}{comment}\n", ""));
                };
                for Element { above, node, beside } in elements {
                    above.iter().for_each(|comment| line(comment));
                    let beside = beside.as_ref().map_or_else(String::new, |comment| format!(" {comment}"));
                    line(&format!("{},{beside}", node.print(inner, inner)));
                }
                let end = end.iter().rev().skip_while(|comment| comment.is_empty()).collect::<Vec<_>>();
                end.into_iter().rev().for_each(|comment| line(comment));
                format!("{text}{:indent$}]", "")
            }
        }
    }
}

fn key_and_value(keys: &[String], value: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|key| printed_key(key)).collect();
    format!("{} = {value}", keys.join("."))
}

/// Where an inline table ends, and whether there is a comment in it.
fn end_of_table(text: &str) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut has_comment) = (0, 0usize, false);
    loop {
        match bytes.get(at)? {
            b'"' | b'\'' => {
                at = end_of_string(text, at)?;
                continue;
            }
            b'#' => {
                has_comment = true;
                at += text[at..].find('\n')?;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((at + 1, has_comment));
                }
            }
            _ => {}
        }
        at += 1;
    }
}
