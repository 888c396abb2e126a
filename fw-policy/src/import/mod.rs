//! Rules of other firewalls as a policy, for `fwctl policy import`.
//!
//! In: what the other firewall prints. Out: a policy file, and a report of everything that could not be carried over. What comes
//! out allows nothing that went in as forbidden:
//!
//! - a rule that allows and cannot be expressed exactly is left out, with a comment in its place;
//! - a rule that forbids and cannot be expressed exactly forbids more than it did;
//! - what this firewall does anyway, such as letting replies pass, is implied and needs no rule.

mod chains;
mod draft;
mod iptables;
mod matching;
mod network_firewall;
mod nft;
mod security_groups;
mod suricata;

use serde::Serialize;

use crate::diagnostic::Diagnostics;
use crate::source::SourceFile;
use draft::Draft;

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// What `iptables-save` or `ip6tables-save` prints.
    IptablesSave,
    /// What `nft -j list ruleset` prints.
    Nft,
    /// Rules of AWS Network Firewall: as Suricata's, or what `describe-rule-group` answers.
    AwsNetworkFirewall,
    /// What `describe-security-groups` answers.
    AwsSecurityGroups,
}

/// A policy file, and what became of rules that are not in it as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The policy file; it is valid.
    pub policy: String,
    /// How many rules it has.
    pub rules: usize,
    /// What could not be carried over exactly, in the order of the input.
    pub notes: Vec<ImportNote>,
}

/// What became of a rule that is not in the policy as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportNote {
    /// The line of the input, from 1; `None` if it is about all of it.
    pub line: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
    /// The rule, as it was written or as it is called.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is not in the policy, which allows less without it.
    LeftOut,
    /// It is in the policy, and forbids more than it did.
    Stricter,
    /// This firewall does so anyway.
    Implied,
    /// Something that the input does not say was taken as stricter than it may have been.
    Assumed,
}

/// Why nothing is imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input is not what it is said to be.
    #[error("{0}")]
    NotThat(String),
    /// Chains that jump to chains are more rules than a policy has.
    #[error("chains jump to each other in a loop, or come to more than {0} rules when they are laid out")]
    TooMany(usize),
    /// What was made is not a policy.
    #[error("the rules are no valid policy here:\n{0}")]
    Invalid(Diagnostics),
}

/// Makes a policy of rules.
///
/// # Errors
///
/// If the input is not of this format, or its rules are too many.
pub fn import(format: ImportFormat, text: &str) -> Result<Imported, ImportError> {
    let mut draft = match format {
        ImportFormat::IptablesSave => iptables::read(text)?,
        ImportFormat::Nft => nft::read(text)?,
        ImportFormat::AwsNetworkFirewall => network_firewall::read(text)?,
        ImportFormat::AwsSecurityGroups => security_groups::read(text)?,
    };
    draft.notes.sort_by_key(|note| note.line);
    let Draft { notes, .. } = &draft;
    let notes = notes.clone();
    let file = SourceFile { name: "imported.toml".to_owned(), text: draft.to_toml() };
    let policy = crate::format(&[file]).map_err(ImportError::Invalid)?.remove(0);
    let loaded = crate::load(&[SourceFile { name: "imported.toml".to_owned(), text: policy.clone() }]);
    let rules = loaded.map_err(ImportError::Invalid)?.rules().len();
    Ok(Imported { policy, rules, notes })
}
