//! The directory that bundles of a bucket are brought into. It is the agent's own, and says so by a file in it: what somebody else has made is
//! not thrown away for having named the wrong directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::bundle::{self, MANIFEST, SIGNATURE};
use super::mirror;
use super::signature::Key;
use crate::feeds::fetch::{Failure, FailureKind};
use crate::files;

/// The file that makes a directory the agent's own; policy files have no such names.
const MARK: &str = ".outpost-fw-bucket";

/// What a directory holds.
pub(super) enum Held {
    /// A bundle that can be read, of these bytes.
    Bundle {
        /// The manifest.
        manifest: Vec<u8>,
        /// Its signature.
        signature: Option<Vec<u8>>,
    },
    /// Nothing, or something that is damaged.
    Nothing,
}

fn not_applied(directory: &Path, why: &str) -> Failure {
    Failure::new(FailureKind::NotApplied, format!("{}: {why}", directory.display()))
}

/// Looks at the directory.
///
/// # Errors
/// If it is none, or somebody else's.
pub(super) fn held(directory: &Path, keys: &[Key]) -> Result<Held, Failure> {
    const ELSEWHERE: &str =
        "let `[policy] directory` name another directory for the bundles of the bucket, or leave it out";
    let metadata = match fs::symlink_metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Nothing),
        Err(error) => return Err(not_applied(directory, &error.to_string())),
    };
    if !metadata.is_dir() {
        let what = if metadata.is_symlink() { "is a symbolic link" } else { "is not a directory" };
        return Err(not_applied(directory, &format!("{what}: {ELSEWHERE}")));
    }
    let mut entries = fs::read_dir(directory).map_err(|error| not_applied(directory, &error.to_string()))?;
    if !directory.join(MARK).exists() && entries.next().is_some() {
        return Err(not_applied(
            directory,
            &format!("has files that are of no bucket: move them away, or {ELSEWHERE}"),
        ));
    }
    if bundle::read(directory, keys, &files::Place::default()).is_err() {
        return Ok(Held::Nothing);
    }
    let read = |name: &str| fs::read(directory.join(name)).ok();
    Ok(match read(MANIFEST) {
        Some(manifest) => Held::Bundle { manifest, signature: read(SIGNATURE) },
        None => Held::Nothing,
    })
}

/// Puts files in the place of the directory, if they are a bundle.
///
/// # Errors
/// If they are none, or cannot be put there: then the directory is as it was.
pub(super) fn put(directory: &Path, files: &[mirror::File], keys: &[Key], url: &str) -> Result<(), Failure> {
    let new = beside(directory);
    let told = |error: &io::Error| not_applied(directory, &error.to_string());
    let staged = stage(&new, files).map_err(|error| told(&error)).and_then(|()| {
        let read = bundle::read(&new, keys, &files::Place::default());
        read.map_err(|error| {
            Failure::new(FailureKind::Integrity, format!("{url}: what is offered is no bundle: {error}"))
        })
    });
    let placed = staged.and_then(|_| exchange(&new, directory));
    // Afterwards it is what was in the directory before; otherwise what could not be put there, and would fill the disk.
    if let Err(error) = remove(&new) {
        tracing::warn!(path = %new.display(), %error, "what is left of a bundle could not be removed");
    }
    placed
}

fn stage(new: &Path, files: &[mirror::File]) -> io::Result<()> {
    let parent = new.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(parent)?;
    remove(new)?;
    fs::create_dir(new)?;
    let mark = (MARK.to_owned(), b"Brought by outpost-fw from a bucket; replaced as a whole.\n".to_vec());
    for (name, bytes) in files.iter().chain([&mark]) {
        let path = new.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(new)?.sync_all()
}

fn exchange(new: &Path, directory: &Path) -> Result<(), Failure> {
    match renameat_with(CWD, new, CWD, directory, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT) => {
            fs::rename(new, directory).map_err(|error| not_applied(directory, &error.to_string()))?;
        }
        Err(rustix::io::Errno::BUSY | rustix::io::Errno::XDEV) => {
            let why = "something is mounted there, which cannot be replaced: mount it one directory higher, or name a directory within it";
            return Err(not_applied(directory, why));
        }
        Err(error) => return Err(not_applied(directory, &error.to_string())),
    }
    // What is there is there; after a crash of the machine it may be the one before, which the next look replaces.
    let parent = directory.parent().unwrap_or_else(|| Path::new("/"));
    if let Err(error) = File::open(parent).and_then(|parent| parent.sync_all()) {
        tracing::warn!(path = %parent.display(), %error, "the name of the bundle's directory may not be on the disk yet");
    }
    Ok(())
}

/// Where a directory is made before it takes the place of another one.
pub(super) fn beside(directory: &Path) -> PathBuf {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    directory.with_file_name(format!(".{name}.outpost-fw-new"))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
