//! What the firewall asks EC2 and Auto Scaling, as far as it takes network interfaces over.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::BoxFuture;

use crate::ids::{AttachmentId, EniId, InstanceId};

/// What an answer is.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, CloudError>>;

/// EC2 and Auto Scaling. Nothing is tried again here: whoever asks knows how long it matters.
pub trait Cloud: Send + Sync {
    /// Network interfaces. One that is not there fails the whole answer, as [`Kind::NotFound`].
    fn interfaces<'a>(&'a self, ids: &'a [EniId]) -> Answer<'a, BTreeMap<EniId, Interface>>;

    /// Instances; those that EC2 does not know are left out.
    fn instances<'a>(&'a self, ids: &'a [InstanceId]) -> Answer<'a, BTreeMap<InstanceId, InstanceState>>;

    /// What Auto Scaling knows of instances; those of no group are left out.
    fn memberships<'a>(&'a self, ids: &'a [InstanceId]) -> Answer<'a, BTreeMap<InstanceId, Membership>>;

    /// Ends an attachment. `force` does so without the instance's doing.
    fn detach<'a>(&'a self, attachment: &'a AttachmentId, force: bool) -> Answer<'a, ()>;

    /// Attaches a network interface to an instance.
    fn attach<'a>(&'a self, eni: &'a EniId, to: &'a InstanceId, device_index: u32) -> Answer<'a, AttachmentId>;

    /// Lets a network interface take packets for others, and send those of others.
    fn forward_for_others<'a>(&'a self, eni: &'a EniId) -> Answer<'a, ()>;

    /// Keeps a network interface when the instance of its attachment is terminated.
    fn keep_on_termination<'a>(&'a self, eni: &'a EniId, attachment: &'a AttachmentId) -> Answer<'a, ()>;

    /// The lifecycle hooks of a group.
    fn hooks<'a>(&'a self, group: &'a str) -> Answer<'a, Vec<Hook>>;

    /// Says that a hook is still needed, which begins its heartbeat anew.
    fn heartbeat<'a>(&'a self, of: &'a HookOf) -> Answer<'a, ()>;

    /// Ends the wait of a hook.
    fn complete<'a>(&'a self, of: &'a HookOf, outcome: HookOutcome) -> Answer<'a, ()>;

    /// Tells Auto Scaling that an instance is to be replaced, also within its grace period.
    fn set_unhealthy<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()>;
}

/// A network interface (`NetworkInterface` in the API reference of EC2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its hardware address, six octets with colons.
    pub mac: String,
    /// Where it is.
    pub availability_zone: String,
    /// Packets of and for others are thrown away.
    pub checks_source_and_destination: bool,
    /// What it is attached to, being attached to, or being detached from.
    pub attachment: Option<Attachment>,
}

/// An attachment of a network interface (`NetworkInterfaceAttachment`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The instance; AWS's own attachments have none.
    pub instance: Option<InstanceId>,
    /// Which of the instance's devices it is.
    pub device_index: u32,
    /// How far it is.
    pub state: AttachmentState,
    /// The network interface is deleted with the instance.
    pub ends_with_instance: bool,
}

/// How far an attachment is (`AttachmentStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// It is being made.
    Attaching,
    /// It is there.
    Attached,
    /// It is being ended.
    Detaching,
    /// It has ended.
    Detached,
}

/// What an instance does (`InstanceStateName`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It begins to run.
    Pending,
    /// It runs.
    Running,
    /// It is being terminated.
    ShuttingDown,
    /// It is no more.
    Terminated,
    /// It is being stopped.
    Stopping,
    /// It does not run, and can be started.
    Stopped,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// An instance in its group (`AutoScalingInstanceDetails`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The name of the group.
    pub group: String,
    /// Where it is in its life, such as `InService` or `Terminating:Wait` (user guide of Auto Scaling, "Instance lifecycle").
    pub lifecycle: String,
}

/// A lifecycle hook (`LifecycleHook`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// What it waits at.
    pub transition: Transition,
    /// How long it waits without a heartbeat, in seconds.
    pub heartbeat_timeout: u32,
    /// The longest that it waits, in seconds.
    pub global_timeout: u32,
}

/// What a hook waits at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`.
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`.
    Terminating,
}

/// A hook that waits for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOf {
    /// The group.
    pub group: String,
    /// The hook.
    pub hook: String,
    /// The instance.
    pub instance: InstanceId,
}

/// How a hook ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// The instance may go on.
    Continue,
    /// It is to be terminated, or, if it is being terminated, without further hooks.
    Abandon,
}

/// What AWS did not do, why, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action}: {message}{}", kind.help(action))]
pub struct CloudError {
    /// The action of the API.
    pub action: &'static str,
    /// What follows from it.
    pub kind: Kind,
    /// What has happened, with the code of the API.
    pub message: String,
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Too many calls.
    Throttled,
    /// Nobody answers, or not in time, or the service is ill. Whether the call was carried out is not known.
    Unreachable,
    /// There are no credentials, or they are not good.
    Credentials,
    /// The role may not do it.
    Unauthorized,
    /// It is not there, or not known yet.
    NotFound,
    /// It is in use, or in a state in which this cannot be done.
    Busy,
    /// The instance, or the account, has as many as it may.
    Limit,
    /// There is no hook that waits.
    NoActiveHook,
    /// Anything else: the same call will not be carried out later either.
    Refused,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Throttled,
        Self::Unreachable,
        Self::Credentials,
        Self::Unauthorized,
        Self::NotFound,
        Self::Busy,
        Self::Limit,
        Self::NoActiveHook,
        Self::Refused,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::Credentials => "credentials",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not-found",
            Self::Busy => "busy",
            Self::Limit => "limit",
            Self::NoActiveHook => "no-active-hook",
            Self::Refused => "refused",
        }
    }

    fn help(self, action: &str) -> String {
        match self {
            Self::Credentials => {
                ": give the instance a role (instance profile), or look at why it is not to be had".to_owned()
            }
            Self::Unauthorized => format!(": allow `{action}` to the role of the instance"),
            Self::Limit => {
                ": the instance type has too few network interfaces, or the account too few; choose another type"
                    .to_owned()
            }
            Self::Throttled | Self::Unreachable | Self::NotFound | Self::Busy | Self::NoActiveHook | Self::Refused => {
                String::new()
            }
        }
    }
}
