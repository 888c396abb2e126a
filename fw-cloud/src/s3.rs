//! Objects of S3, read whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use tokio::sync::OnceCell;

use crate::http::{self, chain};
use crate::limit::LimitFailures;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the beginning of an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long an object may take as a whole.
const WHOLE: Duration = Duration::from_secs(300);

/// Where S3 is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Another endpoint than that of AWS, such as that of a VPC or of another make.
    pub endpoint: Option<String>,
    /// The region of the buckets; as the SDK finds it without.
    pub region: Option<String>,
    /// A file of certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// A client, which finds its credentials when it is first used.
#[derive(Debug, Default)]
pub struct S3 {
    options: S3Options,
    client: OnceCell<Client>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// It is the version that is known.
    Unchanged,
    /// The object.
    Found {
        /// What is in it.
        bytes: Vec<u8>,
        /// What S3 calls this version.
        etag: Option<String>,
    },
}

/// Why an object was not read, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// There are no credentials.
    #[error(
        "there are no credentials: give the instance a role (instance profile), or set them in the agent's environment: {0}"
    )]
    NoCredentials(String),
    /// They may not read it.
    #[error(
        "access denied ({code}): the role needs `s3:GetObject` for arn:aws:s3:::{bucket}/{key}, and `kms:Decrypt` for its key if the object is \
         encrypted with one; a key that is not there is told so only to whoever has `s3:ListBucket` for the bucket"
    )]
    Forbidden {
        /// What S3 calls it.
        code: String,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// It is not there.
    #[error("not there ({0})")]
    NotFound(String),
    /// It is larger than it may be.
    #[error("has more than {0} bytes")]
    TooLarge(u64),
    /// The credentials are not good.
    #[error(
        "the credentials are not taken ({0}): look at the role of the instance, or at those in the agent's environment"
    )]
    BadCredentials(String),
    /// The clock is wrong.
    #[error(
        "the clock of the firewall is wrong ({0}): set it, and keep it with NTP; 169.254.169.123 is there on every instance"
    )]
    Clock(String),
    /// Nothing says in which region the bucket is.
    #[error("the region is not known: set `[cloud] region`, or let the agent reach the instance metadata")]
    NoRegion,
    /// Nobody answers.
    #[error("S3 is not to be reached: {0}")]
    Unreachable(String),
    /// TLS failed.
    #[error("TLS with S3 failed: {0}")]
    Tls(String),
    /// It took too long.
    #[error("S3 has not answered in time")]
    TimedOut,
    /// S3 has said something else.
    #[error("S3 refused: {0}")]
    Refused(String),
    /// The file of certificates cannot be used.
    #[error("{path}: {reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl S3 {
    /// A client; nothing is asked yet.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        Self { options, client: OnceCell::new() }
    }

    /// Reads an object of at most so many bytes, unless it is the version with this name.
    ///
    /// # Errors
    /// If it is not to be had, is too large, or takes too long.
    pub async fn get(&self, bucket: &str, key: &str, etag: Option<&str>, most: u64) -> Result<Object, S3Error> {
        let client = self.client.get_or_try_init(|| connect(&self.options)).await?;
        tokio::time::timeout(WHOLE, get(client, bucket, key, etag, most)).await.unwrap_or(Err(S3Error::TimedOut))
    }
}

async fn connect(options: &S3Options) -> Result<Client, S3Error> {
    let ca = match &options.ca_file {
        None => None,
        Some(path) => Some(tokio::fs::read(path).await.map_err(|error| unusable(path, error.to_string()))?),
    };
    let http = http::client(ca).map_err(|error| match &options.ca_file {
        Some(path) => unusable(path, error),
        None => S3Error::Tls(error),
    })?;
    // Whoever asks tries again by himself, and says why.
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().build())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(ANSWER).build());
    let loader = match &options.region {
        Some(region) => loader.region(Region::new(region.clone())),
        None => loader,
    };
    let found = loader.load().await;
    if found.region().is_none() {
        // Not for good: the metadata that would know it may be late.
        return Err(S3Error::NoRegion);
    }
    let config = aws_sdk_s3::config::Builder::from(&found).interceptor(LimitFailures);
    let config = match &options.endpoint {
        // Other makes know buckets by the path only.
        Some(endpoint) => config.endpoint_url(endpoint).force_path_style(true),
        None => config,
    };
    Ok(Client::from_conf(config.build()))
}

