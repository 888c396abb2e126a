//! `agent.toml` is invalid or cannot be read at the start, but a data plane is at work: it goes on, aged and logged as before, until
//! the file is valid again.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fw_policy::Level;
use sd_notify::NotifyState;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::housekeeping::Housekeeper;
use super::options::RunOptions;
use super::orders::{Order, Orders};
use super::reading::ConfigFile;
use super::start::adopted_facts;
use super::supervisor::notify;
use super::{RunError, told_to_stop};
use crate::api;
use crate::api::answers::Reload;
use crate::api::change::{self, ChangeRequest, Changed};
use crate::api::server::{ReloadRequest, Server, Supervision};
use crate::change::store::Store;
use crate::config::{AgentConfig, ConfigError};
use crate::dataplane::Dataplane;
use crate::dataplane::kernel::{KernelDataplane, KernelOptions};
use crate::facts::{Facts, Outcome, Shared};
use crate::flow_log::file::RotatingFile;
use crate::flow_log::writer::Writer;

/// How often the file is looked at.
const ROUND: Duration = Duration::from_secs(2);

/// Keeps the data plane going until the configuration is valid, and returns it; `None` if told to stop before.
///
/// Without a data plane at work there is nothing to keep, and the error is the answer.
pub(super) async fn until_valid(
    options: &RunOptions,
    error: ConfigError,
    file: &mut ConfigFile,
    orders: &mut Orders,
) -> Result<Option<AgentConfig>, RunError> {
    if !options.has_pins() {
        return Err(error.into());
    }
    let pinned = KernelOptions { pin_dir: options.pin_dir.clone(), max_flows: None, max_half_open: None };
    let dataplane: Arc<dyn Dataplane> = Arc::new(KernelDataplane::open(pinned)?);
    if dataplane.adopted().is_none() {
        return Err(error.into());
    }
    let verdict = error.verdict();
    tracing::error!(problem = %error, "agent.toml {verdict}; the data plane goes on with what it has");
    let mut facts = adopted_facts(&dataplane)?;
    facts.config_problem = Some(error.to_string());
    let store = Store::at(&options.state_dir);
    facts.changes.ledger = Arc::new(store.ledger().unwrap_or_default());
    facts.changes.store = store;
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("not ready: agent.toml {verdict}"))]);
    keep_going(options, dataplane, facts, (file, orders)).await
}

async fn keep_going(
    options: &RunOptions,
    dataplane: Arc<dyn Dataplane>,
    facts: Facts,
    (config_file, orders): (&mut ConfigFile, &mut Orders),
) -> Result<Option<AgentConfig>, RunError> {
    let file = options.state_dir.join("flows.jsonl");
    let log = Writer::start(RotatingFile::new(file.clone(), 64 << 20, 4)).map_err(RunError::io("flow log"))?;
    let shared = Arc::new(Shared {
        dataplane,
        facts: ArcSwap::from_pointee(facts),
        flow_log: log.counts(),
        fragments: Arc::default(),
        flow_log_file: file,
        probes: Arc::default(),
        started_at: OffsetDateTime::now_utc(),
        hits: crate::hits::Hits::default(),
        live: crate::live::Live::default(),
    });
    let _housekeeper =
        Housekeeper::start(Arc::clone(&shared), log, Level::Debug).map_err(RunError::io("housekeeping"))?;
    let path = options.runtime_dir.join(api::SOCKET);
    let server = Server::bind(&path).map_err(RunError::io(path.display().to_string()))?;
    let ((reload, mut reloads), (change, mut requests)) = (mpsc::channel(8), mpsc::channel(8));
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(server.serve(Arc::clone(&shared), Supervision { reloads: reload, changes: change }));
    let config = wait(config_file, &shared, (&mut reloads, &mut requests), orders).await;
    servers.shutdown().await;
    Ok(config)
}

/// Without `agent.toml` nobody knows which zones lie behind which interface, so that no other policy can be compiled.
fn refuse(request: ChangeRequest, facts: &Facts) {
    let problem = facts.config_problem.clone().map(|problem| format!("agent.toml is invalid: {problem}"));
    let changed = Changed::new(change::Outcome::Failed, facts.policy.epoch, &facts.changes, problem);
    let _client_is_gone = request.reply.send(changed);
}

async fn wait(
    file: &mut ConfigFile,
    shared: &Arc<Shared>,
    (reloads, requests): (&mut mpsc::Receiver<ReloadRequest>, &mut mpsc::Receiver<ChangeRequest>),
    orders: &mut Orders,
) -> Option<AgentConfig> {
    let mut rounds = interval(ROUND);
    loop {
        let reply = tokio::select! {
            order = orders.next() => match order {
                Order::Stop => return None,
                Order::Reload => None,
            },
            reply = reloads.recv() => reply,
            Some(request) = requests.recv() => {
                refuse(request, &shared.facts.load());
                None
            }
            _ = rounds.tick() => None,
        };
        let read = tokio::select! {
            read = file.read() => read,
            () = told_to_stop(orders) => return None,
        };
        let error = match read {
            Ok(config) => {
                tracing::info!("agent.toml is valid now");
                return Some(config);
            }
            Err(error) => error,
        };
        let problem = error.to_string();
        let mut facts = shared.facts.load().as_ref().clone();
        facts.config_problem = Some(problem.clone());
        let epoch = facts.policy.epoch;
        shared.facts.store(Arc::new(facts));
        if let Some(reply) = reply {
            let outcome = if error.exit_code() == 1 { Outcome::Failed } else { Outcome::Refused };
            let result = outcome.name().to_owned();
            let _client_is_gone =
                reply.send(Reload { result, epoch, problem: Some(problem), waiting_for_restart: vec![] });
        }
    }
}
