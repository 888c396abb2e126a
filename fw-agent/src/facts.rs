//! What the agent knows about itself, for the API, the metrics and the health checks.
//!
//! The supervisor alone changes the [`Facts`] and publishes each change whole; readers take the latest.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fw_common::abi::interface::HANDOVER_SLOT;
use fw_policy::{Compiled, Feed, FeedContents};
use time::OffsetDateTime;

use crate::change::Ledger;
use crate::change::ledger::Trial;
use crate::change::store::Store;
use crate::clock::rfc3339;
use crate::dataplane::Dataplane;
use crate::feeds::facts::FeedFacts;
use crate::flow_log::writer::Counts;
use crate::fragments;
use crate::hits::Hits;
use crate::live::Live;
use crate::names::Names;
use crate::netlink::plan::Unresolved;
use crate::probe::Board;

/// What the readers share.
pub struct Shared {
    /// The data plane.
    pub dataplane: Arc<dyn Dataplane>,
    /// The latest facts.
    pub facts: ArcSwap<Facts>,
    /// What became of the flow log's records.
    pub flow_log: Arc<Counts>,
    /// What became of fragments that had to wait.
    pub fragments: Arc<fragments::Counts>,
    /// Where the flow log is.
    pub flow_log_file: PathBuf,
    /// What is known of the ways that are probed.
    pub probes: Arc<Board>,
    /// When the agent started.
    pub started_at: OffsetDateTime,
    /// What the rules have done over restarts.
    pub hits: Hits,
    /// Who observes and captures.
    pub live: Live,
}

/// The facts of one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Why `agent.toml` could not be taken over, if it could not.
    pub config_problem: Option<String>,
    /// Keys of `agent.toml` that have changed and wait for a restart.
    pub waiting_for_restart: Vec<String>,
    /// The policy.
    pub policy: PolicyFacts,
    /// How it may change, and what it was before.
    pub changes: ChangeFacts,
    /// The interfaces of the configuration by slot, management last.
    pub interfaces: Vec<InterfaceFacts>,
    /// Our routes.
    pub routes: RouteFacts,
    /// The kernel forwards, in both families.
    pub forwarding: bool,
    /// Why the forward chain, which keeps the kernel from forwarding by itself, does not stand.
    pub forward_chain_problem: Option<String>,
    /// Which flow tables are nearly full. No condition for being ready: another instance would be in the same flood.
    pub pressure: Vec<String>,
    /// Sizes of `agent.toml` that the flow tables do not have. No condition for being ready: the tables work as they are.
    pub table_sizes: Vec<String>,
    /// The feeds of the policy. No condition for being ready: another instance would have the same sources.
    pub feeds: Vec<FeedFacts>,
    /// What takes long to read. No condition for being ready: what was read before is in force.
    pub slow_read: Option<SlowRead>,
    /// Why ways that have to work do not, or that this is not known yet.
    pub dead_ways: Vec<String>,
    /// What is known of the bucket that the policy comes from, if it comes from one. No condition for being ready.
    pub bucket: Option<BucketFacts>,
    /// Names of rules and zones.
    pub names: Arc<Names>,
}

/// A file or directory that takes long to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowRead {
    /// Which; the lock, if git holds one.
    pub path: PathBuf,
    /// When reading began.
    pub since: OffsetDateTime,
}

impl fmt::Display for SlowRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, since) = (self.path.display(), rfc3339(self.since));
        write!(f, "{path}: not read since {since}; what was read before stays in force")
    }
}

/// The policy that judges packets, and how it came to that.
#[derive(Clone, Debug, Default)]
pub struct PolicyFacts {
    /// Counts the applied policies; 0: none.
    pub epoch: u32,
    /// Digest of the policy.
    pub digest: Option<[u8; 32]>,
    /// The policy, unless it was found running and its files are no longer valid.
    pub compiled: Option<Arc<Compiled>>,
    /// What the last attempt to apply one came to.
    pub outcome: Outcome,
    /// When that was.
    pub attempted_at: Option<OffsetDateTime>,
    /// When the running policy was applied by this agent.
    pub applied_at: Option<OffsetDateTime>,
    /// Why the files on disk are not what runs: all diagnostics.
    pub problem: Option<String>,
    /// What its author should look at.
    pub warnings: Vec<String>,
    /// Number of the policy's own tests that passed.
    pub tests: usize,
    /// When a rule starts or expires next.
    pub next_change: Option<OffsetDateTime>,
    /// Its feeds.
    pub feeds: Arc<[Feed]>,
    /// What is known of feeds, with the lists that it judges by.
    pub contents: Arc<FeedContents>,
}

