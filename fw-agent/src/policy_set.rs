//! The policy directory: read whole, compiled, and tested, or refused.

mod directory;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fw_policy::{
    Binding, Compiled, Compiler, Diagnostic, Diagnostics, LiveSets, Options, Policy, Reader, SetChangeError,
    SourceFile, TestKind, TestResult,
};
use time::OffsetDateTime;

use crate::change::store::StoreError;
use crate::files::FileError;
use crate::lockout::Lockout;
use crate::text::NotText;

use directory::MAX_FILE;
pub use directory::{is_quiet, read, walk};

/// A policy that may be applied: it compiles and its own tests pass.
#[derive(Clone, Debug)]
pub struct CheckedPolicy {
    /// The tables and what they mean.
    pub compiled: Arc<Compiled>,
    /// What its author should look at.
    pub warnings: Vec<Diagnostic>,
    /// Number of `[[test]]`s and `[[invariant]]`s that passed.
    pub tests: usize,
}

/// Why a policy directory cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The directory or a file could not be read.
    #[error("{path}: {reason}")]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// What the kernel said, or what stands there instead of a file.
        reason: FileError,
    },
    /// A file system did not answer.
    #[error("{path}: reading it has taken longer than {} s", .patience.as_secs())]
    TooSlow {
        /// What was being read.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A file is not text.
    #[error("{path}:{place}")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where, and what stands there.
        place: NotText,
    },
    /// Names of policy files are not text.
    #[error("{path}: the names of policy files are UTF-8, and these are not: {}; rename them", names.join(", "))]
    NotNames {
        /// The directory.
        path: PathBuf,
        /// The names, with what is no ASCII in them as `\\xe9`.
        names: Vec<String>,
    },
    /// A file is larger than any policy.
    #[error("{path}: has {size} bytes, and a policy file at most {MAX_FILE}: split it, or move long lists elsewhere")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Somebody is still writing: the directory, or the lock file that says so.
    #[error("{0}: the files are still being changed")]
    InFlux(PathBuf),
    /// What its author says of the files is not so.
    #[error("{path}: {reason}")]
    Bundle {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What is applied could not be kept, or what was kept is not to be had.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The policy is invalid.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// An address set was not changed.
    #[error("{0}")]
    Set(SetChangeError),
    /// Two entries of `agent.toml` are one device.
    #[error("{0}")]
    NamedTwice(String),
    /// It would cut the access to the firewall itself.
    #[error("{0}")]
    Lockout(#[from] Lockout),
    /// Some of the policy's own tests failed, or some of its invariants do not hold.
    #[error("{}", describe_failures(.0))]
    TestsFailed(Vec<TestResult>),
}

/// Checks policies one after the other: what has not changed since the last one is neither read nor grouped again.
#[derive(Default)]
pub struct Checker {
    reader: Reader,
    compiler: Compiler,
}

impl Checker {
    /// Compiles the files for these interfaces and runs their tests. `running`: the policy in force, whose zones keep their
    /// numbers, so that the records of its flows name them rightly.
    ///
    /// # Errors
    /// If the policy is invalid, or its own tests fail.
    pub fn check(
        &mut self,
        files: &[SourceFile],
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> Result<CheckedPolicy, PolicyError> {
        let (policy, compiled) = self.compile(files, binding, now, running)?;
        let results = policy.run_tests(&compiled, now);
        checked(compiled, policy, results)
    }

    /// Compiles files that are in force already for another time, without their tests.
    ///
    /// # Errors
    /// If the policy is invalid.
    pub fn recompile(
        &mut self,
        files: &[SourceFile],
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> Result<CheckedPolicy, PolicyError> {
        let (policy, compiled) = self.compile(files, binding, now, running)?;
        Ok(CheckedPolicy { compiled: Arc::new(compiled), warnings: policy.warnings().to_vec(), tests: 0 })
    }

    fn compile(
        &mut self,
        files: &[SourceFile],
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> Result<(&Policy, Compiled), PolicyError> {
        let policy = self.reader.load(files).map_err(PolicyError::Invalid)?;
        let compiled = self.compiler.compile(policy, binding, now, &options(running)).map_err(PolicyError::Invalid)?;
        Ok((policy, compiled))
    }
}

/// Gives an address set of a policy that is in force other contents, and runs the policy's tests on the result. Rules, pairs
/// and lists are not compiled again. The result is applied as any other policy: no packet is judged by half of a list.
///
/// # Errors
/// If there is no such set, if the tables would be too large, or if tests fail; the last leaves `live` changed, so that
/// the caller replaces the set again, by what it was.
pub fn replace_set(
    live: &mut LiveSets,
    name: &str,
    prefixes: impl Iterator<Item = (IpAddr, u8)>,
    now: OffsetDateTime,
) -> Result<CheckedPolicy, PolicyError> {
    live.replace(name, prefixes).map_err(PolicyError::Set)?;
    let compiled = live.compiled().clone();
    let results = live.policy().run_tests(&compiled, now);
    checked(compiled, live.policy(), results)
}

fn checked(compiled: Compiled, policy: &Policy, results: Vec<TestResult>) -> Result<CheckedPolicy, PolicyError> {
    let tests = results.len();
    let failed: Vec<_> = results.into_iter().filter(|result| !result.passed).collect();
    if !failed.is_empty() {
        return Err(PolicyError::TestsFailed(failed));
    }
    Ok(CheckedPolicy { compiled: Arc::new(compiled), warnings: policy.warnings().to_vec(), tests })
}

fn options(running: Option<&Compiled>) -> Options {
    let previous_zones = running.map(|running| running.zones.clone()).unwrap_or_default();
    Options { previous_zones, ..Options::default() }
}

fn describe_failures(failed: &[TestResult]) -> String {
    let describe = |result: &TestResult| {
        let kind = match result.kind {
            TestKind::Test => "test",
            TestKind::Invariant => "invariant",
        };
        format!("{}:{}: {kind} \"{}\": {}", result.file, result.line, result.name, result.message)
    };
    let lines: Vec<_> = failed.iter().map(describe).collect();
    format!("{} of the policy's own tests and invariants failed:\n{}", failed.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_that_does_not_hold_refuses_the_policy() {
        let check = |services: &str| {
            let text = format!(
                "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\n\
                 services = [\"{services}\"]\naction = \"allow\"\n\
                 [[invariant]]\ndeny_all = {{ from = [\"a\"], to = [\"a\"], services = [\"udp\"] }}\n"
            );
            let files = [SourceFile { name: "a.toml".to_owned(), text }];
            let binding = Binding::offline(&fw_policy::load(&files).unwrap());
            Checker::default().check(&files, &binding, OffsetDateTime::UNIX_EPOCH, None)
        };
        assert_eq!(check("tcp").unwrap().tests, 1);
        let refused = check("udp/53").unwrap_err().to_string();
        assert_eq!(
            refused,
            "1 of the policy's own tests and invariants failed:\na.toml:11: invariant \"deny_all from a to a\": `r` (a.toml:5) allows \
             a 1.0.0.1 > a 1.0.0.2, udp/53 from port 49152"
        );
    }

    #[test]
    fn a_replaced_set_is_tested_like_a_file() {
        let text = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[addresses]\nok = [\"10.0.0.0/8\"]\n\
                    [[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"@ok\"]\naction = \"allow\"\n\
                    [[test]]\nname = \"ok\"\nexpect = \"allow\"\npacket = { from = \"a\", to = \"a\", src = \"10.0.0.1\", \
                    dst = \"10.0.0.2\", service = \"tcp/80\" }\n";
        let policy = fw_policy::load(&[SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }]).unwrap();
        let (binding, now) = (Binding::offline(&policy), OffsetDateTime::UNIX_EPOCH);
        let mut live = LiveSets::new(policy, &binding, now, &Options::default()).unwrap();
        let mut replace = |name: &str, prefix: &str| {
            let prefixes = [(prefix.parse::<IpAddr>().unwrap(), 24)];
            replace_set(&mut live, name, prefixes.into_iter(), now)
        };
        assert_eq!(replace("ok", "10.0.0.0").unwrap().tests, 1);
        assert!(matches!(replace("ok", "10.0.1.0"), Err(PolicyError::TestsFailed(failed)) if failed.len() == 1));
        assert!(matches!(replace("other", "10.0.1.0"), Err(PolicyError::Set(SetChangeError::UnknownSet(_)))));
    }
}
