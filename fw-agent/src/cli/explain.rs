//! `fwctl policy explain`: what becomes of one packet, from files or, with `--live`, from the running firewall.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use fw_common::abi::policy::Action;
use fw_common::wire::Packet;
use fw_policy::explain::{Candidate, Conclusion, Explanation, Ingress, Question, place};
use fw_policy::{Compiled, Mode, RuleInfo};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{Format, or_dash, print, tell};
use super::policy::{self, Checked, Source};
use super::{ask, exit};
use crate::api::request::Request;
use crate::explain::frame::Description;
use crate::explain::live::{LiveAnswer, LiveQuestion, Observing};

/// What is to be explained.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policy directory; the running firewall has its policy loaded.
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    directory: Option<std::path::PathBuf>,
    /// Compile for the interfaces of this agent.toml; each zone has an interface of its own without.
    #[arg(long, conflicts_with = "live")]
    config: Option<std::path::PathBuf>,
    /// Take the lists of feeds from this directory, NAME.list each; without, feeds are empty.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "live")]
    feeds: Option<std::path::PathBuf>,
    /// Ask the running firewall: its program says, on its loaded tables; nothing is sent, counted or opened.
    #[arg(long)]
    live: bool,
    /// The packet comes in by an interface of this zone; `local` is the firewall itself.
    #[arg(long, value_name = "ZONE", required_unless_present = "interface", conflicts_with = "interface")]
    from: Option<String>,
    /// The packet comes in by this interface.
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// The zone that it goes to, where several are possible; `local` is the firewall itself.
    #[arg(long, value_name = "ZONE", conflicts_with = "live")]
    to: Option<String>,
    #[command(flatten)]
    packet: Description,
    /// Whether it opens a flow, or belongs to one.
    #[arg(long, value_enum, default_value_t = FlowState::New, conflicts_with = "live")]
    state: FlowState,
    /// The moment, RFC 3339; now without.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "live")]
    at: Option<OffsetDateTime>,
    /// List every rule, not only those in front of the one that decides.
    #[arg(long, conflicts_with = "live")]
    all: bool,
}

/// What the flow table knows of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FlowState {
    /// Nothing.
    New,
    /// Its flow is open.
    Established,
}

pub(super) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{error}: write 2026-12-01T08:00:00Z"))
}

