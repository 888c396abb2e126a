//! Auto Scaling: groups, their instances, lifecycle hooks (version 2011-01-01 of the API).

use super::call::Call;
use super::params::Params;
use super::select::{Field, page, select};
use super::xml::Xml;
use crate::aws::REGION;
use crate::aws::model::{ApiError, HookResult, Member, ScalingGroup, Time, Waiter, World};

type Action = fn(&mut Call<'_>) -> Result<Xml, ApiError>;

const ACTIONS: [(&str, Action); 7] = [
    ("CompleteLifecycleAction", complete),
    ("DescribeAutoScalingGroups", groups),
    ("DescribeAutoScalingInstances", instances),
    ("DescribeLifecycleHooks", hooks),
    ("RecordLifecycleActionHeartbeat", heartbeat),
    ("SetInstanceHealth", health),
    ("TerminateInstanceInAutoScalingGroup", terminate),
];

/// Answers a call.
pub(crate) fn answer(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let known = ACTIONS.iter().find(|(name, _)| *name == call.action);
    let (_, action) = known.ok_or_else(|| {
        let message = format!("Could not find operation {} for version 2011-01-01", call.action);
        ApiError::new("InvalidAction", message)
    })?;
    action(call)
}

fn complete(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let asked = Asked::read(&mut call.params)?;
    let result = match call.params.required("LifecycleActionResult")?.as_str() {
        "CONTINUE" => HookResult::Continue,
        "ABANDON" => HookResult::Abandon,
        other => {
            let message = format!("Lifecycle Action Result must be CONTINUE or ABANDON, not {other}");
            return Err(ApiError::validation(message));
        }
    };
    let now = call.now;
    call.live()?.complete_lifecycle_action(now, &asked.group, &asked.hook, asked.waiter()?, result)?;
    Ok(Xml::query())
}

fn heartbeat(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let asked = Asked::read(&mut call.params)?;
    let now = call.now;
    call.live()?.record_heartbeat(now, &asked.group, &asked.hook, asked.waiter()?)?;
    Ok(Xml::query())
}

/// The wait that a call is about.
struct Asked {
    group: String,
    hook: String,
    instance: Option<String>,
    token: Option<String>,
}

impl Asked {
    fn read(params: &mut Params) -> Result<Self, ApiError> {
        Ok(Self {
            group: params.required("AutoScalingGroupName")?,
            hook: params.required("LifecycleHookName")?,
            instance: params.optional("InstanceId"),
            token: params.optional("LifecycleActionToken"),
        })
    }

    fn waiter(&self) -> Result<Waiter<'_>, ApiError> {
        match (&self.token, &self.instance) {
            (Some(token), _) => Ok(Waiter::Token(token)),
            (None, Some(instance)) => Ok(Waiter::Instance(instance)),
            (None, None) => Err(ApiError::validation("Either a LifecycleActionToken or an InstanceId is needed")),
        }
    }
}

fn health(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let instance = call.params.required("InstanceId")?;
    let healthy = match call.params.required("HealthStatus")?.as_str() {
        "Healthy" => true,
        "Unhealthy" => false,
        other => return Err(ApiError::validation(format!("Health status must be Healthy or Unhealthy, not {other}"))),
    };
    let respects = call.params.parsed("ShouldRespectGracePeriod")?.unwrap_or(true);
    let now = call.now;
    call.live()?.set_health(now, &instance, healthy, respects)?;
    Ok(Xml::query())
}

fn terminate(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let instance = call.params.required("InstanceId")?;
    let decrement = call.params.required("ShouldDecrementDesiredCapacity")? == "true";
    let now = call.now;
    let group = call.live()?.terminate_in_group(now, &instance, decrement)?;
    let mut xml = Xml::query();
    xml.within("Activity", |xml| {
        xml.leaf("ActivityId", "00000000-0000-4000-8000-000000000001");
        xml.leaf("AutoScalingGroupName", group);
        xml.leaf("Description", format!("Terminating EC2 instance: {instance}"));
        xml.leaf("Cause", "instance was taken out of service in response to a user request");
        xml.leaf("StartTime", call.stamp(now));
        xml.leaf("StatusCode", "InProgress");
        xml.leaf("Progress", 0);
    });
    Ok(xml)
}

/// No filter but those of tags, which groups of the fake have none of.
const GROUPS: [Field<ScalingGroup>; 0] = [];

