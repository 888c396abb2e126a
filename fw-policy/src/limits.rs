//! `rate` and `max_flows`: how many flows a rule may open.

use std::fmt;

use fw_common::abi::limit::{RuleLimit, per};

/// What a limit counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// The whole rule.
    #[default]
    Rule,
    /// Each source; an IPv6 source is its /64.
    Source,
    /// Each pair of source and destination.
    SourceDestination,
}

impl Per {
    /// The words of the language.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("rule", Self::Rule), ("source", Self::Source), ("source-destination", Self::SourceDestination)];

    const fn number(self) -> u8 {
        match self {
            Self::Rule => per::RULE,
            Self::Source => per::SOURCE,
            Self::SourceDestination => per::SOURCE_DESTINATION,
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, per)| per == self).map_or("", |(word, _)| word);
        formatter.write_str(word)
    }
}

/// The units of a rate, and their seconds.
pub(crate) const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// `rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// New flows, in a time of [`Rate::seconds`].
    pub new_flows: u32,
    /// One second, minute, hour or day.
    pub seconds: u64,
    /// New flows that may come at once when none has come for long.
    pub burst: u32,
    /// What it counts for.
    pub per: Per,
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.seconds).map_or("s", |(unit, _)| unit);
        write!(formatter, "{}/{unit}, burst {}, per {}", self.new_flows, self.burst, self.per)
    }
}

/// `max_flows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxFlows {
    /// Flows at once.
    pub limit: u32,
    /// What it counts for.
    pub per: Per,
}

impl fmt::Display for MaxFlows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} flows, per {}", self.limit, self.per)
    }
}

/// The limits of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Flows that open in a time.
    pub rate: Option<Rate>,
    /// Flows at once.
    pub max_flows: Option<MaxFlows>,
}

impl Limits {
    /// Whether there is any.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.rate.is_some() || self.max_flows.is_some()
    }

    /// The limits as the data plane has them.
    #[must_use]
    pub fn to_table(&self) -> RuleLimit {
        let mut limit = RuleLimit::default();
        if let Some(Rate { new_flows, seconds, burst, per }) = self.rate {
            limit.interval = (seconds * 1_000_000_000 / u64::from(new_flows.max(1))).max(1);
            limit.capacity = limit.interval.saturating_mul(u64::from(burst));
            limit.rate_per = per.number();
        }
        if let Some(MaxFlows { limit: flows, per }) = self.max_flows {
            limit.max_flows = flows;
            limit.flows_per = per.number();
        }
        limit
    }
}

impl fmt::Display for Limits {
    /// `100/s, burst 200, per source; 1000 flows, per rule`; empty without limits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [self.rate.map(|rate| rate.to_string()), self.max_flows.map(|flows| flows.to_string())];
        formatter.write_str(&texts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_an_interval_and_its_burst_a_capacity() {
        let rate = Rate { new_flows: 100, seconds: 1, burst: 200, per: Per::Source };
        let limits = Limits { rate: Some(rate), max_flows: Some(MaxFlows { limit: 7, per: Per::SourceDestination }) };
        let expected = RuleLimit {
            interval: 10_000_000,
            capacity: 2_000_000_000,
            max_flows: 7,
            rate_per: per::SOURCE,
            flows_per: per::SOURCE_DESTINATION,
            ..RuleLimit::default()
        };
        assert_eq!(limits.to_table(), expected);
        assert_eq!(limits.to_string(), "100/s, burst 200, per source; 7 flows, per source-destination");
        assert_eq!(Limits::default().to_string(), "");
        let slow = Rate { new_flows: 1, seconds: 86_400, burst: 1_000_000, per: Per::Rule };
        let table = Limits { rate: Some(slow), max_flows: None }.to_table();
        assert_eq!((table.interval, table.capacity), (86_400_000_000_000, u64::MAX));
    }
}
