//! The answering side of the socket. Nothing that a client sends, or fails to send, holds up the agent or other clients.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::MAX_REQUEST;
use super::answers::{Answer, ErrorAnswer, Reload};
use super::change::{self, ChangeRequest, Changed, Wish};
use super::places::{Place, Places, User, Waiting};
use super::request::{EndFlows, FlowFilter, FlowOrder, Request, parse};
use super::{collect, flows, plan, stream as lasting};
use crate::change::Revision;
use crate::change::store::StoreError;
use crate::dataplane::DataplaneError;
use crate::explain::live::{self, LiveQuestion};
use crate::facts::Shared;

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to read its answer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How long a request may wait until others have been answered.
const PLACE_TIME: Duration = Duration::from_secs(5);

/// A reload that a client asks for, and where its result goes.
pub type ReloadRequest = oneshot::Sender<Reload>;

/// The ways to the task that changes things.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// Files are to be read anew.
    pub reloads: mpsc::Sender<ReloadRequest>,
    /// The policy is to be another one.
    pub changes: mpsc::Sender<ChangeRequest>,
}

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
    pub async fn serve(self, shared: Arc<Shared>, supervision: Supervision) {
        let desk = Arc::new(Desk { shared, supervision, waiting: Waiting::default(), places: Places::default() });
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&desk);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &desk).await {
                            tracing::debug!(%error, "a client of the socket went away");
                        }
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

/// What serving a client takes.
struct Desk {
    shared: Arc<Shared>,
    supervision: Supervision,
    waiting: Waiting,
    places: Places,
}

/// One request, one answer.
async fn converse(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let client = peer.uid();
    let may_change = client == 0 || client == rustix::process::geteuid().as_raw();
    let user = if may_change { User::Root } else { User::Other(client) };
    let told_to_leave = desk.waiting.line_up(user);
    let line = read_in_time(stream.split().0, told_to_leave).await?;
    let request = match line.and_then(|line| parse(&line)) {
        Ok(request) if is_for_root(&request) && !may_change => {
            return send(stream, &refusal("only root may change the firewall or see packets")).await;
        }
        Ok(request) => request,
        Err(reason) => return send(stream, &refusal(reason)).await,
    };
    let Ok(Ok(place)) = timeout(PLACE_TIME, desk.places.take(user)).await else {
        return send(stream, &refusal("busy: other requests are being answered; ask again")).await;
    };
    respond(request, (stream, place), Arc::clone(&desk.shared), desk.supervision.clone(), &peer).await
}

/// Reads the request, unless the connection has to leave before; `Err` inside is a refusal for the client. When this returns, the
/// connection is no longer in the line.
async fn read_in_time(
    read: impl tokio::io::AsyncRead + Unpin,
    told_to_leave: oneshot::Receiver<()>,
) -> io::Result<Result<Vec<u8>, String>> {
    tokio::select! {
        // A request that is here is answered, whoever else has come meanwhile.
        biased;
        line = timeout(REQUEST_TIME, read_line(read)) => match line {
            Ok(line) => line,
            Err(_elapsed) => Ok(Err(format!("no request within {} seconds", REQUEST_TIME.as_secs()))),
        },
        Ok(()) = told_to_leave => Ok(Err("no request came, and too many connections wait for theirs".to_owned())),
    }
}

/// Sends the answer, and closes.
async fn send(mut stream: UnixStream, answer: &[u8]) -> io::Result<()> {
    timeout(ANSWER_TIME, stream.write_all(answer))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.shutdown().await
}

/// The group of the socket may look; a change, or a look at what packets carry, is for root or for whom the agent runs as.
const fn is_for_root(request: &Request) -> bool {
    match request {
        Request::Reload {}
        | Request::Apply(_)
        | Request::Confirm(_)
        | Request::Rollback(_)
        | Request::EndFlows(_)
        | Request::Capture(_) => true,
        Request::Status {}
        | Request::Flows(_)
        | Request::Drops {}
        | Request::Rules {}
        | Request::RuleHits {}
        | Request::Zones {}
        | Request::Explain(_)
        | Request::Basis { .. }
        | Request::History {}
        | Request::Show { .. }
        | Request::Observe(_) => false,
    }
}

/// Lists flows. Whoever may look can ask for rates, and those of a full table take a second and tens of megabytes.
async fn flows_of(filter: FlowFilter, shared: Arc<Shared>) -> Vec<u8> {
    if let Err(wrong) = filter.check(&shared.facts.load().names) {
        return misuse(wrong);
    }
    let measuring = match filter.by {
        Some(FlowOrder::Rate) => match Arc::clone(&shared.live.rates).try_lock_owned() {
            Ok(place) => Some(place),
            Err(_) => return refusal("busy: rates are being measured for another client; ask again in a second"),
        },
        Some(FlowOrder::Bytes | FlowOrder::Packets) | None => None,
    };
    read("flows", shared, move |shared| {
        let listed = flows::list(&filter, shared);
        drop(measuring);
        listed
    })
    .await
}

