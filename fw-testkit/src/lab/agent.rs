//! The real agent in the firewall's name space: started, killed, started again, and asked through `fwctl`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::agent_config::AgentConfig;
use super::node::Node;
use super::{Lab, owner};
use crate::error::While;
use crate::netns::NetNs;
use crate::process::{self, Finished, Running};
use crate::{LabError, client, wait};

/// Names the directory of the programs, in place of the build's own.
const PROGRAMS_VARIABLE: &str = "OUTPOST_FW_BIN_DIR";

/// How long the agent may take from its start until it is ready.
const START: Duration = Duration::from_secs(30);

/// How long the agent may take to end after SIGTERM.
const END: Duration = Duration::from_secs(10);

/// The pinned maps and programs of one lab's firewall.
pub(super) fn pin_directory(lab: &str) -> PathBuf {
    Path::new("/sys/fs/bpf").join(lab)
}

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `fw-agent`.
    pub agent: PathBuf,
    /// `fwctl`.
    pub fwctl: PathBuf,
}

impl Programs {
    /// Finds the programs: in the directory that `OUTPOST_FW_BIN_DIR` names, or else among the release builds of the target
    /// directory that the running program itself comes from.
    pub fn find() -> Result<Self, LabError> {
        let directory = match std::env::var_os(PROGRAMS_VARIABLE) {
            Some(directory) => PathBuf::from(directory),
            None => release_directory()?,
        };
        let found = Self { agent: directory.join("fw-agent"), fwctl: directory.join("fwctl") };
        for program in [&found.agent, &found.fwctl] {
            if !program.is_file() {
                let reason = format!("{} is not built; `cargo xtask build` does it", program.display());
                return Err(LabError::Unavailable(reason));
            }
        }
        Ok(found)
    }
}

impl Programs {
    /// The eBPF object of the benchmark, in the target directory of the programs.
    #[must_use]
    pub fn bench_object(&self) -> PathBuf {
        let target = self.agent.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        target.join("ebpf/fw-bench-ebpf.o")
    }
}

fn release_directory() -> Result<PathBuf, LabError> {
    let own = std::env::current_exe().during(|| "find the running program".to_owned())?;
    // A test is in TARGET/debug/deps, a program in TARGET/release.
    let target = own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    let target = target.ok_or_else(|| LabError::Unavailable(format!("{} is in no target directory", own.display())))?;
    Ok(target.join("release"))
}

/// How to run the agent.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Its programs.
    pub programs: Programs,
    /// Its configuration.
    pub config: AgentConfig,
}

/// The agent of a lab's firewall. Dropping the guard kills the agent; what it pinned goes with the lab.
#[derive(Debug)]
pub struct Agent {
    namespace: NetNs,
    directory: PathBuf,
    pins: PathBuf,
    programs: Programs,
    environment: Vec<(String, String)>,
    running: Option<Running>,
}

impl Lab {
    /// Starts the agent and waits until it is ready.
    pub fn agent(&self, options: AgentOptions) -> Result<Agent, LabError> {
        let mut agent = self.prepare_agent(options)?;
        agent.start()?;
        Ok(agent)
    }

    /// Writes the agent's configuration without starting it.
    pub fn prepare_agent(&self, options: AgentOptions) -> Result<Agent, LabError> {
        let agent = Agent::prepare(&self.name, self.ns(Node::Fw).name(), options.programs)?;
        agent.configure(&options.config)?;
        Ok(agent)
    }
}

impl Agent {
    /// An agent in a name space of a lab, without a configuration.
    pub(super) fn prepare(lab: &str, namespace: &str, programs: Programs) -> Result<Self, LabError> {
        mount_bpf_file_system()?;
        Ok(Self {
            namespace: NetNs::open(namespace)?,
            directory: owner::directory(lab),
            pins: pin_directory(lab),
            programs,
            environment: Vec::new(),
            running: None,
        })
    }

    /// Replaces the configuration file.
    pub fn configure(&self, config: &AgentConfig) -> Result<(), LabError> {
        self.write_configuration(&config.render(&self.directory))
    }

    /// Replaces the configuration file by any text.
    pub fn write_configuration(&self, text: &str) -> Result<(), LabError> {
        let path = self.configuration();
        fs::write(&path, text).during(|| format!("write {}", path.display()))
    }

    /// Sets variables of the environment of agents that are started from now on.
    pub fn set_environment(&mut self, variables: &[(&str, &str)]) {
        self.environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }

