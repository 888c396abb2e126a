//! What the policy directory offers: the files, and `bundle.json` beside them, if there is one.
//!
//! `bundle.json` is for who builds bundles: it gives the files a revision, and may list their SHA-256, so that a set that is not whole is told
//! from one that is. It is no policy file, so nothing else that reads policy directories minds it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fw_policy::SourceFile;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::ledger::{HIGHEST, Offer};
use super::{Digest, Revision};
use crate::files::{self, FileError, Place};
use crate::metrics::hex;
use crate::policy_set::{self, PolicyError};

/// The manifest's name.
pub const MANIFEST: &str = "bundle.json";

/// The largest manifest that is read, in bytes: room for thousands of files.
const MAX_MANIFEST: u64 = 1 << 20;

/// Files that were read whole, and what their author says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The policy files, in byte order of their names.
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
pub fn read(directory: &Path, place: &Place) -> Result<Bundle, PolicyError> {
    let path = directory.join(MANIFEST);
    let before = manifest(&path, place)?;
    let files = policy_set::read(directory, place)?;
    if manifest(&path, place)? != before {
        return Err(PolicyError::InFlux(path));
    }
    let declared = match before {
        Some(bytes) => declared(&bytes, &files).map_err(|reason| PolicyError::Bundle { path, reason })?,
        None => None,
    };
    Ok(Bundle { offer: Offer { digest: Digest::of(&files), declared }, files })
}

fn manifest(path: &Path, place: &Place) -> Result<Option<Vec<u8>>, PolicyError> {
    place.enter(path);
    match files::read(path, MAX_MANIFEST) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(PolicyError::Unreadable { path: path.to_owned(), reason }),
    }
}

/// The revision that a manifest declares, if the files are those that it lists.
fn declared(manifest: &[u8], files: &[SourceFile]) -> Result<Option<Revision>, String> {
    let Manifest { revision, files: listed } = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    if revision.is_some_and(|revision| !(1..=HIGHEST).contains(&revision)) {
        return Err(format!("`revision` is out of range: expected 1 to {HIGHEST}"));
    }
    let Some(listed) = listed else { return Ok(revision) };
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
        Some(missing) => Err(format!("{missing} is listed and not there")),
        None => Ok(revision),
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
        let read = read(dir.path(), &Place::default());
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
    fn what_is_not_as_it_was_declared_is_refused() {
        let wrong = [
            ("{\"revision\": 0}", "`revision` is out of range"),
            ("{\"revision\": -1}", "invalid value"),
            ("{\"revison\": 1}", "unknown field"),
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
