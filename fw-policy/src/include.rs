//! `include`: which subdirectories a policy is read from besides its directory, and in which order.
//!
//! A file names them from the policy directory on. The files of a subdirectory, in byte order of their names, come right behind
//! the file that includes it, each with what it includes itself behind it. No subdirectory is read twice, and none that nobody includes.
//!
//! In: what is in the policy directory, asked for by [`Directory`]. Out: the files of the policy in the order in which their rules
//! are matched, and what is wrong with the includes.

use std::collections::{BTreeMap, BTreeSet};

use crate::Code;
use crate::diagnostic::{Diagnostics, Report, nearest};
use crate::source::{SourceFile, Sources, Spanned};
use crate::{parse, reader};

/// A policy directory, for [`gather`].
pub trait Directory {
    /// Why it cannot be read.
    type Error;

    /// The policy files of a subdirectory, in byte order of their names; those of the policy directory itself for the empty
    /// name. The names of the files begin with that of the subdirectory.
    ///
    /// # Errors
    ///
    /// If something that is there cannot be read.
    fn files(&mut self, subdirectory: &str) -> Result<Subdirectory, Self::Error>;

    /// The names of all subdirectories, among which a misspelt one may be.
    fn subdirectories(&mut self) -> Vec<String>;
}

/// What stands at the name of a subdirectory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subdirectory {
    /// A directory with these files.
    Files(Vec<SourceFile>),
    /// None that is read.
    Absent(Absence),
}

/// Why there is no subdirectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing has the name.
    Missing,
    /// The name, or a part of it, is a symbolic link: what is behind it may lie outside of the policy directory.
    Link,
    /// The name, or a part of it, is a file.
    NoDirectory,
}

/// What is around the files of a policy, for messages.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    absent: BTreeMap<String, Absence>,
    subdirectories: Vec<String>,
}

/// Reads a policy directory: its files, and those of the subdirectories that they include, in the order in which their rules are to
/// be matched.
///
/// # Errors
///
/// The outer error is that of the directory. The inner one is everything that is wrong in the files, if they include a directory
/// that is not there; other mistakes are found by [`crate::load`].
pub fn gather<D: Directory>(directory: &mut D) -> Result<Result<Vec<SourceFile>, Diagnostics>, D::Error> {
    let mut files: Vec<SourceFile> = Vec::new();
    let mut around = Surroundings::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    // The next file is the last.
    let mut waiting: Vec<SourceFile> = Vec::new();
    if let Subdirectory::Files(own) = directory.files("")? {
        waiting.extend(own.into_iter().rev());
    }
    while let Some(file) = waiting.pop() {
        let mut behind: Vec<SourceFile> = Vec::new();
        for name in parse::included(&file.text) {
            if fault(&name).is_some() || !seen.insert(name.clone()) {
                continue;
            }
            match directory.files(&name)? {
                Subdirectory::Files(files) => behind.extend(files),
                Subdirectory::Absent(why) => {
                    around.absent.insert(name, why);
                }
            }
        }
        files.push(file);
        waiting.extend(behind.into_iter().rev());
    }
    if around.absent.is_empty() {
        return Ok(Ok(files));
    }
    around.subdirectories = directory.subdirectories();
    Ok(reader::read_among(&files, &around).map(|_| files))
}

/// Reports what is wrong with the includes of all files, which come in file order.
pub(crate) fn check(includes: &[Spanned<String>], sources: &Sources, around: &Surroundings, report: &mut Report) {
    let there: BTreeSet<&str> = sources.files().filter_map(|(_, file)| directory_of(&file.name)).collect();
    let mut first: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
    for include in includes {
        let name = include.value.as_str();
        if let Some((fault, help)) = fault(name) {
            report.at(Code::Include, include.at, format!("`{name}` cannot be included: {fault}")).help(help);
            continue;
        }
        let before = first.get(name).copied();
        if is_within(name, include, &first, sources) {
            let finding = report.at(Code::Include, include.at, format!("`{name}` includes itself"));
            let finding = finding.label("this file is read because the directory is included");
            if let Some(before) = before {
                finding.related(before.at, "included here");
            }
        } else if let Some(before) = before {
            report
                .at(Code::Include, include.at, format!("`{name}` is included twice"))
                .label("included again here")
                .related(before.at, "first included here");
        } else {
            first.insert(name, include);
            if !there.contains(name) {
                report_absent(include, around, report);
            }
        }
    }
}

fn report_absent(include: &Spanned<String>, around: &Surroundings, report: &mut Report) {
    let Spanned { value: name, at } = include;
    let message = match around.absent.get(name) {
        Some(Absence::Missing) => format!("there is no directory `{name}` in the policy directory"),
        Some(Absence::Link) => format!("`{name}` is a symbolic link, or behind one, and is not read"),
        Some(Absence::NoDirectory) => format!("`{name}` is no directory"),
        None => format!("there are no policy files in `{name}`"),
    };
    let finding = report.at(Code::Include, *at, message);
    match around.absent.get(name) {
        Some(Absence::Missing) => {
            finding.did_you_mean(name, nearest(name, around.subdirectories.iter().map(String::as_str)));
        }
        Some(Absence::Link) => {
            finding.help("put the directory itself in its place; links to files are read");
        }
        Some(Absence::NoDirectory) => {
            finding.help("`include` takes directories; all files of one are read");
        }
        None => {
            finding.help("the names of policy files end in `.toml`");
        }
    }
}

/// Whether an include stands in a file of the directory that it names, or in one that is read because of such a file.
fn is_within(
    name: &str,
    include: &Spanned<String>,
    first: &BTreeMap<&str, &Spanned<String>>,
    sources: &Sources,
) -> bool {
    let mut file = include.at.file;
    // Each step goes to an include that was accepted, and so ends outside of every circle.
    while let Some(directory) = directory_of(sources.name(file)) {
        if directory == name {
            return true;
        }
        let Some(reason) = first.get(directory) else { return false };
        file = reason.at.file;
    }
    false
}

/// The subdirectory that a file is in; `None` if it is in the policy directory itself.
fn directory_of(file: &str) -> Option<&str> {
    file.rsplit_once('/').map(|(directory, _)| directory)
}

/// Why something cannot be the name of a subdirectory, and what to write instead.
fn fault(name: &str) -> Option<(&'static str, &'static str)> {
    const FROM_THE_TOP: &str = "write the names of directories below the policy directory, such as \"sites/berlin\"";
    if name.starts_with('/') {
        return Some(("it is an absolute path", FROM_THE_TOP));
    }
    if name.contains(char::is_control) {
        return Some(("it has control characters in it", FROM_THE_TOP));
    }
    name.split('/').find_map(|part| match part {
        "" => Some(("a part of it is empty", FROM_THE_TOP)),
        "." | ".." => Some(("it is not a plain way down from the policy directory", FROM_THE_TOP)),
        part if part.starts_with('.') => {
            Some(("what begins with a point is never read", "give the directory another name"))
        }
        part if part.ends_with(".toml") => {
            Some(("it is the name of a file", "`include` takes directories; all files of one are read"))
        }
        _ => None,
    })
}
