//! `fwctl rules hits` and `fwctl rules unused`: what rules have done since they were first counted.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::output::{Format, Grid, duration, or_dash, print};
use crate::api::answers::{RuleHitsAnswer, RuleHitsRow};
use crate::api::client;
use crate::api::request::Request;
use crate::config::duration::seconds;

/// Which rules.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What each rule has done since it was first counted, over restarts and new ids.
    Hits(Hits),
    /// Rules that have decided nothing for a time; those that are not counted for as long are told apart.
    Unused(Unused),
}

/// Which hits.
#[derive(Debug, Args)]
pub(super) struct Hits {
    /// Only rules that have decided something in this time, such as 24h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u32>,
    /// Rules that are no longer in the policy, too.
    #[arg(long)]
    gone: bool,
}

/// For how long.
#[derive(Debug, Args)]
pub(super) struct Unused {
    /// The time, such as 24h or 90d.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "90d")]
    since: u32,
}

fn time(text: &str) -> Result<u32, String> {
    seconds(text).ok_or_else(|| format!("`{text}` is no time: write 30m, 24h or 90d"))
}

pub(super) fn run(command: &Command, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let answer = client::typed::<RuleHitsAnswer>(client::ask(socket, &Request::RuleHits {})?)?.body;
    let RuleHitsAnswer { at, rules } = answer;
    let now = moment(&at).unwrap_or_else(OffsetDateTime::now_utc);
    match command {
        Command::Hits(Hits { since, gone }) => {
            let is_wanted = |rule: &RuleHitsRow| {
                (rule.current || *gone)
                    && since
                        .is_none_or(|since| rule.last_hit_at.as_deref().is_some_and(|hit| is_within(hit, since, now)))
            };
            hits(&rules.into_iter().filter(is_wanted).collect::<Vec<_>>(), &at, now, output)
        }
        Command::Unused(Unused { since }) => unused(&rules, *since, &at, now, output),
    }
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Whether a moment lies at most so many seconds back.
fn is_within(text: &str, since: u32, now: OffsetDateTime) -> bool {
    moment(text).is_some_and(|at| (now - at).whole_seconds() <= i64::from(since))
}

/// How long a rule has been counted.
fn age(rule: &RuleHitsRow, now: OffsetDateTime) -> String {
    let seconds = moment(&rule.first_counted_at).map(|first| (now - first).whole_seconds());
    or_dash(seconds.map(|seconds| duration(u64::try_from(seconds).unwrap_or(0))))
}

fn hits(rules: &[RuleHitsRow], at: &str, now: OffsetDateTime, output: Format) -> anyhow::Result<ExitCode> {
    if output.json(&json!({"schema": "fwctl.rule-hits/1", "at": at, "rules": rules}), "rules")? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut grid = Grid::new(&["RULE", "MODE", "HITS#", "BYTES#", "FLOWS#", "LAST HIT", "COUNTED FOR", "PLACE"]);
    for rule in rules {
        grid.row([
            rule.id.clone(),
            or_dash(rule.mode.as_ref()),
            rule.packets.to_string(),
            rule.bytes.to_string(),
            rule.flows.to_string(),
            or_dash(rule.last_hit_at.as_ref()),
            age(rule, now),
            if rule.current { or_dash(rule.place.as_ref()) } else { "(of an older policy)".to_owned() },
        ]);
    }
    grid.print()?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of a rule that has decided nothing in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// It was counted all the time.
    Unused,
    /// Who knows what was before.
    TooYoung,
}

/// Whether a rule of the policy has decided nothing for so many seconds, as far as that is known.
fn idle(rule: &RuleHitsRow, since: u32, now: OffsetDateTime) -> Option<Idle> {
    let was_hit = rule.last_hit_at.as_deref().is_some_and(|hit| is_within(hit, since, now));
    if !rule.current || rule.generated || was_hit {
        return None;
    }
    let is_young = moment(&rule.first_counted_at).is_none_or(|first| (now - first).whole_seconds() < i64::from(since));
    Some(if is_young { Idle::TooYoung } else { Idle::Unused })
}

fn unused(
    rules: &[RuleHitsRow],
    since: u32,
    at: &str,
    now: OffsetDateTime,
    output: Format,
) -> anyhow::Result<ExitCode> {
    let of = |kind: Idle| -> Vec<&RuleHitsRow> {
        rules.iter().filter(|rule| idle(rule, since, now) == Some(kind)).collect()
    };
    let (unused, too_young) = (of(Idle::Unused), of(Idle::TooYoung));
    let answer = json!({
        "schema": "fwctl.rules-unused/1",
        "at": at,
        "since_seconds": since,
        "unused": unused,
        "too_young": too_young,
    });
    if output.json(&answer, "unused")? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut grid = Grid::new(&["RULE", "STATE", "LAST HIT", "COUNTED FOR", "PLACE"]);
    for (rules, state) in [(&unused, "unused"), (&too_young, "too young to say")] {
        for rule in rules {
            let (last_hit, place) = (or_dash(rule.last_hit_at.as_ref()), or_dash(rule.place.as_ref()));
            grid.row([rule.id.clone(), state.to_owned(), last_hit, age(rule, now), place]);
        }
    }
    grid.print()?;
    let (since, young) = (duration(u64::from(since)), too_young.len());
    print(&format!("{} rules unused for {since}, {young} not counted for as long", unused.len()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-12-01T12:00:00.000Z";
    const DAY: u32 = 86_400;

    fn rule(first: &str, last_hit: Option<&str>) -> RuleHitsRow {
        RuleHitsRow {
            id: "ot-001".to_owned(),
            current: true,
            generated: false,
            mode: Some("enforce".to_owned()),
            place: None,
            first_counted_at: first.to_owned(),
            packets: 0,
            bytes: 0,
            flows: 0,
            last_hit_at: last_hit.map(str::to_owned),
        }
    }

    #[test]
    fn only_a_rule_that_was_counted_all_the_time_is_unused() {
        let now = moment(NOW).unwrap();
        let of = |rule: &RuleHitsRow| idle(rule, 90 * DAY, now);
        let old = "2026-01-01T00:00:00Z";
        assert_eq!(of(&rule(old, None)), Some(Idle::Unused));
        assert_eq!(of(&rule(old, Some("2026-08-01T00:00:00Z"))), Some(Idle::Unused));
        assert_eq!(of(&rule(old, Some("2026-11-30T00:00:00Z"))), None);
        assert_eq!(of(&rule("2026-11-01T00:00:00Z", None)), Some(Idle::TooYoung));
        assert_eq!(of(&RuleHitsRow { generated: true, ..rule(old, None) }), None);
        assert_eq!(of(&RuleHitsRow { current: false, ..rule(old, None) }), None);
        // The moment itself belongs to the time.
        let exactly = "2026-09-02T12:00:00Z";
        assert_eq!((now - moment(exactly).unwrap()).whole_seconds(), i64::from(90 * DAY));
        assert_eq!(of(&rule(exactly, None)), Some(Idle::Unused));
        assert_eq!(of(&rule(old, Some(exactly))), None);
    }

    #[test]
    fn times_are_written_as_in_policies() {
        assert_eq!(time("90d"), Ok(90 * DAY));
        assert!(time("90").is_err());
    }
}
