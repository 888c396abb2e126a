//! `fwctl reload`.

use std::path::Path;
use std::process::ExitCode;

use super::exit;
use super::output::{Format, print, tell};
use crate::api::answers::Reload;
use crate::api::client;
use crate::api::request::Request;
use crate::facts::Outcome;

pub(super) fn run(socket: &Path, output: Format) -> anyhow::Result<ExitCode> {
    let answer = client::ask(socket, &Request::Reload {})?;
    let shown = output.json(&answer, "")?;
    let reload: Reload = client::typed(answer)?.body;
    if !shown {
        print(&format!("{}; policy epoch {}", reload.result, reload.epoch))?;
        if !reload.waiting_for_restart.is_empty() {
            print(&format!("waiting for a restart: {}", reload.waiting_for_restart.join(", ")))?;
        }
    }
    match reload.problem {
        Some(problem) => {
            tell(&problem)?;
            let failed = [Outcome::Failed, Outcome::Held].iter().any(|outcome| reload.result == outcome.name());
            Ok(if failed { ExitCode::FAILURE } else { ExitCode::from(exit::POLICY_INVALID) })
        }
        None => Ok(ExitCode::SUCCESS),
    }
}
