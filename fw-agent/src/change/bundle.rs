//! What the policy directory offers: the files, and `bundle.json` beside them, if there is one.
//!
//! `bundle.json` is for who builds bundles: it gives the files a revision, and may list their SHA-256, so that a set that is not whole is told
//! from one that is. If keys are configured, it must do both, and a signature in `bundle.json.minisig` must be of one of them. It is no policy file, so nothing else that reads policy directories minds it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fw_policy::SourceFile;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::ledger::{HIGHEST, Offer};
use super::signature::{self, Key};
use super::{Digest, Revision};
use crate::files::{self, FileError, Place};
use crate::metrics::hex;
use crate::policy_set::{self, PolicyError};

/// The manifest's name.
pub const MANIFEST: &str = "bundle.json";

/// The name of its signature.
pub const SIGNATURE: &str = "bundle.json.minisig";

/// The largest signature that is read, in bytes: four lines.
pub(super) const MAX_SIGNATURE: u64 = 8 << 10;

/// The largest manifest that is read, in bytes: room for thousands of files.
pub(super) const MAX_MANIFEST: u64 = 1 << 20;

/// Files that were read whole, and what their author says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The policy files, in the order in which they were read.
    pub files: Arc<[SourceFile]>,
    /// What they are to the ledger.
    pub offer: Offer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    revision: Option<Revision>,
    /// SHA-256 by name, in hexadecimal.
    files: Option<BTreeMap<String, String>>,
}

/// Reads a policy directory.
///
/// # Errors
/// As [`policy_set::read`], and if the manifest is none, or says something else than there is.
pub fn read(directory: &Path, keys: &[Key], place: &Place) -> Result<Bundle, PolicyError> {
    let (path, beside) = (directory.join(MANIFEST), directory.join(SIGNATURE));
    let before = optional(&path, MAX_MANIFEST, place)?;
    let signature = if keys.is_empty() { None } else { optional(&beside, MAX_SIGNATURE, place)? };
    let files = policy_set::read(directory, place)?;
    if optional(&path, MAX_MANIFEST, place)? != before {
        return Err(PolicyError::InFlux(path));
    }
    let manifest =
        Manifest::parse(before.as_deref()).map_err(|reason| PolicyError::Bundle { path: path.clone(), reason })?;
    if !keys.is_empty() {
        let signed = manifest.require_signature(before.as_deref(), signature.as_deref(), keys);
        signed.map_err(|reason| PolicyError::Bundle { path: beside, reason })?;
    }
    let declared = manifest.declared(&files).map_err(|reason| PolicyError::Bundle { path, reason })?;
    Ok(Bundle { offer: Offer { digest: Digest::of(&files), declared }, files })
}

fn optional(path: &Path, most: u64, place: &Place) -> Result<Option<Vec<u8>>, PolicyError> {
    place.enter(path);
    match files::read(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(PolicyError::Unreadable { path: path.to_owned(), reason }),
    }
}

impl Manifest {
    /// Reads a manifest; what is not there says nothing.
    fn parse(bytes: Option<&[u8]>) -> Result<Self, String> {
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.revision.is_some_and(|revision| !(1..=HIGHEST).contains(&revision)) {
            return Err(format!("`revision` is out of range: expected 1 to {HIGHEST}"));
        }
        Ok(manifest)
    }

    /// A signature says something only of a manifest that lists the files, and, lest an old one is put in the place of a new one, their revision.
    fn require_signature(&self, bytes: Option<&[u8]>, signature: Option<&[u8]>, keys: &[Key]) -> Result<(), String> {
        let Some(bytes) = bytes else { return Err("bundle.json is not there, and has to be signed".to_owned()) };
        let Some(signature) = signature else {
            return Err("bundle.json has to be signed, and this is not there".to_owned());
        };
        let text = str::from_utf8(signature).map_err(|_| "this is no text".to_owned())?;
        signature::verify(bytes, text, keys)?;
        if self.files.is_none() || self.revision.is_none() {
            return Err("a signed bundle.json has to have `revision` and `files`".to_owned());
        }
        Ok(())
    }

