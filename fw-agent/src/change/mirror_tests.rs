use std::fs;
use std::sync::Mutex;

use futures_util::future::BoxFuture;

use super::*;
use crate::change::bundle;
use crate::change::staging::beside;
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

    fn remove(&self, key: &str) {
        self.objects.lock().unwrap().remove(&format!("s3://b/{key}"));
    }

    /// Uploads a manifest of one file.
    fn manifest(&self, revision: u64, text: &str) -> String {
        let manifest = manifest(revision, &[("a.toml", text)]);
        self.put("p/bundle.json", manifest.as_bytes());
        manifest
    }
}

fn manifest(revision: u64, files: &[(&str, &str)]) -> String {
    let digests: BTreeMap<_, _> = files.iter().map(|(name, text)| (*name, hex(&Sha256::digest(text)))).collect();
    serde_json::json!({"revision": revision, "files": digests}).to_string()
}

impl Source for Bucket {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        let object = self.objects.lock().unwrap().get(&request.url.to_string()).cloned();
        Box::pin(async move {
            let bytes = object.ok_or_else(|| Failure::new(FailureKind::NotFound, "NoSuchKey"))?;
            Ok(if bytes == b"304" { Fetched::Unchanged } else { Fetched::Object { bytes, etag: None } })
        })
    }
}

struct Bed {
    dir: tempfile::TempDir,
    bucket: Arc<Bucket>,
    mirror: Mirror,
}

impl Bed {
    fn new(directory: &str) -> Self {
        let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::<Bucket>::default());
        let place = Place { bucket: "b".to_owned(), prefix: "p".to_owned() };
        let source = Arc::clone(&bucket) as Arc<dyn Source>;
        let mirror = Mirror { source, place, directory: dir.path().join(directory), keys: Vec::new() };
        Self { dir, bucket, mirror }
    }

    fn directory(&self) -> &Path {
        &self.mirror.directory
    }

    /// The revision and the text of the first file.
    fn held(&self) -> Option<(u64, String)> {
        let bundle = bundle::read(self.directory(), &self.mirror.keys, &files::Place::default()).ok()?;
        Some((bundle.offer.declared?, bundle.files[0].text.clone()))
    }

    async fn refused(&self) -> String {
        let before = self.held();
        let failure = self.mirror.pull().await.unwrap_err();
        assert_eq!(self.held(), before, "the directory is as it was");
        assert!(!beside(self.directory()).exists(), "nothing is left beside it");
        failure.to_string()
    }
}

fn one() -> Option<(u64, String)> {
    Some((1, "version = 1 # one".to_owned()))
}

/// A bed whose directory holds revision 1.
async fn begun() -> Bed {
    let bed = Bed::new("state/bundle");
    bed.bucket.put("p/a.toml", b"version = 1 # one");
    bed.bucket.manifest(1, "version = 1 # one");
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    assert_eq!(bed.held(), one());
    bed
}

#[tokio::test]
async fn a_bundle_comes_whole_and_only_when_it_is_another_one() {
    let bed = begun().await;
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Unchanged));
    bed.bucket.put("p/a.toml", b"version = 1");
    bed.bucket.put("p/sites/bonn/b.toml", b"version = 1");
    let text = "version = 1\ninclude = [\"sites/bonn\"]";
    bed.bucket.put("p/a.toml", text.as_bytes());
    bed.bucket.put("p/bundle.json", manifest(2, &[("a.toml", text), ("sites/bonn/b.toml", "version = 1")]).as_bytes());
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    assert_eq!(bed.held(), Some((2, text.to_owned())));
    assert!(!beside(bed.directory()).exists());
}

#[tokio::test]
async fn of_a_bundle_that_is_being_uploaded_nothing_is_taken() {
    let bed = begun().await;
    // The manifest first, then a file first, then without the file.
    bed.bucket.manifest(2, "version = 1 # two");
    assert!(bed.refused().await.contains("is not the file that bundle.json lists"));
    bed.bucket.manifest(3, "version = 1 # one");
    bed.bucket.put("p/a.toml", b"version = 1 # two");
    assert!(bed.refused().await.contains("is not the file that bundle.json lists"));
    bed.bucket.remove("p/a.toml");
    assert!(bed.refused().await.contains("NoSuchKey"));
    bed.bucket.put("p/bundle.json", b"304");
    assert!(bed.refused().await.contains("as if it were known"));
}

