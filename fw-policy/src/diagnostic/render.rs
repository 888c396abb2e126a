//! Findings as text, in the form that Rust's compiler has made familiar.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Place, Severity};
use crate::source::Sources;

pub(super) fn render(items: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let rendered = items.iter().map(|item| renderer.render(&[group(item, sources)]).to_string());
    rendered.collect::<Vec<_>>().join("\n\n")
}

fn group<'a>(item: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(item.message.as_str()).id(item.code.to_string());
    let mut group = Group::with_title(title).elements(snippets(item, sources));
    if let Some(help) = &item.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
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
