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
    let config = aws_sdk_s3::config::Builder::from(&loader.load().await);
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
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or("no code").to_owned();
            match status {
                401 | 403 => S3Error::Forbidden { code, bucket: bucket.to_owned(), key: key.to_owned() },
                404 => S3Error::NotFound(code),
                301 | 307 | 400 if code.contains("Redirect") || code.contains("Authorization") => {
                    S3Error::Refused(format!("{code}: the bucket may be in another region: set `s3_region`"))
                }
                _ => S3Error::Refused(format!("{status} {code}: {}", answer.err().message().unwrap_or("no message"))),
            }
        }
        _ if text.contains("credentials") => S3Error::NoCredentials(text),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => S3Error::TimedOut,
        SdkError::DispatchFailure(_) if text.contains("certificate") => S3Error::Tls(text),
        SdkError::DispatchFailure(_) => S3Error::Unreachable(text),
        SdkError::ConstructionFailure(_) | SdkError::ResponseError(_) | _ => S3Error::Refused(text),
    }
}

fn unusable(path: &Path, reason: String) -> S3Error {
    S3Error::Certificates { path: path.to_owned(), reason }
}
