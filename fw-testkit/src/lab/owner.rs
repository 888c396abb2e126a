//! Which labs exist, and whether the process that raised one still lives.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::LabError;
use crate::error::While;

/// One directory a lab.
const DIRECTORY: &str = "/run/outpost-fw-lab";

/// What the file `owner` says of a lab that is to outlive the process that raised it.
const KEPT: &str = "kept";

/// The directory of one lab.
pub(super) fn directory(lab: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(lab)
}

/// Takes a name by creating its directory, which only one process can do.
pub(super) fn claim(wanted: Option<&str>) -> Result<String, LabError> {
    fs::create_dir_all(DIRECTORY).during(|| format!("create {DIRECTORY}"))?;
    let name = match wanted {
        Some(name) => {
            check(name)?;
            fs::create_dir(directory(name))
                .during(|| format!("raise lab {name}; `fw-lab down --name {name}` removes an old one"))?;
            name.to_owned()
        }
        None => claim_free()?,
    };
    fs::write(directory(&name).join("owner"), identity(std::process::id()))
        .during(|| "write the lab's owner".to_owned())?;
    Ok(name)
}

/// A name becomes a part of paths and of name spaces' names.
fn check(name: &str) -> Result<(), LabError> {
    let fits = (1..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits {
        Ok(())
    } else {
        Err(LabError::Unavailable(format!("lab name {name:?} is not 1 to 24 letters and digits")))
    }
}

fn claim_free() -> Result<String, LabError> {
    let entropy = || {
        fs::File::open("/dev/urandom").and_then(|mut file| {
            let mut bytes = [0; 2];
            io::Read::read_exact(&mut file, &mut bytes)?;
            Ok(u16::from_ne_bytes(bytes))
        })
    };
    loop {
        let number = entropy().during(|| "read /dev/urandom".to_owned())?;
        let name = format!("ofw{number:04x}");
        match fs::create_dir(directory(&name)) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).during(|| format!("create {}", directory(&name).display())),
        }
    }
}

/// A process id together with its start time, because ids are used again. Empty if there is no such process, or only its
/// zombie.
fn identity(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command, in parentheses, may hold spaces. After it come the state, and as the twentieth field the start time
    // (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    match (fields.first(), fields.get(19)) {
        (Some(&"Z" | &"X"), _) | (_, None) => String::new(),
        (_, Some(start)) => format!("{pid} {start}"),
    }
}

/// Lets a lab outlive the process that raised it.
pub(super) fn mark_kept(lab: &str) {
    // A lab whose mark cannot be written is removed too early, which is the safe side.
    let _removed_early_at_worst = fs::write(directory(lab).join("owner"), KEPT);
}

/// The names of all labs, in byte order.
#[must_use]
pub fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Labs that a person left up on purpose.
#[must_use]
pub fn leftover() -> Vec<String> {
    names().into_iter().filter(|name| owner(name).is_some_and(|owner| owner == KEPT)).collect()
}

/// Labs that this process has raised and not yet removed.
#[must_use]
pub fn own() -> Vec<String> {
    let own = identity(std::process::id());
    names().into_iter().filter(|name| owner(name).is_some_and(|owner| owner == own)).collect()
}

/// Labs whose owner has ended without removing them.
pub(super) fn abandoned() -> Vec<String> {
    let is_abandoned = |name: &String| {
        owner(name).is_some_and(|owner| {
            let pid = owner.split(' ').next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
            owner != KEPT && identity(pid) != owner
        })
    };
    names().into_iter().filter(is_abandoned).collect()
}

/// What the file `owner` says; `None` while a lab is just being claimed.
fn owner(lab: &str) -> Option<String> {
    fs::read_to_string(directory(lab).join("owner")).ok().filter(|owner| !owner.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn an_ended_process_has_no_identity_also_before_it_is_reaped() {
        assert!(!identity(std::process::id()).is_empty());
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let alive = identity(child.id());
        assert!(alive.starts_with(&format!("{} ", child.id())));
        drop(child.stdin.take());
        let ended = || identity(child.id()).is_empty();
        crate::wait::until_true("the child ends", std::time::Duration::from_secs(5), ended).unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(check("ofw1").is_ok());
        for wrong in ["", "a/b", "..", "a-b", "far-too-long-for-a-name-space"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