/// Asks the program about a packet. A run waits for the kernel to change its dispatcher, so that it is done aside.
async fn explain(question: LiveQuestion, shared: Arc<Shared>) -> Vec<u8> {
    match tokio::task::spawn_blocking(move || live::ask(&question, &shared)).await {
        Ok(Ok(answer)) => encode("explain", answer),
        Ok(Err(error)) if error.is_usage() => misuse(error.to_string()),
        Ok(Err(error)) => refusal(error.to_string()),
        Err(error) => refusal(format!("the packet could not be asked about: {error}")),
    }
}

/// Ends flows, and says in the log who has asked for it.
async fn end_flows(request: EndFlows, shared: Arc<Shared>, peer: &UCred) -> Vec<u8> {
    if request.flows.is_empty() && !request.all {
        return misuse("no condition is given, and not all flows are said to be meant".to_owned());
    }
    if let Err(wrong) = request.flows.check(&shared.facts.load().names) {
        return misuse(wrong);
    }
    let (uid, pid) = (peer.uid(), peer.pid());
    let conditions = serde_json::to_string(&request.flows).unwrap_or_default();
    read("end_flows", shared, move |shared| {
        let outcome = flows::end(&request, shared);
        let ended = outcome.ended;
        match &outcome.problem {
            None => tracing::warn!(uid, pid, conditions, ended, "flows were ended by an operator"),
            Some(problem) => {
                tracing::error!(uid, pid, conditions, ended, problem, "not all flows could be ended for an operator");
            }
        }
        Ok(outcome)
    })
    .await
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

/// Does what is asked for, by a client who may.
async fn respond(
    request: Request,
    (stream, place): (UnixStream, Place),
    shared: Arc<Shared>,
    supervision: Supervision,
    peer: &UCred,
) -> io::Result<()> {
    let answer = match request {
        Request::Status {} => read("status", shared, collect::status).await,
        Request::Flows(filter) => flows_of(filter, shared).await,
        Request::Drops {} => read("drops", shared, collect::drops).await,
        Request::Rules {} => read("rules", shared, collect::rules).await,
        Request::RuleHits {} => read("rule-hits", shared, collect::rule_hits).await,
        Request::Zones {} => read("zones", shared, collect::zones).await,
        Request::Explain(question) => explain(question, shared).await,
        Request::Reload {} => reload(&supervision.reloads).await,
        Request::Apply(wish) => ask_for(Wish::Apply(wish), &supervision.changes, peer).await,
        Request::Confirm(wish) => ask_for(Wish::Confirm(wish), &supervision.changes, peer).await,
        Request::Rollback(wish) => ask_for(Wish::Rollback(wish), &supervision.changes, peer).await,
        Request::History {} => {
            read("history", shared, |shared| Ok(change::history(&shared.facts.load().changes))).await
        }
        Request::Show { revision } => show(revision, shared).await,
        Request::EndFlows(request) => end_flows(request, shared, peer).await,
        Request::Basis { flows } => return plan::basis((stream, place), shared, flows).await,
        Request::Observe(filter) => return lasting::observe((stream, place), shared, filter).await,
        Request::Capture(request) => {
            tracing::info!(uid = peer.uid(), pid = peer.pid(), "a client of the socket asks for packets");
            return lasting::capture(stream, shared, request).await;
        }
    };
    send(stream, &answer).await
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

/// Has the policy changed, and says who has asked for it.
async fn ask_for(wish: Wish, changes: &mpsc::Sender<ChangeRequest>, peer: &UCred) -> Vec<u8> {
    let (reply, result) = oneshot::channel();
    let thing = wish.name();
    if changes.send(ChangeRequest::new(wish, peer.uid(), reply)).await.is_err() {
        return refusal("the agent is stopping");
    }
    match result.await {
        Ok(changed) => encode::<Changed>(thing, changed),
        Err(_gone) => refusal("the agent is stopping"),
    }
}

/// Shows a revision as it is kept.
async fn show(revision: Option<Revision>, shared: Arc<Shared>) -> Vec<u8> {
    let shown = tokio::task::spawn_blocking(move || change::show(&shared.facts.load().changes, revision)).await;
    match shown {
        Ok(Ok(shown)) => encode("show", shown),
        Ok(Err(error @ StoreError::Unknown(_))) => misuse(error.to_string()),
        Ok(Err(error)) => refusal(error.to_string()),
        Err(error) => refusal(format!("the answer could not be collected: {error}")),
    }
}

/// An answer as a line.
pub(super) fn encode<T: Serialize>(thing: &str, body: T) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Answer::new(thing, body)).unwrap_or_default();
    line.push(b'\n');
    line
}

pub(super) fn refusal(reason: impl Into<String>) -> Vec<u8> {
    encode("error", ErrorAnswer { error: reason.into(), usage: false })
}

/// A refusal of what names something that there is not.
pub(super) fn misuse(reason: String) -> Vec<u8> {
    encode("error", ErrorAnswer { error: reason, usage: true })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