pub(super) fn run(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let Some(directory) = &arguments.directory else { return live(arguments, socket, output) };
    let packet = match arguments.packet.packet() {
        Ok(packet) => packet,
        Err(error) => return usage(&error.to_string()),
    };
    let source = Source { directory, config: arguments.config.as_deref(), feeds: arguments.feeds.as_deref() };
    let now = arguments.at.unwrap_or_else(OffsetDateTime::now_utc);
    let Checked { policy, compiled, .. } = match policy::compile_at(source, now, output, "explain")? {
        Ok(checked) => checked,
        Err(code) => return Ok(code),
    };
    let question = question(arguments, packet);
    let explanation = match policy.explain(&compiled, &question) {
        Ok(explanation) => explanation,
        Err(error) => return usage(&error.to_string()),
    };
    if !output.json(&as_json(&explanation, &compiled), "rules")? {
        show(&explanation, &compiled)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn usage(problem: &str) -> anyhow::Result<ExitCode> {
    tell(&format!("error: {problem}"))?;
    Ok(ExitCode::from(exit::USAGE))
}

fn question(arguments: &Arguments, packet: Packet) -> Question {
    // One of the two is there: clap sees to it.
    let from = match (&arguments.interface, &arguments.from) {
        (Some(interface), _) => Ingress::Interface(interface.clone()),
        (None, zone) => Ingress::Zone(zone.clone().unwrap_or_default()),
    };
    let established = arguments.state == FlowState::Established;
    Question { from, to: arguments.to.clone(), packet, established, all: arguments.all }
}

fn as_json(explanation: &Explanation, compiled: &Compiled) -> Value {
    let steps = explanation.steps.iter().map(
        |step| json!({"step": step.stage.name(), "drop": step.drop.map(|reason| reason.name()), "found": step.found}),
    );
    let rules = explanation.candidates.iter().filter_map(|candidate| {
        let info = rule(compiled, candidate.position)?;
        let mismatch = candidate.mismatch.as_ref();
        Some(json!({
            "rule": info.id,
            "place": place(info).to_string(),
            "action": info.action.name(),
            "mode": info.mode.name(),
            "level": info.log,
            "matches": mismatch.is_none(),
            "mismatch": mismatch.map(|(field, _)| field.name()),
            "has": mismatch.map(|(_, has)| has),
        }))
    });
    let observing = explanation.observing.iter().filter_map(|position| {
        let info = rule(compiled, *position)?;
        Some(json!({"rule": info.id, "place": place(info).to_string(), "would": info.action.name()}))
    });
    let (verdict, reason, by) = verdict(explanation, compiled);
    json!({
        "schema": "fwctl.policy-explain/1",
        "verdict": verdict,
        "reason": reason,
        "rule": by.map(|rule| &rule.id),
        "level": by.and_then(|rule| rule.log),
        "place": by.map(|rule| place(rule).to_string()),
        "steps": steps.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "omitted": explanation.omitted,
        "observing": observing.collect::<Vec<_>>(),
    })
}

/// The action, the reason to drop, and the rule that has decided.
fn verdict<'c>(
    explanation: &Explanation,
    compiled: &'c Compiled,
) -> (&'static str, Option<&'static str>, Option<&'c RuleInfo>) {
    match explanation.conclusion {
        Conclusion::Host => ("host", None, None),
        Conclusion::Dropped(reason) => (Action::Drop.name(), Some(reason.name()), None),
        Conclusion::Decided { action, rule: by, drop } => {
            (action.name(), drop.map(|reason| reason.name()), rule(compiled, by))
        }
    }
}

fn rule(compiled: &Compiled, position: u32) -> Option<&RuleInfo> {
    compiled.rules.get(position as usize)
}

fn show(explanation: &Explanation, compiled: &Compiled) -> std::io::Result<()> {
    for step in &explanation.steps {
        let end = step.drop.map(|reason| format!(" [{}]", reason.name())).unwrap_or_default();
        if step.stage == fw_policy::explain::Stage::Policy {
            show_rules(explanation, compiled)?;
        }
        print(&format!("{:<12}{}{end}", step.stage.name(), step.found))?;
    }
    let (verdict, reason, by) = verdict(explanation, compiled);
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let logged = by.and_then(|rule| rule.log).map(|level| format!(", logged as {}", level.name())).unwrap_or_default();
    let by = by.map(|rule| format!(" by `{}`, {}", rule.id, place(rule))).unwrap_or_default();
    print(&format!("{:<12}{verdict}{reason}{by}{logged}", "verdict"))
}

fn show_rules(explanation: &Explanation, compiled: &Compiled) -> std::io::Result<()> {
    if explanation.omitted > 0 {
        print(&format!("{:<12}… {} rules further in front (--all lists them)", "", explanation.omitted))?;
    }
    for Candidate { position, mismatch } in &explanation.candidates {
        let Some(info) = rule(compiled, *position) else { continue };
        let why = match mismatch {
            Some((field, has)) => format!("no: its {} is {has}", field.name()),
            None if info.mode == Mode::Observe => format!("observes: would {}", info.action.name()),
            None => "matches".to_owned(),
        };
        print(&format!("{:<12}`{}` ({}) {why}", "rule", info.id, place(info)))?;
    }
    Ok(())
}

fn live(arguments: &Arguments, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let question = LiveQuestion {
        packet: arguments.packet.clone(),
        zone: arguments.from.clone(),
        interface: arguments.interface.clone(),
    };
    ask(socket, &Request::Explain(question), output, "rules", |answer: LiveAnswer| show_live(&answer))
}

fn show_live(answer: &LiveAnswer) -> std::io::Result<()> {
    let from = or_dash(answer.from_zone.as_ref());
    print(&format!("{:<12}comes in by {}, from zone {from}", "source", answer.interface))?;
    if let Some(state) = &answer.flow {
        let who = if answer.reply { "its responder" } else { "its originator" };
        print(&format!("{:<12}belongs to a flow that is {state}, sent by {who}", "flow"))?;
    }
    if let Some(state) = &answer.opens {
        let full = if answer.table_full { "; the table is full, so another flow must give way" } else { "" };
        print(&format!("{:<12}would open a flow ({state}){full}", "flow"))?;
    }
    if let Some(zone) = &answer.to_zone {
        print(&format!("{:<12}goes to zone {zone}", "destination"))?;
    }
    if answer.asked {
        let limits = if answer.limited { ", whose limits were asked" } else { "" };
        let (rule, epoch) = (or_dash(answer.rule.as_ref()), answer.epoch);
        print(&format!("{:<12}epoch {epoch}: `{rule}` decides{limits}", "policy"))?;
    }
    for observing in &answer.observing {
        let Observing { rule, would } = observing;
        print(&format!("{:<12}`{rule}` observes: would {}", "", or_dash(would.as_ref())))?;
    }
    if answer.observing_more > 0 {
        print(&format!("{:<12}… {} more rules observe", "", answer.observing_more))?;
    }
    if let (Some(egress), Some(mtu)) = (&answer.egress, answer.mtu) {
        let next_hop = answer.next_hop_mac.as_ref().map(|mac| format!(" to {mac}")).unwrap_or_default();
        print(&format!("{:<12}leaves by {egress}{next_hop}, MTU {mtu}", "route"))?;
    }
    let reason = answer.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let by = answer.rule.as_ref().map(|rule| format!(" by `{rule}`")).unwrap_or_default();
    let place = answer.place.as_ref().map(|place| format!(", {place}")).unwrap_or_default();
    print(&format!("{:<12}{}{reason}{by}{place}", "verdict", answer.outcome.replace('_', " ")))
}
