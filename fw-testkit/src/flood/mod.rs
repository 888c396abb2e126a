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
use crate::process;
use crate::service::{Endpoint, Protocol, Service};

use generator::Generator;
pub use honest::{Newcomers, Transfers};

/// The port that the flood and the honest clients go to.
pub const PORT: u16 = 502;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Forged SYNs at least, each of another address and port.
    pub packets: u64,
    /// How long the flood lasts at least.
    pub at_least: Duration,
    /// Of them in a second, at most.
    pub per_second: u32,
    /// Packets of one call of the kernel, which waits for other processors before and after it sends (`docs/surprises.md`).
    pub call: u32,
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
    /// What the firewall told meanwhile, again and again.
    pub course: Vec<Moment>,
    /// Half-open flows that gave way.
    pub evicted: u64,
    /// Flows that were opened, by forged SYNs and by honest ones.
    pub opened: u64,
    /// Packets that the firewall received from the clients' side.
    pub received: u64,
    /// Packets dropped, by reason.
    pub dropped: Vec<(String, u64)>,
}

/// What the firewall told at some time of the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the start.
    pub at: Duration,
    /// Half-open flows.
    pub half_open: u64,
    /// Flows that were opened since the firewall has started.
    pub opened: u64,
}

impl Report {
    /// The most half-open flows that were seen.
    #[must_use]
    pub fn most_half_open(&self) -> u64 {
        self.course.iter().map(|moment| moment.half_open).max().unwrap_or(0)
    }

    /// Flows that were opened in a second: what the firewall has judged of the flood.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.opened as f64 / self.lasted.as_secs_f64()
    }
}

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
        give_queues(&lab)?;
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
        let (sent, lasted, transfers, newcomers, course) = thread::scope(|scope| {
            let transfers = scope.spawn(|| honest::transfer(streams, &over));
            let newcomers = scope.spawn(|| client.within(|| honest::make_new(flood.new_per_second, &over)));
            let watch = scope.spawn(|| self.watch(&over));
            let start = Instant::now();
            let sent = generator.send(flood);
            let lasted = start.elapsed();
            over.store(true, Ordering::Relaxed);
            Ok::<_, LabError>((sent?, lasted, joined(transfers), joined(newcomers)?, joined(watch)?))
        })?;
        let status = self.agent.fwctl_json(&["status"])?;
        let interfaces = status["interfaces"].as_array().into_iter().flatten();
        let received = interfaces.filter(|interface| interface["interface"] == LEFT);
        let received = received.filter_map(|interface| interface["received"]["packets"].as_u64()).sum();
        Ok(Report {
            sent,
            lasted,
            transfers,
            newcomers,
            course,
            evicted: status["flows"]["evicted"].as_u64().unwrap_or(0),
            opened: status["flows"]["opened"].as_u64().unwrap_or(0),
            received,
            dropped: self.dropped()?,
        })
    }
}

impl Arena {
    /// What was dropped, by reason.
    fn dropped(&self) -> Result<Vec<(String, u64)>, LabError> {
        let drops = self.agent.fwctl_json(&["drops"])?;
        let rows = drops["drops"].as_array().into_iter().flatten();
        let rows = rows.filter_map(|row| Some((row["reason"].as_str()?.to_owned(), row["packets"].as_u64()?)));
        Ok(rows.filter(|(_, packets)| *packets != 0).collect())
    }

    /// Asks the firewall again and again.
    fn watch(&self, over: &AtomicBool) -> Result<Vec<Moment>, LabError> {
        let (start, mut course) = (Instant::now(), Vec::new());
        while !over.load(Ordering::Relaxed) {
            let status = self.agent.fwctl_json(&["status"])?;
            let count = |name: &str| status["flows"][name].as_u64().unwrap_or(0);
            course.push(Moment { at: start.elapsed(), half_open: count("half_open"), opened: count("opened") });
        }
        Ok(course)
    }
}

/// Gives every device a receive queue for each processor, as network cards have. With one queue, whichever processor first polls it goes on as
/// long as packets come: then one polls what the other generates, and most of the flood is lost in front of the firewall.
fn give_queues(lab: &PairLab) -> Result<(), LabError> {
    let queues = thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    let devices =
        [(PairNode::Client, "eth0"), (PairNode::Middle, LEFT), (PairNode::Middle, RIGHT), (PairNode::Server, "eth0")];
    for (node, device) in devices {
        process::run(&mut lab.command(node, &["ethtool", "-L", device, "rx", &queues])?)?.success()?;
    }
    Ok(())
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
