//! A picture of lines, rectangles and texts (Scalable Vector Graphics 1.1), in pixels from the upper left corner.

use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 860.0;
pub(super) const HEIGHT: f64 = 460.0;

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that is being drawn.
pub(super) struct Picture {
    body: String,
}

impl Picture {
    pub(super) fn new(title: &str) -> Self {
        let mut picture = Self { body: String::new() };
        picture.text_of_size((WIDTH / 2.0, 24.0), Anchor::Middle, 15, title);
        picture
    }

    fn add(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(&format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#));
    }

    pub(super) fn bar(&mut self, corner: (f64, f64), size: (f64, f64), colour: &str) {
        let ((x, y), (width, height)) = (corner, size);
        self.add(&format!(r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>"#));
    }

    pub(super) fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        let mut path = String::new();
        for (x, y) in points {
            // Writing to a string cannot fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let path = path.trim_end();
        self.add(&format!(r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.add(&format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#));
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, text: &str) {
        self.text_of_size(at, anchor, 12, text);
    }

    pub(super) fn small_text(&mut self, at: (f64, f64), anchor: Anchor, text: &str) {
        self.text_of_size(at, anchor, 10, text);
    }

    fn text_of_size(&mut self, (x, y): (f64, f64), anchor: Anchor, size: u32, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.add(&format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{text}</text>"#));
    }

    pub(super) fn finish(self) -> String {
        let head = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">"#
        );
        format!("{head}\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n", self.body)
    }
}

/// A text without what XML reserves (XML 1.0, section 2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The colour of a series: that of its candidate, which is the same in all plots, or that of its place. They are those of
/// Okabe and Ito, which people see apart who do not see all colours.
pub(super) fn colour(name: &str, place: usize) -> &'static str {
    const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#999999"];
    const CANDIDATES: [&str; 7] = ["firewall", "nftables", "kernel", "nftables set", "", "drop", "redirect"];
    COLOURS[CANDIDATES.iter().position(|candidate| *candidate == name).unwrap_or(place) % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_well_formed() {
        let mut picture = Picture::new("a < b & c");
        picture.line((0.0, 0.0), (1.0, 1.0), colour("drop", 0));
        picture.curve(&[(0.0, 1.0), (2.0, 3.0)], colour("some", 8));
        let text = picture.finish();
        assert!(text.contains("a &lt; b &amp; c"), "{text}");
        assert!(text.contains(r#"points="0.0,1.0 2.0,3.0""#), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{text}");
    }
}
