//! Takes a set of network interfaces over from an instance that is gone, and never from one that may live.
//!
//! [`decide`](decide::decide) compares what is wanted with what AWS describes, and says what to do next: pure, without clock or I/O. Every
//! round begins with what AWS describes, so that an agent that is killed anywhere goes on where it was.
//!
//! There is no call of EC2 that takes an interface away from an instance: it is detached, and attached again. The interface itself is the
//! fence, because it has one attachment at a time, and each attachment has another id: who acts on what he saw a moment ago is refused.
//! That nobody takes half of a set, the order sees to: the first interface of the set is attached before any other, and who does
//! not get it takes none.

pub mod decide;
pub mod driver;
pub mod memory;
pub mod owner;
pub mod pace;

use std::collections::BTreeMap;
use std::fmt;

use fw_cloud::{AttachmentId, EniId, InstanceId, InstanceState, Interface, Membership};

/// A network interface that the firewall needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub eni: EniId,
    /// Which of the instance's devices it is to be; any free one without. An index that is taken is a reason for another one, not for
    /// doing without the interface: devices are found by their hardware address.
    pub device_index: Option<u32>,
}

/// What AWS has described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The interfaces of the set.
    pub interfaces: BTreeMap<EniId, Interface>,
    /// The instances that they are attached to, and this one.
    pub instances: BTreeMap<InstanceId, InstanceState>,
    /// What Auto Scaling knows of those.
    pub memberships: BTreeMap<InstanceId, Membership>,
}

/// A call of EC2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Ends an attachment to an instance that is gone.
    Detach {
        /// The interface.
        eni: EniId,
        /// Its attachment.
        attachment: AttachmentId,
        /// Without the instance's doing.
        force: bool,
    },
    /// Attaches an interface to this instance.
    Attach {
        /// The interface.
        eni: EniId,
        /// As which device.
        device_index: u32,
    },
    /// Sets `SourceDestCheck` to false.
    ForwardForOthers {
        /// The interface.
        eni: EniId,
    },
    /// Sets `DeleteOnTermination` to false.
    KeepOnTermination {
        /// The interface.
        eni: EniId,
        /// Its attachment.
        attachment: AttachmentId,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detach { eni, attachment, force: false } => write!(formatter, "detach {eni} ({attachment})"),
            Self::Detach { eni, attachment, force: true } => write!(formatter, "detach {eni} ({attachment}) by force"),
            Self::Attach { eni, device_index } => write!(formatter, "attach {eni} as device {device_index}"),
            Self::ForwardForOthers { eni } => write!(formatter, "let {eni} forward (SourceDestCheck = false)"),
            Self::KeepOnTermination { eni, .. } => {
                write!(formatter, "keep {eni} when the instance ends (DeleteOnTermination = false)")
            }
        }
    }
}

/// How the set stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All interfaces are attached here, and as they should be.
    Ours,
    /// On the way; what is waited for.
    Underway(Vec<String>),
    /// Nothing is done, because somebody else may need the interfaces; why, and what would help.
    Refused(Vec<String>),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The calls, in this order; they do not depend on each other's success.
    pub steps: Vec<Step>,
    /// How the set stands before them.
    pub standing: Standing,
}
