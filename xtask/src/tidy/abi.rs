//! The layouts that the eBPF program and the agent share do not change without their version.
//!
//! An agent adopts the maps that another build pinned if their `ABI_VERSION` is its own. So a changed layout with an
//! unchanged version would be read as something else. `fw-common/abi.lock` holds the version and a digest of the
//! sources that define the layouts.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::workspace::Workspace;

const LOCK: &str = "fw-common/abi.lock";
const LAYOUTS: &str = "fw-common/src/abi";
/// `Timeouts` and the numbers of `State` are part of the layouts, but live with the code that gives them meaning.
const STATES: &str = "fw-common/src/conntrack/state.rs";

/// The version and the digest that belong together.
#[derive(Debug, PartialEq, Eq)]
struct Abi {
    version: u32,
    digest: String,
}

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let path = workspace.root.join(LOCK);
    let locked = if path.exists() { Some(Abi::parse(&fs::read_to_string(path)?)?) } else { None };
    Ok(complaint(locked.as_ref(), &Abi::of_sources(&workspace.root)?).into_iter().collect())
}

/// Writes the lock; refuses to cover a change up that did not raise the version.
pub(super) fn lock(workspace: &Workspace) -> Result<()> {
    let path = workspace.root.join(LOCK);
    let current = Abi::of_sources(&workspace.root)?;
    if path.exists() {
        let locked = Abi::parse(&fs::read_to_string(&path)?)?;
        ensure!(
            locked.digest == current.digest || locked.version < current.version,
            "the layouts have changed: raise ABI_VERSION first; if this version was never released, remove {LOCK}"
        );
    }
    fs::write(&path, current.to_text()).with_context(|| LOCK.to_owned())
}

fn complaint(locked: Option<&Abi>, current: &Abi) -> Option<String> {
    let Some(locked) = locked else {
        return Some(format!("{LOCK} is missing; run `cargo xtask tidy --lock-abi`"));
    };
    if locked == current {
        return None;
    }
    Some(if locked.version == current.version {
        format!(
            "the map layouts changed, but ABI_VERSION is still {}: raise it, then run `cargo xtask tidy --lock-abi`",
            locked.version
        )
    } else {
        format!(
            "{LOCK} is about ABI_VERSION {}, not {}: run `cargo xtask tidy --lock-abi`",
            locked.version, current.version
        )
    })
}

impl Abi {
    fn of_sources(root: &Path) -> Result<Self> {
        let directory = root.join(LAYOUTS);
        let entries = fs::read_dir(&directory).with_context(|| LAYOUTS.to_owned())?;
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.sort();
        let mut sources = String::new();
        for path in &paths {
            sources.push_str(&fs::read_to_string(path).with_context(|| path.display().to_string())?);
        }
        let version = declared_version(&sources).with_context(|| format!("{LAYOUTS} declares no ABI_VERSION"))?;
        let states = fs::read_to_string(root.join(STATES)).with_context(|| STATES.to_owned())?;
        for definition in ["pub struct Timeouts", "pub enum State"] {
            let text = item(&states, definition).with_context(|| format!("{STATES} has no `{definition}`"))?;
            sources.push_str(text);
        }
        Ok(Self { version, digest: digest(&sources)? })
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        let version = field("version").and_then(|value| value.trim().parse().ok());
        let digest = field("sha256").map(|value| value.trim().trim_matches('"').to_owned());
        Ok(Self {
            version: version.with_context(|| format!("{LOCK} names no version"))?,
            digest: digest.with_context(|| format!("{LOCK} names no sha256"))?,
        })
    }

    fn to_text(&self) -> String {
        format!(
            "# Written by `cargo xtask tidy --lock-abi`: the map layouts of this version.\nversion = {}\nsha256 = \"{}\"\n",
            self.version, self.digest
        )
    }
}

fn declared_version(sources: &str) -> Option<u32> {
    let rest = sources.split("pub const ABI_VERSION: u32 = ").nth(1)?;
    rest.split(';').next()?.parse().ok()
}

/// The text of an item that ends with a brace at the start of a line.
fn item<'text>(source: &'text str, definition: &str) -> Option<&'text str> {
    let start = source.find(definition)?;
    let length = source[start..].find("\n}")?;
    Some(&source[start..start + length])
}

/// Digest of what the compiler reads: comments, layout and the version itself do not count.
fn digest(sources: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for line in sources.lines().map(str::trim) {
        if line.starts_with("//") || line.starts_with("pub const ABI_VERSION") {
            continue;
        }
        line.split_whitespace().for_each(|word| hash.update(word));
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abi(version: u32, digest: &str) -> Abi {
        Abi { version, digest: digest.to_owned() }
    }

    #[test]
    fn a_changed_layout_needs_a_new_version() {
        assert_eq!(complaint(Some(&abi(1, "a")), &abi(1, "a")), None);
        assert!(complaint(Some(&abi(1, "a")), &abi(1, "b")).unwrap().contains("ABI_VERSION is still 1"));
        assert!(complaint(Some(&abi(1, "a")), &abi(2, "b")).unwrap().contains("not 2"));
        assert!(complaint(None, &abi(1, "a")).unwrap().contains("is missing"));
    }

    #[test]
    fn comments_and_layout_do_not_change_the_digest_but_fields_do() {
        let original = digest("/// A key.\npub struct Key {\n    pub a: u32,\n}").unwrap();
        assert_eq!(digest("// Another comment.\npub struct Key { pub a: u32, }").unwrap(), original);
        assert_ne!(digest("pub struct Key { pub a: u64, }").unwrap(), original);
    }

    #[test]
    fn the_lock_reads_back_as_written() {
        let written = abi(7, "00ff");
        assert_eq!(Abi::parse(&written.to_text()).unwrap(), written);
        assert!(Abi::parse("version = x").is_err());
    }

    #[test]
    fn the_sources_of_this_work_tree_are_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let abi = Abi::of_sources(root).unwrap();
        assert!(abi.version >= 1);
        assert_eq!(abi.digest.len(), 64);
    }
}
