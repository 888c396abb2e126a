//! The metadata service of one instance, version 2 only: every read needs a token (EC2 user guide, "Use the Instance
//! Metadata Service to access instance metadata").

mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::connection::{self, Judge};
use super::faults::{Harm, Region};
use super::model::Time;
use super::server::{Place, Shared};
use super::state::State;
use super::wire::Received;
use super::wire::judge::{Reply, Verdict};
use crate::LabError;
use crate::error::While;

/// The name of the role that every instance has.
pub(super) const ROLE: &str = "firewall";

/// The longest that a token lasts, in seconds (the same page).
const LONGEST: u64 = 21_600;

/// What faults call a read of metadata.
const ACTION: &str = "Metadata";

/// The service of one instance. Dropping it closes its socket.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    running: watch::Sender<Option<Region>>,
    thread: Option<JoinHandle<()>>,
}

impl Metadata {
    pub(super) fn start(shared: Arc<Shared>, mut place: Place, instance: &str) -> Result<Self, LabError> {
        let listener = place.listen()?;
        let what = || format!("answer as the metadata service of {instance}");
        place.address = listener.local_addr().during(what)?;
        let address = place.address;
        let (running, followed) = watch::channel(Some(Region::Up));
        let (report, reported) = mpsc::channel();
        let (tokens, id) = (Mutex::new(Tokens::default()), instance.to_owned());
        let judge: Judge = Arc::new(move |state: &mut State, request: &Received, waited| {
            let mut tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
            answer(state, &mut tokens, request, waited, &id)
        });
        let thread = thread::spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error))),
            };
            drop(report.send(Ok(())));
            runtime.block_on(connection::serve(listener, &place, &shared, &judge, followed, |_, _| {}));
        });
        let metadata = Self { address, running, thread: Some(thread) };
        reported.recv().unwrap_or_else(|_| Err(io::Error::other("the server's thread ended"))).during(what)?;
        Ok(metadata)
    }

    /// What clients take as the URL of the service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        let _it_ends_either_way = self.running.send(None);
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
    }
}

/// The tokens that were handed out, and until when they are good.
#[derive(Debug, Default)]
struct Tokens(BTreeMap<String, Time>);

impl Tokens {
    fn make(&mut self, now: Time, seconds: u64) -> String {
        let token = format!("AQAEA{:051}==", self.0.len());
        self.0.insert(token.clone(), now + Duration::from_secs(seconds));
        token
    }

    fn is_good(&self, token: Option<&str>, now: Time) -> bool {
        token.and_then(|token| self.0.get(token)).is_some_and(|until| now < *until)
    }
}

fn answer(state: &mut State, tokens: &mut Tokens, request: &Received, waited: bool, instance: &str) -> Verdict {
    let harm = if waited { None } else { state.faults.next(ACTION) };
    match harm {
        None => {}
        Some(Harm::Delayed(delay)) => return Verdict::Wait(delay),
        Some(Harm::Refused(error)) => return text(error.status, &error.message),
        Some(Harm::Hangs | Harm::DoneThenHangs) => return Verdict::Hang,
        Some(Harm::Reset | Harm::DoneThenReset) => return Verdict::Reset,
    }
    // A request that came through a proxy is not the instance's own.
    if request.header("x-forwarded-for").is_some() {
        return text(403, "Forbidden");
    }
    let now = state.now();
    match (request.method.as_str(), request.path.as_str()) {
        ("PUT", "/latest/api/token") => token(tokens, now, request.header("x-aws-ec2-metadata-token-ttl-seconds")),
        ("GET", path) => {
            if !tokens.is_good(request.header("x-aws-ec2-metadata-token"), now) {
                return text(401, "Unauthorized");
            }
            let found = path.strip_prefix("/latest/").and_then(|path| read(state, now, instance, path));
            found.map_or_else(|| text(404, "Not Found"), |value| text(200, &value))
        }
        _ => text(405, "Method Not Allowed"),
    }
}

fn token(tokens: &mut Tokens, now: Time, seconds: Option<&str>) -> Verdict {
    match seconds.and_then(|seconds| seconds.parse().ok()).filter(|seconds| (1..=LONGEST).contains(seconds)) {
        None => text(400, "Bad Request"),
        Some(seconds) => {
            let made = tokens.make(now, seconds);
            let mut reply = Reply::new(200, "text/plain", made.into_bytes());
            reply.headers.push(("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", seconds.to_string()));
            Verdict::Answer(reply)
        }
    }
}

fn read(state: &mut State, now: Time, instance: &str, path: &str) -> Option<String> {
    let mut tree = tree::tree(state.history.live(now), now, instance);
    if tree.is_empty() {
        return None;
    }
    let role = format!("meta-data/iam/security-credentials/{ROLE}");
    tree.insert(role.clone(), String::new());
    if path.trim_end_matches('/') == role {
        tree.insert(role, credentials(state, now, instance));
    }
    tree::at(&tree, path)
}

fn credentials(state: &mut State, now: Time, instance: &str) -> String {
    let world = state.history.live(now);
    let account = world.instances.get(instance).map(|instance| instance.owner.clone()).unwrap_or_default();
    let (credential, caller) = state.credentials.of(instance, &account, now);
    if let Some(caller) = caller {
        state.callers.insert(credential.key.clone(), caller);
    }
    let stamp = |time: Time| {
        let at = (state.began + time).replace_nanosecond(0).ok();
        at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
    };
    json!({
        "Code": "Success",
        "LastUpdated": stamp(credential.from),
        "Type": "AWS-HMAC",
        "AccessKeyId": credential.key,
        "SecretAccessKey": credential.secret,
        "Token": credential.session,
        "Expiration": stamp(credential.until),
    })
    .to_string()
}

fn text(status: u16, body: &str) -> Verdict {
    Verdict::Answer(Reply::new(status, "text/plain", body.as_bytes().to_vec()))
}
