//! Texts that others write: files that must be text, and names that may be misspelt.

/// Where bytes are not UTF-8, and which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: this is not UTF-8: {bytes}; save the file as UTF-8")]
pub struct NotText {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What stands there, escaped.
    pub bytes: String,
}

/// The text that bytes are.
///
/// # Errors
/// The first place at which they are none.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    String::from_utf8(bytes).map_err(|error| {
        let (bytes, error) = (error.as_bytes(), error.utf8_error());
        let (before, behind) = bytes.split_at(error.valid_up_to());
        let before = String::from_utf8_lossy(before);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        // Of a character that the end cuts off, all that is there.
        let wrong = &behind[..error.error_len().unwrap_or(behind.len())];
        NotText {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            bytes: wrong.escape_ascii().to_string(),
        }
    })
}

/// The known name that a misspelt one is nearest to, if it is near.
#[must_use]
pub fn nearest<'n>(written: &str, known: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&'n str| strsim::damerau_levenshtein(written, name);
    let closest = known.iter().copied().min_by_key(distance)?;
    (distance(&closest) <= (written.chars().count() / 3).max(1)).then_some(closest)
}
