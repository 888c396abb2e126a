//! Writes policy files anew, each at once: whoever reads meanwhile has the old text or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use fw_policy::SourceFile;

/// Writes these files of a directory.
pub(super) fn all(directory: &Path, files: &[SourceFile]) -> anyhow::Result<()> {
    files.iter().try_for_each(|file| {
        let path = directory.join(&file.name);
        one(&path, &file.text).with_context(|| path.display().to_string())
    })
}

/// Replaces a file: its mode and owner stay, and so do links to it.
fn one(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let before = fs::metadata(&target)?;
    let aside = Aside::beside(&target)?;
    let result = aside.write(text, &before).and_then(|()| fs::rename(&aside.path, &target));
    if result.is_err() {
        // It may not be there any more.
        let _ = fs::remove_file(&aside.path);
    }
    result
}

/// A file in the making. Its name begins with a dot, so that the agent does not take it for one of the policy.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn write(&self, text: &str, before: &fs::Metadata) -> io::Result<()> {
        (&self.file).write_all(text.as_bytes())?;
        let own = self.file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(&self.file, Some(before.uid()), Some(before.gid()))?;
        }
        self.file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_the_links_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("real.toml"), dir.path().join("a.toml"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        all(dir.path(), &[SourceFile { name: "a.toml".to_owned(), text: "new".to_owned() }]).unwrap();
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left aside");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = SourceFile { name: "gone.toml".to_owned(), text: String::new() };
        let error = all(dir.path(), &[file]).unwrap_err();
        assert!(format!("{error:#}").contains("gone.toml: No such file"), "{error:#}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
