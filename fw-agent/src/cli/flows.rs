//! `fwctl flows`.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::ask;
use super::output::{Format, Grid, duration, or_dash, print};
use crate::api::answers::{FlowRow, Flows};
use crate::api::request::{FlowFilter, Request};

/// Which flows.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The most flows to show.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// A zone at either end.
    #[arg(long)]
    zone: Option<String>,
    /// An address at either end.
    #[arg(long)]
    addr: Option<IpAddr>,
    /// A port at either end.
    #[arg(long)]
    port: Option<u16>,
    /// A protocol's name or number.
    #[arg(long)]
    protocol: Option<String>,
    /// A state's name, such as established.
    #[arg(long)]
    state: Option<String>,
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let request = Request::Flows(FlowFilter {
        limit: Some(arguments.limit),
        zone: arguments.zone.clone(),
        addr: arguments.addr,
        port: arguments.port,
        protocol: arguments.protocol.clone(),
        state: arguments.state.clone(),
    });
    ask(socket, &request, output, "flows", |flows: Flows| show(&flows))
}

fn show(flows: &Flows) -> std::io::Result<()> {
    let headings =
        ["PROTOCOL", "SOURCE", "DESTINATION", "ZONES", "STATE", "RULE", "OUT BYTES#", "BACK BYTES#", "AGE#", "IDLE#"];
    let mut grid = Grid::new(&headings);
    for flow in &flows.flows {
        grid.row(row(flow));
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

fn end(addr: IpAddr, port: Option<u16>) -> String {
    match (addr, port) {
        (IpAddr::V6(addr), Some(port)) => format!("[{addr}]:{port}"),
        (addr, Some(port)) => format!("{addr}:{port}"),
        (addr, None) => addr.to_string(),
    }
}
