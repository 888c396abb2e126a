//! Network interfaces and their attachments.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Time;
use super::network::Tags;

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// On its way, until then.
    Attaching(Time),
    /// There.
    Attached,
    /// On its way out, until then.
    Detaching(Time),
}

impl Phase {
    /// As an attachment's `status` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attaching(_) => "attaching",
            Self::Attached => "attached",
            Self::Detaching(_) => "detaching",
        }
    }
}

/// What joins an interface to an instance. An interface has one at most.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// `eni-attach-…`.
    pub id: String,
    /// The instance.
    pub instance: String,
    /// The position on it; 0 is the primary interface.
    pub device_index: u32,
    /// The network card.
    pub card: u32,
    /// How far it is.
    pub phase: Phase,
    /// Whether the interface goes with the instance.
    pub delete_on_termination: bool,
    /// When it was asked for.
    pub since: Time,
    /// When it was there.
    pub attached: Option<Time>,
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// `eni-…`.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its VPC.
    pub vpc: String,
    /// Its Availability Zone.
    pub zone: String,
    /// The ARN of its Outpost.
    pub outpost: Option<String>,
    /// Its account.
    pub owner: String,
    /// The service that manages it, if it isn't its owner.
    pub requester: Option<String>,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its IPv4 addresses; the first is the primary one.
    pub addresses: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub addresses6: Vec<Ipv6Addr>,
    /// Its security groups.
    pub groups: Vec<String>,
    /// What people call it.
    pub description: String,
    /// Whether it takes only what is from or to its own addresses.
    pub source_dest_check: bool,
    /// Its tags.
    pub tags: Tags,
    /// What joins it to an instance.
    pub attachment: Option<Attachment>,
    /// How long it takes to detach, if not as long as others.
    pub slow_detach: Option<Duration>,
}

impl Interface {
    /// Its `status`: `available`, `attaching`, `in-use` or `detaching`.
    #[must_use]
    pub fn status(&self, in_use_while_attaching: bool) -> &'static str {
        match self.attachment.as_ref().map(|attachment| attachment.phase) {
            None => "available",
            Some(Phase::Attaching(_)) if !in_use_while_attaching => "attaching",
            Some(Phase::Attaching(_) | Phase::Attached) => "in-use",
            Some(Phase::Detaching(_)) => "detaching",
        }
    }

    /// When its attachment changes next.
    pub(super) fn due(&self) -> Option<Time> {
        match self.attachment.as_ref()?.phase {
            Phase::Attaching(until) | Phase::Detaching(until) => Some(until),
            Phase::Attached => None,
        }
    }

    /// The instance whose packets it carries.
    #[must_use]
    pub fn carries_for(&self) -> Option<&str> {
        let attachment = self.attachment.as_ref()?;
        (attachment.phase == Phase::Attached).then_some(attachment.instance.as_str())
    }
}
