//! How severe it is what a rule logs: the severities of syslog (RFC 5424, section 6.2.1, table 2).

use serde::{Deserialize, Serialize};

/// A severity, by its number in syslog: lower ones are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The system is unusable.
    Emergency = 0,
    /// Action must be taken immediately.
    Alert = 1,
    /// Critical conditions.
    Critical = 2,
    /// Error conditions.
    Error = 3,
    /// Warning conditions.
    Warning = 4,
    /// Normal but significant.
    Notice = 5,
    /// Informational: what is logged without a level, and what no rule decides.
    #[default]
    Info = 6,
    /// For debugging.
    Debug = 7,
}

impl Level {
    /// The names, the worst first.
    pub const NAMES: [&str; 8] = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];

    /// Every level with its name.
    pub(crate) const WORDS: [(&str, Self); 8] = [
        (Self::NAMES[0], Self::Emergency),
        (Self::NAMES[1], Self::Alert),
        (Self::NAMES[2], Self::Critical),
        (Self::NAMES[3], Self::Error),
        (Self::NAMES[4], Self::Warning),
        (Self::NAMES[5], Self::Notice),
        (Self::NAMES[6], Self::Info),
        (Self::NAMES[7], Self::Debug),
    ];

    /// The name in policies, logs and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The level of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// Whether it is this severe, or worse.
    #[must_use]
    pub fn is_at_least(self, least: Self) -> bool {
        self <= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_syslog() {
        for (number, (name, level)) in (0..).zip(Level::WORDS) {
            assert_eq!((level as u8, level.name(), Level::from_name(name)), (number, name, Some(level)));
            assert_eq!(serde_json::to_value(level).unwrap(), name);
        }
        assert!(Level::Error.is_at_least(Level::Warning) && Level::Warning.is_at_least(Level::Warning));
        assert!(!Level::Info.is_at_least(Level::Warning));
        assert_eq!(Level::from_name("informational"), None);
    }
}