    /// The declared revision, if the files are those that are listed.
    fn declared(&self, files: &[SourceFile]) -> Result<Option<Revision>, String> {
        let Some(listed) = &self.files else { return Ok(self.revision) };
        for file in files {
            match listed.get(&file.name) {
                None => return Err(format!("{} is there and not listed", file.name)),
                Some(digest) if !digest.eq_ignore_ascii_case(&hex(&Sha256::digest(&file.text))) => {
                    return Err(format!("{} is not the file that is listed: its SHA-256 is another one", file.name));
                }
                Some(_) => {}
            }
        }
        match listed.keys().find(|name| files.iter().all(|file| file.name != **name)) {
            Some(missing) if missing.contains('/') => {
                Err(format!("{missing} is listed, and is not there or not included"))
            }
            Some(missing) => Err(format!("{missing} is listed and not there")),
            None => Ok(self.revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// SHA-256 of "version = 1\n", by sha256sum(1).
    const SHA256: &str = "dbab12665d98aef021ba64953c61b0ed8a908cfb56a1c01e2fcb4b052b71a2a1";

    fn offered(manifest: Option<&str>) -> Result<Option<Revision>, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), "version = 1\n").unwrap();
        if let Some(manifest) = manifest {
            fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        }
        let read = read(dir.path(), &[], &Place::default());
        read.map(|bundle| bundle.offer.declared).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bundle_may_declare_its_revision_and_its_files() {
        assert_eq!(offered(None), Ok(None));
        assert_eq!(offered(Some("{}")), Ok(None));
        assert_eq!(offered(Some("{\"revision\": 7}")), Ok(Some(7)));
        let whole = format!("{{\"revision\": 7, \"files\": {{\"a.toml\": \"{SHA256}\"}}}}");
        assert_eq!(offered(Some(&whole)), Ok(Some(7)));
    }

    #[test]
    fn files_that_are_included_are_listed_with_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sites/bonn")).unwrap();
        let text = "version = 1\ninclude = [\"sites/bonn\"]\n";
        fs::write(dir.path().join("a.toml"), text).unwrap();
        fs::write(dir.path().join("sites/bonn/b.toml"), "version = 1\n").unwrap();
        let digest = hex(&Sha256::digest(text));
        let offered = |files: &str| {
            fs::write(dir.path().join(MANIFEST), format!("{{\"revision\": 7, \"files\": {{{files}}}}}")).unwrap();
            let read = read(dir.path(), &[], &Place::default());
            read.map(|bundle| bundle.offer.declared).map_err(|error| error.to_string())
        };
        let whole = format!("\"a.toml\": \"{digest}\", \"sites/bonn/b.toml\": \"{SHA256}\"");
        assert_eq!(offered(&whole), Ok(Some(7)));
        let less = offered(&format!("\"a.toml\": \"{digest}\"")).unwrap_err();
        assert!(less.contains("sites/bonn/b.toml is there and not listed"), "{less}");
        fs::create_dir(dir.path().join("sites/ulm")).unwrap();
        fs::write(dir.path().join("sites/ulm/b.toml"), "version = 1\n").unwrap();
        let more = offered(&format!("{whole}, \"sites/ulm/b.toml\": \"{SHA256}\"")).unwrap_err();
        assert!(more.contains("sites/ulm/b.toml is listed, and is not there or not included"), "{more}");
    }

    #[test]
    fn where_keys_are_configured_only_signed_bundles_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let other = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let keys = [&other, &pair].map(|pair| Key::parse(&pair.pk.to_base64()).unwrap());
        let refused = |keys: &[Key]| read(dir.path(), keys, &Place::default()).unwrap_err().to_string();
        fs::write(at("a.toml"), "version = 1\n").unwrap();
        assert!(refused(&keys).contains("bundle.json is not there"));
        let sign = |manifest: &str| {
            fs::write(at(MANIFEST), manifest).unwrap();
            let signature = minisign::sign(None, &pair.sk, manifest.as_bytes(), None, None).unwrap();
            fs::write(at(SIGNATURE), signature.to_string()).unwrap();
        };
        let whole = format!("{{\"revision\": 7, \"files\": {{\"a.toml\": \"{SHA256}\"}}}}");
        fs::write(at(MANIFEST), &whole).unwrap();
        assert!(refused(&keys).contains("this is not there"));
        sign(&whole);
        assert_eq!(read(dir.path(), &keys, &Place::default()).unwrap().offer.declared, Some(7));
        assert!(refused(&keys[..1]).contains("not of a key"), "another key");
        fs::write(at(MANIFEST), whole.replace('7', "8")).unwrap();
        assert!(refused(&keys).contains("was changed after it"));
        for less in ["{\"revision\": 7}".to_owned(), whole.replace("\"revision\": 7, ", "")] {
            sign(&less);
            assert!(refused(&keys).contains("has to have `revision` and `files`"), "{less}");
        }
        sign(&whole);
        fs::write(at("a.toml"), "version = 1\n\n").unwrap();
        assert!(refused(&keys).contains("a.toml is not the file that is listed"));
        fs::write(at("a.toml"), "version = 1\n").unwrap();
        fs::write(at(SIGNATURE), "nonsense").unwrap();
        assert!(refused(&keys).contains("no signature of minisign"));
    }

    #[test]
    fn what_is_not_as_it_was_declared_is_refused() {
        let wrong = [
            ("{\"revision\": 0}", "`revision` is out of range"),
            ("{\"revision\": -1}", "invalid value"),
            ("{\"revizion\": 1}", "unknown field"),
            ("{\"revision\": 1", "EOF"),
            ("{\"files\": {}}", "a.toml is there and not listed"),
            ("{\"files\": {\"a.toml\": \"00\"}}", "a.toml is not the file that is listed"),
        ];
        for (manifest, why) in wrong {
            let refused = offered(Some(manifest)).unwrap_err();
            assert!(refused.contains("bundle.json: ") && refused.contains(why), "{manifest}: {refused}");
        }
        let more = format!("{{\"files\": {{\"a.toml\": \"{SHA256}\", \"b.toml\": \"00\"}}}}");
        assert!(offered(Some(&more)).unwrap_err().contains("b.toml is listed and not there"));
    }
}
