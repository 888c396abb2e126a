//! Curves, one a series.

use super::bars::{LEFT, legend};
use super::scale::Scale;
use super::svg::{Anchor, HEIGHT, Picture, WIDTH, colour};

/// A plot of curves.
pub(super) struct Lines {
    pub(super) title: String,
    /// What an axis shows, with its unit, and how.
    pub(super) across: (&'static str, Scale),
    pub(super) up: (&'static str, Scale),
    /// Each point is marked: there are few.
    pub(super) dots: bool,
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
}

/// The area of the curves.
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = HEIGHT - 56.0;
const GRID: &str = "#dddddd";

impl Lines {
    /// The picture, if there is any point.
    pub(super) fn draw(self) -> Option<String> {
        if self.series.iter().all(|(_, points)| points.is_empty()) {
            return None;
        }
        let ((across_name, across), (up_name, up)) = (self.across, self.up);
        let x = |value: f64| LEFT + across.place(value) * (RIGHT - LEFT);
        let y = |value: f64| BOTTOM - up.place(value) * (BOTTOM - TOP);
        let mut picture = Picture::new(&self.title);
        for (value, name) in up.marks() {
            picture.line((LEFT, y(value)), (RIGHT, y(value)), GRID);
            picture.text((LEFT - 6.0, y(value) + 4.0), Anchor::End, &name);
        }
        for (value, name) in across.marks() {
            picture.line((x(value), TOP), (x(value), BOTTOM), GRID);
            picture.text((x(value), BOTTOM + 18.0), Anchor::Middle, &name);
        }
        picture.text((LEFT, TOP - 12.0), Anchor::Start, up_name);
        picture.text(((LEFT + RIGHT) / 2.0, BOTTOM + 40.0), Anchor::Middle, across_name);
        for (place, (name, points)) in self.series.iter().enumerate() {
            let points: Vec<(f64, f64)> = points.iter().map(|(across, up)| (x(*across), y(*up))).collect();
            picture.curve(&points, colour(name, place));
            if self.dots {
                points.iter().for_each(|point| picture.dot(*point, colour(name, place)));
            }
        }
        legend(&mut picture, self.series.iter().map(|(name, _)| name.as_str()));
        Some(picture.finish())
    }
}
