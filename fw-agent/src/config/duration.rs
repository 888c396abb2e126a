//! Durations as people write them: a number and a unit.

use fw_policy::Code;

use super::report::Report;
use super::section::At;

/// A duration in seconds; what is none is reported.
pub(super) fn reported(text: &At<&str>, report: &mut Report<'_>) -> Option<u32> {
    let seconds = seconds(text.value);
    if seconds.is_none() {
        report
            .add(Code::InvalidDuration, text.span.clone(), "this is not a duration")
            .expected("expected a number and one of s, m, h and d, such as \"24h\"");
    }
    seconds
}

/// Reads `30s`, `5m`, `24h` or `7d` as seconds.
#[must_use]
pub fn seconds(text: &str) -> Option<u32> {
    let unit = text.chars().last()?;
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    number.checked_mul(factor).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn a_duration_is_a_positive_number_and_a_unit() {
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("5m"), Some(300));
        assert_eq!(seconds("24h"), Some(86_400));
        assert_eq!(seconds("7d"), Some(604_800));
        for wrong in ["", "30", "s", "0s", "-1s", "1.5h", "30 s", "99999999d", "3é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
