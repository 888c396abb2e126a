//! Whether the instance that has an interface may still need it.

use std::time::{Duration, Instant};

use fw_cloud::{InstanceId, InstanceState};

use super::View;
use super::memory::Memory;

/// How long EC2 must not have known an instance before it counts as gone: what was launched a moment ago is not known everywhere yet (EC2
/// developer guide, "Ensuring idempotency", and "Eventual consistency").
pub const UNKNOWN: Duration = Duration::from_secs(20);

/// Who has an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This instance.
    Own,
    /// One that needs it no longer, and why.
    Released(String),
    /// One that may need it, and why.
    Alive(String),
}

/// Judges the owner of an interface.
#[must_use]
pub fn owner(own: &InstanceId, instance: Option<&InstanceId>, view: &View, memory: &Memory, now: Instant) -> Owner {
    let Some(instance) = instance else {
        return Owner::Alive("a service of AWS has it".to_owned());
    };
    if instance == own {
        return Owner::Own;
    }
    // Auto Scaling decides first: an instance whose hook waits is `running` for EC2, and one that hangs never ends its hook.
    if let Some(membership) = view.memberships.get(instance)
        && is_terminating(&membership.lifecycle)
    {
        return Owner::Released(format!("{instance} is {} in the group {}", membership.lifecycle, membership.group));
    }
    match view.instances.get(instance) {
        Some(
            state @ (InstanceState::ShuttingDown
            | InstanceState::Terminated
            | InstanceState::Stopping
            | InstanceState::Stopped),
        ) => Owner::Released(format!("{instance} is {state}")),
        Some(state @ (InstanceState::Pending | InstanceState::Running)) => {
            let group = match view.memberships.get(instance) {
                Some(membership) => format!("{} in the group {}", membership.lifecycle, membership.group),
                None => "in no Auto Scaling group".to_owned(),
            };
            Owner::Alive(format!("{instance} is {state} and {group}"))
        }
        None => match memory.unknown_for(instance, now) {
            Some(unknown) if unknown >= UNKNOWN => {
                Owner::Released(format!("EC2 has not known {instance} for {} s", unknown.as_secs()))
            }
            Some(_) | None => Owner::Alive(format!("EC2 does not know {instance}, which may be too new to be known")),
        },
    }
}

/// `Terminating`, `Terminating:Wait`, `Terminating:Proceed`, `Terminating:Retained`, `Terminated` (user guide of Auto Scaling, "Instance
/// lifecycle").
#[must_use]
pub fn is_terminating(lifecycle: &str) -> bool {
    lifecycle.starts_with("Terminating") || lifecycle == "Terminated"
}
