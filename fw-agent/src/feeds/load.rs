//! From what was fetched to a list, if it is what its author has made.

use fw_policy::{AddressList, Feed, Integrity, ListError};
use sha2::{Digest as _, Sha256};

use super::fetch::{Failure, FailureKind, Fetched, Request, Source};
use super::store::Version;
use crate::change::signature::{self, Key};
use crate::metrics::hex;

/// The largest signature that is read, in bytes: four lines.
const MAX_SIGNATURE: u64 = 8 << 10;

/// What a source holds.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// What is known already; under this name now.
    Unchanged(Option<String>),
    /// Another list.
    List {
        /// What is in it.
        list: AddressList,
        /// As it came.
        bytes: Vec<u8>,
        /// Which version it is.
        version: Version,
    },
}

/// Fetches a feed, and verifies and reads what came.
///
/// # Errors
/// If it is not to be had, or is not what its author has made, or is no list.
pub async fn load(source: &dyn Source, feed: &Feed, known: Option<&Version>) -> Result<Loaded, Failure> {
    let request = Request {
        url: feed.url().clone(),
        etag: known.and_then(|known| known.etag.clone()),
        max_bytes: feed.max_bytes().into(),
    };
    let is_conditional = request.etag.is_some();
    let (bytes, etag) = match source.fetch(request).await? {
        // No version was named that could be the latest (RFC 9110, section 15.4.5): whoever has no list would be told that it is the latest.
        Fetched::Unchanged if !is_conditional => {
            let message = format!(
                "{}: the source says that nothing has changed, and was asked for the whole list: ask whoever keeps it",
                feed.url()
            );
            return Err(Failure::new(FailureKind::Refused, message));
        }
        Fetched::Unchanged => return Ok(Loaded::Unchanged(known.and_then(|known| known.etag.clone()))),
        Fetched::Object { bytes, etag } => (bytes, etag),
    };
    let version = Version::of(&bytes, etag);
    if known.is_some_and(|known| known.sha256 == version.sha256) {
        return Ok(Loaded::Unchanged(version.etag));
    }
    verify(source, feed, &bytes).await?;
    let (max_entries, url) = (feed.max_entries(), feed.url().clone());
    // Half a million lines take a while.
    let read = tokio::task::spawn_blocking(move || (AddressList::parse(&bytes, max_entries), bytes));
    let (list, bytes) =
        read.await.map_err(|_| Failure::new(FailureKind::Refused, "reading the list was interrupted"))?;
    let list = list.map_err(|error| {
        let (kind, advice) = match error {
            ListError::TooMany { .. } => (FailureKind::TooMany, "shorten the list, or raise `max_entries`"),
            ListError::Line { .. } | ListError::NotText { .. } => {
                (FailureKind::BadLine, "the whole list is refused until its author has corrected it")
            }
        };
        Failure::new(kind, format!("{url}: {error}: {advice}"))
    })?;
    Ok(Loaded::List { list, bytes, version })
}

