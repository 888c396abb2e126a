//! Lists of feeds for a policy that is looked at without the agent.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use fw_policy::{AddressList, Feed, FeedContents};

use crate::feeds::store::FeedStore;

/// Reads the lists of a directory: `NAME.list`, or as an agent keeps them in its state directory. A feed without one is empty.
pub(super) fn read(directory: &Path, feeds: &[Feed]) -> anyhow::Result<FeedContents> {
    // A directory that is misspelt must not look like feeds that are empty.
    fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let kept = FeedStore::in_directory(directory);
    let mut contents = FeedContents::default();
    for feed in feeds {
        let path = directory.join(format!("{}.list", feed.name()));
        let list = match fs::read(&path) {
            Ok(bytes) => AddressList::parse(&bytes, feed.max_entries()).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let kept = kept.recall(feed).with_context(|| format!("the list of {}", feed.name()))?;
                let Some(kept) = kept else { continue };
                kept.list
            }
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        contents.insert(feed.key(), list);
    }
    Ok(contents)
}
