//! The directory of pins: what is ours in it, what another version has left there, and taking all of it away.

use std::path::{Path, PathBuf};

use fw_common::ABI_VERSION;

use super::attach;
use crate::dataplane::DataplaneError;

/// Takes the programs off all interfaces and removes every pin below `pin_dir`. Missing ones are no error.
///
/// # Errors
/// If a pin cannot be removed.
pub fn detach_all(pin_dir: &Path) -> Result<(), DataplaneError> {
    attach::remove_links(pin_dir)?;
    let error =
        |error: std::io::Error| DataplaneError::Pin { path: pin_dir.display().to_string(), reason: error.to_string() };
    // Only what is ours: the directory may be one that others use, too.
    for dir in own_dirs(pin_dir).map_err(error)? {
        std::fs::remove_dir_all(&dir).map_err(error)?;
    }
    // Not if there is something else in it.
    let _ = std::fs::remove_dir(pin_dir);
    Ok(())
}

/// Where the maps of this layout version are pinned.
pub(super) fn maps_dir(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("abi-{ABI_VERSION}"))
}

/// The directories below the pin directory that are ours, whatever their layout version; none if there is no pin directory.
fn own_dirs(pin_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name == "links" || name.strip_prefix("abi-").is_some_and(|number| number.parse::<u32>().is_ok())
    };
    Ok(paths.into_iter().filter(is_ours).collect())
}

/// Unpins the maps of other layout versions. Programs that are still attached keep theirs until they are replaced.
pub(super) fn forget_other_layouts(pin_dir: &Path) -> Result<(), DataplaneError> {
    let error = |error: std::io::Error| DataplaneError::Pin {
        path: pin_dir.display().to_string(),
        reason: format!("{error}; the maps of another version could not be removed"),
    };
    let (ours, links) = (maps_dir(pin_dir), attach::links_dir(pin_dir));
    for dir in own_dirs(pin_dir).map_err(error)?.into_iter().filter(|dir| *dir != ours && *dir != links) {
        std::fs::remove_dir_all(&dir).map_err(error)?;
    }
    Ok(())
}

pub(super) fn make_dir(dir: &Path) -> Result<(), DataplaneError> {
    std::fs::create_dir_all(dir).map_err(|error| DataplaneError::Pin {
        path: dir.display().to_string(),
        reason: format!("{error}; is a BPF file system mounted there (mount -t bpf bpf /sys/fs/bpf)?"),
    })
}
