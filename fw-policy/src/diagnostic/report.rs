//! Collects findings while a policy is read, so that all of them are reported at once.

use std::sync::Arc;

use super::{Applicability, Code, Diagnostic, Diagnostics, Fix, Place, Severity};
use crate::source::{Location, Sources};

/// The findings so far.
#[derive(Debug)]
pub(crate) struct Report {
    sources: Arc<Sources>,
    items: Vec<Diagnostic>,
}

impl Report {
    pub(crate) const fn new(sources: Arc<Sources>) -> Self {
        Self { sources, items: Vec::new() }
    }

    /// Adds a finding about a place.
    pub(crate) fn at(&mut self, code: Code, at: Location, message: impl Into<String>) -> Finding<'_> {
        let place = Place::new(&self.sources, at, None);
        self.push(code, message.into(), Some(place))
    }

    /// Adds a finding that is not about a place in a policy file.
    pub(crate) fn general(&mut self, code: Code, message: impl Into<String>) -> Finding<'_> {
        self.push(code, message.into(), None)
    }

    fn push(&mut self, code: Code, message: String, place: Option<Place>) -> Finding<'_> {
        let severity = code.severity();
        self.items.push(Diagnostic { code, severity, message, place, related: Vec::new(), help: None, fix: None });
        let index = self.items.len() - 1;
        Finding { sources: &self.sources, item: &mut self.items[index] }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// Removes findings that are only consequences of a syntax error, or of a directory that is not there: what was skipped is then
    /// reported as missing or unknown, and what was misread as wrong.
    pub(crate) fn drop_consequences_of_what_was_not_read(&mut self) {
        let syntax = self.items.iter().filter(|item| item.code == Code::Syntax);
        let places = syntax.filter_map(|item| item.place.as_ref());
        let broken: Vec<(u32, u32)> = places.map(|place| (place.location.file, place.line)).collect();
        let files: Vec<u32> = broken.iter().map(|(file, _)| *file).collect();
        let is_missing = self.items.iter().any(|item| item.code == Code::Include);
        if broken.is_empty() && !is_missing {
            return;
        }
        self.items.retain(|item| {
            // A definition that was skipped is missed in every file, a key only in its own.
            let follows_anywhere =
                matches!(item.code, Code::Defaults | Code::UnknownZone | Code::UnknownSet | Code::UnknownRule);
            let follows_there = matches!(
                item.code,
                Code::MissingKey | Code::Version | Code::Contradiction | Code::Schedule | Code::EmptyArray
            );
            let is_there = item.place.as_ref().is_some_and(|place| files.contains(&place.location.file));
            let follows = follows_anywhere || follows_there && is_there;
            let same_line =
                item.place.as_ref().is_some_and(|place| broken.contains(&(place.location.file, place.line)));
            matches!(item.code, Code::Syntax | Code::Include) || !(follows || same_line)
        });
    }

    /// Ends with the errors if there are any, else with the warnings. What surprises beside an error is often only its
    /// consequence: a set that lost the element that is wrong, say.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        let refused = self.has_errors();
        if refused {
            self.items.retain(|item| item.severity == Severity::Error);
        }
        let diagnostics = Diagnostics::new(self.items, self.sources);
        if refused { Err(diagnostics) } else { Ok(diagnostics.items) }
    }
}

/// A finding that can still be explained better.
pub(crate) struct Finding<'r> {
    sources: &'r Sources,
    item: &'r mut Diagnostic,
}

impl Finding<'_> {
    /// What to say at the place itself.
    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        if let Some(place) = &mut self.item.place {
            place.label = Some(label.into());
        }
        self
    }

    /// Another place that belongs to it.
    pub(crate) fn related(self, at: Location, label: impl Into<String>) -> Self {
        self.item.related.push(Place::new(self.sources, at, Some(label.into())));
        self
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.item.help = Some(help.into());
        self
    }

    /// What stands at the place.
    pub(crate) fn text(&self) -> Option<&str> {
        self.item.place.as_ref().map(|place| place.text.as_str())
    }

    /// What stands somewhere else.
    pub(crate) fn excerpt(&self, at: Location) -> &str {
        self.sources.excerpt(at)
    }

    /// Something to write at a place instead of what stands there.
    pub(crate) fn fix(self, at: Location, replacement: impl Into<String>, applicability: Applicability) -> Self {
        let place = Place::new(self.sources, at, None);
        self.item.fix = Some(Fix { place, replacement: replacement.into(), applicability });
        self
    }

    /// Something to write instead of a part of what the finding is about, if that part stands there once.
    pub(crate) fn fix_within(self, wrong: &str, right: &str, applicability: Applicability) -> Self {
        let Some(place) = &self.item.place else { return self };
        let mut found = place.text.match_indices(wrong);
        let (Some((at, _)), None) = (found.next(), found.next()) else { return self };
        let start = place.byte_start + at;
        let at = Location::new(place.location.file, start..start + wrong.len());
        self.fix(at, right, applicability)
    }

    /// "did you mean", if there is something near.
    pub(crate) fn did_you_mean(self, written: &str, nearest: Option<&str>) -> Self {
        match nearest {
            Some(name) => {
                self.help(format!("did you mean `{name}`?")).fix_within(written, name, Applicability::MaybeIncorrect)
            }
            None => self,
        }
    }

    pub(crate) fn help_if(self, help: Option<String>) -> Self {
        match help {
            Some(help) => self.help(help),
            None => self,
        }
    }
}

/// "did you mean" for a misspelt name.
pub(crate) fn suggestion<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

/// The name that a misspelt one was meant to be.
pub(crate) fn nearest<'n>(written: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let distance = |name: &str| strsim::damerau_levenshtein(written, name);
    let closest = known.into_iter().map(|name| (distance(name), name)).min()?;
    let tolerated = (written.chars().count() / 3).max(1);
    (closest.0 <= tolerated).then_some(closest.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(suggestion("sorce", ["source", "services"]).unwrap(), "did you mean `source`?");
        assert_eq!(suggestion("fro", ["from", "to"]).unwrap(), "did you mean `from`?");
        assert_eq!(suggestion("colour", ["source", "to"]), None);
        assert_eq!(suggestion("x", []), None);
    }
}
