//! The policy language: what the security team writes, checked and compiled into the tables that the data plane looks
//! up.
//!
//! ```text
//! SourceFile --parse--> Definitions --validate--> Policy --compile (with a Binding)--> Compiled
//! ```
//!
//! Each arrow reports all mistakes that it can see at once, as [`Diagnostics`] with file, line, column and what to write
//! instead. Nothing here does I/O or reads a clock: files come in as text, and the time is a parameter.
//!
//! ```
//! use fw_policy::{Binding, SourceFile, load};
//!
//! let text = r#"
//! version = 1
//! [defaults]
//! action = "drop"
//! [zones.ot]
//! networks = ["10.1.0.0/16"]
//! [zones.it]
//! networks = ["10.2.0.0/16"]
//! [[rule]]
//! id = "it-ot-modbus"
//! from = ["it"]
//! to = ["ot"]
//! services = ["tcp/502"]
//! action = "allow"
//! "#;
//! let policy = load(&[SourceFile { name: "policy.toml".into(), text: text.into() }])?;
//! let compiled = policy.compile(&Binding::offline(&policy), time::OffsetDateTime::UNIX_EPOCH)?;
//! assert!(compiled.rules.iter().any(|rule| rule.id == "it-ot-modbus" && rule.active));
//! # Ok::<(), fw_policy::Diagnostics>(())
//! ```

mod analysis;
mod binding;
mod compile;
mod diagnostic;
mod edit;
pub mod explain;
mod export;
mod feed;
mod format;
mod import;
mod include;
mod invariant;
mod json_schema;
mod level;
mod limits;
mod parse;
pub mod plan;
mod policy;
mod policy_test;
mod reader;
mod rename;
mod scope;
mod set;
mod source;
mod stats;
mod tables;
mod validate;

pub use analysis::{Described, ExamplePacket, PacketClass, PacketSet, Undecided, Verdict, Verdicts, WorkLimits};
pub use binding::{Binding, InterfaceBinding, ManagementBinding, ProbeBinding, ProbeService};
pub use compile::{
    AllowError, BrokenPromise, Compiled, Compiler, Field, LiveSets, Memory, Options, RuleInfo, RuleInfos,
    SetChangeError, ZoneInfo, check_allow,
};
pub use diagnostic::{
    Applicability, Code, DEFAULT_WIDTH, Diagnostic, Diagnostics, Example, ExampleVerdict, Explanation, Fix, Part,
    Place, Severity, sarif, sarif_of_problem,
};
pub use export::AuditRow;
pub use feed::{AddressList, Feed, FeedContents, FeedKey, FeedUrl, Integrity, ListError, UrlFault, is_bucket};
pub use format::format;
pub use import::{ImportError, ImportFormat, ImportNote, Imported, Outcome, import};
pub use include::{Absence, Directory, Subdirectory, gather};
pub use json_schema::json_schema;
pub use level::Level;
pub use limits::{Limits, MaxFlows, Per, Rate};
pub use policy::{Defaults, Mode, Policy, Rule, Zone, ZonePair};
pub use policy_test::{TestKind, TestResult};
pub use reader::Reader;
pub use rename::{RenameError, Renamed, rename};
pub use source::SourceFile;
pub use stats::{Expiring, Owner, PairServices, RuleCounts, SetSize, Stats, TableMemory};
pub use tables::{Column, Packed, Prefix, Tables, ZonePrefix};

/// Reads a policy: all of its files, in the order in which their rules are to be matched.
///
/// # Errors
///
/// Everything that is wrong in any of the files, at once.
pub fn load(files: &[SourceFile]) -> Result<Policy, Diagnostics> {
    reader::read(files).map(|(policy, _)| policy)
}
