//! What is wrong with a policy, where, and what to write instead.

mod code;
mod explanation;
mod fix;
mod render;
mod report;
mod sarif;

use std::sync::Arc;

use serde::Serialize;

pub use code::{Code, Severity};
pub use explanation::{Example, ExampleVerdict, Explanation, Part};
pub use fix::{Applicability, Fix};
pub use render::DEFAULT_WIDTH;
pub(crate) use report::{Finding, Report, nearest, suggestion};
pub use sarif::{sarif, sarif_of_problem};

use crate::source::{Location, Sources};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What is wrong, as a stable number.
    pub code: Code,
    /// Whether it refuses the policy.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where; `None` for what is not about a place in a policy file, such as `agent.toml`.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Other places that belong to it: where a name was defined first, the other networks of an overlap.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Place>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The same for a program, where there is one thing to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Line of the first character behind it.
    pub end_line: u32,
    /// Column of the first character behind it.
    pub end_column: u32,
    /// The first byte of the file that belongs to it, from 0.
    pub byte_start: usize,
    /// The first byte behind it.
    pub byte_end: usize,
    /// What stands there.
    pub text: String,
    /// What to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip)]
    location: Location,
}

impl Place {
    pub(crate) fn new(sources: &Sources, at: Location, label: Option<String>) -> Self {
        let (line, column) = sources.line_and_column(at);
        let (end_line, end_column) = sources.line_and_column(Location { start: at.end, ..at });
        let std::ops::Range { start: byte_start, end: byte_end } = at.span();
        let (file, text) = (sources.name(at.file).to_owned(), sources.excerpt(at).to_owned());
        Self { file, line, column, end_line, end_column, byte_start, byte_end, text, label, location: at }
    }
}

/// Findings of one severity, in the order of the files.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("{}", self.render(false))]
#[serde(transparent)]
pub struct Diagnostics {
    /// The findings; never empty in an `Err`.
    pub items: Vec<Diagnostic>,
    #[serde(skip)]
    sources: Arc<Sources>,
}

impl Diagnostics {
    pub(crate) fn new(mut items: Vec<Diagnostic>, sources: Arc<Sources>) -> Self {
        items.sort_by_key(|item| (item.severity, item.place.as_ref().map(|place| place.location)));
        Self { items, sources }
    }

    /// Adds the findings of others about the same files.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.items.extend(others.items);
        Self::new(self.items, self.sources)
    }

    /// The findings with the lines that they are about, for a person. `color` adds ANSI escape sequences.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        self.render_within(color, render::DEFAULT_WIDTH)
    }

    /// The same for a terminal of so many columns: what is longer is cut or broken.
    #[must_use]
    pub fn render_within(&self, color: bool, width: usize) -> String {
        render::render(&self.items, &self.sources, color, width)
    }
}