fn groups(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let names = call.params.list("AutoScalingGroupNames");
    let filters = call.params.filters()?;
    let asked = call.params.page_by("MaxRecords", 1, 100, false)?;
    let with_instances = call.params.parsed("IncludeInstances")?.unwrap_or(true);
    let world = call.described()?;
    let own = |group: &&ScalingGroup| group.owner == call.caller.account;
    let named = world.scaling_groups.values().filter(own);
    let named = named.filter(|group| names.is_empty() || names.contains(&group.name));
    let chosen = select(&world, named, &GROUPS, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::query();
    xml.list("AutoScalingGroups", chosen, |xml, group| write_group(xml, call, &world, group, with_instances));
    xml.optional("NextToken", token);
    Ok(xml)
}

fn write_group(xml: &mut Xml, call: &Call<'_>, world: &World, group: &ScalingGroup, with_instances: bool) {
    let (least, desired, most) = group.size;
    xml.leaf("AutoScalingGroupName", &group.name);
    xml.leaf("AutoScalingGroupARN", group.arn(REGION));
    launch_template(xml);
    xml.leaf("MinSize", least);
    xml.leaf("MaxSize", most);
    xml.leaf("DesiredCapacity", desired);
    xml.leaf("DefaultCooldown", 300);
    let zone = world.subnets.get(&group.launch.subnet).map(|subnet| &subnet.zone);
    xml.texts("AvailabilityZones", zone);
    xml.leaf("HealthCheckType", "EC2");
    xml.leaf("HealthCheckGracePeriod", group.grace.as_secs());
    if with_instances {
        xml.list("Instances", &group.members, |xml, (id, member)| write_member(xml, world, id, member));
    }
    xml.leaf("CreatedTime", call.stamp(group.created));
    xml.list("SuspendedProcesses", &group.suspended, |xml, process| xml.leaf("ProcessName", process));
    xml.optional("PlacementGroup", group.launch.placement_group.as_ref());
    xml.leaf("VPCZoneIdentifier", &group.launch.subnet);
    xml.texts("TerminationPolicies", ["Default"]);
    xml.leaf("NewInstancesProtectedFromScaleIn", false);
    if let Some((least, most)) = group.maintenance {
        xml.within("InstanceMaintenancePolicy", |xml| {
            xml.leaf("MinHealthyPercentage", least);
            xml.leaf("MaxHealthyPercentage", most);
        });
    }
    if group.retains {
        xml.within("InstanceLifecyclePolicy", |xml| {
            xml.within("RetentionTriggers", |xml| xml.leaf("TerminateHookAbandon", "retain"));
        });
    }
}

fn launch_template(xml: &mut Xml) {
    xml.within("LaunchTemplate", |xml| {
        xml.leaf("LaunchTemplateId", "lt-00000000000000001");
        xml.leaf("LaunchTemplateName", "firewall");
        xml.leaf("Version", 1);
    });
}

fn write_member(xml: &mut Xml, world: &World, id: &str, member: &Member) {
    let instance = world.instances.get(id);
    xml.leaf("InstanceId", id);
    xml.optional("InstanceType", instance.map(|instance| &instance.kind));
    xml.optional("AvailabilityZone", instance.map(|instance| &instance.zone));
    xml.leaf("LifecycleState", member.lifecycle.name());
    xml.leaf("HealthStatus", if member.healthy { "Healthy" } else { "Unhealthy" });
    launch_template(xml);
    xml.leaf("ProtectedFromScaleIn", false);
}

fn instances(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("InstanceIds");
    let asked = call.params.page_by("MaxRecords", 1, 50, false)?;
    let world = call.described()?;
    let own = |group: &&ScalingGroup| group.owner == call.caller.account;
    let members = world
        .scaling_groups
        .values()
        .filter(own)
        .flat_map(|group| group.members.iter().map(move |member| (group, member)));
    let chosen: Vec<_> = members.filter(|(_, (id, _))| ids.is_empty() || ids.contains(id)).collect();
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::query();
    xml.list("AutoScalingInstances", chosen, |xml, (group, (id, member))| {
        xml.leaf("AutoScalingGroupName", &group.name);
        // Here, unlike in groups, the health is written in capitals.
        let instance = world.instances.get(id);
        xml.leaf("InstanceId", id);
        xml.optional("InstanceType", instance.map(|instance| &instance.kind));
        xml.optional("AvailabilityZone", instance.map(|instance| &instance.zone));
        xml.leaf("LifecycleState", member.lifecycle.name());
        xml.leaf("HealthStatus", if member.healthy { "HEALTHY" } else { "UNHEALTHY" });
        launch_template(xml);
        xml.leaf("ProtectedFromScaleIn", false);
    });
    xml.optional("NextToken", token);
    Ok(xml)
}

fn hooks(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let name = call.params.required("AutoScalingGroupName")?;
    let names = call.params.list("LifecycleHookNames");
    let world = call.described()?;
    let group = world.scaling_groups.get(&name);
    let group = group.ok_or_else(|| {
        ApiError::validation(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found"))
    })?;
    let chosen = group.hooks.iter().filter(|hook| names.is_empty() || names.contains(&hook.name));
    let seconds = |time: Time| time.as_secs();
    let mut xml = Xml::query();
    xml.list("LifecycleHooks", chosen, |xml, hook| {
        xml.leaf("LifecycleHookName", &hook.name);
        xml.leaf("AutoScalingGroupName", &group.name);
        xml.leaf("LifecycleTransition", hook.transition.name());
        xml.leaf("HeartbeatTimeout", seconds(hook.heartbeat));
        xml.leaf("GlobalTimeout", seconds(hook.longest()));
        xml.leaf("DefaultResult", hook.default_result.name());
    });
    Ok(xml)
}
