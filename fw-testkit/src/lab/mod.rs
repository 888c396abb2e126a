//! The reference topology, raised from network name spaces: four VPCs with their routers and hosts, the on-premises network
//! behind the local gateway, and the firewall between them.
//!
//! A lab has a name of its own, so that several can live at once. [`Lab`] removes everything when it is dropped; what a killed
//! process leaves behind is removed by the next [`Lab::up`] or by `fw-lab down`.

mod agent;
mod agent_config;
mod hardware;
mod network;
mod node;
mod owner;
mod pair;
mod removal;
mod topology;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use network::{ip_batch, set_offloads};

pub use agent::{Agent, AgentOptions, Programs};
pub use agent_config::AgentConfig;
pub use node::{
    ENI_EXPOSED, ENI_IT, ENI_MANAGEMENT, ENI_OT, ENIS, EXPOSED, Eni, Host, IT, IT2, MANAGEMENT, METADATA, Node, OT,
    OT2, PLC, WS, link_local_of, mac_of, mac_text,
};
pub use owner::{leftover, names, own};
pub use pair::{
    CLIENT_ADDRESS, CLIENT_ADDRESS6, CLIENT_NETWORKS, LEFT, PairLab, PairNode, RIGHT, SERVER_ADDRESS, SERVER_ADDRESS6,
    SERVER_NETWORKS, middle_address,
};
pub use removal::remove;

use crate::LabError;
use crate::netns::NetNs;
use crate::process::{self, Finished, Running};
use crate::service::{Endpoint, Service};

/// The commands that every lab needs.
const NEEDED_COMMANDS: [&str; 3] = ["ip", "ethtool", "dnsmasq"];

/// Who forwards in the firewall's name space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Nobody, until an agent is started.
    #[default]
    Agent,
    /// The kernel, without any filter: proves that the lab itself is right.
    Kernel,
}

/// How to raise a lab.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Its name; `None`: a free one.
    pub name: Option<String>,
    /// MTU of every link, in bytes.
    pub mtu: u32,
    /// Who forwards.
    pub forwarding: Forwarding,
    /// Whether the instance metadata service runs as a thread of this process.
    pub metadata: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { name: None, mtu: 1500, forwarding: Forwarding::Agent, metadata: true }
    }
}

/// A raised lab. Dropping it removes everything that it made, also when a test panics.
#[derive(Debug)]
pub struct Lab {
    name: String,
    mtu: u32,
    namespaces: BTreeMap<Node, NetNs>,
    daemons: Vec<Running>,
    metadata: Vec<Service>,
    kept: bool,
}

/// Why no lab can be raised here, or `None` if one can.
#[must_use]
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let missing: Vec<&str> = NEEDED_COMMANDS.into_iter().filter(|command| !process::is_installed(command)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

impl Lab {
    /// Raises a lab.
    pub fn up(options: LabOptions) -> Result<Self, LabError> {
        if let Some(reason) = unavailable() {
            return Err(LabError::Unavailable(reason));
        }
        removal::remove_abandoned();
        let name = owner::claim(options.name.as_deref())?;
        let mut lab = Self {
            name,
            mtu: options.mtu,
            namespaces: BTreeMap::new(),
            daemons: Vec::new(),
            metadata: Vec::new(),
            kept: false,
        };
        lab.build(options.forwarding)?;
        if options.metadata {
            lab.metadata = network::start_metadata(&lab)?;
        }
        network::wait_until_announced(&lab)?;
        Ok(lab)
    }

    fn build(&mut self, forwarding: Forwarding) -> Result<(), LabError> {
        network::create_namespaces(&self.name)?;
        for node in Node::ALL {
            self.namespaces.insert(*node, NetNs::open(&namespace_name(&self.name, *node))?);
        }
        network::configure(self, forwarding)?;
        self.daemons = network::start_router_daemons(self)?;
        Ok(())
    }

    /// The lab's name: the prefix of its name spaces and the name of its directory of pinned maps.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's directory for configuration, logs and state.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        owner::directory(&self.name)
    }

    /// A node's network name space.
    #[must_use]
    pub fn ns(&self, node: Node) -> &NetNs {
        // Every node is inserted by `build`, before the lab is handed out.
        &self.namespaces[&node]
    }

    /// A command that will run in a node's name space.
    pub fn command(&self, node: Node, line: &[&str]) -> Result<Command, LabError> {
        let (program, arguments) = line.split_first().unwrap_or((&"true", &[]));
        let mut command = self.ns(node).command(program)?;
        command.args(arguments);
        Ok(command)
    }

    /// Runs a command in a node's name space to its end.
    pub fn run(&self, node: Node, line: &[&str]) -> Result<Finished, LabError> {
        process::run(&mut self.command(node, line)?)
    }

    /// Starts a command in a node's name space; its output goes to a file in the lab's directory.
    pub fn spawn(&self, node: Node, line: &[&str]) -> Result<Running, LabError> {
        let program = line.first().and_then(|program| Path::new(program).file_name()).unwrap_or_default();
        let log = self.directory().join(format!("{node}-{}.log", program.to_string_lossy()));
        Running::start(&mut self.command(node, line)?, log)
    }

    /// Starts servers on threads of this process, with sockets in a node's name space.
    pub fn serve(&self, node: Node, endpoints: &[Endpoint]) -> Result<Service, LabError> {
        Service::start(self.ns(node), endpoints)
    }

    /// Leaves the lab up when the guard is dropped; `fw-lab down` removes it.
    pub fn keep(mut self) {
        owner::mark_kept(&self.name);
        self.kept = true;
        std::mem::take(&mut self.daemons).into_iter().for_each(Running::leave);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.kept {
            self.metadata.clear();
            self.daemons.clear();
            remove(&self.name);
        }
    }
}

pub(crate) fn namespace_name(lab: &str, node: Node) -> String {
    format!("{lab}-{node}")
}
