//! What the firewall asks of AWS, behind types of its own: no other crate depends on the SDK, so that nothing else has to be built anew,
//! reviewed or licensed with it.
//!
//! Credentials and the region are found as the SDK finds them: in the environment, in profiles, from the container or the instance.

mod aws;
mod cloud;
mod http;
mod ids;
mod limit;
mod metadata;
mod s3;

pub use aws::{AccessKey, Aws, AwsOptions};
pub use cloud::{
    Answer, Attachment, AttachmentState, Cloud, CloudError, Hook, HookOf, HookOutcome, InstanceState, Interface, Kind,
    Membership, Transition,
};
pub use ids::{AttachmentId, EniId, InstanceId, NotAnId};
pub use metadata::{Metadata, MetadataError};
pub use s3::{Object, S3, S3Error, S3Options};
