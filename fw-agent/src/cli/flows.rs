//! `fwctl flows`: list, top and kill.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Subcommand};

use super::output::{Format, Grid, duration, or_dash, print};
use super::{Cli, ask};
use crate::address_range::AddressRange;
use crate::api::answers::{EndedFlows, FlowRow, Flows};
use crate::api::client;
use crate::api::request::{EndFlows, FlowFilter, FlowOrder, Request};
use crate::conditions::{ProtocolName, StateName};

/// Which flows, and what to do with them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: Listing,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Live flows, those with the most bytes first.
    List(Listing),
    /// The largest flows.
    Top(Top),
    /// End flows: their next packets are judged as if there had been no flow.
    Kill(Kill),
}

/// Conditions, all of which must hold.
#[derive(Debug, Args)]
struct Conditions {
    /// A zone at either end.
    #[arg(long)]
    zone: Option<String>,
    /// An address or prefix at either end.
    #[arg(long)]
    addr: Option<AddressRange>,
    /// A port at either end.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A protocol's name or number.
    #[arg(long)]
    protocol: Option<ProtocolName>,
    /// The rule that allows them.
    #[arg(long)]
    rule: Option<String>,
    /// A state's name, such as established.
    #[arg(long)]
    state: Option<StateName>,
}

impl Conditions {
    fn filter(&self, limit: Option<u32>, by: Option<FlowOrder>) -> FlowFilter {
        FlowFilter {
            limit,
            by,
            zone: self.zone.clone(),
            addr: self.addr,
            port: self.port,
            protocol: self.protocol,
            rule: self.rule.clone(),
            state: self.state,
        }
    }
}

/// Which flows are listed.
#[derive(Debug, Args)]
struct Listing {
    /// The most flows to show.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    conditions: Conditions,
}

/// Which flows are the largest.
#[derive(Debug, Args)]
struct Top {
    /// What makes a flow large: rate is measured for a second.
    #[arg(long, value_enum, default_value_t = FlowOrder::Rate)]
    by: FlowOrder,
    /// The most flows to show.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    conditions: Conditions,
}

/// Which flows are ended.
#[derive(Debug, Args)]
struct Kill {
    #[command(flatten)]
    conditions: Conditions,
    /// Every flow.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let list = |filter: FlowFilter| ask(socket, &Request::Flows(filter), output, "flows", |flows: Flows| show(&flows));
    match &arguments.command {
        None => list(arguments.list.conditions.filter(Some(arguments.list.limit), None)),
        Some(Command::List(listing)) => list(listing.conditions.filter(Some(listing.limit), None)),
        Some(Command::Top(top)) => list(top.conditions.filter(Some(top.limit), Some(top.by))),
        Some(Command::Kill(Kill { conditions, all })) => {
            if !all && conditions.filter(None, None).is_empty() {
                let message = "name the flows by a condition, such as `--addr 10.1.0.0/16`, or say `--all`";
                Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit();
            }
            let request = Request::EndFlows(EndFlows { flows: conditions.filter(None, None), all: *all });
            let answer = client::ask(socket, &request)?;
            let EndedFlows { ended, problem } = client::typed(answer.clone())?.body;
            if !output.json(&answer, "")? {
                print(&format!("{ended} flows ended"))?;
            }
            match problem {
                Some(problem) => Err(anyhow!("{ended} flows were ended, and the others were not: {problem}")),
                None => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn show(flows: &Flows) -> std::io::Result<()> {
    let mut headings = vec![
        "PROTOCOL",
        "SOURCE",
        "DESTINATION",
        "ZONES",
        "STATE",
        "RULE",
        "OUT BYTES#",
        "BACK BYTES#",
        "AGE#",
        "IDLE#",
    ];
    let with_rate = flows.flows.iter().any(|flow| flow.bytes_per_second.is_some());
    if with_rate {
        headings.push("BYTES/S#");
    }
    let mut grid = Grid::new(&headings);
    for flow in &flows.flows {
        let rate = with_rate.then(|| or_dash(flow.bytes_per_second));
        grid.row(row(flow).into_iter().chain(rate));
    }
    grid.print()?;
    print(&format!("{} of {} matching flows shown, {} live", flows.flows.len(), flows.matching, flows.total))
}

fn row(flow: &FlowRow) -> [String; 10] {
    let parties = &flow.parties;
    [
        flow.protocol.clone(),
        end(parties.src_addr, parties.src_port.or(parties.icmp_id)),
        end(parties.dst_addr, parties.dst_port),
        format!("{}>{}", or_dash(flow.from_zone.as_ref()), or_dash(flow.to_zone.as_ref())),
        flow.state.clone(),
        or_dash(flow.rule.as_ref()),
        flow.out.bytes.to_string(),
        flow.back.bytes.to_string(),
        duration(flow.age_seconds),
        duration(flow.idle_seconds),
    ]
}

pub(super) fn end(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
        (addr, Some(port)) => format!("{addr}:{port}"),
        (addr, None) => addr.to_string(),
    }
}
