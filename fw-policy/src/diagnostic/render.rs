//! Findings as text, in the form that Rust's compiler has made familiar.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Place, Severity};
use crate::source::Sources;

/// How wide text is that nobody has said a width for, in characters: as wide as Rust's compiler makes it.
pub const DEFAULT_WIDTH: usize = 140;

/// The narrowest text that can still be read. What is narrower gets this, and lines are broken by the terminal.
const NARROWEST: usize = 40;

pub(super) fn render(items: &[Diagnostic], sources: &Sources, color: bool, width: usize) -> String {
    let width = width.max(NARROWEST);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(width);
    let rendered = items.iter().map(|item| {
        // The renderer cuts lines of the file where they are long, and leaves what is said about them as it is.
        let title = item.severity.label().len() + item.code.to_string().len() + "[]: ".len();
        let message = wrapped(&item.message, width.saturating_sub(title));
        let margin = item.place.as_ref().map_or(0, |place| place.line.max(1).ilog10() as usize + 1);
        let help = item.help.as_ref().map(|help| wrapped(help, width.saturating_sub(margin + " = help: ".len())));
        renderer.render(&[group(item, &message, help.as_deref(), sources)]).to_string()
    });
    rendered.collect::<Vec<_>>().join("\n\n")
}

fn group<'a>(item: &'a Diagnostic, message: &'a str, help: Option<&'a str>, sources: &'a Sources) -> Group<'a> {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(message).id(item.code.to_string());
    let mut group = Group::with_title(title).elements(snippets(item, sources));
    if let Some(help) = help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

/// Breaks a text between words into lines of at most `width` characters; longer words stay whole.
fn wrapped(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            wrapped.push('\n');
            length = 0;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += word_length;
    }
    wrapped
}

/// One snippet for each file that the finding names, the file of the finding itself first.
fn snippets<'a>(item: &'a Diagnostic, sources: &'a Sources) -> Vec<Snippet<'a, Annotation<'a>>> {
    let mut places = item.place.iter().map(|place| (AnnotationKind::Primary, place)).collect::<Vec<_>>();
    places.extend(item.related.iter().map(|place| (AnnotationKind::Context, place)));
    let mut files: Vec<u32> = Vec::new();
    for (_, place) in &places {
        if !files.contains(&place.location.file) {
            files.push(place.location.file);
        }
    }
    let snippet = |file: u32| {
        let annotations = places.iter().filter(|(_, place)| place.location.file == file);
        Snippet::source(sources.text(file))
            .path(sources.name(file))
            .annotations(annotations.map(|(kind, place)| annotation(*kind, place, sources)))
    };
    files.into_iter().map(snippet).collect()
}

fn annotation<'a>(kind: AnnotationKind, place: &'a Place, sources: &Sources) -> Annotation<'a> {
    let end = sources.text(place.location.file).len();
    let span = place.location.span();
    kind.span(span.start.min(end)..span.end.min(end)).label(place.label.as_deref())
}