/// Which policies were applied, and which one waits.
#[derive(Clone, Debug, Default)]
pub struct ChangeFacts {
    /// The state of changes.
    pub ledger: Arc<Ledger>,
    /// Where what was applied is kept.
    pub store: Store,
    /// Why the files in the directory, which are valid, are not what judges packets.
    pub held: Option<String>,
}

/// What an attempt to apply a policy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Outcome {
    /// There was none yet.
    #[default]
    None,
    /// It judges packets now.
    Applied,
    /// It was running already.
    Unchanged,
    /// It is invalid, or its tests fail.
    Refused,
    /// It is valid, and not to be taken: it was rolled back, is older, or another one waits for confirmation.
    Held,
    /// Its files could not be read, or the data plane could not take it: it is tried again.
    Failed,
}

impl Outcome {
    /// All outcomes of an attempt.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Unchanged, Self::Refused, Self::Held, Self::Failed];

    /// The name in answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }
}

/// An interface of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its slot; `u32::MAX` while it waits for a policy that knows it.
    pub slot: u32,
    /// How the configuration names it.
    pub key: String,
    /// Zones behind it.
    pub zones: Vec<String>,
    /// It is the management interface.
    pub management: bool,
    /// The device, while there is one.
    pub device: Option<DeviceFacts>,
    /// Why there is no device, where more is known than that there is none. A first start goes on without it.
    pub absence: Option<String>,
    /// Why the program is not on it.
    pub problem: Option<String>,
}

/// A device that an interface is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The kernel's name.
    pub name: String,
    /// The kernel's interface index.
    pub ifindex: u32,
    /// Hardware address.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The bucket that the policy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketFacts {
    /// When the directory was last seen to hold what the bucket offers.
    pub looked_at: Option<OffsetDateTime>,
    /// Why it does not, as far as that is known.
    pub problem: Option<String>,
}

/// Our routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFacts {
    /// Number of routes that are in place.
    pub installed: usize,
    /// Routes that cannot be had.
    pub unresolved: Vec<Unresolved>,
    /// What the kernel refused in the last round.
    pub problems: Vec<String>,
}

/// One of the conditions for being ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Check {
    /// "policy", "interfaces", "routes", "forwarding", "probes", "config", "flow-tables", "table-sizes", "files", "feeds" or "change".
    pub name: String,
    /// It holds.
    pub ok: bool,
    /// Why not; or what is to be known although it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Facts {
    /// The conditions for being ready; the firewall is ready when all hold.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        vec![
            check("config", self.config_problem.iter().cloned()),
            check("policy", self.policy.reasons()),
            check("interfaces", self.interfaces.iter().filter_map(InterfaceFacts::reason)),
            check("routes", self.routes.reasons()),
            check("forwarding", self.forwarding_reasons()),
            check("probes", self.dead_ways.iter().cloned()),
            Check { ok: true, ..check("flow-tables", self.pressure.iter().cloned()) },
            Check { ok: true, ..check("table-sizes", self.table_sizes.iter().cloned()) },
            Check {
                ok: true,
                ..check("files", self.slow_read.iter().map(ToString::to_string).chain(self.bucket_problem()))
            },
            Check { ok: true, ..check("feeds", self.feeds.iter().filter_map(FeedFacts::reason)) },
            Check { ok: true, ..check("change", self.changes.reasons()) },
        ]
    }

    fn bucket_problem(&self) -> Option<String> {
        self.bucket.as_ref()?.problem.clone()
    }

    fn forwarding_reasons(&self) -> impl Iterator<Item = String> {
        let off = (!self.forwarding).then(|| "the kernel does not forward".to_owned());
        let open =
            self.forward_chain_problem.as_ref().map(|problem| format!("the forward chain does not stand: {problem}"));
        off.into_iter().chain(open)
    }

    /// The name of the interface in a slot; the hand-over pair has one, too.
    #[must_use]
    pub fn interface_name(&self, slot: u32) -> Cow<'_, str> {
        if slot == HANDOVER_SLOT {
            return Cow::Borrowed("handover");
        }
        let named = self.interfaces.iter().find(|interface| interface.slot == slot);
        named.map_or_else(|| Cow::Owned(format!("#{slot}")), |interface| Cow::Borrowed(interface.key.as_str()))
    }

    /// All conditions hold.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.ok)
    }
}

