//! `[cloud]`, and the bucket that a policy comes from.

use std::path::PathBuf;

use fw_policy::{Code, is_bucket};

use super::duration;
use super::report::Report;
use super::section::Section;
use crate::change::mirror::Place;

/// How often a bucket is looked at without `poll`, in seconds.
const POLL: u32 = 30;

/// `[cloud]`: where AWS is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudConfig {
    /// The region; as the SDK finds it without: in the environment, in a profile, or from the instance.
    pub region: Option<String>,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Another endpoint of S3 than that of AWS, such as one in a VPC.
    pub s3_endpoint: Option<String>,
}

/// The bucket of S3 that a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// Where its bundles are.
    pub place: Place,
    /// How often it is looked at, in seconds.
    pub poll: u32,
}

pub(super) fn cloud(section: Option<Section<'_>>, report: &mut Report<'_>) -> CloudConfig {
    let mut config = CloudConfig::default();
    let Some(mut section) = section else { return config };
    if let Some(region) = section.string("region", report) {
        let is_of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.value.is_empty() || !region.value.bytes().all(is_of_region) {
            report
                .add(Code::InvalidValue, region.span, "this is not the name of a region")
                .expected("expected such as \"eu-central-1\"");
        }
        config.region = Some(region.value.to_owned());
    }
    config.ca_file = section.string("ca_file", report).map(|file| PathBuf::from(file.value));
    if let Some(mut endpoints) = section.table("endpoints", "[cloud.endpoints]", report) {
        config.s3_endpoint = endpoint("s3", &mut endpoints, report);
        endpoints.finish(report);
    }
    section.finish(report);
    config
}

fn endpoint(service: &'static str, section: &mut Section<'_>, report: &mut Report<'_>) -> Option<String> {
    let endpoint = section.string(service, report)?;
    let host = endpoint.value.strip_prefix("https://").or_else(|| endpoint.value.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':'])) {
        report
            .add(Code::InvalidUrl, endpoint.span, "this is not the URL of an endpoint")
            .expected("expected such as \"https://s3.eu-central-1.amazonaws.com\"");
    }
    Some(endpoint.value.to_owned())
}

/// The bucket of a policy, if it comes from one; its keys say nothing of one that does not.
pub(super) fn bucket(is_wanted: bool, section: &mut Section<'_>, report: &mut Report<'_>) -> Option<BucketConfig> {
    let bucket = section.string("bucket", report);
    let prefix = section.string("prefix", report);
    let poll = section.string("poll", report);
    if !is_wanted {
        for written in [bucket, prefix, poll].into_iter().flatten() {
            report
                .add(Code::Contradiction, written.span, "this is of a policy that comes from a bucket")
                .expected("expected `source = \"s3\"` beside it");
        }
        return None;
    }
    let poll = poll.and_then(|poll| duration::reported(&poll, report)).unwrap_or(POLL);
    let prefix = prefix.map_or_else(String::new, |prefix| prefix.value.trim_matches('/').to_owned());
    let Some(bucket) = bucket else {
        section.missing("bucket", "`bucket = \"NAME\"` beside `source = \"s3\"`", report);
        return None;
    };
    if !is_bucket(bucket.value) {
        report
            .add(Code::InvalidValue, bucket.span, "this is not the name of a bucket")
            .expected("expected the name alone, such as \"plant-7-policies\"");
    }
    Some(BucketConfig { place: Place { bucket: bucket.value.to_owned(), prefix }, poll })
}
