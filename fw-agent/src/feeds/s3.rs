//! Feeds that are objects of S3.

use futures_util::future::BoxFuture;
use fw_cloud::{Object, S3, S3Error, S3Options};
use fw_policy::FeedUrl;

use super::fetch::{Failure, FailureKind, Fetched, Request, Source, too_large};

/// The buckets that the firewall may read.
#[derive(Debug)]
pub struct Buckets {
    s3: S3,
}

impl Buckets {
    /// Those at an endpoint.
    #[must_use]
    pub fn new(options: S3Options) -> Self {
        Self { s3: S3::new(options) }
    }
}

impl Source for Buckets {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        Box::pin(async move {
            let FeedUrl::S3 { bucket, key } = &request.url else {
                return Err(Failure::new(FailureKind::Refused, format!("{}: is no object of S3", request.url)));
            };
            match self.s3.get(bucket, key, request.etag.as_deref(), request.max_bytes).await {
                Ok(Object::Unchanged) => Ok(Fetched::Unchanged),
                Ok(Object::Found { bytes, etag }) => Ok(Fetched::Object { bytes, etag }),
                Err(error) => Err(explained(&request, &error)),
            }
        })
    }
}

fn explained(request: &Request, error: &S3Error) -> Failure {
    let kind = match error {
        S3Error::TooLarge(_) => return too_large(&request.url, request.max_bytes),
        S3Error::NoCredentials(_) | S3Error::BadCredentials(_) | S3Error::Clock(_) | S3Error::Forbidden { .. } => {
            FailureKind::Forbidden
        }
        S3Error::NotFound(_) => FailureKind::NotFound,
        S3Error::Unreachable(_) | S3Error::NoRegion => FailureKind::Unreachable,
        S3Error::Tls(_) | S3Error::Certificates { .. } => FailureKind::Tls,
        S3Error::TimedOut => FailureKind::TimedOut,
        S3Error::Refused(_) => FailureKind::Refused,
    };
    Failure::new(kind, format!("{}: {error}", request.url))
}
