//! Bundles of a bucket of S3: what `bundle.json` there lists is brought into a directory, whole or not at all. From there on a bundle
//! goes the way of any other.
//!
//! Files and manifest are uploaded one after the other, so what does not fit together is a bundle that is being uploaded: nothing of it
//! is taken. The directory is replaced by one call (renameat2 with `RENAME_EXCHANGE`), so that nobody reads half of two.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fw_policy::FeedUrl;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::bundle::{MANIFEST, MAX_MANIFEST, MAX_SIGNATURE, SIGNATURE};
use crate::feeds::fetch::{Failure, FailureKind, Fetched, Request, Source};
use crate::metrics::hex;
use crate::policy_set::MAX_FILE;

/// The most bytes of a bundle's files together.
const MAX_BUNDLE: u64 = 256 << 20;

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

/// What a manifest must have here; the rest is for whoever reads the directory.
#[derive(Deserialize)]
struct Manifest {
    revision: u64,
    files: BTreeMap<String, String>,
}

/// Whether a directory holds a bundle, whatever it is worth.
#[must_use]
pub fn holds_bundle(directory: &Path) -> bool {
    directory.join(MANIFEST).is_file()
}

/// Brings the bundle into the directory, unless its manifest is the version that is known. Returns the version that is there then, or
/// `None` if it is the known one.
///
/// # Errors
/// If something is not to be had, or does not fit together: then the directory is as it was.
pub async fn pull(
    source: &dyn Source,
    place: &Place,
    directory: &Path,
    known: Option<&str>,
) -> Result<Option<Option<String>>, Failure> {
    // What somebody has put there is not thrown away for having named the wrong directory.
    if !holds_bundle(directory) && fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!(
            "{}: has files that are of no bundle: move them away, or let `[policy] directory` name another directory for the bundles of the bucket",
            directory.display()
        );
        return Err(Failure::new(FailureKind::NotApplied, message));
    }
    let known = known.filter(|_| holds_bundle(directory));
    let url = place.url(MANIFEST);
    let request = Request { url: url.clone(), etag: known.map(str::to_owned), max_bytes: MAX_MANIFEST };
    let Fetched::Object { bytes, etag } = source.fetch(request).await? else { return Ok(None) };
    let wrong = |why: String| Failure::new(FailureKind::Refused, format!("{url}: {why}"));
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| wrong(format!("{error}: a bundle in a bucket has to have `revision` and `files`")))?;
    let mut files = vec![(MANIFEST.to_owned(), bytes)];
    let mut left = MAX_BUNDLE;
    for (name, digest) in &manifest.files {
        if name.contains('/') || name.starts_with('.') || !name.ends_with(".toml") {
            return Err(wrong(format!("`{name}` is not the name of a policy file")));
        }
        let bytes = object(source, place.url(name), MAX_FILE.min(left)).await?;
        left -= bytes.len() as u64;
        if !digest.eq_ignore_ascii_case(&hex(&Sha256::digest(&bytes))) {
            let revision = manifest.revision;
            let message = format!(
                "{}: is not the file that bundle.json of revision {revision} lists: its SHA-256 is another one; the bundle is being uploaded, or \
                 was so in part",
                place.url(name)
            );
            return Err(Failure::new(FailureKind::Integrity, message));
        }
        files.push((name.clone(), bytes));
    }
    match object(source, place.url(SIGNATURE), MAX_SIGNATURE).await {
        Ok(bytes) => files.push((SIGNATURE.to_owned(), bytes)),
        // Whether there has to be one, whoever reads the directory knows. Without `s3:ListBucket`, S3 forbids what is not there.
        Err(failure) if matches!(failure.kind, FailureKind::NotFound | FailureKind::Forbidden) => {}
        Err(failure) => return Err(failure),
    }
    let to = directory.to_owned();
    let put = tokio::task::spawn_blocking(move || put(&to, &files)).await;
    let put = put.unwrap_or_else(|_| Err(io::Error::other("writing was interrupted")));
    put.map_err(|error| Failure::new(FailureKind::NotApplied, format!("{}: {error}", directory.display())))?;
    Ok(Some(etag))
}

async fn object(source: &dyn Source, url: FeedUrl, max_bytes: u64) -> Result<Vec<u8>, Failure> {
    match source.fetch(Request { url: url.clone(), etag: None, max_bytes }).await? {
        Fetched::Object { bytes, .. } => Ok(bytes),
        Fetched::Unchanged => Err(Failure::new(FailureKind::Refused, format!("{url}: S3 does not send it"))),
    }
}

