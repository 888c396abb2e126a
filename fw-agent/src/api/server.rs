//! The answering side of the socket. Nothing that a client sends, or fails to send, holds up the agent or other clients.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::MAX_REQUEST;
use super::answers::{Answer, ErrorAnswer, Reload};
use super::collect;
use super::request::{Request, parse};
use crate::dataplane::DataplaneError;
use crate::facts::Shared;

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read its answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How many clients are served at once; the others wait.
const MAX_CLIENTS: usize = 32;

/// A reload that a client asks for, and where its result goes.
pub type ReloadRequest = oneshot::Sender<Reload>;

/// The bound socket; dropping it removes the socket's file.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds the socket in place of a dead agent's; the agent's lock is held, so no living one is robbed.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves clients for ever.
    pub async fn serve(self, shared: Arc<Shared>, reloads: mpsc::Sender<ReloadRequest>) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (shared, reloads) = (Arc::clone(&shared), reloads.clone());
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, shared, reloads).await {
                            tracing::debug!(%error, "a client of the socket went away");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the socket cannot accept clients");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.path);
    }
}

/// One request, one answer.
async fn converse(mut stream: UnixStream, shared: Arc<Shared>, reloads: mpsc::Sender<ReloadRequest>) -> io::Result<()> {
    let client = stream.peer_cred()?.uid();
    let may_change = client == 0 || client == rustix::process::geteuid().as_raw();
    let (read, mut write) = stream.split();
    let line = match timeout(REQUEST_TIME, read_line(read)).await {
        Ok(line) => line?,
        Err(_elapsed) => Err(format!("no request within {} seconds", REQUEST_TIME.as_secs())),
    };
    let answer = match line.and_then(|line| parse(&line)) {
        Ok(request) if changes(&request) && !may_change => refusal("only root may change the firewall"),
        Ok(request) => answer(request, shared, reloads).await,
        Err(reason) => refusal(reason),
    };
    timeout(ANSWER_TIME, write.write_all(&answer))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    write.shutdown().await
}

/// The group of the socket may look; a change is for root, or for whom the agent runs as.
const fn changes(request: &Request) -> bool {
    match request {
        Request::Reload {} => true,
        Request::Status {} | Request::Flows(_) | Request::Drops {} | Request::Rules {} | Request::Zones {} => false,
    }
}

/// Reads up to the newline; `Err` inside is a refusal for the client.
async fn read_line(read: impl tokio::io::AsyncRead + Unpin) -> io::Result<Result<Vec<u8>, String>> {
    let mut line = Vec::new();
    BufReader::new(read.take(MAX_REQUEST as u64)).read_until(b'\n', &mut line).await?;
    if line.len() == MAX_REQUEST && line.last() != Some(&b'\n') {
        return Ok(Err(format!("the request is longer than {MAX_REQUEST} bytes")));
    }
    Ok(Ok(line))
}

async fn answer(request: Request, shared: Arc<Shared>, reloads: mpsc::Sender<ReloadRequest>) -> Vec<u8> {
    match request {
        Request::Status {} => read("status", shared, collect::status).await,
        Request::Flows(filter) => read("flows", shared, move |shared| collect::flows(&filter, shared)).await,
        Request::Drops {} => read("drops", shared, collect::drops).await,
        Request::Rules {} => read("rules", shared, collect::rules).await,
        Request::Zones {} => read("zones", shared, collect::zones).await,
        Request::Reload {} => reload(&reloads).await,
    }
}

/// Walking a large flow table takes a while, so that it is done aside.
async fn read<T: Serialize + Send + 'static>(
    thing: &str,
    shared: Arc<Shared>,
    collect: impl FnOnce(&Shared) -> Result<T, DataplaneError> + Send + 'static,
) -> Vec<u8> {
    match tokio::task::spawn_blocking(move || collect(&shared)).await {
        Ok(Ok(body)) => encode(thing, body),
        Ok(Err(error)) => refusal(error.to_string()),
        Err(error) => refusal(format!("the answer could not be collected: {error}")),
    }
}

async fn reload(reloads: &mpsc::Sender<ReloadRequest>) -> Vec<u8> {
    let (reply, result) = oneshot::channel();
    if reloads.send(reply).await.is_err() {
        return refusal("the agent is stopping");
    }
    match result.await {
        Ok(reload) => encode("reload", reload),
        Err(_gone) => refusal("the agent is stopping"),
    }
}

/// An answer as a line.
fn encode<T: Serialize>(thing: &str, body: T) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Answer::new(thing, body)).unwrap_or_default();
    line.push(b'\n');
    line
}

fn refusal(reason: impl Into<String>) -> Vec<u8> {
    encode("error", ErrorAnswer { error: reason.into() })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
