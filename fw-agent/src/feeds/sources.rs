//! All places that feeds come from, each asked for its own.

use futures_util::future::BoxFuture;
use fw_policy::FeedUrl;

use super::fetch::{Failure, Fetched, Request, Source};
use super::file::Files;
use super::https::Https;
use crate::config::FeedsConfig;

/// Files and web servers.
#[derive(Debug)]
pub struct Sources {
    files: Files,
    https: Https,
}

impl Sources {
    /// As `agent.toml` says; nothing is asked yet.
    #[must_use]
    pub fn new(config: &FeedsConfig) -> Self {
        let FeedsConfig { directory, ca_file } = config.clone();
        Self { files: Files::below(directory), https: Https::new(ca_file) }
    }
}

impl Source for Sources {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
        match request.url {
            FeedUrl::File(_) => self.files.fetch(request),
            FeedUrl::Https(_) => self.https.fetch(request),
        }
    }
}
