//! How something is fetched, and why it is not.

use std::fmt;

use futures_util::future::BoxFuture;
use fw_policy::FeedUrl;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it is.
    pub url: FeedUrl,
    /// What the source has called the version that is known, so that it need not send it again.
    pub etag: Option<String>,
    /// The most bytes that are read.
    pub max_bytes: u64,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The version that is known is the latest.
    Unchanged,
    /// The object.
    Object {
        /// What is in it.
        bytes: Vec<u8>,
        /// What the source calls this version.
        etag: Option<String>,
    },
}

/// Where objects come from.
pub trait Source: Send + Sync {
    /// Fetches an object.
    ///
    /// # Errors
    /// If it is not to be had, is too large, or takes too long.
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>>;
}

/// Why there is no list: what has happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is, for metrics.
    pub kind: FailureKind,
    /// What has happened, and what to do about it.
    pub message: String,
}

impl Failure {
    /// A failure. Messages quote what a stranger has written, and are shown on terminals: what could steer one is escaped, and what is very
    /// long is cut off.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let is_long = message.chars().nth(MOST_CHARACTERS).is_some();
        if !is_long && !message.contains(steers) {
            return Self { kind, message };
        }
        let mut shown = String::with_capacity(message.len().min(MOST_CHARACTERS) + 16);
        for character in message.chars().take(MOST_CHARACTERS) {
            if steers(character) { shown.extend(character.escape_unicode()) } else { shown.push(character) }
        }
        if is_long {
            shown.push('…');
        }
        Self { kind, message: shown }
    }
}

/// The longest message; a policy whose tests fail has many lines to say.
const MOST_CHARACTERS: usize = 8_192;

/// Control characters, and those that turn the direction of writing (UAX #9).
fn steers(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection: the name is not known, or nobody answers.
    Unreachable,
    /// The server is not the one that it says, or TLS failed otherwise.
    Tls,
    /// It took too long.
    TimedOut,
    /// The firewall may not read it.
    Forbidden,
    /// It is not there.
    NotFound,
    /// The server, or the kernel, said something else.
    Refused,
    /// It has more bytes than it may.
    TooLarge,
    /// It has more entries than it may.
    TooMany,
    /// A line is wrong.
    BadLine,
    /// The digest or the signature is another one.
    Integrity,
    /// The policy's own tests or invariants fail with it, or it would cut the access to the firewall.
    Policy,
    /// The data plane did not take it.
    NotApplied,
}

impl FailureKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Unreachable,
        Self::Tls,
        Self::TimedOut,
        Self::Forbidden,
        Self::NotFound,
        Self::Refused,
        Self::TooLarge,
        Self::TooMany,
        Self::BadLine,
        Self::Integrity,
        Self::Policy,
        Self::NotApplied,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::TimedOut => "timed-out",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::BadLine => "bad-line",
            Self::Integrity => "integrity",
            Self::Policy => "policy",
            Self::NotApplied => "not-applied",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What there is to say of an object that is too large.
#[must_use]
pub fn too_large(url: &FeedUrl, most: u64) -> Failure {
    Failure::new(
        FailureKind::TooLarge,
        format!("{url}: has more than {most} bytes: raise `max_bytes` if that is meant"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_has_written_does_not_steer_a_terminal() {
        let failure = Failure::new(FailureKind::BadLine, "line 2: `\u{1b}[31mRED\u{1b}]0;pwn\u{7}`\nzwölf\u{feff}");
        assert_eq!(failure.message, "line 2: `\\u{1b}[31mRED\\u{1b}]0;pwn\\u{7}`\nzwölf\\u{feff}");
        assert_eq!(Failure::new(FailureKind::Refused, "404, 漢字").message, "404, 漢字");
        assert_eq!(Failure::new(FailureKind::Refused, "a\u{202e}b").message, "a\\u{202e}b");
        let long = Failure::new(FailureKind::Refused, "é".repeat(3_000_000)).message;
        assert_eq!((long.chars().count(), long.ends_with('…')), (MOST_CHARACTERS + 1, true));
    }
}
