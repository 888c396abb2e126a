//! Errors as the services answer them: a code that programs read, a message for people, a status of HTTP.
//!
//! Codes are those of the EC2 developer guide, "Error codes for the Amazon EC2 API"; `docs/aws-fake.md` says which
//! messages were seen in the wild and which are our words.

use std::borrow::Cow;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The code, as programs compare it.
    pub code: Cow<'static, str>,
    /// What people read.
    pub message: String,
    /// The status of HTTP.
    pub status: u16,
}

impl ApiError {
    /// An error of the client, with status 400.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// A resource that there is none of; `kind` is what stands in front of `.NotFound`, `what` its name in the message.
    pub(crate) fn not_found(kind: &str, what: &str, id: &str) -> Self {
        Self::new(format!("{kind}.NotFound"), format!("The {what} '{id}' does not exist"))
    }

    pub(crate) fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }
}
