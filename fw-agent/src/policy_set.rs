//! The policy directory: read whole, compiled, and tested, or refused.

mod directory;
mod live;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fw_policy::{
    AddressList, Binding, Compiled, Compiler, Diagnostic, Diagnostics, Feed, FeedContents, Options, Policy, Reader,
    SetChangeError, SourceFile, TestKind, TestResult,
};
use time::OffsetDateTime;

use crate::change::store::StoreError;
use crate::feeds::held::Holdings;
use crate::files::FileError;
use crate::lockout::Lockout;
use crate::text::NotText;

pub(crate) use directory::MAX_FILE;
pub use directory::{is_quiet, read, walk};
use live::Live;

/// A policy that may be applied: it compiles and its own tests pass.
#[derive(Clone, Debug)]
pub struct CheckedPolicy {
    /// The tables and what they mean.
    pub compiled: Arc<Compiled>,
    /// What its author should look at.
    pub warnings: Vec<Diagnostic>,
    /// Number of `[[test]]`s and `[[invariant]]`s that passed.
    pub tests: usize,
    /// Its feeds.
    pub feeds: Arc<[Feed]>,
    /// What was known of feeds when it was compiled, or what it was given since.
    pub contents: Arc<FeedContents>,
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
    /// The list of a feed was not taken.
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
    /// What is known of feeds.
    feeds: Arc<Holdings>,
    /// The policy whose list has changed last.
    live: Option<Live>,
}

impl Checker {
    /// A checker of policies whose feeds hold what is known there.
    #[must_use]
    pub fn new(feeds: Arc<Holdings>) -> Self {
        Self { feeds, ..Self::default() }
    }

    /// What is known of feeds.
    #[must_use]
    pub const fn feeds(&self) -> &Arc<Holdings> {
        &self.feeds
    }

    /// The feeds of a policy. What was kept of them is taken up from the disk.
    ///
    /// # Errors
    /// If the policy is invalid.
    pub fn feeds_of(&mut self, files: &[SourceFile]) -> Result<Arc<[Feed]>, PolicyError> {
        let policy = self.reader.load_with(files, &self.feeds.contents()).map_err(PolicyError::Invalid)?;
        let feeds = Arc::clone(policy.feeds());
        self.feeds.recall(&feeds);
        Ok(feeds)
    }

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
        let (policy, compiled, contents) = self.compile(files, binding, now, running)?;
        let results = policy.run_tests(&compiled, now);
        checked(compiled, policy, contents, results)
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
        let (policy, compiled, contents) = self.compile(files, binding, now, running)?;
        checked(compiled, policy, contents, Vec::new())
    }

    fn compile(
        &mut self,
        files: &[SourceFile],
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> Result<(&Policy, Compiled, Arc<FeedContents>), PolicyError> {
        self.feeds_of(files)?;
        let contents = self.feeds.contents();
        let policy = self.reader.load_with(files, &contents).map_err(PolicyError::Invalid)?;
        let compiled = self.compiler.compile(policy, binding, now, &options(running)).map_err(PolicyError::Invalid)?;
        Ok((policy, compiled, contents))
    }

    /// Gives a feed of the policy in force another list, and runs the policy's tests on the result. Rules, pairs and lists are not
    /// compiled again. The result is applied as any other policy: no packet is judged by half of a list. What is known of the feed is
    /// left to the caller to say: until then, the list is as if it had not come.
    ///
    /// # Errors
    /// If the tables would be too large, or tests fail.
    pub fn replace_feed(
        &mut self,
        files: &Arc<[SourceFile]>,
        (feed, list): (&Feed, &AddressList),
        binding: &Binding,
        now: OffsetDateTime,
        running: Option<&Compiled>,
    ) -> Result<CheckedPolicy, PolicyError> {
        let contents = self.feeds.contents();
        let live = match self.live.take().filter(|live| live.is_of(files, binding, now, running)) {
            Some(live) => live,
            None => {
                let policy = self.reader.load_with(files, &contents).map_err(PolicyError::Invalid)?.clone();
                let policy = (Arc::clone(files), policy);
                Live::new(policy, binding, now, &options(running), &contents).map_err(PolicyError::Invalid)?
            }
        };
        let live = self.live.insert(live);
        live.replace(&contents, &feed.key(), list).map_err(PolicyError::Set)?;
        let (policy, compiled) = (live.sets().policy(), live.sets().compiled().clone());
        let results = policy.run_tests(&compiled, now);
        let mut contents = FeedContents::clone(&contents);
        contents.insert(feed.key(), list.clone());
        checked(compiled, policy, Arc::new(contents), results)
    }
}

