//! All places that feeds come from, each asked for its own.

use futures_util::future::BoxFuture;
use fw_cloud::S3Options;
use fw_policy::FeedUrl;

use super::fetch::{Failure, Fetched, Request, Source};
use super::file::Files;
use super::https::Https;
use super::s3::Buckets;
use crate::config::{CloudConfig, FeedsConfig};

/// Files, web servers and S3.
#[derive(Debug)]
pub struct Sources {
    files: Files,
    https: Https,
    buckets: Buckets,
}

impl Sources {
    /// As `agent.toml` says; nothing is asked yet.
    #[must_use]
    pub fn new(feeds: &FeedsConfig, cloud: &CloudConfig) -> Self {
        let FeedsConfig { directory, ca_file } = feeds.clone();
        let CloudConfig { region, ca_file: ca_of_cloud, s3_endpoint } = cloud.clone();
        Self {
            files: Files::below(directory),
            https: Https::new(ca_file),
            buckets: Buckets::new(S3Options { endpoint: s3_endpoint, region, ca_file: ca_of_cloud }),
        }
    }
}

impl Source for Sources {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        match request.url {
            FeedUrl::File(_) => self.files.fetch(request),
            FeedUrl::Https(_) => self.https.fetch(request),
            FeedUrl::S3 { .. } => self.buckets.fetch(request),
        }
    }
}
