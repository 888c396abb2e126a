//! Where in which policy file something was written.

use std::sync::Arc;

/// One policy file. The caller reads the directory; this crate does no I/O.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name that diagnostics show, relative to the policy directory.
    pub name: String,
    /// The contents.
    pub text: String,
}

/// A run of bytes in one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Location {
    pub(crate) fn new(file: u32, span: std::ops::Range<usize>) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, start: offset(span.start), end: offset(span.end) }
    }

    /// The same, where the text in front of it is so many bytes longer.
    pub(crate) fn shifted(self, by: i64) -> Self {
        let shift = |at: u32| u32::try_from(i64::from(at) + by).unwrap_or(u32::MAX);
        Self { start: shift(self.start), end: shift(self.end), ..self }
    }

    pub(crate) fn span(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) at: Location,
}

impl<T> Spanned<T> {
    pub(crate) const fn new(value: T, at: Location) -> Self {
        Self { value, at }
    }
}

/// A file, and where its lines start.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    file: SourceFile,
    lines: Vec<usize>,
}

impl Source {
    fn new(file: &SourceFile) -> Arc<Self> {
        let after_newlines = file.text.match_indices('\n').map(|(at, _)| at + 1);
        Arc::new(Self { file: file.clone(), lines: std::iter::once(0).chain(after_newlines).collect() })
    }
}

/// All files of a policy, in the order in which they were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    files: Vec<Arc<Source>>,
}

impl Sources {
    pub(crate) fn new(files: &[SourceFile]) -> Self {
        Self { files: files.iter().map(Source::new).collect() }
    }

    /// The same for files of which most are as before.
    pub(crate) fn renewed(&self, files: &[SourceFile]) -> Self {
        let renewed = files.iter().enumerate().map(|(position, file)| {
            let before = self.files.get(position).filter(|before| before.file == *file);
            before.map_or_else(|| Source::new(file), Arc::clone)
        });
        Self { files: renewed.collect() }
    }

    /// The files that are not those of `before` at the same place, with what these were.
    pub(crate) fn changed_from<'s>(
        &'s self,
        before: &'s Self,
    ) -> impl Iterator<Item = (u32, &'s SourceFile, &'s SourceFile)> {
        let files = (0u32..).zip(before.files.iter().zip(&self.files));
        let changed = files.filter(|(_, (old, new))| !Arc::ptr_eq(old, new));
        changed.map(|(file, (old, new))| (file, &old.file, &new.file))
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (u32, &SourceFile)> {
        (0u32..).zip(self.files.iter().map(|source| &source.file))
    }

    pub(crate) fn name(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.file.name)
    }

    pub(crate) fn text(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", |source| &source.file.text)
    }

    /// What was written at a location.
    pub(crate) fn excerpt(&self, at: Location) -> &str {
        self.text(at.file).get(at.span()).unwrap_or("")
    }

    /// Finds lines of locations that ascend, each from the one before.
    pub(crate) const fn lines(&self) -> LineCursor<'_> {
        LineCursor { sources: self, file: 0, line: 0 }
    }

    /// Line and column of the start of a location, both from 1; the column counts characters.
    pub(crate) fn line_and_column(&self, at: Location) -> (u32, u32) {
        let text = self.text(at.file);
        let start = floor_char_boundary(text, at.start as usize);
        let lines = self.files.get(at.file as usize).map_or(&[0][..], |source| source.lines.as_slice());
        let line = lines.partition_point(|line| *line <= start).max(1);
        let column = text[lines[line - 1]..start].chars().count() + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        (number(line), number(column))
    }
}

/// A line of a file from which others are looked for.
pub(crate) struct LineCursor<'s> {
    sources: &'s Sources,
    file: u32,
    /// How many lines start at the last location or in front of it.
    line: usize,
}

impl LineCursor<'_> {
    /// The line of the start of a location, as [`Sources::line_and_column`] gives it. Going back is right, and slow.
    pub(crate) fn line_of(&mut self, at: Location) -> u32 {
        let lines = self.sources.files.get(at.file as usize).map_or(&[0][..], |source| source.lines.as_slice());
        let start = at.start as usize;
        if self.file != at.file || self.line.checked_sub(1).is_some_and(|line| lines[line] > start) {
            (self.file, self.line) = (at.file, 0);
        }
        self.line += lines[self.line..].iter().take_while(|line| **line <= start).count();
        u32::try_from(self.line.max(1)).unwrap_or(u32::MAX)
    }
}

/// The largest character boundary that is not above `at`.
fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let sources = Sources::new(&[SourceFile { name: "a.toml".into(), text: "é = 1\nß = äx".into() }]);
        let start = sources.text(0).find('x').unwrap();
        let at = Location::new(0, start..start + 1);
        assert_eq!(sources.line_and_column(at), (2, 6));
        assert_eq!(sources.excerpt(at), "x");
    }

    #[test]
    fn a_cursor_finds_the_lines_that_are_looked_up() {
        let file = |text: &str| SourceFile { name: "a.toml".into(), text: text.into() };
        let sources = Sources::new(&[file("a\n\nb = 1\n"), file(""), file("é\nc")]);
        let mut lines = sources.lines();
        let places = [(0, 0), (0, 1), (0, 2), (0, 3), (0, 99), (1, 0), (2, 0), (2, 1), (2, 3), (0, 3), (0, 2), (7, 1)];
        for (file, start) in places {
            let at = Location::new(file, start..start + 1);
            assert_eq!(lines.line_of(at), sources.line_and_column(at).0, "{at:?}");
        }
    }

    #[test]
    fn a_location_beyond_the_file_is_its_end() {
        let sources = Sources::new(&[SourceFile { name: "a.toml".into(), text: "a\n".into() }]);
        assert_eq!(sources.line_and_column(Location::new(0, 90..91)), (2, 1));
        assert_eq!(sources.excerpt(Location::new(0, 90..91)), "");
        assert_eq!(sources.line_and_column(Location::new(7, 0..1)), (1, 1));
    }
}
