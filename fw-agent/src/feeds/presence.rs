//! What `[feeds]` of `agent.toml` names and is not on the machine, for `fw-agent check`. The agent itself finds out when it fetches, and
//! goes on without.

use std::fs::File;
use std::path::Path;

use fw_policy::{Feed, FeedUrl};

use crate::config::{AgentConfig, FeedsConfig};
use crate::files::{self, Place};
use crate::policy_set;

/// What is missing, each as a sentence without a full stop. A policy that is not valid is not told here.
#[must_use]
pub fn missing(config: &AgentConfig) -> Vec<String> {
    let FeedsConfig { directory, ca_file } = &config.feeds;
    let mut missing = Vec::new();
    if let Some(path) = ca_file
        && let Err(error) = File::open(path)
    {
        missing.push(format!("`[feeds] ca_file`, {}: {error}: no feed comes by https without it", path.display()));
    }
    if let Err(error) = files::directory(directory) {
        let feeds = files_among_feeds(&config.policy.directory);
        let consequence = match feeds.as_slice() {
            [] if directory == Path::new(FeedsConfig::DIRECTORY) => None,
            [] => Some("no feed can be a file".to_owned()),
            feeds => Some(format!("feeds of the policy are files of it, and have no lists: {}", feeds.join(", "))),
        };
        let told = |consequence| format!("`[feeds] directory`, {}: {error}: {consequence}", directory.display());
        missing.extend(consequence.map(told));
    }
    missing
}

/// The feeds of a policy that are files.
fn files_among_feeds(directory: &Path) -> Vec<String> {
    let policy = policy_set::read(directory, &Place::default()).ok().and_then(|files| fw_policy::load(&files).ok());
    let feeds = policy.iter().flat_map(|policy| policy.feeds().iter());
    feeds.filter(|feed| matches!(feed.url(), FeedUrl::File(_))).map(Feed::name).map(str::to_owned).collect()
}