/// Puts files in the place of a directory.
fn put(directory: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let parent = directory.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(parent)?;
    let new = beside(directory);
    remove(&new)?;
    fs::create_dir(&new)?;
    for (name, bytes) in files {
        let mut file = File::create(new.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(&new)?.sync_all()?;
    match renameat_with(CWD, &new, CWD, directory, RenameFlags::EXCHANGE) {
        Err(rustix::io::Errno::NOENT) => fs::rename(&new, directory)?,
        exchanged => exchanged?,
    }
    File::open(parent)?.sync_all()?;
    // What is there now is what was in the directory before.
    remove(&new)
}

/// Where a directory is made before it takes the place of another one.
fn beside(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    directory.with_file_name(name)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::change::bundle;
    use crate::files;

    /// Objects by key.
    #[derive(Default)]
    struct Bucket {
        objects: Mutex<BTreeMap<String, Vec<u8>>>,
    }

    impl Bucket {
        fn put(&self, key: &str, bytes: &[u8]) {
            self.objects.lock().unwrap().insert(format!("s3://b/{key}"), bytes.to_owned());
        }

        /// Uploads a manifest of one file.
        fn manifest(&self, revision: u64, text: &str) {
            let digest = hex(&Sha256::digest(text));
            self.put(
                "p/bundle.json",
                format!("{{\"revision\": {revision}, \"files\": {{\"a.toml\": \"{digest}\"}}}}").as_bytes(),
            );
        }
    }

    impl Source for Bucket {
        fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
            let object = self.objects.lock().unwrap().get(&request.url.to_string()).cloned();
            Box::pin(async move {
                let bytes = object.ok_or_else(|| Failure::new(FailureKind::NotFound, "NoSuchKey"))?;
                let etag = hex(&Sha256::digest(&bytes));
                let is_known = request.etag.as_ref() == Some(&etag);
                Ok(if is_known { Fetched::Unchanged } else { Fetched::Object { bytes, etag: Some(etag) } })
            })
        }
    }

    fn place() -> Place {
        Place { bucket: "b".to_owned(), prefix: "p".to_owned() }
    }

    fn offered(directory: &Path) -> Option<(u64, String)> {
        let bundle = bundle::read(directory, &[], &files::Place::default()).ok()?;
        Some((bundle.offer.declared?, bundle.files[0].text.clone()))
    }

    #[tokio::test]
    async fn a_bundle_comes_whole_and_only_when_it_is_another_one() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::default());
        let directory = dir.path().join("state/bundle");
        assert_eq!(pull(&bucket, &place(), &directory, None).await.unwrap_err().kind, FailureKind::NotFound);
        bucket.put("p/a.toml", b"one");
        bucket.manifest(1, "one");
        let etag = pull(&bucket, &place(), &directory, None).await.unwrap().unwrap();
        assert_eq!(offered(&directory), Some((1, "one".to_owned())));
        assert_eq!(pull(&bucket, &place(), &directory, etag.as_deref()).await, Ok(None));
        bucket.put("p/a.toml", b"two");
        bucket.put("p/bundle.json.minisig", b"signature");
        bucket.manifest(2, "two");
        assert!(pull(&bucket, &place(), &directory, etag.as_deref()).await.unwrap().is_some());
        assert_eq!(offered(&directory), Some((2, "two".to_owned())));
        assert!(directory.join(SIGNATURE).is_file() && !beside(&directory).exists());
    }

    #[tokio::test]
    async fn of_a_bundle_that_is_being_uploaded_nothing_is_taken() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::default());
        let directory = dir.path().join("bundle");
        bucket.put("p/a.toml", b"one");
        bucket.manifest(1, "one");
        let etag = pull(&bucket, &place(), &directory, None).await.unwrap().unwrap();
        // The manifest first, then a file first.
        bucket.manifest(2, "two");
        let failure = pull(&bucket, &place(), &directory, etag.as_deref()).await.unwrap_err();
        assert!(failure.kind == FailureKind::Integrity && failure.message.contains("revision 2"), "{failure}");
        bucket.manifest(1, "one");
        bucket.put("p/a.toml", b"two");
        assert_eq!(pull(&bucket, &place(), &directory, None).await.unwrap_err().kind, FailureKind::Integrity);
        bucket.objects.lock().unwrap().remove("s3://b/p/a.toml");
        assert_eq!(pull(&bucket, &place(), &directory, None).await.unwrap_err().kind, FailureKind::NotFound);
        assert_eq!(offered(&directory), Some((1, "one".to_owned())), "the directory is as it was");
    }

    #[tokio::test]
    async fn files_of_no_bundle_are_left_and_a_bundle_that_was_removed_comes_back() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::default());
        let directory = dir.path().join("policies");
        bucket.put("p/a.toml", b"one");
        bucket.manifest(1, "one");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("mine.toml"), "version = 1").unwrap();
        let failure = pull(&bucket, &place(), &directory, None).await.unwrap_err();
        assert!(failure.message.contains("are of no bundle"), "{failure}");
        assert!(directory.join("mine.toml").is_file());
        fs::remove_file(directory.join("mine.toml")).unwrap();
        let etag = pull(&bucket, &place(), &directory, None).await.unwrap().unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(pull(&bucket, &place(), &directory, etag.as_deref()).await.unwrap().is_some());
        assert_eq!(offered(&directory), Some((1, "one".to_owned())));
    }

    #[tokio::test]
    async fn no_manifest_names_a_file_elsewhere_or_nothing() {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Bucket::default());
        let directory = dir.path().join("bundle");
        for (manifest, told) in [
            ("{\"revision\": 1}", "has to have `revision` and `files`"),
            ("{\"files\": {}}", "has to have `revision` and `files`"),
            ("{", "has to have"),
            ("{\"revision\": 1, \"files\": {\"../a.toml\": \"00\"}}", "is not the name of a policy file"),
            ("{\"revision\": 1, \"files\": {\".a.toml\": \"00\"}}", "is not the name of a policy file"),
            ("{\"revision\": 1, \"files\": {\"bundle.json\": \"00\"}}", "is not the name of a policy file"),
        ] {
            bucket.put("p/bundle.json", manifest.as_bytes());
            let failure = pull(&bucket, &place(), &directory, None).await.unwrap_err();
            assert!(failure.message.contains(told), "{manifest}: {failure}");
        }
        assert!(!directory.exists());
    }
}
