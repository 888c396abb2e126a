//! What to write instead, for a program that applies it.

use serde::Serialize;

use super::Place;

/// One replacement that does away with a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What is replaced; empty where something is only inserted.
    #[serde(flatten)]
    pub place: Place,
    /// What takes its place; empty where something is only removed.
    pub replacement: String,
    /// Whether somebody should look at it first.
    pub applicability: Applicability,
}

/// How sure it is that the author meant this; the words are those of rustc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applicability {
    /// There is no other reading.
    MachineApplicable,
    /// It is the likeliest reading.
    MaybeIncorrect,
}

impl Fix {
    /// The text of the file with the replacement made.
    #[must_use]
    pub fn apply(&self, text: &str) -> String {
        let (before, behind) = (text.get(..self.place.byte_start), text.get(self.place.byte_end..));
        [before.unwrap_or(text), &self.replacement, behind.unwrap_or_default()].concat()
    }
}