    /// The path of `agent.toml`.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("agent.toml")
    }

    /// The path of the flow log.
    #[must_use]
    pub fn flow_log(&self) -> PathBuf {
        self.directory.join("flows.jsonl")
    }

    /// The directory of pinned maps and programs.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("run/agent.sock")
    }

    /// Starts the agent and waits until it says that it is ready.
    pub fn start(&mut self) -> Result<(), LabError> {
        self.start_unready()?;
        self.wait_until_ready()
    }

    /// Starts the agent and returns at once.
    pub fn start_unready(&mut self) -> Result<(), LabError> {
        let mut command = self.command()?;
        self.running = Some(Running::start(&mut command, self.directory.join("agent.log"))?);
        Ok(())
    }

    /// Waits until `/readyz` answers 200; an agent that ends instead is an error that carries its log.
    pub fn wait_until_ready(&mut self) -> Result<(), LabError> {
        let probe: SocketAddr = (Ipv4Addr::LOCALHOST, 9477).into();
        let namespace = &self.namespace;
        let running = &mut self.running;
        let outcome = wait::until("the agent is ready", START, || {
            if let Some(status) = running.as_mut().and_then(Running::try_wait) {
                return Some(Err(status));
            }
            let answer = client::http_get(namespace, probe, "/readyz", Duration::from_secs(1));
            matches!(answer, Ok(Ok(answer)) if answer.status == 200).then_some(Ok(()))
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(self.failure(&status.to_string())),
            Err(timeout) => Err(self.failure(&timeout.to_string())),
        }
    }

    fn failure(&self, status: &str) -> LabError {
        LabError::Command { command: "fw-agent run".to_owned(), status: status.to_owned(), output: self.log() }
    }

    fn command(&self) -> Result<std::process::Command, LabError> {
        let mut command = self.namespace.command(&self.programs.agent)?;
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("run").arg("--config").arg(self.configuration()).arg("--pin-dir").arg(&self.pins);
        command
            .arg("--runtime-dir")
            .arg(self.directory.join("run"))
            .arg("--state-dir")
            .arg(self.directory.join("state"));
        Ok(command)
    }

    /// Runs another agent on the same directories to its end, which should come at once.
    pub fn run_second(&self) -> Result<Finished, LabError> {
        process::run(&mut self.command()?)
    }

    /// What the agent has logged since the lab was raised.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default()
    }

    /// Kills the agent with SIGKILL.
    pub fn kill(&mut self) -> Result<(), LabError> {
        if let Some(mut running) = self.running.take() {
            running.kill()?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits for the agent's end.
    pub fn terminate(&mut self) -> Result<Option<ExitStatus>, LabError> {
        let Some(mut running) = self.running.take() else { return Ok(None) };
        running.signal(Signal::TERM)?;
        running.wait(END).map(Some)
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        self.running.as_ref().map_or(Ok(()), |running| running.signal(signal))
    }

    /// How the agent ended, or `None` while it runs or is not started.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().and_then(Running::try_wait)
    }

    /// Runs `fw-agent detach`.
    pub fn detach(&self) -> Result<Finished, LabError> {
        let mut command = self.namespace.command(&self.programs.agent)?;
        command.arg("detach").arg("--pin-dir").arg(&self.pins).arg("--runtime-dir").arg(self.directory.join("run"));
        process::run(&mut command)
    }

    /// The program `fwctl`.
    #[must_use]
    pub fn fwctl_path(&self) -> &Path {
        &self.programs.fwctl
    }

    /// Runs `fwctl` against this agent.
    pub fn fwctl(&self, arguments: &[&str]) -> Result<Finished, LabError> {
        let mut command = self.namespace.command(&self.programs.fwctl)?;
        process::run(command.arg("--socket").arg(self.socket()).args(arguments))
    }

    /// Runs `fwctl capture`, beside the test.
    pub fn capture_in_background(&self, arguments: &[&str]) -> Result<Running, LabError> {
        self.fwctl_in_background("capture", &[&["capture", "-w", "-"], arguments].concat())
    }

    /// Runs `fwctl` beside the test; what it prints goes to a file with this name.
    pub fn fwctl_in_background(&self, name: &str, arguments: &[&str]) -> Result<Running, LabError> {
        let mut command = self.namespace.command(&self.programs.fwctl)?;
        command.arg("--socket").arg(self.socket()).args(arguments);
        Running::start(&mut command, self.directory.join(format!("{name}.log")))
    }

    /// Runs `fwctl … -o json` and reads what it prints.
    pub fn fwctl_json(&self, arguments: &[&str]) -> Result<serde_json::Value, LabError> {
        let printed = self.fwctl(&[arguments, &["-o", "json"]].concat())?.success()?;
        serde_json::from_str(&printed).map_err(|error| LabError::Answer {
            what: format!("fwctl {}", arguments.join(" ")),
            answer: format!("{error} in {printed}"),
        })
    }

    /// How many live flows match these options of `fwctl flows`.
    pub fn matching_flows(&self, options: &[&str]) -> Result<u64, LabError> {
        let flows = self.fwctl_json(&[&["flows"], options].concat())?;
        flows["matching"]
            .as_u64()
            .ok_or_else(|| LabError::Answer { what: "fwctl flows".to_owned(), answer: flows.to_string() })
    }

    /// Packets dropped so far for a reason, in the program's own counters.
    pub fn dropped(&self, reason: &str) -> Result<u64, LabError> {
        let drops = self.fwctl_json(&["drops"])?;
        let packets = drops["drops"].as_array().into_iter().flatten().find(|row| row["reason"] == reason);
        // A reason without packets may be left out; an answer without the list may not.
        match (packets, drops["drops"].is_array()) {
            (Some(row), _) => Ok(row["packets"].as_u64().unwrap_or(0)),
            (None, true) => Ok(0),
            (None, false) => Err(LabError::Answer { what: "fwctl drops".to_owned(), answer: drops.to_string() }),
        }
    }

    /// Lets the agent outlive the guard.
    pub fn keep(mut self) {
        if let Some(running) = self.running.take() {
            running.leave();
        }
    }
}

/// Mounts the BPF file system where it belongs, once per machine.
fn mount_bpf_file_system() -> Result<(), LabError> {
    let mounts = fs::read_to_string("/proc/self/mounts").during(|| "read /proc/self/mounts".to_owned())?;
    if !mounts.lines().any(|line| line.split(' ').nth(1) == Some("/sys/fs/bpf")) {
        process::run(std::process::Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))?.success()?;
    }
    Ok(())
}
