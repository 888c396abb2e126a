//! What AWS calls things.

use std::fmt;
use std::str::FromStr;

/// A text is not the id of what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id that begins with `{prefix}-` and has 8 or 17 hexadecimal digits")]
pub struct NotAnId {
    prefix: &'static str,
}

/// An id has a prefix and 8 or 17 hexadecimal digits (EC2 user guide, "Resource IDs").
fn read(prefix: &'static str, text: &str) -> Result<String, NotAnId> {
    let fault = NotAnId { prefix };
    let digits = text.strip_prefix(prefix).and_then(|text| text.strip_prefix('-')).ok_or(fault)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit);
    if fits { Ok(text.to_owned()) } else { Err(fault) }
}

macro_rules! ids {
    ($($(#[$attribute:meta])* $name:ident = $prefix:literal,)*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                read($prefix, text).map(Self)
            }
        }
    )*};
}

ids! {
    /// The id of a network interface.
    EniId = "eni",
    /// The id of an instance.
    InstanceId = "i",
    /// The id of one attachment of a network interface to an instance; each attachment has another one.
    AttachmentId = "eni-attach",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_its_prefix_and_its_digits() {
        for id in ["eni-0a2e4f68f323022c3", "eni-0a2e4f68"] {
            assert_eq!(id.parse::<EniId>().unwrap().as_str(), id);
        }
        assert!("i-0f1e2d3c4b5a69788".parse::<InstanceId>().is_ok());
        assert!("eni-attach-0f1e2d3c4b5a69788".parse::<AttachmentId>().is_ok());
        for wrong in
            ["", "eni-", "eni-0a2e4f6", "eni-0A2E4F68", "eni-0a2e4f68f323022c3 ", "eni-attach-0a2e4f68", "vpc-0a2e4f68"]
        {
            assert_eq!(wrong.parse::<EniId>(), Err(NotAnId { prefix: "eni" }), "{wrong}");
        }
    }
}
