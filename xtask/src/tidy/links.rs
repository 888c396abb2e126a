//! Relative links in the documents lead to files that exist.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for document in workspace.files("md")? {
        let path = workspace.root.join(&document);
        let text = fs::read_to_string(&path).with_context(|| document.display().to_string())?;
        let directory = path.parent().unwrap_or(&workspace.root);
        for target in broken(&text, directory) {
            complaints.push(format!("{}: the link to {target} leads nowhere", document.display()));
        }
    }
    Ok(complaints)
}

/// The relative links of a document in `directory` that lead to no file.
fn broken<'text>(text: &'text str, directory: &Path) -> Vec<&'text str> {
    links(text).filter(|target| is_relative(target) && !directory.join(file(target)).exists()).collect()
}

/// The targets of `[text](target)` outside of fenced code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split([')', ' ']).next())
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:") && !target.starts_with('#')
}

/// The target without the section that it names.
fn file(target: &str) -> &str {
    target.split('#').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_outside_of_code_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("there.md"), "").unwrap();
        let text = "[a](there.md) [b](there.md#part \"title\") [c](gone.md), [d](#part) [e](https://x.test/gone)\n\
                    ```\n[f](code.md)\n```\n[g](also/gone.md)";
        assert_eq!(broken(text, directory.path()), ["gone.md", "also/gone.md"]);
    }
}
