//! The text of a list: one address, prefix or range a line.

use std::net::IpAddr;
use std::sync::Arc;

use crate::Code;
use crate::set::address::{self, AddressSet};
use crate::set::interval::{Family, IntervalSet};

/// So much of a line is shown, in characters.
const SHOWN: usize = 60;

/// A list that was read whole: addresses of both families. Copies share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList {
    pub(crate) set: Arc<AddressSet>,
    entries: usize,
}

/// Why a text is no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A line is no address, prefix or range.
    #[error("line {line}: {reason}; the line is `{text}`")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What stands there, shortened.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// There are too many.
    #[error("line {line} is entry {}, and `max_entries` is {most}", most + 1)]
    TooMany {
        /// The first line that is too much, from 1.
        line: usize,
        /// How many there may be.
        most: u32,
    },
    /// It is not text.
    #[error("line {line} is not UTF-8 text: is the list compressed?")]
    NotText {
        /// The line, from 1.
        line: usize,
    },
}

impl AddressList {
    /// Reads a list: on each line an address, a prefix or a range of either family, with white space around it. `#` begins a comment. A
    /// line that is none of that refuses all of it: half a list is not what its author has made.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, or too much.
    pub fn parse(text: &[u8], max_entries: u32) -> Result<Self, ListError> {
        let text = str::from_utf8(text).map_err(|error| ListError::NotText {
            line: 1 + text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count(),
        })?;
        let mut ranges = [Vec::new(), Vec::new()];
        let mut entries: u32 = 0;
        for (line, written) in (1..).zip(text.lines()) {
            let entry = written.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            if entries == max_entries {
                return Err(ListError::TooMany { line, most: max_entries });
            }
            entries += 1;
            let (family, range) = address::parse_entry(entry).map_err(|fault| ListError::Line {
                line,
                text: shortened(written),
                // What else a policy may write is no help here.
                reason: match fault.help.filter(|_| fault.code == Code::HostBits) {
                    Some(help) => format!("{}: {help}", fault.message),
                    None => fault.message,
                },
            })?;
            ranges[usize::from(family == Family::V6)].push(range);
        }
        let [v4, v6] = ranges.map(IntervalSet::from_ranges);
        Ok(Self { set: Arc::new(AddressSet { v4, v6 }), entries: entries as usize })
    }

    /// Lines with an address, a prefix or a range.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// What is in it, as the fewest ranges, first and last address of each: those of IPv4 first, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = [IpAddr; 2]> + '_ {
        Family::ALL.into_iter().flat_map(|family| {
            let ranges = self.set.family(family).ranges();
            ranges.iter().map(move |(first, last)| [*first, *last].map(|number| address::address(family, number)))
        })
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.set.contains(addr)
    }
}

fn shortened(line: &str) -> String {
    let line = line.trim();
    let shown: String = line.chars().take(SHOWN).collect();
    let more = if shown.len() < line.len() { "…" } else { "" };
    format!("{}{more}", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        AddressList::parse(text.as_bytes(), 5).unwrap_err().to_string()
    }

    #[test]
    fn addresses_prefixes_and_ranges_of_both_families_stand_one_a_line() {
        let text =
            "# a list\r\n192.0.2.1\r\n\n  198.51.100.0/24 # a network\n203.0.113.5-203.0.113.9\n2001:db8::/32\n::1";
        let list = AddressList::parse(text.as_bytes(), 5).unwrap();
        assert_eq!(list.entries(), 5);
        for inside in ["192.0.2.1", "198.51.100.255", "203.0.113.9", "2001:db8::7", "::1"] {
            assert!(list.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.2.2", "203.0.113.10", "::2"] {
            assert!(!list.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_list_is_told_in_the_fewest_ranges() {
        let list = AddressList::parse(b"::1\n192.0.2.2\n192.0.2.0/31\n::2\n192.0.2.9\n", 5).unwrap();
        let told: Vec<String> = list.ranges().map(|[first, last]| format!("{first}-{last}")).collect();
        assert_eq!(told, ["192.0.2.0-192.0.2.2", "192.0.2.9-192.0.2.9", "::1-::2"]);
    }

    #[test]
    fn nothing_but_comments_is_an_empty_list() {
        let list = AddressList::parse(b"# nobody\n\n", 5).unwrap();
        assert_eq!((list.entries(), list.set.v4.is_empty() && list.set.v6.is_empty()), (0, true));
    }

    #[test]
    fn a_wrong_line_refuses_the_list_with_its_number_and_text() {
        for (text, told) in [
            ("192.0.2.1\n\nexample.org # no", "line 3: `example.org` is not an address"),
            ("192.0.2.1/24", "line 1: `192.0.2.1/24` has bits set behind its first 24: write `192.0.2.0/24`"),
            ("@other", "`@other` is not an address"),
            ("!192.0.2.1", "`!192.0.2.1` is not an address"),
            ("any", "`any`"),
            ("192.0.2.9-192.0.2.1", "the range ends before it starts"),
            ("192.0.2.1 192.0.2.2", "line 1: "),
            ("<!DOCTYPE html>", "the line is `<!DOCTYPE html>`"),
        ] {
            let refusal = refused(text);
            assert!(refusal.contains(told), "{text}: {refusal}");
        }
        let long = refused(&"x".repeat(1_000));
        assert!(long.len() < 2_000 && long.contains("…"), "{long}");
        let compressed = AddressList::parse(b"::1\n\x1f\x8b\x08", 5).unwrap_err();
        assert_eq!(compressed, ListError::NotText { line: 2 });
    }

    #[test]
    fn there_are_no_more_entries_than_there_may_be() {
        let text = "::1\n# not counted\n::2\n::3\n::4\n::5\n";
        assert_eq!(AddressList::parse(text.as_bytes(), 5).unwrap().entries(), 5);
        assert_eq!(refused(&format!("{text}::6\n")), "line 7 is entry 6, and `max_entries` is 5");
    }
}