fn checked(
    compiled: Compiled,
    policy: &Policy,
    contents: Arc<FeedContents>,
    results: Vec<TestResult>,
) -> Result<CheckedPolicy, PolicyError> {
    let tests = results.len();
    let failed: Vec<_> = results.into_iter().filter(|result| !result.passed).collect();
    if !failed.is_empty() {
        return Err(PolicyError::TestsFailed(failed));
    }
    let (compiled, warnings, feeds) = (Arc::new(compiled), policy.warnings().to_vec(), Arc::clone(policy.feeds()));
    Ok(CheckedPolicy { compiled, warnings, tests, feeds, contents })
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
    use crate::feeds::store::Version;

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

    const TEXT: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n\
        [[feed]]\nname = \"ok\"\nurl = \"ok\"\n[[feed]]\nname = \"more\"\nurl = \"more\"\n\
        [[rule]]\nid = \"r\"\nfrom = [\"a\"]\nto = [\"a\"]\nsource = [\"@ok\", \"@more\"]\naction = \"allow\"\n\
        [[test]]\nname = \"not ours\"\nexpect = \"drop\"\npacket = { from = \"a\", to = \"a\", src = \"10.0.1.1\", \
        dst = \"10.0.0.2\", service = \"tcp/80\" }\n";

    /// Feeds by their names, each with what it holds.
    struct Fixture {
        checker: Checker,
        files: Arc<[SourceFile]>,
        binding: Binding,
        feeds: Arc<[Feed]>,
    }

    impl Fixture {
        fn new(text: &str) -> Self {
            let files: Arc<[SourceFile]> = [SourceFile { name: "a.toml".to_owned(), text: text.to_owned() }].into();
            let policy = fw_policy::load(&files).unwrap();
            let (binding, feeds) = (Binding::offline(&policy), Arc::clone(policy.feeds()));
            Self { checker: Checker::default(), files, binding, feeds }
        }

        fn list(text: &str) -> AddressList {
            AddressList::parse(text.as_bytes(), 10).unwrap()
        }

        fn know(&self, feed: usize, text: &str) {
            let (key, list) = (self.feeds[feed].key(), Self::list(text));
            self.checker.feeds.insert(key, list, Version::default(), OffsetDateTime::UNIX_EPOCH);
        }

        fn check(&mut self) -> Result<CheckedPolicy, PolicyError> {
            self.checker.check(&self.files, &self.binding, OffsetDateTime::UNIX_EPOCH, None)
        }

        fn replace(&mut self, feed: usize, text: &str) -> Result<CheckedPolicy, PolicyError> {
            let now = OffsetDateTime::UNIX_EPOCH;
            self.checker.replace_feed(&self.files, (&self.feeds[feed], &Self::list(text)), &self.binding, now, None)
        }
    }

    #[test]
    fn another_list_is_tested_like_a_file_and_compiles_to_the_same_tables() {
        let mut fixture = Fixture::new(TEXT);
        fixture.know(0, "10.0.0.0/24");
        let before = fixture.check().unwrap();
        assert_eq!((before.tests, before.feeds.len()), (1, 2));
        let changed = fixture.replace(0, "10.0.2.0/24\n10.0.3.7").unwrap();
        assert_ne!(changed.compiled.digest, before.compiled.digest);
        let refused = fixture.replace(0, "10.0.1.0/24");
        assert!(matches!(refused, Err(PolicyError::TestsFailed(failed)) if failed.len() == 1));
        // What was refused has left nothing behind, and what is known of other feeds is in what comes next.
        fixture.know(0, "10.0.2.0/24\n10.0.3.7");
        let more = fixture.replace(1, "10.0.4.0/24").unwrap();
        fixture.know(1, "10.0.4.0/24");
        let read = fixture.check().unwrap();
        assert_eq!(decided(&read, "10.0.4.9"), "r");
        for source in ["10.0.0.1", "10.0.1.1", "10.0.2.1", "10.0.3.7", "10.0.3.8", "10.0.4.9"] {
            assert_eq!(decided(&more, source), decided(&read, source), "{source}");
        }
    }

    fn decided(checked: &CheckedPolicy, src: &str) -> String {
        let [src, dst] = [src, "10.9.9.9"].map(|addr| addr.parse::<std::net::IpAddr>().unwrap().into());
        let query = fw_common::policy::Query {
            src_addr: src,
            dst_addr: dst,
            from_zone: 1,
            to_zone: 1,
            protocol: 6,
            src_port: 7,
            dst_port: 80,
        };
        let compiled = &checked.compiled;
        compiled.rules[compiled.tables.classify(&query).rule as usize].id.clone()
    }

    #[test]
    fn a_policy_says_what_its_lists_were() {
        let mut fixture = Fixture::new(TEXT);
        let before = fixture.check().unwrap();
        assert!(Arc::ptr_eq(&before.contents, &fixture.checker.feeds.contents()));
        fixture.know(1, "10.0.4.0/24");
        assert!(!Arc::ptr_eq(&before.contents, &fixture.checker.feeds.contents()), "it is to be compiled again");
        let after = fixture.check().unwrap();
        assert!(Arc::ptr_eq(&after.contents, &fixture.checker.feeds.contents()));
        assert_eq!((decided(&before, "10.0.4.9"), decided(&after, "10.0.4.9")), ("default".to_owned(), "r".to_owned()));
    }

    #[test]
    fn a_policy_takes_up_the_lists_that_were_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::feeds::store::FeedStore::at(dir.path());
        let mut fixture = Fixture::new(TEXT);
        store.keep(&fixture.feeds[0].key(), b"10.0.5.0/24\n", &Version::of(b"10.0.5.0/24\n", None)).unwrap();
        let source = Arc::new(crate::feeds::file::Files::below("/nonexistent".into()));
        fixture.checker = Checker::new(Arc::new(Holdings::new(store, source)));
        assert_eq!(decided(&fixture.check().unwrap(), "10.0.5.1"), "r");
    }
}
