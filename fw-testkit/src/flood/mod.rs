//! A flood of forged SYNs through a real firewall, with honest clients beside it: connections that exist, and new ones.
//!
//! Bounded in packets and in time, and within name spaces of its own.

mod generator;
mod honest;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::LabError;
use crate::error::While as _;
use crate::lab::{
    Agent, CLIENT_ADDRESS, CLIENT_NETWORKS, LEFT, PairLab, PairNode, Programs, RIGHT, SERVER_ADDRESS, SERVER_NETWORKS,
};
use crate::service::{Endpoint, Protocol, Service};

use generator::Generator;
pub use honest::{Newcomers, Transfers};

/// The port that the flood and the honest clients go to.
pub const PORT: u16 = 502;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Forged SYNs, each of another address and port.
    pub packets: u64,
    /// Of them in a second, at most.
    pub per_second: u32,
    /// The processor that sends them, and on which the firewall judges them.
    pub processor: Option<usize>,
    /// Connections that exist before, and transfer all the time.
    pub established: usize,
    /// Connections that are made in a second.
    pub new_per_second: u32,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Forged SYNs that were sent.
    pub sent: u64,
    /// For how long.
    pub lasted: Duration,
    /// What became of the connections that existed.
    pub transfers: Transfers,
    /// What became of the connections that were made during the flood.
    pub newcomers: Newcomers,
    /// The most half-open flows that were seen.
    pub most_half_open: u64,
    /// Half-open flows that gave way.
    pub evicted: u64,
    /// Packets dropped, by the reasons that a flood can cause.
    pub dropped: Vec<(&'static str, u64)>,
}

impl Report {
    /// Forged SYNs in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.lasted.as_secs_f64()
    }
}

/// The reasons that a flood can cause.
const REASONS: [&str; 4] = ["half_open_limit", "table_full", "flow_race", "tcp_not_syn"];

/// A client, a firewall and a server.
#[derive(Debug)]
pub struct Arena {
    agent: Agent,
    _server: Service,
    lab: PairLab,
    object: PathBuf,
}

impl Arena {
    /// Raises it, with a firewall whose section `[conntrack]` has these lines. `object` is the benchmark's eBPF object.
    ///
    /// # Errors
    /// If it cannot be raised here.
    pub fn raise(programs: Programs, object: PathBuf, conntrack: &str) -> Result<Self, LabError> {
        let lab = PairLab::up()?;
        let policies = lab.directory().join("policies");
        fs::create_dir(&policies).during(|| format!("create {}", policies.display()))?;
        fs::write(policies.join("flood.toml"), policy()).during(|| "write the policy".to_owned())?;
        let mut agent = lab.prepare_agent(programs)?;
        let log = lab.directory().join("flows.jsonl");
        agent.write_configuration(&format!(
            "{}\n[policy]\ndirectory = \"{}\"\n[conntrack]\n{conntrack}\n[flow_log]\nfile = \"{}\"\n",
            interfaces(),
            policies.display(),
            log.display()
        ))?;
        agent.start()?;
        let server = Service::start(lab.ns(PairNode::Server)?, &[Endpoint::any(Protocol::Modbus, PORT)])?;
        Ok(Self { agent, _server: server, lab, object })
    }

    /// Lets the flood run, with everything beside it, to its end.
    ///
    /// # Errors
    /// If something of the lab fails; what the firewall does to the clients is in the report.
    pub fn run(&self, flood: &Flood) -> Result<Report, LabError> {
        let mut generator = Generator::load(&self.lab, &self.object)?;
        let client = self.lab.ns(PairNode::Client)?;
        let over = AtomicBool::new(false);
        let streams = honest::connect(client, flood.established)?;
        let (sent, lasted, transfers, newcomers, most_half_open) = thread::scope(|scope| {
            let transfers = scope.spawn(|| honest::transfer(streams, &over));
            let newcomers = scope.spawn(|| client.within(|| honest::make_new(flood.new_per_second, &over)));
            let watch = scope.spawn(|| self.watch_half_open(&over));
            let start = Instant::now();
            let sent = generator.send(flood);
            let lasted = start.elapsed();
            over.store(true, Ordering::Relaxed);
            Ok::<_, LabError>((sent?, lasted, joined(transfers), joined(newcomers)?, joined(watch)?))
        })?;
        let status = self.agent.fwctl_json(&["status"])?;
        let dropped = REASONS.into_iter().map(|reason| Ok((reason, self.agent.dropped(reason)?)));
        Ok(Report {
            sent,
            lasted,
            transfers,
            newcomers,
            most_half_open,
            evicted: status["flows"]["evicted"].as_u64().unwrap_or(0),
            dropped: dropped.collect::<Result<_, LabError>>()?,
        })
    }
}

impl Arena {
    /// Asks the firewall again and again; the most half-open flows that it has told.
    fn watch_half_open(&self, over: &AtomicBool) -> Result<u64, LabError> {
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            let status = self.agent.fwctl_json(&["status"])?;
            most = most.max(status["flows"]["half_open"].as_u64().unwrap_or(0));
        }
        Ok(most)
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn policy() -> String {
    format!(
        "version = 1\n[defaults]\naction = \"drop\"\n\
         [zones.{LEFT}]\nnetworks = [\"10.201.0.0/24\", \"{}\"]\n\
         [zones.{RIGHT}]\nnetworks = [\"10.202.0.0/24\", \"{}\"]\n\
         [[rule]]\nid = \"modbus\"\nfrom = [\"{LEFT}\"]\nto = [\"{RIGHT}\"]\nservices = [\"tcp/{PORT}\"]\n\
         action = \"allow\"\n",
        CLIENT_NETWORKS[0], SERVER_NETWORKS[0]
    )
}

fn interfaces() -> String {
    let mut text = String::new();
    for name in [LEFT, RIGHT] {
        // Writing to a string cannot fail.
        let _ = write!(text, "[[interface]]\nname = \"{name}\"\nzones = [\"{name}\"]\n");
    }
    for (name, network, via) in
        [(LEFT, CLIENT_NETWORKS[0], CLIENT_ADDRESS), (RIGHT, SERVER_NETWORKS[0], SERVER_ADDRESS)]
    {
        let _ = write!(text, "[[route]]\ndestination = \"{network}\"\ninterface = \"{name}\"\nvia = \"{via}\"\n");
    }
    text
}
