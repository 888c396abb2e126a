//! What a rule set costs: to read, to compile, to look up.

use std::time::{Duration, Instant};

use fw_policy::{Compiled, Diagnostics, Policy, SourceFile};
use time::OffsetDateTime;

use super::RuleSet;

/// How long each step from text to tables took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    /// Parsing and validation.
    pub load: Duration,
    /// Compilation.
    pub compile: Duration,
}

/// Takes policy files to tables, and measures the steps.
///
/// # Errors
/// What the policy language says of the files.
pub fn compile(files: &[SourceFile]) -> Result<(Policy, Compiled, Steps), Diagnostics> {
    let start = Instant::now();
    let policy = fw_policy::load(files)?;
    let load = start.elapsed();
    let start = Instant::now();
    let compiled = policy.compile(&RuleSet::binding(), OffsetDateTime::UNIX_EPOCH)?;
    Ok((policy, compiled, Steps { load, compile: start.elapsed() }))
}
