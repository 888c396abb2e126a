//! What AWS calls things.

use std::fmt;
use std::str::FromStr;

/// The id of a network interface, `eni-` and 8 or 17 hexadecimal digits (EC2 user guide, "Resource IDs").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EniId(String);

impl EniId {
    /// The id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EniId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text is not the id of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a network interface, such as eni-0a2e4f68f323022c3")]
pub struct NotAnEni;

impl FromStr for EniId {
    type Err = NotAnEni;

    fn from_str(text: &str) -> Result<Self, NotAnEni> {
        let digits = text.strip_prefix("eni-").ok_or(NotAnEni)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fits = matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAnEni) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_its_prefix_and_its_digits() {
        for id in ["eni-0a2e4f68f323022c3", "eni-0a2e4f68"] {
            assert_eq!(id.parse::<EniId>().unwrap().as_str(), id);
        }
        for wrong in ["", "eni-", "eni-0a2e4f6", "eni-0A2E4F68", "eni-0a2e4f68f323022c3 ", "vpc-0a2e4f68", "0a2e4f68"] {
            assert_eq!(wrong.parse::<EniId>(), Err(NotAnEni), "{wrong}");
        }
    }
}
