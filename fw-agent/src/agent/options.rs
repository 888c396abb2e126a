//! Where the agent finds and leaves its things.

use std::path::{Path, PathBuf};

/// The directories of one agent. Two agents in two network name spaces need different ones.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `agent.toml`.
    pub config: PathBuf,
    /// Where the data plane is pinned, in a BPF file system.
    pub pin_dir: PathBuf,
    /// The lock and the socket.
    pub runtime_dir: PathBuf,
    /// The flow log.
    pub state_dir: PathBuf,
}

impl RunOptions {
    /// Something is pinned, so that there may be a data plane to go on with.
    #[must_use]
    pub fn has_pins(&self) -> bool {
        has_entries(&self.pin_dir)
    }
}

fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
