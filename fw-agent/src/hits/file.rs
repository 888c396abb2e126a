//! The record in a file, which is whole whenever the machine stops.

use std::fs;
use std::io;
use std::path::Path;

use super::record::{MOST_RULES, Record, SCHEMA};
use crate::files::{self, FileError, beside};

/// The most bytes that a record is read of: an id has 63 bytes, and its numbers fewer than 320.
const MOST_BYTES: u64 = 512 * MOST_RULES as u64;

/// Reads the record. One that cannot be read, or is not one, is set aside and reported: counting begins anew.
#[must_use]
pub fn load(path: &Path) -> Record {
    let problem = match files::read(path, MOST_BYTES) {
        Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.schema == SCHEMA && record.rules.len() <= MOST_RULES => return record,
            Ok(record) => format!("it is `{}` with {} rules", record.schema, record.rules.len()),
            Err(error) => error.to_string(),
        },
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Record::default(),
        Err(error) => error.to_string(),
    };
    let aside = beside(path, "broken");
    let set_aside = fs::rename(path, &aside).map(|()| aside.display().to_string());
    let now_at = set_aside.unwrap_or_else(|error| format!("{} ({error})", path.display()));
    tracing::warn!(path = %path.display(), problem, now_at, "what rules have done cannot be read; counting begins anew");
    Record::default()
}

/// Writes the record.
///
/// # Errors
/// What the kernel says; the record that was there is as it was then.
pub fn save(path: &Path, record: &Record) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec(record)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hits::record::Rule;

    fn record() -> Record {
        let mut record = Record::default();
        record.follow(&[Rule { id: "ot-001", renamed_from: None }], 1_000);
        record
    }

    #[test]
    fn what_was_saved_is_read_and_an_attempt_that_broke_off_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hits.json");
        assert_eq!(load(&path), Record::default(), "none yet");
        save(&path, &record()).unwrap();
        assert_eq!(load(&path), record());
        // Half a record, as a machine leaves it that stops while it is written.
        fs::write(beside(&path, "new"), b"{\"schema\":\"outp").unwrap();
        assert_eq!(load(&path), record());
        save(&path, &Record::default()).unwrap();
        assert_eq!(load(&path), Record::default());
    }

    #[test]
    fn a_broken_record_is_set_aside_and_counting_begins_anew() {
        for broken in [&b"{\"schema\":\"outp"[..], b"\xff\xfe", b"{\"schema\":\"other/1\",\"boot\":\"\",\"rules\":{}}"]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("hits.json");
            fs::write(&path, broken).unwrap();
            assert_eq!(load(&path), Record::default());
            assert_eq!(fs::read(beside(&path, "broken")).unwrap(), broken);
            save(&path, &record()).unwrap();
            assert_eq!(load(&path), record());
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_made_and_one_that_cannot_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/hits.json");
        save(&path, &record()).unwrap();
        assert_eq!(load(&path), record());
        assert!(save(&path.join("hits.json"), &record()).is_err(), "below a file");
    }
}
