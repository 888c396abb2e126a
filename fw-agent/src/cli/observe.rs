//! `fwctl observe`: what happens to flows, as it happens.

use std::io::{BufRead, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use fw_policy::Level;
use serde::Deserialize;
use serde_json::Value;

use super::flows::end;
use super::output::{Format, or_dash, print};
use crate::address_range::AddressRange;
use crate::api::client;
use crate::api::request::Request;
use crate::conditions::{self, ProtocolName, ReasonName};
use crate::live::event::{Event, Happening};
use crate::live::filter::{ObserveFilter, VERDICTS};

/// Which events, and for how long.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Go on until interrupted; without, for some seconds.
    #[arg(short, long)]
    follow: bool,
    /// How long, without --follow.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// End after so many events.
    #[arg(long)]
    count: Option<u64>,
    /// allow, drop, reject, deny for both of the latter, or observe for what rules that observe would have done.
    #[arg(long, value_parser = VERDICTS)]
    verdict: Option<String>,
    /// What happened.
    #[arg(long, value_enum)]
    event: Option<Happening>,
    /// Why a flow was denied or ended, such as policy or idle.
    #[arg(long)]
    reason: Option<ReasonName>,
    /// The rule that decided, or that observes.
    #[arg(long)]
    rule: Option<String>,
    /// What a rule logs as this severe, or worse: emergency, alert, critical, error, warning, notice, info, debug.
    #[arg(long, value_parser = level)]
    level: Option<Level>,
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
}

fn level(text: &str) -> Result<Level, String> {
    Level::from_name(text).ok_or_else(|| conditions::unknown("level", text, &Level::NAMES))
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let request = Request::Observe(ObserveFilter {
        verdict: arguments.verdict.clone(),
        event: arguments.event,
        reason: arguments.reason,
        rule: arguments.rule.clone(),
        level: arguments.level,
        zone: arguments.zone.clone(),
        addr: arguments.addr,
        port: arguments.port,
        protocol: arguments.protocol,
    });
    let mut events = client::stream(socket, &request)?;
    // Beyond what the clock can count is without end.
    let end = Instant::now().checked_add(Duration::from_secs(arguments.seconds)).filter(|_| !arguments.follow);
    if output == Format::Table {
        print(&line([
            "TIME",
            "EVENT",
            "VERDICT",
            "PROTO",
            "SOURCE",
            "DESTINATION",
            "ZONES",
            "RULE",
            "REASON",
            "OUT",
            "BACK",
        ]))?;
    }
    let (mut shown, mut text) = (0, String::new());
    while arguments.count.is_none_or(|count| shown < count) {
        if let Some(end) = end {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            events.get_ref().set_read_timeout(Some(left))?;
        }
        match events.read_line(&mut text) {
            Ok(0) => anyhow::bail!("the agent has ended"),
            // Time is up; what has come of a line is its beginning.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        shown += u64::from(show(&text, output)?);
        text.clear();
    }
    Ok(ExitCode::SUCCESS)
}

/// What the agent tells between the events.
#[derive(Deserialize)]
struct Lost {
    lost: u64,
}

/// Shows what the agent tells; whether it was an event.
fn show(text: &str, output: Format) -> anyhow::Result<bool> {
    let answer: Value = serde_json::from_str(text)?;
    let lost: Option<Lost> = serde_json::from_value(answer.clone()).ok();
    match output {
        Format::Jsonl => print(text.trim_end())?,
        Format::Json | Format::Sarif => print(&serde_json::to_string_pretty(&answer)?)?,
        Format::Table => match &lost {
            Some(Lost { lost }) => print(&format!("… {lost} events lost"))?,
            None => print(&row(&serde_json::from_value(answer)?))?,
        },
    }
    Ok(lost.is_none())
}

fn row(event: &Event) -> String {
    let parties = &event.parties;
    let time = event.at.split_once('T').map_or(event.at.as_str(), |(_, time)| time).trim_end_matches('Z');
    let count = |packets: u64, bytes: u64| if packets == 0 { "-".to_owned() } else { format!("{packets}/{bytes}B") };
    line([
        time,
        event.event.name(),
        &event.verdict,
        &event.protocol,
        &end(parties.src_addr, parties.src_port),
        &end(parties.dst_addr, parties.dst_port.or(parties.icmp_type.map(u16::from))),
        &format!("{}>{}", or_dash(event.from_zone.as_ref()), or_dash(event.to_zone.as_ref())),
        &or_dash(event.rule.as_ref()),
        &event.would.as_ref().map_or_else(|| or_dash(event.reason.as_ref()), |would| format!("would {would}")),
        &count(event.out.packets, event.out.bytes),
        &count(event.back.packets, event.back.bytes),
    ])
}

/// Columns of fixed width: what comes next is not known.
fn line(cells: [&str; 11]) -> String {
    const WIDTHS: [usize; 11] = [13, 8, 7, 6, 21, 21, 16, 20, 18, 12, 0];
    let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_a_loss_are_told_apart() {
        let lost: Result<Lost, _> = serde_json::from_str(r#"{"schema":"fwctl.observe/1","event":"lost","lost":12}"#);
        assert_eq!(lost.unwrap().lost, 12);
        let event = serde_json::json!({
            "schema": "fwctl.observe/1", "event": "ended", "at": "2026-12-01T12:00:00.250Z", "family": "ipv4",
            "protocol": "tcp", "src_addr": "10.1.1.20", "src_port": 40000, "dst_addr": "10.2.1.20", "dst_port": 502,
            "from_zone": "ot", "to_zone": "it", "verdict": "allow", "rule": "ot-001", "reason": "idle",
            "out": {"packets": 2, "bytes": 80}, "back": {"packets": 0, "bytes": 0},
        });
        assert!(serde_json::from_value::<Lost>(event.clone()).is_err());
        let shown = row(&serde_json::from_value(event).unwrap());
        assert!(shown.starts_with("12:00:00.250  ended    allow   tcp    10.1.1.20:40000"), "{shown}");
        assert!(shown.ends_with("ot-001               idle               2/80B        -"), "{shown}");
    }
}
