//! From the types of the SDK to ours. What has to be there and is not is an error, and no default.

use std::str::FromStr;

use aws_sdk_autoscaling::types::{AutoScalingInstanceDetails, LifecycleHook};
use aws_sdk_ec2::types::{AttachmentStatus, Instance, InstanceStateName, NetworkInterface, NetworkInterfaceAttachment};

use crate::cloud::{
    Attachment, AttachmentState, CloudError, Hook, InstanceState, Interface, Kind, Membership, Transition,
};
use crate::ids::{EniId, InstanceId, NotAnId};

fn lacks(action: &'static str, what: &str) -> CloudError {
    CloudError { action, kind: Kind::Refused, message: format!("the answer lacks {what}") }
}

pub(super) fn id<T: FromStr<Err = NotAnId>>(action: &'static str, id: Option<&str>) -> Result<T, CloudError> {
    let id = id.ok_or_else(|| lacks(action, "an id"))?;
    let unknown =
        |error| CloudError { action, kind: Kind::Refused, message: format!("`{}` is {error}", id.escape_debug()) };
    id.parse().map_err(unknown)
}

pub(super) fn interface(action: &'static str, described: &NetworkInterface) -> Result<(EniId, Interface), CloudError> {
    let eni = id(action, described.network_interface_id())?;
    let text = |text: Option<&str>, what: &str| text.map(str::to_owned).ok_or_else(|| lacks(action, what));
    let attachment = described.attachment().map(|attachment| self::attachment(action, attachment)).transpose()?;
    let interface = Interface {
        mac: text(described.mac_address(), "the hardware address")?.to_ascii_lowercase(),
        availability_zone: text(described.availability_zone(), "the Availability Zone")?,
        checks_source_and_destination: described.source_dest_check().unwrap_or(true),
        attachment: attachment.filter(|attachment| attachment.state != AttachmentState::Detached),
    };
    Ok((eni, interface))
}

fn attachment(action: &'static str, described: &NetworkInterfaceAttachment) -> Result<Attachment, CloudError> {
    let state = match described.status() {
        Some(AttachmentStatus::Attaching) => AttachmentState::Attaching,
        Some(AttachmentStatus::Attached) => AttachmentState::Attached,
        Some(AttachmentStatus::Detaching) => AttachmentState::Detaching,
        Some(AttachmentStatus::Detached) => AttachmentState::Detached,
        Some(other) => {
            return Err(lacks(action, &format!("a state of the attachment that is known: `{}`", other.as_str())));
        }
        None => return Err(lacks(action, "the state of the attachment")),
    };
    Ok(Attachment {
        id: id(action, described.attachment_id())?,
        instance: described.instance_id().map(|instance| id(action, Some(instance))).transpose()?,
        device_index: described.device_index().and_then(|index| u32::try_from(index).ok()).unwrap_or(0),
        state,
        ends_with_instance: described.delete_on_termination().unwrap_or(true),
    })
}

pub(super) fn instance(
    action: &'static str,
    described: &Instance,
) -> Result<Option<(InstanceId, InstanceState)>, CloudError> {
    let state = match described.state().and_then(|state| state.name()) {
        Some(InstanceStateName::Pending) => InstanceState::Pending,
        Some(InstanceStateName::Running) => InstanceState::Running,
        Some(InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(InstanceStateName::Terminated) => InstanceState::Terminated,
        Some(InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(InstanceStateName::Stopped) => InstanceState::Stopped,
        // Whoever counts it as gone would take from the living.
        Some(other) => {
            return Err(lacks(action, &format!("a state of the instance that is known: `{}`", other.as_str())));
        }
        None => return Err(lacks(action, "the state of the instance")),
    };
    Ok(Some((id(action, described.instance_id())?, state)))
}

pub(super) fn membership(
    action: &'static str,
    details: &AutoScalingInstanceDetails,
) -> Result<Option<(InstanceId, Membership)>, CloudError> {
    let group = details.auto_scaling_group_name().ok_or_else(|| lacks(action, "the group"))?.to_owned();
    let lifecycle = details.lifecycle_state().ok_or_else(|| lacks(action, "the lifecycle state"))?.to_owned();
    Ok(Some((id(action, details.instance_id())?, Membership { group, lifecycle })))
}

/// A hook, unless it waits at something else than a launch or an end.
pub(super) fn hook(described: &LifecycleHook) -> Option<Hook> {
    let transition = match described.lifecycle_transition()? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launching,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminating,
        _ => return None,
    };
    let seconds = |seconds: Option<i32>| seconds.and_then(|seconds| u32::try_from(seconds).ok());
    Some(Hook {
        name: described.lifecycle_hook_name()?.to_owned(),
        transition,
        // The defaults of PutLifecycleHook.
        heartbeat_timeout: seconds(described.heartbeat_timeout()).unwrap_or(3_600),
        global_timeout: seconds(described.global_timeout()).unwrap_or(172_800),
    })
}
