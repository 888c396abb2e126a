//! The order of a start, in which there is no moment at which a packet crosses uninspected: the forward chain stands
//! before anything else, the policy is loaded before the program is on an interface, and forwarding is turned on last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::RunError;
use super::adopted::Seats;
use super::bucket::BucketWatch;
use super::changes::Owed;
use super::enis;
use super::housekeeping::Housekeeper;
use super::interfaces;
use super::opening::Opening;
use super::options::RunOptions;
use super::policy::{self, SharedChecker};
use super::reading::Reader;
use super::retry::Retry;
use super::supervisor::{Supervisor, notify};
use super::vouching::Vouching;
use super::watch::Watch;
use crate::api;
use crate::api::change::ChangeRequest;
use crate::api::server::{ReloadRequest, Server, Supervision};
use crate::change::audit::Audit;
use crate::change::store::Store;
use crate::config::AgentConfig;
use crate::dataplane::kernel::{KernelDataplane, KernelOptions};
use crate::dataplane::{Dataplane, Settings};
use crate::enis::Enis;
use crate::facts::{Facts, Shared};
use crate::feeds::fetch::Source;
use crate::feeds::follower::Follower;
use crate::feeds::held::Holdings;
use crate::feeds::sources::Sources;
use crate::feeds::store::FeedStore;
use crate::flow_log::file::RotatingFile;
use crate::flow_log::writer::Writer;
use crate::fragments::Keeper;
use crate::hits::Hits;
use crate::host::handover;
use crate::host::handover::Pair;
use crate::http;
use crate::names::Names;
use crate::netlink::events::Events;
use crate::netlink::kernel::Kernel;
use crate::netlink::neighbours::KnownMacs;
use crate::netlink::state::Observed;
use crate::policy_set::{CheckedPolicy, Checker, PolicyError};
use crate::probe::Prober;

/// ICMP errors and resets that each CPU may send per second.
const ANSWERS_PER_SECOND: u32 = 1_000;

/// Brings everything up and returns the agent that keeps it so.
pub(super) async fn start(options: RunOptions, config: AgentConfig) -> Result<Supervisor, RunError> {
    let sources = Arc::new(Sources::new(&config.feeds, &config.cloud));
    let mut bucket = BucketWatch::start(&config, Arc::clone(&sources) as Arc<dyn Source>);
    if config.policy.bucket.is_some() && !has_policy(&options).await? {
        bucket.first().await.map_err(RunError::Bucket)?;
    }
    let holdings = Arc::new(Holdings::new(FeedStore::at(&options.state_dir), sources));
    let checker = SharedChecker::new(Checker::new(Arc::clone(&holdings)).into());
    let (opening, policy) = Opening::choose(&options, &config, &checker).await?;
    let checked = go_on_only_with_a_policy(policy, options.has_pins())?;
    let events = Events::subscribe()?;
    let kernel = Kernel::connect()?;
    let pair = handover::ensure(&kernel).await?;
    let kernel_dataplane = open(&options, &config).await?;
    let held = kernel_dataplane.held_fragments()?;
    let keeper = Keeper::start(Arc::clone(&kernel_dataplane), held).map_err(RunError::io("fragments"))?;
    let dataplane: Arc<dyn Dataplane> = kernel_dataplane;
    dataplane.set_settings(&settings(&config))?;
    dataplane.set_segment_limits(&config.segment_limits)?;
    dataplane.set_handover(pair.outer_ifindex, pair.inner_mac)?;
    let mut observed = kernel.observe().await?;
    let enis = enis::begin(&options.state_dir, &config, &mut observed).await;
    let (facts, kept) = take_policy_over(&dataplane, &config, &observed, checked).await?;
    let facts = Facts { changes: opening.changes.clone(), ..facts };

    let mut supervisor = assemble(options, config, (dataplane, pair, keeper), (kernel, events, enis), facts)?;
    supervisor.checker = checker;
    supervisor.feeds = Follower::new(holdings);
    supervisor.bucket = bucket;
    supervisor.kept = kept;
    supervisor.forget_unused_slots();
    supervisor.configure_probes();
    supervisor.attach_all().await?;
    // It may have to put another policy in force, for which the interfaces have to be known.
    supervisor.note_opening(opening).await;
    supervisor.refuse_a_cold_start_without_program()?;
    supervisor.reconcile(true).await;
    // At once, and not with the first round: fragments that come too early can only wait where somebody says that he is there.
    supervisor.vouching.renew(&*supervisor.dataplane);
    notify(&[NotifyState::Ready]);
    tracing::info!(ready = supervisor.facts.is_ready(), "started");
    Ok(supervisor)
}

/// Whether a start has a policy to begin with: one that was in force before, or that is at work. What else is in the directory of a bucket's bundles
/// may never have been valid.
async fn has_policy(options: &RunOptions) -> Result<bool, RunError> {
    let store = Store::at(&options.state_dir);
    let ledger = super::changes::aside(move || store.open()).await?.map_err(PolicyError::from)?;
    Ok(ledger.in_force().is_some() || options.has_pins())
}

