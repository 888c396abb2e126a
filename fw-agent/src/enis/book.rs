//! What is known, in a file that is whole whenever the machine stops.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fw_cloud::EniId;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::netlink::state::Mac;

/// The most bytes of the file.
const MOST: u64 = 64 << 10;

const SCHEMA: &str = "outpost-fw-enis/1";

#[derive(Serialize, Deserialize)]
struct Book {
    schema: String,
    /// By hardware address.
    enis: BTreeMap<String, String>,
}

/// Reads the file. One that is none is told and counts as empty: the metadata can be asked.
#[must_use]
pub fn load(path: &Path) -> BTreeMap<Mac, EniId> {
    let problem = match files::read(path, MOST) {
        Ok(bytes) => match serde_json::from_slice::<Book>(&bytes) {
            Ok(book) if book.schema == SCHEMA => {
                let read = |(mac, eni): (String, String)| Some((mac.parse().ok()?, eni.parse().ok()?));
                return book.enis.into_iter().filter_map(read).collect();
            }
            Ok(book) => format!("it is `{}`", book.schema.escape_debug()),
            Err(error) => error.to_string(),
        },
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %path.display(), problem, "which device is which network interface is not known from the disk");
    BTreeMap::new()
}

/// Writes the file.
///
/// # Errors
/// What the kernel says; the file that was there is as it was then.
pub fn save(path: &Path, known: &BTreeMap<Mac, EniId>) -> io::Result<()> {
    let enis = known.iter().map(|(mac, eni)| (mac.to_string(), eni.to_string())).collect();
    let text = serde_json::to_vec(&Book { schema: SCHEMA.to_owned(), enis })?;
    files::replace(path, &text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_saved_is_read_and_what_is_broken_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/enis.json");
        let known: BTreeMap<Mac, EniId> = [(Mac([2, 0, 0, 0, 0, 1]), "eni-0a2e4f68f323022c3".parse().unwrap())].into();
        assert_eq!(load(&path), BTreeMap::new());
        save(&path, &known).unwrap();
        assert_eq!(load(&path), known);
        for broken in [&b"{"[..], b"\xff", b"{\"schema\":\"other/1\",\"enis\":{}}"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(load(&path), BTreeMap::new());
        }
        // Of what is partly wrong, the rest is right.
        let mixed = r#"{"schema":"outpost-fw-enis/1","enis":{"02:00:00:00:00:01":"eni-0a2e4f68f323022c3","x":"y"}}"#;
        fs::write(&path, mixed).unwrap();
        assert_eq!(load(&path), known);
    }
}
