//! Bundles of a bucket of S3: what `bundle.json` there lists is brought into a directory, whole or not at all. From there on a bundle
//! goes the way of any other.
//!
//! Objects are uploaded one after the other, so what does not fit together, or lacks its signature, is a bundle that is being uploaded:
//! nothing of it is taken, and it is looked at again. What is written beside the directory is read as the agent reads it before it takes the
//! directory's place, with one call ([`super::staging`]). What a look compares with is what the directory holds, and not what S3 calls it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use fw_policy::FeedUrl;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::bundle::{MANIFEST, MAX_MANIFEST, MAX_SIGNATURE, SIGNATURE};
use super::signature::Key;
use super::staging::{self, Held};
use crate::feeds::fetch::{Failure, FailureKind, Fetched, Request, Source};
use crate::metrics::hex;
use crate::policy_set::MAX_FILE;

/// The most bytes of a bundle's files together.
const MAX_BUNDLE: u64 = 256 << 20;

/// The longest name of a file, or of a directory, that a file system takes (NAME_MAX).
const MAX_NAME: usize = 255;

/// So many files are asked for at once.
const AT_ONCE: usize = 8;

/// Where bundles are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What the keys begin with, without a slash at the end; may be empty.
    pub prefix: String,
}

impl Place {
    fn url(&self, name: &str) -> FeedUrl {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        FeedUrl::S3 { bucket: self.bucket.clone(), key: format!("{}{slash}{name}", self.prefix) }
    }
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// The directory holds what the bucket offers.
    Unchanged,
    /// It holds another bundle than before.
    Brought,
}

/// A bucket, and the directory that its bundles are brought into.
#[derive(Clone)]
pub struct Mirror {
    /// What reads objects.
    pub source: Arc<dyn Source>,
    /// Where they are.
    pub place: Place,
    /// Where they are brought.
    pub directory: PathBuf,
    /// Who must have signed them; nobody, if there is none.
    pub keys: Vec<Key>,
}

/// What a manifest must have here; the rest is for whoever reads the directory.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "revision")]
    _revision: u64,
    files: BTreeMap<String, String>,
}

/// A file of a bundle.
pub(super) type File = (String, Vec<u8>);

impl Mirror {
    /// Looks at the bucket, and brings what it offers into the directory unless that is there.
    ///
    /// # Errors
    /// If something is not to be had, or does not fit together: then the directory is as it was.
    pub async fn pull(&self) -> Result<Pulled, Failure> {
        let (directory, keys) = (self.directory.clone(), self.keys.clone());
        let held = aside(move || staging::held(&directory, &keys)).await??;
        let manifest = self.object(MANIFEST, MAX_MANIFEST).await?;
        let signature = self.signature().await?;
        if let Held::Bundle { manifest: there, signature: beside } = held
            && (there.as_slice(), &beside) == (&manifest, &signature)
        {
            return Ok(Pulled::Unchanged);
        }
        let mut files = self.files(&manifest).await?;
        files.push((MANIFEST.to_owned(), manifest));
        files.extend(signature.map(|bytes| (SIGNATURE.to_owned(), bytes)));
        let (directory, keys, url) = (self.directory.clone(), self.keys.clone(), self.place.url(MANIFEST).to_string());
        aside(move || staging::put(&directory, &files, &keys, &url)).await??;
        Ok(Pulled::Brought)
    }

    /// The files that the manifest lists.
    async fn files(&self, manifest: &[u8]) -> Result<Vec<File>, Failure> {
        let url = self.place.url(MANIFEST);
        let wrong = |why: String| Failure::new(FailureKind::Refused, format!("{url}: {why}"));
        let listed: Manifest = serde_json::from_slice(manifest)
            .map_err(|error| wrong(format!("{error}: a bundle in a bucket has to have `revision` and `files`")))?;
        if let Some(name) = listed.files.keys().find(|name| !is_policy_file(name)) {
            return Err(wrong(format!("`{}` is not the name of a policy file", name.escape_debug())));
        }
        let fetches: Vec<_> = listed.files.iter().map(|(name, digest)| self.file(name, digest)).collect();
        let fetched = stream::iter(fetches).buffered(AT_ONCE);
        let add = |(mut files, size): (Vec<File>, u64), file: File| async move {
            let size = size + file.1.len() as u64;
            files.push(file);
            if size > MAX_BUNDLE {
                let message = format!("the files of the bundle have more than {MAX_BUNDLE} bytes together");
                return Err(Failure::new(FailureKind::TooLarge, message));
            }
            Ok((files, size))
        };
        Ok(fetched.try_fold((Vec::new(), 0), add).await?.0)
    }

    async fn file(&self, name: &str, digest: &str) -> Result<File, Failure> {
        let bytes = self.object(name, MAX_FILE).await?;
        if !digest.eq_ignore_ascii_case(&hex(&Sha256::digest(&bytes))) {
            let message = format!(
                "{}: is not the file that bundle.json lists: its SHA-256 is another one; the bundle is being uploaded, or was so in part",
                self.place.url(name)
            );
            return Err(Failure::new(FailureKind::Integrity, message));
        }
        Ok((name.to_owned(), bytes))
    }

    /// The signature, if there is one. Whether there has to be one is told when the bundle is read.
    async fn signature(&self) -> Result<Option<Vec<u8>>, Failure> {
        match self.object(SIGNATURE, MAX_SIGNATURE).await {
            Ok(bytes) => Ok(Some(bytes)),
            // Without `s3:ListBucket`, S3 forbids what is not there.
            Err(failure) if matches!(failure.kind, FailureKind::NotFound | FailureKind::Forbidden) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn object(&self, name: &str, max_bytes: u64) -> Result<Vec<u8>, Failure> {
        let url = self.place.url(name);
        match self.source.fetch(Request { url: url.clone(), etag: None, max_bytes }).await {
            Ok(Fetched::Object { bytes, .. }) => Ok(bytes),
            Ok(Fetched::Unchanged) => {
                Err(Failure::new(FailureKind::Refused, format!("{url}: S3 does not send it, as if it were known")))
            }
            Err(failure) if failure.kind == FailureKind::TooLarge => {
                let message = format!("{url}: has more than {max_bytes} bytes, which is too much of a bundle");
                Err(Failure::new(FailureKind::TooLarge, message))
            }
            Err(failure) => Err(failure),
        }
    }
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| Failure::new(FailureKind::NotApplied, "the work on the directory of the bundle was interrupted"))
}

/// The name of a policy file, or of one in a directory that is included.
fn is_policy_file(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.len() <= MAX_NAME && !part.starts_with('.') && !part.contains(char::is_control)
    };
    name.ends_with(".toml") && name.split('/').all(is_part) && Path::new(name).is_relative()
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