/// Kernel index and slot of each interface that the configuration has now.
pub(super) fn slots(config: &AgentConfig, observed: &Observed) -> Vec<(u32, u32)> {
    let placed = interfaces::place(config, observed, None);
    placed.iter().filter_map(|placed| Some((placed.link.as_ref()?.index, placed.slot))).collect()
}

/// An invalid policy ends a start unless a data plane is pinned that can go on with its own.
fn go_on_only_with_a_policy(
    checked: Result<CheckedPolicy, PolicyError>,
    can_go_on: bool,
) -> Result<Result<CheckedPolicy, PolicyError>, RunError> {
    match checked {
        Err(error) if !can_go_on => Err(error.into()),
        checked => Ok(checked),
    }
}

async fn open(options: &RunOptions, config: &AgentConfig) -> Result<Arc<KernelDataplane>, RunError> {
    let options = KernelOptions {
        pin_dir: options.pin_dir.clone(),
        max_flows: config.conntrack.max_flows,
        max_half_open: config.conntrack.max_half_open,
    };
    let opened = tokio::task::spawn_blocking(move || KernelDataplane::open(options)).await;
    let dataplane = opened.map_err(|_| RunError::Interrupted("loading the data plane"))??;
    Ok(Arc::new(dataplane))
}

/// The policy on disk judges packets from here on; or, if it is refused, the one that was found running, with the slots that it
/// was made for if those are not the configuration's.
async fn take_policy_over(
    dataplane: &Arc<dyn Dataplane>,
    config: &AgentConfig,
    observed: &Observed,
    checked: Result<CheckedPolicy, PolicyError>,
) -> Result<(Facts, Option<Seats>), RunError> {
    let mut facts = adopted_facts(dataplane)?;
    facts.policy.attempted_at = Some(OffsetDateTime::now_utc());
    let named_twice = interfaces::named_twice(config, observed).map(PolicyError::NamedTwice);
    let checked = match checked.and_then(|checked| named_twice.map_or(Ok(checked), Err)) {
        // What the policy that was found running lets in is not known: its flows are.
        Ok(checked) if policy::keeps_access(config) => {
            let devices = interfaces::devices(config, observed);
            policy::check_access(dataplane, devices, &checked, None).await?.map(|()| checked)
        }
        checked => checked,
    };
    match checked {
        Ok(checked) => {
            // Those that have another slot under it cross nothing until they are attached there.
            dataplane.keep_slots(&slots(config, observed))?;
            policy::apply(dataplane, checked, "start", &mut facts).await?;
            Ok((facts, None))
        }
        Err(error) if facts.policy.digest.is_none() => Err(error.into()),
        Err(error) => {
            tracing::error!(problem = %error, "the policy on disk is refused; the one that was found running goes on judging packets");
            policy::refuse(&mut facts, &error.into());
            let kept = Seats::kept(config, observed, &dataplane.known_interfaces()?);
            if kept.is_some() {
                tracing::error!(
                    "agent.toml has other interfaces than the policy in force: those that it knows stay what they are, the others wait"
                );
            }
            Ok((facts, kept))
        }
    }
}

/// What the data plane was found doing.
pub(super) fn adopted_facts(dataplane: &Arc<dyn Dataplane>) -> Result<Facts, RunError> {
    let mut facts = Facts::default();
    if let Some(adopted) = dataplane.adopted() {
        tracing::info!(epoch = adopted.epoch, "found a data plane at work and took it over");
        facts.policy.epoch = adopted.epoch;
        facts.policy.digest = Some(adopted.digest);
    }
    facts.names = Arc::new(Names::new(dataplane.rule_names()?, None));
    Ok(facts)
}

/// Puts the running agent together, with its servers.
fn assemble(
    options: RunOptions,
    config: AgentConfig,
    (dataplane, pair, keeper): (Arc<dyn Dataplane>, Pair, Keeper),
    (kernel, events, enis): (Kernel, Events, Enis),
    facts: Facts,
) -> Result<Supervisor, RunError> {
    let file = config.flow_log.file.clone().unwrap_or_else(|| options.state_dir.join("flows.jsonl"));
    let log = RotatingFile::new(file.clone(), config.flow_log.max_bytes, config.flow_log.keep);
    let log = Writer::start(log).map_err(RunError::io("flow log"))?;
    let shared = Arc::new(Shared {
        dataplane: Arc::clone(&dataplane),
        facts: ArcSwap::from_pointee(facts.clone()),
        flow_log: log.counts(),
        fragments: keeper.counts(),
        flow_log_file: file,
        probes: Arc::default(),
        started_at: OffsetDateTime::now_utc(),
        hits: Hits::load(options.state_dir.join("hits.json")),
        live: crate::live::Live::default(),
    });
    let housekeeper =
        Housekeeper::start(Arc::clone(&shared), log, config.flow_log.level).map_err(RunError::io("housekeeping"))?;
    let (servers, reloads, requests) = serve(&options, &config, &shared)?;
    let prober = Prober::new(Arc::clone(&shared.probes));
    // Bundles of a bucket are told by what brings them.
    let is_watched = config.policy.watch && config.policy.bucket.is_none();
    let watch = Watch::start(is_watched.then(|| config.policy.directory.clone()));
    Ok(Supervisor {
        audit: Audit::at(&options.state_dir),
        owed: Owed::default(),
        bundle: None,
        options,
        config,
        dataplane,
        kernel,
        events,
        watch,
        bucket: BucketWatch::none(),
        reloads,
        requests,
        reader: Reader::default(),
        retry: Retry::default(),
        shared,
        facts,
        vouching: Vouching::default(),
        checker: SharedChecker::default(),
        feeds: Follower::default(),
        in_force: None,
        kept: None,
        enis,
        observed: Observed::default(),
        attached: BTreeMap::new(),
        next_hops: BTreeSet::new(),
        pair,
        macs: KnownMacs::default(),
        managed: 0,
        reported: BTreeSet::new(),
        housekeeper,
        keeper,
        prober,
        servers,
    })
}

