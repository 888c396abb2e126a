//! The codes of all diagnostics: one list that feeds messages, JSON and `fwctl explain-code`.

use super::explanation::Explanation;

/// Whether a diagnostic refuses the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken; it probably does not mean what its author thinks.
    Warning,
    /// Worth knowing, and nothing to change for.
    Note,
}

/// Defines the enum, its numbers and its explanations in one place, so that no list can go stale. What is said at length, with
/// examples, stands in `codes/VARIANT.md`.
macro_rules! codes {
    ($($variant:ident = $number:literal, $explanation:literal;)+) => {
        /// What is wrong, as a stable number: `FW` and four digits, errors below `FW0100`, warnings from there, notes from `FW0200`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $explanation] $variant,)+
        }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number behind `FW`.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// What the author of the policy should know about it, in a sentence or two.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $explanation,)+ }
            }

            /// The text of [`Code::explain`], as it is written down.
            const fn written_explanation(self) -> &'static str {
                match self { $(Self::$variant => include_str!(concat!("codes/", stringify!($variant), ".md")),)+ }
            }
        }
    };
}

codes! {
    // The text.
    Syntax = 1, "The file is not TOML.";
    WrongType = 2, "The value has another type than the key takes.";
    UnknownKey = 3, "The key does not exist here. Unknown keys are refused because a misspelt key would silently widen a rule.";
    MissingKey = 4, "A key that must be there is missing.";
    Unsupported = 5, "The key or value belongs to a later version of the language. It is refused because ignoring it would change what the policy does.";
    Duplicate = 6, "The name, id or key is already taken.";
    EmptyArray = 7, "An empty array would match nothing, or everything, depending on who reads it. Leave the key out to match everything.";
    InvalidName = 8, "Names consist of letters, digits, `.`, `_` and `-`, and some names and lengths are reserved.";
    Version = 9, "Every file states the version of the language that it is written in: `version = 1`.";
    Defaults = 10, "The table `[defaults]` stands exactly once in all files: it says what happens to packets that no rule matches.";
    InvalidValue = 11, "The value is none of those that the key takes.";
    InvalidAddress = 12, "The text is not an address, a prefix, a range or a set.";
    HostBits = 13, "The prefix has bits set behind its length: it is not clear whether the network or one address was meant.";
    InvalidService = 14, "The text is not a service.";
    IcmpWithoutFlow = 15, "ICMP errors and replies follow the flow that they belong to and never open one, so a rule that names them never matches.";
    InvalidDuration = 16, "A duration is a number and one of the units s, m, h and d.";
    InvalidDate = 17, "A point in time is a date, which starts at 00:00 UTC, or a date and time with an offset.";
    InvalidRate = 18, "A rate is a number of new flows and one of the units `/s`, `/m`, `/h` and `/d`.";
    InvalidUrl = 19, "A feed comes from a file, or from a web server by https.";
    // References.
    UnknownZone = 20, "No file defines the zone.";
    UnknownSet = 21, "No file defines the set.";
    UnknownRule = 22, "No file defines a rule with this id.";
    SetCycle = 23, "A set contains itself, directly or through other sets, or sets are nested too deeply.";
    Include = 24, "What is included is a directory below the policy directory, with policy files, and is included once.";
    // Meaning.
    ZonesOverlap = 30, "An address would belong to two zones.";
    ZoneReserved = 31, "The network belongs to the link itself: link-local and multicast addresses, and the services of the instance, are never in a zone.";
    TooManyZones = 32, "The data plane numbers zones in six bits.";
    Schedule = 33, "The schedule is empty, or opens the firewall when it ends.";
    Contradiction = 34, "Two keys of the same table exclude each other.";
    TestPacket = 35, "No such packet exists, so the test says nothing about the policy.";
    // The binding to interfaces.
    ZoneUnbound = 40, "A zone of the policy has no interface in `agent.toml`.";
    BindingUnknownZone = 41, "`agent.toml` names a zone that the policy does not define.";
    InterfaceWithoutZone = 42, "Only the management interface carries no zone; any other would drop everything.";
    TwoRestZones = 43, "Only one zone of an interface can be \"the rest\": the one without `networks`.";
    ManagementZones = 44, "The management interface carries no zones, because nothing is forwarded through it.";
    ManagementAllow = 45, "An entry of `[management] allow` is a service and where it may come from.";
    UnknownSystemRule = 46, "`agent.toml` disables a generated rule that does not exist.";
    // The size.
    TooManyRules = 50, "The data plane has counters for a limited number of rules.";
    OverBudget = 52, "The compiled tables would take more memory than they may.";
    // Warnings.
    ExclusionsOnly = 100, "A set that only excludes is everything else, in both address families.";
    MatchesNothing = 101, "The set or rule matches nothing.";
    ListedTwice = 102, "The same element stands twice in an array.";
    // What the analysis of all rules together finds.
    NoSuchPacket = 110, "The rule never matches: no packet that opens a flow between its zones has its addresses and services.";
    Shadowed = 111, "The rule never matches: rules in front of it take all of its packets, and do with them what it would have done, or deny them in another way.";
    AllowHidden = 112, "The rule never allows anything: rules in front of it take all of its packets, and deny some or all of them.";
    DenyHidden = 113, "The rule never denies anything: rules in front of it take all of its packets, and allow some or all of them.";
    Redundant = 114, "The rule changes nothing: rules behind it would decide its packets alike, with the same action, logging and idle time-out.";
    RestatesDefault = 115, "The rule changes nothing: no rule behind it decides its packets otherwise, and the default does with them what it does. It is of use for its counter, or against rules that may come.";
    AllowsEverything = 116, "The rule allows every address and every service from one zone to another.";
    Expired = 117, "The rule has expired: it never matches any more.";
    ExpiresSoon = 118, "The rule expires within 30 days.";
    Unused = 119, "No rule and no invariant needs the set, directly or through other sets.";
    EmptyInvariant = 120, "No packet that opens a flow is one that the invariant speaks of, so it says nothing about the policy.";
    // Notes.
    PairsWithoutRules = 200, "For these pairs of zones nothing is written, so the default of everything decides.";
    NotAnalysed = 201, "Whether these rules match, or are needed, was not found out, because it would take too long. What is said of others is right.";
}

impl Severity {
    /// The word that findings begin with.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl Code {
    /// Whether it refuses the policy.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self.number() {
            0..100 => Severity::Error,
            100..200 => Severity::Warning,
            _ => Severity::Note,
        }
    }

    /// Whether it is found by comparing rules ([`crate::Policy::analyse`]), and not by reading and compiling.
    #[must_use]
    pub const fn is_of_analysis(self) -> bool {
        self.number() >= Self::NoSuchPacket.number()
    }

    /// The same at length: what it means, a wrong example, a right one, and why it is refused.
    #[must_use]
    pub fn explain(self) -> Explanation {
        Explanation::read(self, self.written_explanation())
    }

    /// Reads `FW0007`, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        Self::ALL.iter().copied().find(|code| code.to_string() == text)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FW{:04}", self.number())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_so_that_they_are_unique() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }

    #[test]
    fn codes_are_read_as_they_are_shown() {
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
        }
        assert_eq!(Code::parse("fw0001"), Some(Code::Syntax));
        assert_eq!(Code::parse("FW9999"), None);
    }
}
