//! `fwctl apply`, `fwctl confirm` and `fwctl rollback`: another policy, and the way back.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::exit;
use super::output::{self, Format, or_dash, print};
use crate::api::change::{ApplyWish, Changed, ConfirmWish, Outcome, RollbackWish};
use crate::api::client;
use crate::api::request::Request;
use crate::config::duration;

/// How to apply.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Go back after this time, such as 10m, unless it is confirmed.
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm: Option<NonZeroU32>,
    /// Also what was rolled back.
    #[arg(long)]
    again: bool,
}

/// What to confirm.
#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// The revision that is meant; another one is not confirmed.
    revision: Option<u64>,
}

/// Where to go.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The revision, as `fwctl history` lists it; what was in force before without.
    revision: Option<u64>,
}

fn time(text: &str) -> Result<NonZeroU32, String> {
    let seconds = duration::seconds(text).and_then(NonZeroU32::new);
    seconds.ok_or_else(|| "expected a number and one of s, m, h and d, such as 10m".to_owned())
}

pub(super) fn apply(arguments: &Apply, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let wish = ApplyWish { confirm_seconds: arguments.confirm, again: arguments.again, told: told() };
    ask(&Request::Apply(wish), socket, output)
}

pub(super) fn confirm(arguments: &Confirm, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(&Request::Confirm(ConfirmWish { revision: arguments.revision, told: told() }), socket, output)
}

pub(super) fn roll_back(arguments: &Rollback, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    ask(&Request::Rollback(RollbackWish { revision: arguments.revision, told: told() }), socket, output)
}

/// For whom sudo has started this: the agent sees root.
fn told() -> Option<String> {
    let user = std::env::var("SUDO_USER").ok()?;
    Some(std::env::var("SUDO_UID").map_or_else(|_| user.clone(), |uid| format!("{user} ({uid})")))
}

fn ask(request: &Request, socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let answer = client::ask(socket, request)?;
    let shown = output.json(&answer, "")?;
    let changed: Changed = client::typed(answer)?.body;
    if let Some(problem) = &changed.problem {
        output::tell(problem)?;
    }
    if !shown {
        describe(&changed).iter().try_for_each(|line| print(line))?;
    }
    Ok(ExitCode::from(code(changed.result)))
}

fn describe(changed: &Changed) -> Vec<String> {
    let digest = changed.digest.as_deref().map(|digest| &digest[..12.min(digest.len())]);
    let policy = format!(
        "revision {} (digest {}, {} tests passed, epoch {})",
        or_dash(changed.revision),
        or_dash(digest),
        or_dash(changed.tests_passed),
        changed.epoch
    );
    let mut lines = vec![match changed.result {
        Outcome::Applied => format!("applied: {policy} is in force"),
        Outcome::OnTrial => format!("applied, to be confirmed: {policy} is in force"),
        Outcome::Unchanged => format!("unchanged: {policy} was in force already"),
        Outcome::Confirmed => format!("confirmed: {policy} stays"),
        Outcome::RolledBack => {
            format!("rolled back: {policy} is in force again. Flows that the other one has cut are not open again")
        }
        Outcome::Invalid | Outcome::TestsFailed | Outcome::Refused | Outcome::NotConfirmed | Outcome::Failed => {
            format!("nothing was changed: {policy} is in force")
        }
    }];
    if let (Some(by), Some(left)) = (&changed.confirm_by, changed.seconds_left) {
        let (left, previous) = (output::duration(left), or_dash(changed.previous));
        lines.push(if changed.witnesses.is_empty() {
            format!("`fwctl confirm` keeps it; without, revision {previous} is in force again in {left}, at {by}")
        } else {
            let witnesses = changed.witnesses.join(", ");
            format!(
                "it stays if the probes {witnesses} are alive in {left}, at {by}; when one dies, revision {previous} is in force again. \
                 `fwctl confirm` keeps it at once"
            )
        });
    }
    lines
}

const fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Applied | Outcome::OnTrial | Outcome::Unchanged | Outcome::Confirmed | Outcome::RolledBack => 0,
        Outcome::Refused | Outcome::Failed => 1,
        Outcome::Invalid => exit::POLICY_INVALID,
        Outcome::TestsFailed => exit::TESTS_FAILED,
        Outcome::NotConfirmed => exit::NOT_CONFIRMED,
    }
}
