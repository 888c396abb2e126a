//! What can go wrong in the lab.

use std::io;
use std::time::Duration;

/// An error of the lab; its text names what was tried.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call or a file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A command ended with an error.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed, on both streams.
        output: String,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {within:?}")]
    Timeout {
        /// The condition.
        what: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// An answer was not what the protocol asks for.
    #[error("{what}: unexpected answer: {answer}")]
    Answer {
        /// What was asked.
        what: String,
        /// What came back.
        answer: String,
    },
    /// The machine lacks something that the lab needs.
    #[error("the lab cannot be raised here: {0}")]
    Unavailable(String),
}

/// Names what was tried when a system call fails.
pub(crate) trait While<T> {
    /// Turns an I/O error into a [`LabError`] that says what was tried.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::Io { what: what(), source: error.into() })
    }
}
