//! The policy directory: read whole, compiled, and tested, or refused.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fw_policy::{
    Binding, Compiled, Compiler, Diagnostic, Diagnostics, LiveSets, Options, Policy, Reader, SetChangeError,
    SourceFile, TestKind, TestResult,
};
use time::OffsetDateTime;

use crate::lockout::Lockout;
use crate::text::{self, NotText};

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
        /// What the kernel said.
        reason: io::Error,
    },
    /// A file is not text.
    #[error("{path}:{place}")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where, and what stands there.
        place: NotText,
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
    /// The policy is invalid.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// An address set was not changed.
    #[error("{0}")]
    Set(SetChangeError),
    /// It would cut the access to the firewall itself.
    #[error("{0}")]
    Lockout(#[from] Lockout),
    /// Some of the policy's own tests failed, or some of its invariants do not hold.
    #[error("{}", describe_failures(.0))]
    TestsFailed(Vec<TestResult>),
}

/// Reads the files of a policy directory in byte order of their names, without dot files.
///
/// The set is whole: if a name, size or time changes while it is read, or git is in the middle of an operation, it is
/// [`PolicyError::InFlux`], and the caller tries again.
pub fn read(directory: &Path) -> Result<Arc<[SourceFile]>, PolicyError> {
    if let Some(lock) = git_lock(directory) {
        return Err(PolicyError::InFlux(lock));
    }
    let listing = list(directory)?;
    let mut files = Vec::with_capacity(listing.len());
    for (name, _) in &listing {
        let path = directory.join(name);
        let bytes = fs::read(&path).map_err(|reason| unreadable(&path, reason))?;
        let text = text::decode(bytes).map_err(|place| PolicyError::NotText { path: path.clone(), place })?;
        files.push(SourceFile { name: name.clone(), text });
    }
    if list(directory)? != listing {
        return Err(PolicyError::InFlux(directory.to_owned()));
    }
    Ok(files.into())
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

/// What tells whether a file was changed.
type Version = (u64, u64, i64, i64);

/// The largest policy file that is read, in bytes: room for 100,000 rules, or for a list of a million prefixes.
const MAX_FILE: u64 = 64 << 20;

fn unreadable(path: &Path, reason: io::Error) -> PolicyError {
    PolicyError::Unreadable { path: path.to_owned(), reason }
}

fn list(directory: &Path) -> Result<Vec<(String, Version)>, PolicyError> {
    let mut listing = Vec::new();
    for entry in fs::read_dir(directory).map_err(|reason| unreadable(directory, reason))? {
        let entry = entry.map_err(|reason| unreadable(directory, reason))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !name.ends_with(".toml") {
            continue;
        }
        // Followed, because configuration managers install links.
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(|reason| unreadable(&path, reason))?;
        if metadata.is_file() && metadata.len() > MAX_FILE {
            return Err(PolicyError::TooLarge { path, size: metadata.len() });
        }
        if metadata.is_file() {
            listing.push((name, (metadata.len(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())));
        }
    }
    listing.sort();
    Ok(listing)
}

/// Whether no file has changed for a while, so that nobody is in the middle of copying a set.
pub fn is_quiet(directory: &Path, quiet: Duration) -> bool {
    let now = SystemTime::now();
    let changed = |(_, (_, _, seconds, _)): &(String, Version)| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(*seconds).unwrap_or_default());
        now.duration_since(at).is_ok_and(|age| age < quiet)
    };
    list(directory).is_ok_and(|listing| !listing.iter().any(changed))
}

/// How long git may hold its lock; an older one was left by a git that was killed.
const STALE_LOCK: Duration = Duration::from_secs(600);

/// git holds `index.lock` for as long as a checkout, merge or pull changes the working tree. One from before the last boot, or
/// that has not changed for long, holds nobody up.
fn git_lock(directory: &Path) -> Option<PathBuf> {
    let uptime = Duration::from_secs(u64::try_from(rustix::system::sysinfo().uptime).unwrap_or_default());
    let is_held = |lock: &PathBuf| {
        let modified = fs::metadata(lock).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        lock.exists() && age.is_none_or(|age| age < STALE_LOCK.min(uptime))
    };
    directory.ancestors().map(|ancestor| ancestor.join(".git/index.lock")).find(is_held)
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

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn files_come_in_byte_order_without_dot_files_and_others() {
        let dir = directory(&[("b.toml", "2"), ("B.toml", "1"), (".c.toml", "3"), ("d.toml~", "4"), ("notes.md", "5")]);
        let names: Vec<_> = read(dir.path()).unwrap().iter().map(|file| file.name.clone()).collect();
        assert_eq!(names, ["B.toml", "b.toml"]);
    }

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

    #[test]
    fn a_checkout_in_progress_is_waited_for() {
        let dir = directory(&[("a.toml", "")]);
        fs::create_dir(dir.path().join(".git")).unwrap();
        fs::write(dir.path().join(".git/index.lock"), "").unwrap();
        assert!(matches!(read(dir.path()), Err(PolicyError::InFlux(_))));
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_the_place() {
        let dir = directory(&[("a.toml", "version = 1\n")]);
        let refused = |text: &[u8]| {
            fs::write(dir.path().join("b.toml"), text).unwrap();
            read(dir.path()).unwrap_err().to_string()
        };
        let place = dir.path().join("b.toml").display().to_string();
        let latin1 = refused(b"version = 1\n# \xc3\xa9t\xe9 \n");
        assert!(latin1.starts_with(&format!("{place}:2:5: this is not UTF-8: \\xe9")), "{latin1}");
        assert!(refused(b"a\xe2\x82").starts_with(&format!("{place}:1:2: this is not UTF-8: \\xe2\\x82")));
        assert!(refused(b"\xff\xfe").starts_with(&format!("{place}:1:1: this is not UTF-8: \\xff")));
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = read(Path::new("/nowhere/policies")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/policies: No such file"), "{error}");
    }
}
