//! What the demo plays on: the lab, the servers on its hosts, and the agent with a copy of the policies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fw_testkit::LabError;
use fw_testkit::lab::{Agent, AgentConfig, AgentOptions, IT, Lab, LabOptions, OT, PLC, Programs, WS};
use fw_testkit::process::Running;

use super::report::Report;
use crate::{by_hand, signals};

/// The servers of every host.
const SERVERS: [&str; 4] = ["http=[::]:80", "http=[::]:8080", "modbus=[::]:502", "echo=[::]:5000"];

/// The fields are dropped in this order: the lab goes last.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    servers: Vec<Running>,
    pub(crate) policies: PathBuf,
    /// How long the agent took to start.
    pub(crate) start_took: Duration,
    pub(crate) lab: Lab,
}

impl Stage {
    pub(crate) fn raise(policies: &Path, report: &mut Report) -> Result<Self> {
        let programs = Programs::find()?;
        let lab = Lab::up(LabOptions { metadata: false, ..LabOptions::default() })?;
        signals::remove_labs_at_the_end(|| {})?;
        by_hand::serve_metadata(&lab)?;
        let servers = start_servers(&lab)?;
        report.check("the reference topology is up", Ok(format!("lab {}", lab.name())));
        let copy = lab.directory().join("policies");
        copy_policies(policies, &copy)?;
        let config = AgentConfig::new(&copy);
        let start = Instant::now();
        let agent = lab.agent(AgentOptions { programs, config });
        let start_took = start.elapsed();
        let ready = agent
            .as_ref()
            .map(|_| format!("ready after {:.1} s", start_took.as_secs_f64()))
            .map_err(ToString::to_string);
        report.check(&format!("the agent runs the policies of {}", policies.display()), ready);
        Ok(Self { agent: agent?, servers, policies: copy, start_took, lab })
    }

    /// Prints the drops by reason and the top flows, as an operator sees them.
    pub(crate) fn show_counters(&self, report: &Report) -> Result<(), LabError> {
        report.show("Drops by reason (`fwctl drops`)", &self.agent.fwctl(&["drops"])?.success()?);
        report.show("Top flows (`fwctl flows`)", &self.agent.fwctl(&["flows", "--limit", "10"])?.success()?);
        Ok(())
    }

    /// Leaves everything up.
    pub(crate) fn keep(self) {
        let name = self.lab.name().to_owned();
        let socket = self.agent.socket();
        self.agent.keep();
        self.servers.into_iter().for_each(Running::leave);
        self.lab.keep();
        println!("\nThe lab is left up. `fwctl --socket {} status` asks the agent,", socket.display());
        println!("`fw-lab exec --name {name} ws -- COMMAND` runs a command on a host,");
        println!("`fw-lab down --name {name}` removes it all.");
    }
}

fn start_servers(lab: &Lab) -> Result<Vec<Running>> {
    let own = std::env::current_exe().context("find the running program")?;
    let own = own.to_str().context("the program's path is not text")?;
    let line = [&[own, "serve"], SERVERS.as_slice()].concat();
    let servers = [PLC, WS, OT, IT].map(|host| lab.spawn(host.node, &line));
    Ok(servers.into_iter().collect::<Result<_, _>>()?)
}

/// Copies the policies, because the demo edits them.
fn copy_policies(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("create {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("read the policies in {}", from.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().filter(|_| path.extension().is_some_and(|extension| extension == "toml"));
        if let Some(name) = name {
            fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
