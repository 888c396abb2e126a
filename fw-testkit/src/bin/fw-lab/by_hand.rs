//! `fw-lab up`, `down`, `exec` and `list`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use fw_testkit::lab::{self, ENIS, Forwarding, Lab, LabOptions, Node};
use fw_testkit::netns::NetNs;

/// The name of the lab that the commands mean when none is given.
const DEFAULT_NAME: &str = "ofw";

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The lab's name: 1 to 24 letters and digits.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// MTU of every link, in bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Lets the kernel forward in place of the firewall, without any filter.
    #[arg(long)]
    kernel_forwarding: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Down {
    /// The lab's name.
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Exec {
    /// The lab's name.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// The node, such as `fw`, `plc`, `ws`, `it`, `ot`.
    node: String,
    /// The command.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

pub(crate) fn up(arguments: &Up) -> anyhow::Result<ExitCode> {
    let forwarding = if arguments.kernel_forwarding { Forwarding::Kernel } else { Forwarding::Agent };
    let name = Some(arguments.name.clone());
    let lab = Lab::up(LabOptions { name, mtu: arguments.mtu, forwarding, metadata: false })?;
    serve_metadata(&lab)?;
    let name = lab.name().to_owned();
    lab.keep();
    println!("lab {name} is up; its nodes:");
    for node in Node::ALL {
        println!("  {node:<18} ip netns exec {name}-{node} …");
    }
    println!("`fw-lab exec --name {name} NODE -- COMMAND` runs a command, `fw-lab down --name {name}` removes the lab");
    Ok(ExitCode::SUCCESS)
}

/// Starts instance metadata as processes of their own, which outlive this one.
pub(crate) fn serve_metadata(lab: &Lab) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("find the running program")?;
    let own = own.to_str().context("the program's path is not text")?;
    let endpoint = format!("metadata={}:80", lab::METADATA);
    for eni in ENIS {
        lab.spawn(eni.router, &[own, "serve", &endpoint])?.leave();
    }
    Ok(())
}

pub(crate) fn down(arguments: &Down) -> anyhow::Result<ExitCode> {
    let names = match &arguments.name {
        Some(name) => vec![name.clone()],
        None => lab::leftover(),
    };
    for name in names {
        if !lab::names().contains(&name) && NetNs::names_with_prefix(&format!("{name}-")).is_empty() {
            bail!("there is no lab {name}");
        }
        lab::remove(&name);
        println!("lab {name} is removed");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn exec(arguments: &Exec) -> anyhow::Result<ExitCode> {
    let Some(node) = Node::from_name(&arguments.node) else {
        let known: Vec<&str> = Node::ALL.iter().map(|node| node.name()).collect();
        bail!("there is no node {:?}; there are: {}", arguments.node, known.join(", "));
    };
    let namespace = NetNs::open(&format!("{}-{node}", arguments.name))?;
    let (program, rest) = arguments.command.split_first().context("a command is needed")?;
    let status = namespace.command(program)?.args(rest).status().with_context(|| format!("run {program}"))?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

pub(crate) fn list() -> anyhow::Result<ExitCode> {
    lab::names().iter().for_each(|name| println!("{name}"));
    Ok(ExitCode::SUCCESS)
}