fn check(name: &str, reasons: impl Iterator<Item = String>) -> Check {
    let reasons: Vec<_> = reasons.collect();
    Check { name: name.to_owned(), ok: reasons.is_empty(), reason: (!reasons.is_empty()).then(|| reasons.join("; ")) }
}

impl PolicyFacts {
    fn reasons(&self) -> impl Iterator<Item = String> {
        let none = self.digest.is_none().then(|| "no policy has been loaded".to_owned());
        let broken = self.problem.as_ref().map(|problem| {
            let first = problem.lines().next().unwrap_or_default();
            format!("the files of the policy are not what runs: {first}")
        });
        none.into_iter().chain(broken)
    }
}

impl ChangeFacts {
    fn reasons(&self) -> impl Iterator<Item = String> {
        let trial = self.ledger.trial().map(|trial| {
            let Trial { revision, previous, until_wall, witnesses, .. } = trial;
            if witnesses.is_empty() {
                format!("revision {revision} waits for confirmation until {until_wall}, then revision {previous} is in force again")
            } else {
                let witnesses = witnesses.join(", ");
                format!("revision {revision} stays if the probes {witnesses} are alive until {until_wall}, else revision {previous} is in force again")
            }
        });
        trial.into_iter().chain(self.held.clone())
    }
}

impl InterfaceFacts {
    /// Why it is not as it should be.
    pub(crate) fn reason(&self) -> Option<String> {
        match (&self.device, &self.problem) {
            (_, Some(problem)) => Some(problem.clone()),
            (None, None) => Some(self.absence.clone().unwrap_or_else(|| format!("{} has no device", self.key))),
            (Some(device), None) if !device.up => Some(format!("{} is down", self.key)),
            (Some(_), None) => None,
        }
    }
}

impl RouteFacts {
    fn reasons(&self) -> impl Iterator<Item = String> {
        let unresolved = self.unresolved.iter().map(|route| format!("{}: {}", route.destination, route.reason));
        unresolved.chain(self.problems.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Facts {
        let device = DeviceFacts { name: "ens6".to_owned(), up: true, ..DeviceFacts::default() };
        let interface = InterfaceFacts { key: "ens6".to_owned(), device: Some(device), ..InterfaceFacts::default() };
        let policy = PolicyFacts { digest: Some([1; 32]), ..PolicyFacts::default() };
        Facts { policy, interfaces: vec![interface], forwarding: true, ..Facts::default() }
    }

    fn failing(facts: &Facts) -> Vec<String> {
        facts.checks().into_iter().filter(|check| !check.ok).map(|check| check.name).collect()
    }

    #[test]
    fn the_firewall_is_ready_when_nothing_is_missing() {
        assert!(ready().is_ready());
        assert_eq!(failing(&Facts::default()), ["policy", "forwarding"]);
    }

    #[test]
    fn each_condition_alone_makes_it_not_ready() {
        type Break = fn(&mut Facts);
        let breaks: [(&str, Break); 8] = [
            ("config", |facts| facts.config_problem = Some("x".to_owned())),
            ("policy", |facts| facts.policy.problem = Some("x".to_owned())),
            ("interfaces", |facts| facts.interfaces[0].device = None),
            ("interfaces", |facts| facts.interfaces[0].problem = Some("x".to_owned())),
            ("routes", |facts| facts.routes.problems.push("x".to_owned())),
            ("forwarding", |facts| facts.forwarding = false),
            ("probes", |facts| facts.dead_ways.push("x".to_owned())),
            ("forwarding", |facts| facts.forward_chain_problem = Some("x".to_owned())),
        ];
        for (name, break_it) in breaks {
            let mut facts = ready();
            break_it(&mut facts);
            assert_eq!(failing(&facts), [name]);
        }
    }
}
