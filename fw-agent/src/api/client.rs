//! The asking side of the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answers::{Answer, ErrorAnswer};
use super::request::Request;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// How long the agent may take: a reload compiles the policy and runs its tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The agent cannot be reached.
    #[error("{path}: {reason}; is fw-agent running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// The connection broke.
    #[error("the agent did not answer: {0}")]
    Io(#[from] io::Error),
    /// The answer is not what this version understands.
    #[error("the agent's answer is not understood: {0}")]
    Answer(String),
    /// The agent refused.
    #[error("{0}")]
    Refused(String),
    /// The request names what there is not.
    #[error("{0}")]
    Usage(String),
}

/// Asks, and returns the answer as it came.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, ClientError> {
    let connect = |reason| ClientError::Connect { path: socket.to_owned(), reason };
    let mut stream = UnixStream::connect(socket).map_err(connect)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Answer(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    let answer: Value = serde_json::from_str(&answer).map_err(|error| ClientError::Answer(error.to_string()))?;
    if answer.get("schema").and_then(Value::as_str) == Some("fwctl.error/1") {
        let refusal: Answer<ErrorAnswer> = typed(answer)?;
        return Err(refused(refusal.body));
    }
    Ok(answer)
}

fn refused(refusal: ErrorAnswer) -> ClientError {
    let ErrorAnswer { error, usage } = refusal;
    if usage { ClientError::Usage(error) } else { ClientError::Refused(error) }
}

/// Asks for an answer that lasts: it is read from the returned stream once its first line has said that it begins. Dropping the stream ends it.
pub fn stream(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
    let (_, answer) = begin(socket, request)?;
    // Nothing may happen for as long as it likes.
    answer.get_ref().set_read_timeout(None)?;
    Ok(answer)
}

/// Asks for an answer of many lines, and hands them on one by one, each as its type. It ends with the connection.
pub fn lines<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
) -> Result<impl Iterator<Item = Result<T, ClientError>>, ClientError> {
    let (first, answer) = begin(socket, request)?;
    let first = serde_json::from_value(first).map_err(|error| ClientError::Answer(error.to_string()));
    let rest = answer.lines().map(|line| {
        let line = line?;
        serde_json::from_str(&line).map_err(|error| match serde_json::from_str::<Answer<ErrorAnswer>>(&line) {
            Ok(refusal) => refused(refusal.body),
            Err(_) => ClientError::Answer(error.to_string()),
        })
    });
    Ok(std::iter::once(first).chain(rest))
}

/// Asks, and reads the first line of the answer, unless it is a refusal.
fn begin(socket: &Path, request: &Request) -> Result<(Value, BufReader<UnixStream>), ClientError> {
    let connect = |reason| ClientError::Connect { path: socket.to_owned(), reason };
    let mut stream = UnixStream::connect(socket).map_err(connect)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request).map_err(|error| ClientError::Answer(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = BufReader::new(stream);
    let mut first = String::new();
    answer.read_line(&mut first)?;
    let first: Value = serde_json::from_str(&first).map_err(|error| ClientError::Answer(error.to_string()))?;
    if first.get("schema").and_then(Value::as_str) == Some("fwctl.error/1") {
        let refusal: Answer<ErrorAnswer> = typed(first)?;
        return Err(refused(refusal.body));
    }
    Ok((first, answer))
}

/// Reads an answer as the type that belongs to its schema.
pub fn typed<T: DeserializeOwned>(answer: Value) -> Result<Answer<T>, ClientError> {
    serde_json::from_value(answer).map_err(|error| ClientError::Answer(error.to_string()))
}
