//! `fwctl zones`.

use std::path::Path;
use std::process::ExitCode;

use super::ask;
use super::output::{Format, Grid};
use crate::api::answers::Zones;
use crate::api::request::Request;

pub(super) fn run(socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(socket, &Request::Zones {}, output, "zones", |zones: Zones| show(&zones))
}

fn show(zones: &Zones) -> std::io::Result<()> {
    let mut grid = Grid::new(&["ZONE", "ID#", "INTERFACES", "FLOWS FROM#", "FLOWS TO#"]);
    for zone in &zones.zones {
        let interfaces = if zone.interfaces.is_empty() { "-".to_owned() } else { zone.interfaces.join(",") };
        grid.row([
            zone.name.clone(),
            zone.id.to_string(),
            interfaces,
            zone.flows_from.to_string(),
            zone.flows_to.to_string(),
        ]);
    }
    grid.print()
}