async fn get(client: &Client, bucket: &str, key: &str, etag: Option<&str>, most: u64) -> Result<Object, S3Error> {
    let request = client.get_object().bucket(bucket).key(key).set_if_none_match(etag.map(str::to_owned));
    let mut output = match request.send().await {
        Ok(output) => output,
        Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 304) => {
            return Ok(Object::Unchanged);
        }
        Err(error) => return Err(explained(&error, bucket, key)),
    };
    let length = output.content_length().and_then(|length| u64::try_from(length).ok());
    if length.is_some_and(|length| length > most) {
        return Err(S3Error::TooLarge(most));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = output.body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| S3Error::Refused(chain(&error)))?);
        if bytes.len() as u64 > most {
            return Err(S3Error::TooLarge(most));
        }
    }
    if length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(S3Error::Refused(format!("the object broke off after {} bytes", bytes.len())));
    }
    Ok(Object::Found { bytes, etag: output.e_tag })
}

fn explained(error: &SdkError<GetObjectError>, bucket: &str, key: &str) -> S3Error {
    let text = chain(error);
    match error {
        SdkError::TimeoutError(_) => S3Error::TimedOut,
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code(), answer.err().message());
            let there = answer.raw().headers().get("x-amz-bucket-region");
            refused(answer.raw().status().as_u16(), code, message, there, (bucket, key))
        }
        SdkError::ResponseError(_) => S3Error::Refused(text),
        _ if text.contains("credentials") => S3Error::NoCredentials(text),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => S3Error::TimedOut,
        SdkError::DispatchFailure(_) if text.contains("certificate") => S3Error::Tls(text),
        SdkError::DispatchFailure(_) => S3Error::Unreachable(text),
        SdkError::ConstructionFailure(_) | _ => S3Error::Refused(text),
    }
}

/// What S3 means (API reference of S3, "Error responses"). `there`: the region that it says the bucket is in.
fn refused(
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
    there: Option<&str>,
    (bucket, key): (&str, &str),
) -> S3Error {
    let code = code.map_or_else(|| format!("HTTP {status}"), |code| code.escape_debug().to_string());
    match (code.as_str(), status) {
        ("RequestTimeTooSkewed" | "RequestExpired", _) => S3Error::Clock(code),
        (
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired",
            _,
        ) => S3Error::BadCredentials(code),
        (
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IllegalLocationConstraintException",
            _,
        )
        | (_, 301 | 302 | 307 | 308) => {
            let region = there.map_or_else(String::new, |region| format!(", which is {}", region.escape_debug()));
            S3Error::Refused(format!("{code}: set `[cloud] region` to the region of the bucket{region}"))
        }
        (_, 401 | 403) => S3Error::Forbidden { code, bucket: bucket.to_owned(), key: key.to_owned() },
        (_, 404) => S3Error::NotFound(code),
        _ => S3Error::Refused(format!("{code}: {}", message.unwrap_or("no message").escape_debug())),
    }
}

fn unusable(path: &Path, reason: String) -> S3Error {
    S3Error::Certificates { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn each_refusal_is_told_with_what_to_do() {
        for (status, code, told) in [
            (403, Some("RequestTimeTooSkewed"), "the clock of the firewall is wrong"),
            (403, Some("InvalidAccessKeyId"), "the credentials are not taken"),
            (403, Some("SignatureDoesNotMatch"), "the credentials are not taken"),
            (400, Some("ExpiredToken"), "the credentials are not taken"),
            (403, Some("AccessDenied"), "`s3:GetObject` for arn:aws:s3:::b/k"),
            (403, None, "access denied (HTTP 403)"),
            (404, Some("NoSuchKey"), "not there (NoSuchKey)"),
            (301, Some("PermanentRedirect"), "set `[cloud] region` to the region of the bucket, which is us-west-2"),
            (400, Some("AuthorizationHeaderMalformed"), "set `[cloud] region`"),
            (307, None, "set `[cloud] region`"),
            (503, Some("SlowDown"), "SlowDown: Please\\nslow down"),
            (500, None, "HTTP 500"),
        ] {
            let error = refused(status, code, Some("Please\nslow down"), Some("us-west-2"), ("b", "k")).to_string();
            assert!(error.contains(told), "{status} {code:?}: {error}");
        }
    }

    /// Answers one request with a failure that never ends; how many bytes of it were taken.
    async fn endless(listener: TcpListener) -> usize {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _request = stream.read(&mut [0; 16 << 10]).await.unwrap();
        stream.write_all(b"HTTP/1.1 500 -\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let piece = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        let mut taken = 0;
        while stream.write_all(&piece).await.is_ok() {
            taken += piece.len();
        }
        taken
    }

    #[tokio::test]
    async fn a_failure_that_never_ends_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(endless(listener));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http::client(None).unwrap())
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .region(Region::new("eu-central-1"))
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .interceptor(LimitFailures);
        let client = Client::from_conf(config.build());
        let asked = tokio::time::timeout(Duration::from_secs(20), get(&client, "bucket", "key", None, 1)).await;
        assert!(asked.unwrap().is_err());
        drop(client);
        // What is on its way fills the buffers of both sockets.
        let taken = server.await.unwrap();
        assert!(taken < 32 << 20, "{taken}");
    }
}
