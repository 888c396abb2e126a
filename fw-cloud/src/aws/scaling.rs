//! Auto Scaling.

use std::collections::BTreeMap;

use super::error::told;
use super::{Aws, read};
use crate::cloud::{Answer, Hook, HookOf, HookOutcome, Membership};
use crate::ids::InstanceId;

/// The most instances that `DescribeAutoScalingInstances` takes.
const MOST_INSTANCES: usize = 50;

impl Aws {
    pub(super) fn describe_memberships<'a>(
        &'a self,
        ids: &'a [InstanceId],
    ) -> Answer<'a, BTreeMap<InstanceId, Membership>> {
        const ACTION: &str = "autoscaling:DescribeAutoScalingInstances";
        Box::pin(async move {
            let mut memberships = BTreeMap::new();
            for ids in ids.chunks(MOST_INSTANCES) {
                let wanted = ids.iter().map(ToString::to_string).collect();
                let request = self.scaling.describe_auto_scaling_instances().set_instance_ids(Some(wanted));
                let output = request.send().await.map_err(|error| told(ACTION, &error))?;
                for details in output.auto_scaling_instances() {
                    memberships.extend(read::membership(ACTION, details)?);
                }
            }
            Ok(memberships)
        })
    }

    pub(super) fn describe_hooks<'a>(&'a self, group: &'a str) -> Answer<'a, Vec<Hook>> {
        const ACTION: &str = "autoscaling:DescribeLifecycleHooks";
        Box::pin(async move {
            let request = self.scaling.describe_lifecycle_hooks().auto_scaling_group_name(group);
            let output = request.send().await.map_err(|error| told(ACTION, &error))?;
            Ok(output.lifecycle_hooks().iter().filter_map(read::hook).collect())
        })
    }

    pub(super) fn record_heartbeat<'a>(&'a self, of: &'a HookOf) -> Answer<'a, ()> {
        const ACTION: &str = "autoscaling:RecordLifecycleActionHeartbeat";
        Box::pin(async move {
            let request = self.scaling.record_lifecycle_action_heartbeat().auto_scaling_group_name(&of.group);
            let request = request.lifecycle_hook_name(&of.hook).instance_id(of.instance.as_str());
            request.send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }

    pub(super) fn complete_hook<'a>(&'a self, of: &'a HookOf, outcome: HookOutcome) -> Answer<'a, ()> {
        const ACTION: &str = "autoscaling:CompleteLifecycleAction";
        let result = match outcome {
            HookOutcome::Continue => "CONTINUE",
            HookOutcome::Abandon => "ABANDON",
        };
        Box::pin(async move {
            let request = self.scaling.complete_lifecycle_action().auto_scaling_group_name(&of.group);
            let request = request.lifecycle_hook_name(&of.hook).instance_id(of.instance.as_str());
            let request = request.lifecycle_action_result(result);
            request.send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }

    pub(super) fn set_health<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        const ACTION: &str = "autoscaling:SetInstanceHealth";
        Box::pin(async move {
            let request = self.scaling.set_instance_health().instance_id(instance.as_str()).health_status("Unhealthy");
            let request = request.should_respect_grace_period(false);
            request.send().await.map(drop).map_err(|error| told(ACTION, &error))
        })
    }
}
