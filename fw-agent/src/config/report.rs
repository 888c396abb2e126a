//! Mistakes in `agent.toml`, in the same look and with the same codes as those in policies.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use fw_policy::Code;
use serde::Serialize;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong, as a stable number.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What stands there.
    pub text: String,
    /// What is expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip)]
    span: Range<usize>,
}

/// All mistakes of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file's name.
    pub file: String,
    /// Why the file could not be read at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The mistakes, in the order of the file.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    source: String,
    /// The file was read: the mistake is in what it says.
    #[serde(skip)]
    is_read: bool,
}

impl ConfigError {
    /// The file could not be read.
    #[must_use]
    pub fn unreadable(file: &str, reason: String) -> Self {
        let (file, unreadable) = (file.to_owned(), Some(reason));
        Self { file, unreadable, findings: Vec::new(), source: String::new(), is_read: false }
    }

    /// The file is not text.
    #[must_use]
    pub fn not_text(file: &str, reason: String) -> Self {
        Self { is_read: true, ..Self::unreadable(file, reason) }
    }

    /// The exit code: 3 for an invalid file, 1 for one that could not be read.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.is_read { 3 } else { 1 }
    }

    /// What is the matter, as a predicate.
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        if self.is_read { "is invalid" } else { "could not be read" }
    }

    /// The mistakes with the lines that they are in, for a person. `color` adds ANSI escape sequences.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        if let Some(reason) = &self.unreadable {
            return format!("error: {}: {reason}", self.file);
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let rendered = self.findings.iter().map(|finding| {
            let annotation = AnnotationKind::Primary.span(finding.span.clone()).label(finding.label.as_deref());
            let snippet = Snippet::source(&self.source).path(&self.file).annotation(annotation);
            let title = Level::ERROR.primary_title(finding.message.as_str()).id(finding.code.to_string());
            let mut group = title.element(snippet);
            if let Some(help) = &finding.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            renderer.render(&[group])
        });
        rendered.collect::<Vec<_>>().join("\n\n")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}

/// The line, from 1, that stands behind this text.
fn line_of(before: &str) -> usize {
    before.matches('\n').count() + 1
}

/// Collects the mistakes while a file is read.
pub(super) struct Report<'t> {
    text: &'t str,
    findings: Vec<Finding>,
}

impl<'t> Report<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, findings: Vec::new() }
    }

    /// Adds a mistake, which can still be explained better.
    pub(super) fn add(&mut self, code: Code, span: Range<usize>, message: impl Into<String>) -> &mut Finding {
        let end = self.text.len();
        let span = span.start.min(end)..span.end.min(end).max(span.start.min(end));
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.findings.push(Finding {
            code,
            message: message.into(),
            line: line_of(before),
            column: before[line_start..].chars().count() + 1,
            text: self.text.get(span.clone()).unwrap_or_default().to_owned(),
            label: None,
            help: None,
            span,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// The line of a byte of the file, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        line_of(self.text.get(..at).unwrap_or(self.text))
    }

    /// Adds a syntax error, unless it follows another one of the same line.
    pub(super) fn add_syntax_error(&mut self, span: Range<usize>, message: &str) {
        let known = self.findings.iter().map(|finding| finding.line).max();
        if known != Some(self.add(Code::Syntax, span, message).line) {
            return;
        }
        self.findings.pop();
    }

    /// A line that is not TOML has no meaning, and what it should have said is missing: only the syntax is reported.
    pub(super) fn has_syntax_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == Code::Syntax)
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.findings.is_empty()
    }

    pub(super) fn into_error(mut self, file: &str) -> ConfigError {
        self.findings.sort_by_key(|finding| finding.span.start);
        let (file, source) = (file.to_owned(), self.text.to_owned());
        ConfigError { file, unreadable: None, findings: self.findings, source, is_read: true }
    }
}

impl Finding {
    /// What is expected at the place.
    pub(super) fn expected(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// What to write instead.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}
