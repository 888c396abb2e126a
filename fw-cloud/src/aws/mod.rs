//! The SDK of AWS behind [`Cloud`].

mod error;
mod read;
mod scaling;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, NetworkInterfaceAttachmentChanges};
use futures_util::future::BoxFuture;

use crate::cloud::{Answer, Cloud, CloudError, Hook, HookOf, HookOutcome, InstanceState, Interface, Kind, Membership};
use crate::http;
use crate::ids::{AttachmentId, EniId, InstanceId};
use crate::limit::LimitFailures;
use error::told;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Where AWS is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsOptions {
    /// The region; as the SDK finds it without.
    pub region: Option<String>,
    /// A file of certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Credentials; as the SDK finds them without.
    pub access_key: Option<AccessKey>,
    /// Another endpoint of EC2 than that of AWS.
    pub ec2_endpoint: Option<String>,
    /// Another endpoint of Auto Scaling than that of AWS.
    pub autoscaling_endpoint: Option<String>,
}

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// AWS itself.
#[derive(Clone, Debug)]
pub struct Aws {
    ec2: aws_sdk_ec2::Client,
    scaling: aws_sdk_autoscaling::Client,
}

impl Aws {
    /// Finds the region and the way to credentials. Nothing is asked of EC2 yet.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub async fn connect(options: &AwsOptions) -> Result<Self, CloudError> {
        let refused = |message: String| CloudError { action: "connect", kind: Kind::Refused, message };
        let ca = match &options.ca_file {
            None => None,
            Some(path) => {
                let pem = tokio::fs::read(path).await;
                Some(pem.map_err(|error| refused(format!("{}: {error}", path.display())))?)
            }
        };
        let http = http::client(ca).map_err(|error| match &options.ca_file {
            Some(path) => refused(format!("{}: {error}", path.display())),
            None => refused(error),
        })?;
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build());
        let loader = match &options.region {
            Some(region) => loader.region(Region::new(region.clone())),
            None => loader,
        };
        let loader = match &options.access_key {
            Some(AccessKey { id, secret }) => {
                loader.credentials_provider(Credentials::new(id, secret, None, None, "given"))
            }
            None => loader,
        };
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(refused(
                "the region is not known: set `[cloud] region`, or let the agent reach the instance metadata"
                    .to_owned(),
            ));
        }
        Ok(Self::with(&config, options))
    }

    fn with(config: &SdkConfig, options: &AwsOptions) -> Self {
        let mut ec2 = aws_sdk_ec2::config::Builder::from(config).interceptor(LimitFailures);
        ec2.set_endpoint_url(options.ec2_endpoint.clone().or_else(|| config.endpoint_url().map(str::to_owned)));
        let mut scaling = aws_sdk_autoscaling::config::Builder::from(config).interceptor(LimitFailures);
        scaling.set_endpoint_url(
            options.autoscaling_endpoint.clone().or_else(|| config.endpoint_url().map(str::to_owned)),
        );
        Self {
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            scaling: aws_sdk_autoscaling::Client::from_conf(scaling.build()),
        }
    }
}

impl Cloud for Aws {
    fn interfaces<'a>(&'a self, ids: &'a [EniId]) -> Answer<'a, BTreeMap<EniId, Interface>> {
        const ACTION: &str = "ec2:DescribeNetworkInterfaces";
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(BTreeMap::new());
            }
            let wanted = ids.iter().map(ToString::to_string).collect();
            let request = self.ec2.describe_network_interfaces().set_network_interface_ids(Some(wanted));
            let output = request.send().await.map_err(|error| told(ACTION, &error))?;
            output.network_interfaces().iter().map(|interface| read::interface(ACTION, interface)).collect()
        })
    }

    fn instances<'a>(&'a self, ids: &'a [InstanceId]) -> Answer<'a, BTreeMap<InstanceId, InstanceState>> {
        const ACTION: &str = "ec2:DescribeInstances";
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(BTreeMap::new());
            }
            // By a filter, and not by ids: one that is not there would fail the answer about all.
            let filter =
                Filter::builder().name("instance-id").set_values(Some(ids.iter().map(ToString::to_string).collect()));
            let mut pages = self.ec2.describe_instances().filters(filter.build()).into_paginator().items().send();
            let mut instances = BTreeMap::new();
            while let Some(reservation) = pages.next().await {
                for instance in reservation.map_err(|error| told(ACTION, &error))?.instances() {
                    instances.extend(read::instance(ACTION, instance)?);
                }
            }
            Ok(instances)
        })
    }

    fn memberships<'a>(&'a self, ids: &'a [InstanceId]) -> Answer<'a, BTreeMap<InstanceId, Membership>> {
        self.describe_memberships(ids)
    }

    fn detach<'a>(&'a self, attachment: &'a AttachmentId, force: bool) -> Answer<'a, ()> {
        const ACTION: &str = "ec2:DetachNetworkInterface";
        Box::pin(async move {
            let request = self.ec2.detach_network_interface().attachment_id(attachment.as_str()).force(force);
            request.send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }

    fn attach<'a>(&'a self, eni: &'a EniId, to: &'a InstanceId, device_index: u32) -> Answer<'a, AttachmentId> {
        const ACTION: &str = "ec2:AttachNetworkInterface";
        Box::pin(async move {
            let request =
                self.ec2.attach_network_interface().network_interface_id(eni.as_str()).instance_id(to.as_str());
            let request = request.device_index(i32::try_from(device_index).unwrap_or(i32::MAX));
            let output = request.send().await.map_err(|error| told(ACTION, &error))?;
            read::id(ACTION, output.attachment_id())
        })
    }

    fn forward_for_others<'a>(&'a self, eni: &'a EniId) -> Answer<'a, ()> {
        const ACTION: &str = "ec2:ModifyNetworkInterfaceAttribute";
        Box::pin(async move {
            let no = AttributeBooleanValue::builder().value(false).build();
            let request = self.ec2.modify_network_interface_attribute().network_interface_id(eni.as_str());
            request.source_dest_check(no).send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }

    fn keep_on_termination<'a>(&'a self, eni: &'a EniId, attachment: &'a AttachmentId) -> Answer<'a, ()> {
        const ACTION: &str = "ec2:ModifyNetworkInterfaceAttribute";
        Box::pin(async move {
            let changes = NetworkInterfaceAttachmentChanges::builder().attachment_id(attachment.as_str());
            let changes = changes.delete_on_termination(false).build();
            let request = self.ec2.modify_network_interface_attribute().network_interface_id(eni.as_str());
            request.attachment(changes).send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }

    fn hooks<'a>(&'a self, group: &'a str) -> Answer<'a, Vec<Hook>> {
        self.describe_hooks(group)
    }

    fn heartbeat<'a>(&'a self, of: &'a HookOf) -> Answer<'a, ()> {
        self.record_heartbeat(of)
    }

    fn complete<'a>(&'a self, of: &'a HookOf, outcome: HookOutcome) -> Answer<'a, ()> {
        self.complete_hook(of, outcome)
    }

    fn set_unhealthy<'a>(&'a self, instance: &'a InstanceId) -> BoxFuture<'a, Result<(), CloudError>> {
        self.set_health(instance)
    }
}
