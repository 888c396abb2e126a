//! Who has made something: a bundle, whose `bundle.json` lists every file, or the list of a feed. It carries a signature of minisign beside it.

use std::fmt;

use minisign_verify::{PublicKey, Signature};

/// A public key of minisign, in its base64 (`minisign -G` prints it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        PublicKey::from_base64(text).map(|_| Self(text.to_owned())).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Verifies a signature: one of the keys must have made it, and its trusted comment. Signatures of the legacy algorithm, which is not
/// made any more since minisign 0.10, are refused.
///
/// # Errors
/// Why not.
pub fn verify(signed: &[u8], signature: &str, keys: &[Key]) -> Result<(), String> {
    let signature =
        Signature::decode(signature).map_err(|error| format!("this is no signature of minisign: {error}"))?;
    let made = |key: &&Key| {
        let key = PublicKey::from_base64(&key.0);
        key.is_ok_and(|key| key.verify(signed, &signature, false).is_ok())
    };
    match keys.iter().find(made) {
        Some(_) => Ok(()),
        None => {
            Err("the signature is not of a key that is configured, or what it was made of was changed after it"
                .to_owned())
        }
    }
}
