//! The command line of `fw-agent`: here, and not with its program, so that `fwctl` writes its manual as well.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Stateful zone firewall: the agent.
#[derive(Debug, Parser)]
#[command(name = "fw-agent", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module.
    #[arg(long, default_value = "info", global = true)]
    pub log_level: String,
}

/// What the agent is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the firewall up and keep it as agent.toml and the policy say.
    Run(Run),
    /// Take the data plane off the interfaces; the forward chain stays, and drops.
    Detach(Detach),
    /// Check agent.toml.
    Check(Check),
}

/// Of `fw-agent run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration.
    #[arg(long, default_value = "/etc/outpost-fw/agent.toml")]
    pub config: PathBuf,
    /// Where the data plane is pinned.
    #[arg(long, default_value = "/sys/fs/bpf/outpost-fw")]
    pub pin_dir: PathBuf,
    /// The lock and the socket.
    #[arg(long, default_value = "/run/outpost-fw")]
    pub runtime_dir: PathBuf,
    /// The flow log.
    #[arg(long, default_value = "/var/lib/outpost-fw")]
    pub state_dir: PathBuf,
}

/// Of `fw-agent detach`.
#[derive(Debug, Args)]
pub struct Detach {
    /// Where the data plane is pinned.
    #[arg(long, default_value = "/sys/fs/bpf/outpost-fw")]
    pub pin_dir: PathBuf,
    /// The lock of a running agent, which would attach everything again.
    #[arg(long, default_value = "/run/outpost-fw")]
    pub runtime_dir: PathBuf,
}

/// Of `fw-agent check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration.
    #[arg(long, default_value = "/etc/outpost-fw/agent.toml")]
    pub config: PathBuf,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
