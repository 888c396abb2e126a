//! The audit trail: one JSON object a line, appended and synchronised, and never rotated, shortened or removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::who::Who;
use super::{Digest, Revision};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A policy judges packets from here on, for good.
    Applied,
    /// A policy judges packets, until it is confirmed or its time is over.
    Tried,
    /// It stays.
    Confirmed,
    /// The one before judges packets again.
    RolledBack,
    /// A change was asked for, or files have arrived, and nothing was changed.
    Refused,
    /// A change did not come off.
    Failed,
}

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// When, RFC 3339.
    pub time: String,
    /// What.
    pub event: What,
    /// Who has asked for it.
    pub who: &'a Who,
    /// The revision that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What judges packets now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Revision>,
    /// Of the files that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How many of the policy's own tests passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests_passed: Option<usize>,
    /// Until when it is to be confirmed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<&'a str>,
    /// Why not, or why it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

impl Event<'_> {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        // Nothing in it fails to be written as JSON; an empty line would say so.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// The file. It is opened for each line, so that whoever moves it away finds the next line in a new one.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// The trail in a state directory.
    #[must_use]
    pub fn at(state_dir: &Path) -> Self {
        Self { path: state_dir.join("audit.jsonl") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line; it is on disk when this returns.
    ///
    /// # Errors
    /// If it could not be written whole.
    pub fn append(&self, line: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o640).open(&self.path)?;
        let end = if is_torn(&mut file)? { "\n" } else { "" };
        // One write, so that a line that does not fit is not followed by the rest of another.
        file.write_all(format!("{end}{line}").as_bytes())?;
        file.sync_data()
    }
}

/// A full disk or a power cut has left the last line without its end. It stays as it is: nothing is ever taken back here.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_a_torn_one_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::at(dir.path());
        let who = Who::agent("watch");
        let event = Event {
            time: "2026-12-01T00:00:00.000Z".to_owned(),
            event: What::RolledBack,
            who: &who,
            revision: Some(7),
            in_force: Some(6),
            digest: None,
            tests_passed: None,
            confirm_by: None,
            reason: Some("not confirmed in time"),
        };
        std::fs::write(audit.path(), "{\"time\":\"2026").unwrap();
        audit.append(&event.line()).unwrap();
        audit.append(&event.line()).unwrap();
        let text = std::fs::read_to_string(audit.path()).unwrap();
        let line = "{\"time\":\"2026-12-01T00:00:00.000Z\",\"event\":\"rolled_back\",\"who\":{\"by\":\"watch\"},\"revision\":7,\
                    \"in_force\":6,\"reason\":\"not confirmed in time\"}";
        assert_eq!(text.lines().collect::<Vec<_>>(), ["{\"time\":\"2026", line, line]);
        assert!(text.ends_with('\n'));
    }
}
