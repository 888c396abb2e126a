//! Which keys a table has, and what each takes: one list, which the parser checks against, `fwctl policy schema` prints and
//! `fwctl policy fmt` orders by.

/// What a table may hold.
pub(crate) struct Schema {
    /// What the table is, in messages: "a rule".
    pub(crate) what: &'static str,
    /// The keys, in the order in which they are best read.
    pub(crate) keys: &'static [Key],
    /// Keys that the language has, but not in this version.
    pub(crate) later: &'static [&'static str],
}

impl Schema {
    /// A key by its name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// What it is for, in a sentence.
    pub(crate) about: &'static str,
    /// Of a key that must be there, how it may be written.
    pub(crate) example: Option<&'static str>,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    /// The version of the language.
    Version,
    /// Free text.
    Text,
    /// The id that a rule has: letters, digits, `.`, `_` and `-`.
    Name,
    /// The name that an address set has.
    SetName,
    /// The id of a rule, a default or a generated rule.
    RuleId,
    Boolean,
    /// Whether something is logged, or how severe it is then.
    Logging,
    /// One of these.
    Words(&'static [&'static str]),
    /// A whole number.
    Number {
        lowest: u32,
        highest: u32,
    },
    /// A number of flows and a unit of time.
    Rate,
    Duration,
    /// A date, or a date and time with its offset.
    Moment,
    /// One zone, or the firewall.
    Zone,
    /// Zones, the firewall, or any.
    Zones,
    /// Prefixes.
    Networks,
    /// Subdirectories of the policy directory.
    Directories,
    /// One address.
    Address,
    /// Addresses, prefixes, ranges and sets.
    Addresses,
    /// One service.
    Service,
    /// Services and sets.
    Services,
    /// A protocol that has ports.
    Protocol,
    /// Ports and ranges of them.
    Ports,
    /// A table.
    Table(&'static Schema),
    /// Any number of tables.
    Tables(&'static Schema),
    /// A table, or an array of such tables.
    TableOrTables(&'static Schema),
    /// Tables whose names the author chooses.
    Named(&'static Schema),
    /// Sets of addresses, whose names the author chooses.
    AddressSets,
    /// Sets of services, whose names the author chooses.
    ServiceSets,
}

/// A key that may be left out.
pub(crate) const fn key(name: &'static str, takes: Takes, about: &'static str) -> Key {
    Key { name, takes, about, example: None }
}

impl Key {
    /// The same, if it must be there.
    pub(crate) const fn required(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }
}

/// The words of a choice.
pub(crate) const fn words<T: Copy, const N: usize>(choices: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut position = 0;
    while position < N {
        words[position] = choices[position].0;
        position += 1;
    }
    words
}
