//! Where a value lies on an axis, and which values the axis names.

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero on.
    Linear { last: f64 },
    /// Each decade takes the same room.
    Decades { first: f64, last: f64 },
    /// Parts of a whole, whose rest becomes ten times smaller in the same room: 0.9, 0.99, 0.999.
    Nines { last: f64 },
}

impl Scale {
    /// From zero to a round number that is not below these values.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.fold(f64::MIN_POSITIVE, f64::max);
        let step = round_step(largest);
        Self::Linear { last: (largest / step).ceil() * step }
    }

    /// From the decade of the smallest to that of the largest of these values.
    pub(super) fn decades(values: impl Iterator<Item = f64> + Clone) -> Self {
        let values = values.filter(|value| *value > 0.0);
        let smallest = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let largest = values.fold(f64::MIN_POSITIVE, f64::max).log10().ceil();
        Self::Decades { first: 10f64.powf(smallest), last: 10f64.powf(largest.max(smallest + 1.0)) }
    }

    /// The part of the axis below a value.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { last } => value / last,
            Self::Decades { first, last } => (value / first).log10() / (last / first).log10(),
            Self::Nines { last } => (1.0 - value).log10() / (1.0 - last).log10(),
        };
        // A value of zero has no place in decades, and the whole has none in nines.
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// The values that are named, with their names.
    pub(super) fn marks(self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self {
            Self::Linear { last } => {
                let step = round_step(last);
                (0..=(last / step).round() as u32).map(|number| f64::from(number) * step).collect()
            }
            Self::Decades { first, last } => {
                let decades = (last / first).log10().round() as i32;
                (0..=decades).map(|decade| first * 10f64.powi(decade)).collect()
            }
            Self::Nines { last } => {
                return [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                    .into_iter()
                    .filter(|part| *part <= last)
                    .map(|part| (part, percent(part)))
                    .collect();
            }
        };
        values.into_iter().map(|value| (value, number(value))).collect()
    }
}

/// A round number of which about five make the value: 1, 2 or 5 with zeros.
fn round_step(value: f64) -> f64 {
    let decade = 10f64.powf((value / 5.0).log10().floor());
    [1.0, 2.0, 5.0].map(|factor| factor * decade).into_iter().find(|step| step * 5.0 >= value).unwrap_or(10.0 * decade)
}

/// "99.9 %".
fn percent(part: f64) -> String {
    let text = format!("{:.4}", part * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number as people write it: three digits at least, thousands apart.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 100.0 {
        let digits = (1.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
        let text = format!("{value:.digits$}");
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let written = [0.0, 0.025, 1.5, 12.34, 20.0, 999.6, 1_234_567.0, -1234.0].map(number);
        assert_eq!(written, ["0", "0.025", "1.5", "12", "20", "1,000", "1,234,567", "-1,234"]);
    }

    #[test]
    fn marks_are_round_and_reach_the_end() {
        let names = |scale: Scale| scale.marks().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(Scale::linear([930.0, 12.0].into_iter())), ["0", "200", "400", "600", "800", "1,000"]);
        assert_eq!(names(Scale::decades([142.0, 21_722.0].into_iter())), ["100", "1,000", "10,000", "100,000"]);
        assert_eq!(names(Scale::Nines { last: 0.999 }), ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }

    #[test]
    fn places_are_within_the_axis() {
        let decades = Scale::Decades { first: 10.0, last: 1000.0 };
        assert!((decades.place(100.0) - 0.5).abs() < 1e-9);
        assert!(decades.place(0.0).abs() < 1e-9 && (decades.place(1e9) - 1.0).abs() < 1e-9);
        let nines = Scale::Nines { last: 0.9999 };
        assert!((nines.place(0.99) - 0.5).abs() < 1e-9 && (nines.place(1.0) - 1.0).abs() < 1e-9);
    }
}
