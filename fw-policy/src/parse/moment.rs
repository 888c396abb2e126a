//! Durations and points in time.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::table::TableReader;
use crate::Code;
use crate::source::Spanned;

/// The longest idle time-out: 30 days, in seconds.
const LONGEST: u32 = 30 * 24 * 3600;

impl TableReader<'_, '_, '_> {
    /// A duration such as `"24h"`, in seconds.
    pub(crate) fn duration(&mut self, key: &str) -> Option<Spanned<u32>> {
        let written = self.string(key)?;
        let seconds = parse_duration(&written.value);
        if seconds.is_none() {
            self.report
                .at(Code::InvalidDuration, written.at, format!("`{}` is not a duration", written.value))
                .help("write a number and one of the units s, m, h and d: `\"24h\"`; at least 1s and at most 30d");
        }
        seconds.map(|seconds| Spanned::new(seconds, written.at))
    }

    /// A date (from 00:00 UTC), or a date and time with its offset.
    pub(crate) fn moment(&mut self, key: &str) -> Option<Spanned<OffsetDateTime>> {
        let value = self.value(key)?;
        let DeValue::Datetime(written) = value.value else {
            self.wrong_type(key, "a date", &value);
            return None;
        };
        let moment = parse_moment(written);
        if moment.is_none() {
            self.report.at(Code::InvalidDate, value.at, format!("`{written}` is not a point in time")).help(
                "write a date, which is 00:00 UTC (`2027-03-31`), or an offset too (`2027-03-31T18:00:00+02:00`)",
            );
        }
        moment.map(|moment| Spanned::new(moment, value.at))
    }
}

fn parse_duration(text: &str) -> Option<u32> {
    let unit = text.char_indices().next_back()?;
    let (digits, seconds_per_unit) = match unit {
        (at, 's') => (&text[..at], 1),
        (at, 'm') => (&text[..at], 60),
        (at, 'h') => (&text[..at], 3600),
        (at, 'd') => (&text[..at], 24 * 3600),
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u32>().ok()?.checked_mul(seconds_per_unit)?;
    (1..=LONGEST).contains(&seconds).then_some(seconds)
}

/// `None` for a local date-time or a time of day, which are no points in time, and for what no calendar has.
fn parse_moment(written: &Datetime) -> Option<OffsetDateTime> {
    let date = written.date?;
    let month = Month::try_from(date.month).ok()?;
    let date = Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    let Some(time) = written.time else {
        return Some(date.midnight().assume_utc());
    };
    let second = time.second.unwrap_or(0);
    // A leap second is the second after it: the clocks that judge it have none.
    let leap = if second == 60 { time::Duration::SECOND } else { time::Duration::ZERO };
    let time = Time::from_hms_nano(time.hour, time.minute, second.min(59), time.nanosecond.unwrap_or(0)).ok()?;
    let offset = match written.offset? {
        Offset::Z => UtcOffset::UTC,
        Offset::Custom { minutes } => UtcOffset::from_whole_seconds(i32::from(minutes) * 60).ok()?,
    };
    PrimitiveDateTime::new(date, time).assume_offset(offset).checked_add(leap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("90m", 5400), ("24h", 86_400), ("30d", LONGEST)] {
            assert_eq!(parse_duration(text), Some(seconds), "{text}");
        }
        for text in ["", "s", "0s", "24", "1.5h", "-1s", "+1s", "31d", "99999999999h", "1h30m", "1é"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn dates_start_at_midnight_utc_and_times_need_an_offset() {
        let moment = |text: &str| parse_moment(&text.parse().unwrap());
        assert_eq!(moment("2027-03-31"), Some(datetime!(2027-03-31 0:00 UTC)));
        assert_eq!(moment("2027-03-31T18:00:00+02:00"), Some(datetime!(2027-03-31 16:00 UTC)));
        assert_eq!(moment("2016-12-31T23:59:60Z"), Some(datetime!(2017-01-01 0:00 UTC)));
        assert_eq!(moment("2027-03-31T18:00:00"), None);
        assert_eq!(moment("18:00:00"), None);
    }
}