async fn verify(source: &dyn Source, feed: &Feed, bytes: &[u8]) -> Result<(), Failure> {
    let url = feed.url();
    match feed.integrity() {
        Integrity::Transport => Ok(()),
        Integrity::Sha256(expected) => {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            let told = || {
                format!(
                    "{url}: its SHA-256 is {} and `sha256` says {}: the list is another one than the policy means",
                    hex(&digest),
                    hex(expected)
                )
            };
            if digest == *expected { Ok(()) } else { Err(Failure::new(FailureKind::Integrity, told())) }
        }
        Integrity::Minisign { signature, public_key } => {
            let request = Request { url: signature.clone(), etag: None, max_bytes: MAX_SIGNATURE };
            let wrong = |why: &str| Failure::new(FailureKind::Integrity, format!("{signature}: {why}"));
            let Fetched::Object { bytes: text, .. } = source.fetch(request).await? else {
                return Err(wrong("the source does not send it"));
            };
            let text = String::from_utf8(text).map_err(|_| wrong("this is no text"))?;
            let key = Key::parse(public_key).map_err(|error| wrong(&format!("`public_key` is no key: {error}")))?;
            signature::verify(bytes, &text, &[key]).map_err(|why| wrong(&why))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::future::BoxFuture;
    use fw_policy::SourceFile;

    use super::*;

    /// Objects by URL, and what was asked for.
    #[derive(Default)]
    struct Fake {
        objects: Mutex<BTreeMap<String, Vec<u8>>>,
        asked: Mutex<Vec<(String, Option<String>)>>,
        /// Whatever is asked for.
        says_unchanged: AtomicBool,
    }

    impl Fake {
        fn put(&self, url: &str, bytes: &[u8]) {
            self.objects.lock().unwrap().insert(url.to_owned(), bytes.to_owned());
        }
    }

    impl Source for Fake {
        fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
            self.asked.lock().unwrap().push((request.url.to_string(), request.etag));
            let object = self.objects.lock().unwrap().get(&request.url.to_string()).cloned();
            let says_unchanged = self.says_unchanged.load(Ordering::Relaxed);
            Box::pin(async move {
                if says_unchanged {
                    return Ok(Fetched::Unchanged);
                }
                let bytes = object.ok_or_else(|| Failure::new(FailureKind::NotFound, "not there"))?;
                Ok(Fetched::Object { bytes, etag: Some("\"1\"".to_owned()) })
            })
        }
    }

    fn feed(keys: &str) -> Feed {
        let text = format!(
            "version = 1\n[defaults]\naction = \"drop\"\n[zones.a]\n[[feed]]\nname = \"f\"\nurl = \"https://a.example/l\"\n{keys}\n"
        );
        let file = SourceFile { name: "a.toml".to_owned(), text };
        fw_policy::load(&[file]).unwrap_or_else(|error| panic!("{error}")).feeds()[0].clone()
    }

    const URL: &str = "https://a.example/l";

    #[tokio::test]
    async fn a_list_is_read_and_the_same_one_is_no_change() {
        let fake = Fake::default();
        fake.put(URL, b"192.0.2.1\n");
        let Ok(Loaded::List { list, bytes, version }) = load(&fake, &feed(""), None).await else { panic!() };
        assert_eq!((list.entries(), bytes.as_slice()), (1, b"192.0.2.1\n".as_slice()));
        let other_name = Version { etag: Some("\"0\"".to_owned()), ..version };
        let again = load(&fake, &feed(""), Some(&other_name)).await.unwrap();
        assert!(matches!(again, Loaded::Unchanged(Some(etag)) if etag == "\"1\""), "the same bytes under another name");
        assert_eq!(fake.asked.lock().unwrap()[1], (URL.to_owned(), Some("\"0\"".to_owned())));
    }

    #[tokio::test]
    async fn nothing_has_changed_only_for_who_names_a_version() {
        let fake = Fake { says_unchanged: AtomicBool::new(true), ..Fake::default() };
        let named = Version { etag: Some("\"1\"".to_owned()), ..Version::default() };
        assert!(matches!(load(&fake, &feed(""), Some(&named)).await, Ok(Loaded::Unchanged(Some(_)))));
        for known in [None, Some(&Version::default())] {
            let failure = load(&fake, &feed(""), known).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
        }
    }

    #[tokio::test]
    async fn what_is_no_list_is_refused_with_what_to_do() {
        let fake = Fake::default();
        let refused = async |bytes: &[u8], keys: &str| {
            fake.put(URL, bytes);
            load(&fake, &feed(keys), None).await.unwrap_err()
        };
        let failure = refused(b"192.0.2.1\nexample.org\n", "").await;
        assert_eq!(failure.kind, FailureKind::BadLine);
        assert!(failure.message.starts_with("https://a.example/l: line 2: `example.org`"), "{failure}");
        let failure = refused(b"::1\n::2\n", "max_entries = 1").await;
        assert!(failure.kind == FailureKind::TooMany && failure.message.contains("raise `max_entries`"), "{failure}");
    }

    #[tokio::test]
    async fn a_digest_says_which_list_is_meant() {
        let fake = Fake::default();
        fake.put(URL, b"::1\n");
        let digest = hex(&Sha256::digest(b"::1\n"));
        let keys = format!("sha256 = \"{digest}\"");
        assert!(matches!(load(&fake, &feed(&keys), None).await, Ok(Loaded::List { .. })));
        fake.put(URL, b"::2\n");
        let failure = load(&fake, &feed(&keys), None).await.unwrap_err();
        assert!(failure.kind == FailureKind::Integrity && failure.message.contains(&digest), "{failure}");
    }

    #[tokio::test]
    async fn a_signature_says_who_has_made_the_list() {
        let fake = Fake::default();
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let sign = |bytes: &[u8]| minisign::sign(None, &pair.sk, bytes, None, None).unwrap().to_string();
        let keys = format!("signature = \"https://a.example/l.minisig\"\npublic_key = \"{}\"", pair.pk.to_base64());
        let signature = "https://a.example/l.minisig";
        fake.put(URL, b"::1\n");
        let failure = load(&fake, &feed(&keys), None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound, "without a signature there is no list");
        fake.put(signature, sign(b"::1\n").as_bytes());
        assert!(matches!(load(&fake, &feed(&keys), None).await, Ok(Loaded::List { .. })));
        fake.put(URL, b"::2\n");
        let failure = load(&fake, &feed(&keys), None).await.unwrap_err();
        assert!(
            failure.kind == FailureKind::Integrity && failure.message.contains("was changed after it"),
            "{failure}"
        );
    }
}
