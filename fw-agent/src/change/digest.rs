//! What tells the files of one policy from those of another.

use std::fmt;

use fw_policy::SourceFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::metrics::hex;

/// SHA-256 over the names and texts of policy files; written in hexadecimal.
///
/// It is of the files, unlike [`fw_policy::Compiled::digest`], which also depends on the time, on the interfaces, and on the compiler: what
/// was rolled back has to be known again under another `agent.toml`, and by another version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these files, in this order.
    #[must_use]
    pub fn of(files: &[SourceFile]) -> Self {
        let mut hash = Sha256::new();
        for text in files.iter().flat_map(|file| [&file.name, &file.text]) {
            // The length goes in before the content, so that no two sets of files run together.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..6]))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn names_and_texts_do_not_run_together() {
        let digests = [
            Digest::of(&[file("a", "bc")]),
            Digest::of(&[file("ab", "c")]),
            Digest::of(&[file("a", "b"), file("c", "")]),
            Digest::of(&[]),
        ];
        for (position, digest) in digests.iter().enumerate() {
            assert!(!digests[..position].contains(digest), "{position}");
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let digest = Digest::of(&[file("a", "b")]);
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(Digest::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
