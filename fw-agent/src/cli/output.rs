//! How answers are shown: as a table for people, as JSON for scripts, or one JSON object a line for pipes.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::Value;

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line: of lists, each element.
    Jsonl,
    /// SARIF 2.1.0, which code hosts show beside the changed lines: of `policy check`.
    Sarif,
}

impl Format {
    /// Prints an answer if the form is one for scripts; false if it is for people. `rows` names the list in the answer.
    pub(super) fn json(self, answer: &Value, rows: &str) -> anyhow::Result<bool> {
        match self {
            Self::Table => return Ok(false),
            // Commands that answer so look at the form themselves; the others are refused before they begin.
            Self::Json | Self::Sarif => print(&serde_json::to_string_pretty(answer)?)?,
            Self::Jsonl => match answer.get(rows).and_then(Value::as_array) {
                Some(list) => list.iter().try_for_each(|row| print(&with_schema(row, answer)))?,
                None => print(&answer.to_string())?,
            },
        }
        Ok(true)
    }
}

/// An element of a list, with the schema of the whole.
fn with_schema(row: &Value, answer: &Value) -> String {
    let mut row = row.clone();
    if let (Some(row), Some(schema)) = (row.as_object_mut(), answer.get("schema")) {
        row.insert("schema".to_owned(), schema.clone());
    }
    row.to_string()
}

/// Prints a line; that the reader of a pipe has seen enough is not an error.
pub(super) fn print(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result,
    }
}

/// Says what went wrong, or what is worth knowing, on standard error. Whoever does not listen gets the answer all the same.
pub(super) fn tell(text: &str) -> io::Result<()> {
    match writeln!(io::stderr(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A table whose columns with numbers are aligned to the right.
pub(super) struct Grid {
    table: Table,
}

impl Grid {
    /// Headings that end in `#` are those of numbers.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header(headings.iter().map(|heading| Cell::new(heading.trim_end_matches('#'))));
        for (column, heading) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            if heading.ends_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table }
    }

    pub(super) fn row<S: ToString>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.table.add_row(cells.into_iter().map(|cell| cell.to_string()).collect::<Vec<_>>());
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let text = self.table.to_string();
        text.lines().try_for_each(|line| print(line.trim_end()))
    }
}

/// What is not there.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A duration for people: the largest unit, and the next one.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_two_units() {
        let shown: Vec<_> = [0, 59, 61, 3_700, 90_000].map(duration).to_vec();
        assert_eq!(shown, ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
    }

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let mut grid = Grid::new(&["NAME", "PACKETS#"]);
        grid.row(["policy", "7"]);
        grid.row(["no_route", "1234"]);
        let lines: Vec<_> = grid.table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(lines, ["NAME      PACKETS", "policy          7", "no_route     1234"]);
    }

    #[test]
    fn each_line_of_a_list_names_its_schema() {
        let answer = serde_json::json!({"schema": "fwctl.drops/1", "drops": [{"reason": "policy"}]});
        let line = with_schema(&answer["drops"][0], &answer);
        assert_eq!(line, r#"{"reason":"policy","schema":"fwctl.drops/1"}"#);
    }
}
