//! Groups of bars, one bar a series in each.

use super::scale::{Scale, number};
use super::svg::{Anchor, HEIGHT, Picture, WIDTH, colour};

/// A plot of bars.
pub(super) struct Bars {
    pub(super) title: String,
    /// What the values are, with their unit.
    pub(super) values: &'static str,
    pub(super) groups: Vec<String>,
    /// A name, and a value for each group that has one.
    pub(super) series: Vec<(String, Vec<Option<f64>>)>,
}

/// The area of the bars.
pub(super) const LEFT: f64 = 90.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = HEIGHT - 40.0;
/// The part of a group's room that is left free.
const GAP: f64 = 0.2;
const GRID: &str = "#dddddd";

impl Bars {
    /// The picture, if there is any value.
    pub(super) fn draw(mut self) -> Option<String> {
        self.drop_what_is_empty();
        let values = || self.series.iter().flat_map(|(_, values)| values.iter().copied().flatten());
        values().next()?;
        let (smallest, largest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        // Of a bar that is a hundred times longer than the next, little can be seen.
        let scale = if smallest > 0.0 && largest / smallest > 100.0 {
            Scale::decades(values().collect::<Vec<_>>().into_iter())
        } else {
            Scale::linear(values())
        };
        let mut picture = Picture::new(&self.title);
        let height = |value: f64| scale.place(value) * (BOTTOM - TOP);
        for (value, name) in scale.marks() {
            let y = BOTTOM - height(value);
            picture.line((LEFT, y), (RIGHT, y), GRID);
            picture.text((LEFT - 6.0, y + 4.0), Anchor::End, &name);
        }
        let how = if matches!(scale, Scale::Decades { .. }) { ", each line ten times the one below" } else { "" };
        picture.text((LEFT, TOP - 12.0), Anchor::Start, &format!("{}{how}", self.values));
        let group_width = (RIGHT - LEFT) / self.groups.len() as f64;
        let bar_width = group_width * (1.0 - GAP) / self.series.len() as f64;
        for (place, group) in self.groups.iter().enumerate() {
            let left = LEFT + group_width * place as f64;
            picture.text((left + group_width / 2.0, BOTTOM + 18.0), Anchor::Middle, group);
            for (series, (name, values)) in self.series.iter().enumerate() {
                let Some(value) = values[place] else { continue };
                let x = left + group_width * GAP / 2.0 + bar_width * series as f64;
                let y = BOTTOM - height(value);
                picture.bar((x, y), (bar_width - 1.0, BOTTOM - y), colour(name, series));
                picture.small_text((x + bar_width / 2.0, y - 3.0), Anchor::Middle, &number(value.round_to_three()));
            }
        }
        picture.line((LEFT, BOTTOM), (RIGHT, BOTTOM), "black");
        legend(&mut picture, self.series.iter().map(|(name, _)| name.as_str()));
        Some(picture.finish())
    }

    /// Leaves groups and series out that have no value.
    fn drop_what_is_empty(&mut self) {
        let series = &self.series;
        let kept: Vec<bool> =
            (0..self.groups.len()).map(|group| series.iter().any(|(_, values)| values[group].is_some())).collect();
        let mut group = kept.iter();
        self.groups.retain(|_| group.next() == Some(&true));
        for (_, values) in &mut self.series {
            let mut group = kept.iter();
            values.retain(|_| group.next() == Some(&true));
        }
        self.series.retain(|(_, values)| values.iter().any(Option::is_some));
    }
}

/// Rounding for labels.
trait RoundToThree {
    fn round_to_three(self) -> f64;
}

impl RoundToThree for f64 {
    fn round_to_three(self) -> f64 {
        if self == 0.0 {
            return self;
        }
        let scale = 10f64.powf(2.0 - self.abs().log10().floor());
        (self * scale).round() / scale
    }
}

/// The names of the series, in a row below the title.
pub(super) fn legend<'name>(picture: &mut Picture, names: impl Iterator<Item = &'name str>) {
    let mut x = LEFT;
    for (place, name) in names.enumerate() {
        picture.bar((x, 36.0), (12.0, 12.0), colour(name, place));
        picture.text((x + 17.0, 46.0), Anchor::Start, name);
        // About as wide as the letters of common fonts are.
        x += 17.0 + 7.0 * name.chars().count() as f64 + 18.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: Vec<Option<f64>>) -> Bars {
        Bars {
            title: "costs".to_owned(),
            values: "ns",
            groups: vec!["one".to_owned(), "two".to_owned()],
            series: vec![("firewall".to_owned(), values), ("kernel".to_owned(), vec![None, None])],
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let picture = bars(vec![None, Some(186.4)]).draw().unwrap();
        assert!(picture.contains(">two<") && picture.contains(">186<") && picture.contains(">firewall<"), "{picture}");
        assert!(!picture.contains(">one<") && !picture.contains(">kernel<"), "{picture}");
        assert!(bars(vec![None, None]).draw().is_none());
    }
}
