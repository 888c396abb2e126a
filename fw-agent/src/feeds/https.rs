//! Feeds that come from web servers, by https only: also where a server leads elsewhere.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use fw_policy::FeedUrl;
use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use tokio::sync::OnceCell;

use super::fetch::{Failure, FailureKind, Fetched, Request, Source, too_large};

/// How long a connection may take, the look-up of the name and TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a list may take as a whole.
const WHOLE: Duration = Duration::from_secs(300);
/// The longest entity tag that is kept and sent back, in bytes. With a longer one the list comes whole each time.
const MAX_TAG: usize = 1 << 10;
/// How often a server may lead elsewhere.
const MOST_REDIRECTS: usize = 5;

/// Web servers, reached through the proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`).
#[derive(Debug, Default)]
pub struct Https {
    ca_file: Option<PathBuf>,
    client: OnceCell<Client>,
}

impl Https {
    /// Trusts the system's certificates, and those of a file in PEM.
    #[must_use]
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, Failure> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .timeout(WHOLE)
            .redirect(redirect::Policy::custom(follow))
            .user_agent(concat!("outpost-fw/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.ca_file {
            let unusable =
                |why: String| Failure::new(FailureKind::Tls, format!("{}: `[feeds] ca_file`: {why}", path.display()));
            let pem = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
            for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| unusable(chain(&error)))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder.build().map_err(|error| Failure::new(FailureKind::Tls, chain(&error)))
    }

    async fn get(&self, request: &Request) -> Result<Fetched, Failure> {
        let FeedUrl::Https(url) = &request.url else {
            return Err(Failure::new(FailureKind::Refused, format!("{}: is not on a web server", request.url)));
        };
        let mut asking = self.client().await?.get(url);
        if let Some(etag) = request.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            asking = asking.header(IF_NONE_MATCH, etag);
        }
        let answer = asking.send().await.map_err(|error| explained(&request.url, error))?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => Ok(Fetched::Unchanged),
            StatusCode::OK => read(request, answer).await,
            status => Err(refused(&request.url, status)),
        }
    }
}

impl Source for Https {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        Box::pin(async move { self.get(&request).await })
    }
}

/// Follows a server to another place, but not off https, nor for ever.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.url().scheme() != "https" {
        let place = attempt.url().to_string();
        return attempt.error(format!("the server leads to {place}, which is not https"));
    }
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error(format!("the server leads elsewhere more than {MOST_REDIRECTS} times"));
    }
    attempt.follow()
}

async fn read(request: &Request, mut answer: Response) -> Result<Fetched, Failure> {
    if answer.content_length().is_some_and(|length| length > request.max_bytes) {
        return Err(too_large(&request.url, request.max_bytes));
    }
    let etag = answer.headers().get(ETAG).and_then(tag);
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| explained(&request.url, error))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > request.max_bytes {
            return Err(too_large(&request.url, request.max_bytes));
        }
    }
    Ok(Fetched::Object { bytes, etag })
}

/// What the server calls the version, if it is text and no longer than it may be.
fn tag(header: &HeaderValue) -> Option<String> {
    header.to_str().ok().filter(|tag| tag.len() <= MAX_TAG).map(str::to_owned)
}

fn refused(url: &FeedUrl, status: StatusCode) -> Failure {
    let (kind, advice) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            (FailureKind::Forbidden, "let the server, or the proxy, know the firewall")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => (FailureKind::NotFound, "correct `url`, or put the list there"),
        StatusCode::TOO_MANY_REQUESTS => (FailureKind::Refused, "raise `refresh`"),
        _ => (FailureKind::Refused, "ask whoever keeps the server"),
    };
    Failure::new(kind, format!("{url}: the server answers {status}: {advice}"))
}

fn explained(url: &FeedUrl, error: reqwest::Error) -> Failure {
    let (kind, advice) = if error.is_timeout() {
        (FailureKind::TimedOut, ": look at the way to the server, and at rules for what the firewall itself sends")
    } else if error.is_redirect() {
        (FailureKind::Refused, "")
    } else if is_of_tls(&error) {
        (FailureKind::Tls, ": trust the server's authority by `[feeds] ca_file`, or look who answers there")
    } else if error.is_connect() || error.is_request() {
        let advice = ": look at name resolution, routes, the proxy, and at rules for what the firewall itself sends";
        (FailureKind::Unreachable, advice)
    } else {
        (FailureKind::Refused, "")
    };
    let text = chain(&error.without_url());
    Failure::new(kind, format!("{url}: {text}{advice}"))
}

/// What TLS refuses comes as invalid data of the connection, perhaps within another error of it.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let of_connection = error.downcast_ref::<io::Error>();
    of_connection.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
        || of_connection.and_then(io::Error::get_ref).is_some_and(|inner| is_of_tls(inner))
        || error.source().is_some_and(is_of_tls)
}

/// An error with all that lies behind it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let told = source.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_refuses_is_told_from_what_does_not_answer() {
        let refused = || io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        assert!(is_of_tls(&refused()) && is_of_tls(&io::Error::other(refused())));
        assert!(
            !is_of_tls(&io::Error::other("no route")) && !is_of_tls(&io::Error::from(io::ErrorKind::ConnectionRefused))
        );
    }

    #[test]
    fn an_error_is_told_down_to_its_cause_and_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Layer {
            text: &'static str,
            source: Option<Box<Layer>>,
        }
        let cause = Layer { text: "connection refused", source: None };
        let same = Layer { text: "connection refused", source: Some(Box::new(cause)) };
        let outer = Layer { text: "error sending request", source: Some(Box::new(same)) };
        assert_eq!(chain(&outer), "error sending request: connection refused");
    }

    #[test]
    fn a_tag_that_is_too_long_is_none() {
        let tag = |length: usize| tag(&HeaderValue::from_str(&"x".repeat(length)).unwrap());
        assert_eq!(tag(MAX_TAG).map(|tag| tag.len()), Some(MAX_TAG));
        assert_eq!(tag(MAX_TAG + 1), None);
    }

    #[test]
    fn a_status_is_told_with_what_to_do() {
        let url = FeedUrl::parse("https://a.example/l").unwrap();
        let told = |status: u16| refused(&url, StatusCode::from_u16(status).unwrap());
        assert_eq!((told(403).kind, told(404).kind), (FailureKind::Forbidden, FailureKind::NotFound));
        assert!(told(429).message.contains("raise `refresh`"), "{}", told(429));
        assert!(told(503).message.starts_with("https://a.example/l: the server answers 503"), "{}", told(503));
    }
}