type Servers = (JoinSet<()>, mpsc::Receiver<ReloadRequest>, mpsc::Receiver<ChangeRequest>);

fn serve(options: &RunOptions, config: &AgentConfig, shared: &Arc<Shared>) -> Result<Servers, RunError> {
    let path = options.runtime_dir.join(api::SOCKET);
    let server = Server::bind(&path).map_err(RunError::io(path.display().to_string()))?;
    let ((reload, reloads), (change, requests)) = (mpsc::channel(8), mpsc::channel(8));
    let mut servers = JoinSet::new();
    servers.spawn(server.serve(Arc::clone(shared), Supervision { reloads: reload, changes: change }));
    servers.spawn(http::serve(config.metrics.listen, Arc::clone(shared)));
    Ok((servers, reloads, requests))
}

/// What the configuration says of packets and flows.
fn settings(config: &AgentConfig) -> Settings {
    let conntrack = &config.conntrack;
    Settings {
        timeouts: conntrack.timeouts,
        answers_per_second: ANSWERS_PER_SECOND,
        pick_up: conntrack.pick_up,
        verify_checksums: config.anomalies.verify_checksums,
        refuse_half_open: conntrack.refuse_half_open,
        reset_unknown_tcp: conntrack.reset_unknown_tcp,
    }
}

impl Supervisor {
    /// Sets what the configuration says of packets and flows.
    pub(super) fn set_settings(&self) {
        if let Err(error) = self.dataplane.set_settings(&settings(&self.config)) {
            tracing::error!(%error, "the data plane did not take the settings");
        }
        if let Err(error) = self.dataplane.set_segment_limits(&self.config.segment_limits) {
            tracing::error!(%error, "the data plane did not take the segment sizes of the routes");
        }
    }

    /// Interfaces that a longer `agent.toml` had before the restart are no longer the data plane's business.
    pub(super) fn forget_unused_slots(&self) {
        if self.kept.is_some() {
            return;
        }
        let used = self.config.management_slot() + u32::from(self.config.management.is_some());
        let all = u32::try_from(fw_common::abi::interface::MAX_INTERFACES).unwrap_or(u32::MAX);
        for slot in used..all {
            if let Err(error) = self.dataplane.forget(slot) {
                tracing::warn!(slot, %error, "an interface that is no longer configured could not be forgotten");
            }
        }
    }

    /// A machine on which the program cannot be attached has to say so at once; a restarted agent has more to lose.
    fn refuse_a_cold_start_without_program(&self) -> Result<(), RunError> {
        let problem = self.facts.interfaces.iter().find_map(|interface| interface.problem.clone());
        match problem {
            Some(problem) if self.dataplane.adopted().is_none() => {
                Err(RunError::Io { what: "cannot start".to_owned(), reason: std::io::Error::other(problem) })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Adopted;
    use crate::dataplane::fake::FakeDataplane;
    use crate::facts::Outcome;

    fn in_flux() -> Result<CheckedPolicy, PolicyError> {
        Err(PolicyError::InFlux("/policies".into()))
    }

    #[test]
    fn without_pins_an_invalid_policy_ends_the_start() {
        assert!(go_on_only_with_a_policy(in_flux(), false).is_err());
        assert!(go_on_only_with_a_policy(in_flux(), true).is_ok_and(|checked| checked.is_err()));
    }

    #[tokio::test]
    async fn a_running_policy_goes_on_while_the_files_are_invalid() {
        let fake = Arc::new(FakeDataplane::default());
        let dataplane: Arc<dyn Dataplane> = Arc::clone(&fake) as Arc<dyn Dataplane>;
        let config = AgentConfig::parse("agent.toml", "[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n").unwrap();
        assert!(take_policy_over(&dataplane, &config, &Observed::default(), in_flux()).await.is_err());
        fake.state().adopted = Some(Adopted { epoch: 7, digest: [7; 32] });
        let (facts, _) = take_policy_over(&dataplane, &config, &Observed::default(), in_flux()).await.unwrap();
        assert_eq!((facts.policy.epoch, facts.policy.outcome), (7, Outcome::Failed));
        assert_eq!(fake.state().epoch, 0, "nothing was applied");
        assert!(!facts.is_ready());
    }
}
