//! Removing a lab by its name: the same path for the guard, for `fw-lab down`, and for what a killed process left behind.

use std::fs;
use std::time::Duration;

use super::owner;
use crate::netns::NetNs;
use crate::{process, wait};

/// How long killed processes may take to end.
const END_OF_PROCESSES: Duration = Duration::from_secs(5);

/// Removes a lab: its processes, its name spaces with every device in them, its pinned maps and programs, its directory.
/// Whatever is already gone is no error.
pub fn remove(lab: &str) {
    let namespaces = NetNs::names_with_prefix(&format!("{lab}-"));
    for namespace in namespaces.iter().filter_map(|name| NetNs::open(name).ok()) {
        // A process may start another while they are being killed, so kill until none is left.
        let _what_is_left_is_named_by_ip = wait::until_true("the lab's processes end", END_OF_PROCESSES, || {
            namespace.kill_processes();
            namespace.processes().is_empty()
        });
    }
    let deletions: String = namespaces.iter().map(|name| format!("netns del {name}\n")).collect();
    let _already_gone = process::feed(std::process::Command::new("ip").args(["-force", "-batch", "-"]), &deletions);
    let _no_agent_ran = fs::remove_dir_all(super::agent::pin_directory(lab));
    let _already_gone = fs::remove_dir_all(owner::directory(lab));
}

/// Removes the labs of processes that were killed before they could do it.
pub(super) fn remove_abandoned() {
    owner::abandoned().iter().for_each(|lab| remove(lab));
}
