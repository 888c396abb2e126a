//! A file has one subject: a Rust file of more than 500 lines says why, in a line of its own.

use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

const LIMIT: usize = 500;

/// What a long file says its reason after.
const EXCUSE: &str = "// Long because ";

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in workspace.files("rs")? {
        let text = fs::read_to_string(workspace.root.join(&path)).with_context(|| path.display().to_string())?;
        complaints.extend(complaint(&text).map(|complaint| format!("{}: {complaint}", path.display())));
    }
    Ok(complaints)
}

fn complaint(text: &str) -> Option<String> {
    let lines = text.lines().count();
    let excused = text.lines().any(|line| line.strip_prefix(EXCUSE).is_some_and(|why| !why.trim().is_empty()));
    (lines > LIMIT && !excused).then(|| format!("{lines} lines; split it, or say `{EXCUSE}…`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "fn f() {}\n".repeat(LIMIT + 1);
        assert_eq!(complaint(&long), Some("501 lines; split it, or say `// Long because …`".to_owned()));
        assert_eq!(complaint(&format!("{EXCUSE}it is one table.\n{long}")), None);
        assert!(complaint(&format!("{EXCUSE}\n{long}")).is_some());
        assert_eq!(complaint(&"\n".repeat(LIMIT)), None);
    }
}