#[tokio::test]
async fn a_signature_may_come_last_and_what_is_not_signed_does_not_come() {
    let mut bed = Bed::new("bundle");
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    bed.mirror.keys = vec![Key::parse(&pair.pk.to_base64()).unwrap()];
    let sign = |bed: &Bed, manifest: &str| {
        let signature = minisign::sign(None, &pair.sk, manifest.as_bytes(), None, None).unwrap();
        bed.bucket.put("p/bundle.json.minisig", signature.to_string().as_bytes());
    };
    bed.bucket.put("p/a.toml", b"version = 1 # one");
    let first = bed.bucket.manifest(1, "version = 1 # one");
    assert!(bed.refused().await.contains("has to be signed"));
    sign(&bed, &first);
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    // The next manifest comes before its signature.
    let second = bed.bucket.manifest(2, "version = 1 # one");
    assert!(bed.refused().await.contains("the signature is not of a key that is configured"));
    sign(&bed, &second);
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    assert_eq!(bed.held().map(|(revision, _)| revision), Some(2));
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Unchanged));
    bed.bucket.remove("p/bundle.json.minisig");
    assert!(bed.refused().await.contains("has to be signed"));
}

#[tokio::test]
async fn what_was_damaged_or_removed_in_the_directory_comes_back() {
    let bed = begun().await;
    fs::write(bed.directory().join("a.toml"), "version = 1 # mine").unwrap();
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    assert_eq!(bed.held(), one());
    fs::write(bed.directory().join("bundle.json"), "{").unwrap();
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    fs::remove_dir_all(bed.directory()).unwrap();
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought));
    assert_eq!(bed.held(), one());
}

#[tokio::test]
async fn a_directory_that_is_somebody_else_s_is_left() {
    let bed = Bed::new("policies");
    bed.bucket.put("p/a.toml", b"version = 1 # one");
    let offered = bed.bucket.manifest(1, "version = 1 # one");
    fs::create_dir(bed.directory()).unwrap();
    for (name, text) in [("mine.toml", "version = 1"), ("bundle.json", offered.as_str())] {
        fs::write(bed.directory().join(name), text).unwrap();
        assert!(bed.mirror.pull().await.unwrap_err().message.contains("are of no bucket"));
        assert!(bed.directory().join(name).is_file());
    }
    fs::remove_dir_all(bed.directory()).unwrap();
    let elsewhere = bed.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, bed.directory()).unwrap();
    assert!(bed.refused().await.contains("is a symbolic link"));
    fs::remove_file(bed.directory()).unwrap();
    fs::write(bed.directory(), "").unwrap();
    assert!(bed.refused().await.contains("is not a directory"));
    fs::remove_file(bed.directory()).unwrap();
    // What lies beside it is somebody else's, too.
    let staged = bed.dir.path().join("policies.new");
    fs::create_dir(&staged).unwrap();
    fs::create_dir(bed.directory()).unwrap();
    assert_eq!(bed.mirror.pull().await, Ok(Pulled::Brought), "an empty one is taken");
    assert!(staged.is_dir());
}

#[tokio::test]
async fn no_manifest_names_a_file_elsewhere_or_says_what_no_bundle_says() {
    let bed = begun().await;
    for (manifest, told) in [
        ("{\"revision\": 1}".to_owned(), "has to have `revision` and `files`"),
        ("{\"files\": {}}".to_owned(), "has to have `revision` and `files`"),
        ("{".to_owned(), "has to have"),
        (manifest(0, &[("a.toml", "version = 1 # one")]), "`revision` is out of range"),
        (
            manifest(2, &[("a.toml", "version = 1 # one")]).replace("\"files\"", "\"more\": 1, \"files\""),
            "unknown field",
        ),
        (manifest(2, &[("../a.toml", "")]), "is not the name of a policy file"),
        (manifest(2, &[("/a.toml", "")]), "is not the name of a policy file"),
        (manifest(2, &[("a//b.toml", "")]), "is not the name of a policy file"),
        (manifest(2, &[(".a.toml", "")]), "is not the name of a policy file"),
        (manifest(2, &[("bundle.json", "")]), "is not the name of a policy file"),
        (manifest(2, &[("a\0.toml", "")]), "`a\\0.toml` is not the name"),
        (manifest(2, &[("a\nERROR forged.toml", "")]), "`a\\nERROR forged.toml` is not the name"),
        (manifest(2, &[(&format!("{}.toml", "a".repeat(300)), "")]), "is not the name of a policy file"),
    ] {
        bed.bucket.put("p/bundle.json", manifest.as_bytes());
        let refused = bed.refused().await;
        assert!(refused.contains(told) && !refused.contains("ERROR forged\n"), "{manifest}: {refused}");
    }
}
