//! Prints a reference document from the tables that the programs themselves use; `cargo xtask docs` writes them to `docs/`.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use fw_agent::dataplane::kernel::{Capacity, MAPS};
use fw_common::{ABI_VERSION, DropReason};

/// What both documents begin with.
const NOTICE: &str = "<!-- Written by `cargo xtask docs`; change what it is written from instead. -->";

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("which document? drop-reasons or maps")?;
    let document = match name.as_str() {
        "drop-reasons" => drop_reasons()?,
        "maps" => maps()?,
        unknown => bail!("there is no document {unknown:?}; there are drop-reasons and maps"),
    };
    print!("{document}");
    Ok(())
}

fn drop_reasons() -> Result<String> {
    let mut text = format!(
        "{NOTICE}\n\n# Drop reasons\n\n\
         Every packet that the firewall drops is counted under one of these {} reasons: `fwctl drops` shows them, \
         `/metrics` and the flow log carry them by name. The number is the index into the map `DROPS`, and stable within \
         an ABI version; this is version {ABI_VERSION}.\n\n\
         | number | name | what was seen |\n| ---: | --- | --- |\n",
        DropReason::COUNT
    );
    for reason in DropReason::ALL {
        writeln!(text, "| {} | `{}` | {} |", *reason as u8, reason.name(), cell(reason.explanation()))?;
    }
    Ok(text)
}

fn maps() -> Result<String> {
    let mut text = format!(
        "{NOTICE}\n\n# Maps\n\n\
         What each map of the eBPF program holds, its size, and what happens when it is full. Sizes are bytes. A pinned map \
         outlives the agent, in a directory that names the ABI version ({ABI_VERSION}). A map whose size is \"by policy\" \
         exists twice, once in each slot of a map of maps: see [0003](adr/0003-two-slots.md).\n\n\
         | map | type | key | value | entries | pinned | holds | when full |\n\
         | --- | --- | ---: | ---: | ---: | --- | --- | --- |\n"
    );
    for map in MAPS {
        let pinned = if map.pinned { "yes" } else { "no" };
        let (holds, when_full) = (cell(map.holds), cell(map.when_full));
        let (name, kind, entries) = (map.name, map.kind, entries(map.capacity));
        let (key, value) = (size(map.key_size), size(map.value_size));
        writeln!(text, "| `{name}` | {kind} | {key} | {value} | {entries} | {pinned} | {holds} | {when_full} |")?;
    }
    let (ipv4, ipv6) = (bytes_per_flow("4"), bytes_per_flow("6"));
    write!(
        text,
        "\nA flow takes {ipv4} bytes if it is IPv4, {ipv6} if it is IPv6. All of it is taken when the maps are made: with `max_flows = 1_000_000`, {} MiB for both families \
         together.\n",
        (ipv4 + ipv6) * 1_000_000 / (1024 * 1024)
    )?;
    Ok(text)
}

/// Bytes of keys and values for each flow of a family, over all the maps that are sized by the number of flows. Indices of
/// arrays are not stored.
fn bytes_per_flow(family: &str) -> usize {
    let of_family = MAPS.iter().filter(|map| map.name.ends_with(family));
    of_family
        .map(|map| match map.capacity {
            Capacity::Slots => map.value_size * 3 / 2,
            Capacity::Buckets => map.value_size * 3 / 32,
            Capacity::HalfOpen => map.value_size * 5 / 8,
            Capacity::Fixed(_) | Capacity::PerPolicy(_) => 0,
        })
        .sum()
}

fn entries(capacity: Capacity) -> String {
    match capacity {
        Capacity::Fixed(entries) => entries.to_string(),
        Capacity::Slots => "`max_flows` × 3/2".to_owned(),
        Capacity::Buckets => "`max_flows` × 3/32".to_owned(),
        Capacity::HalfOpen => "`max_half_open` × 81/32".to_owned(),
        Capacity::PerPolicy(1) => "by policy".to_owned(),
        Capacity::PerPolicy(maps) => format!("by policy, {maps} maps"),
    }
}

/// A size; nothing for maps that have no keys, and for values whose layout only the program knows.
fn size(bytes: usize) -> String {
    if bytes == 0 { String::new() } else { bytes.to_string() }
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
