//! Auto Scaling groups: what they are made of. What happens in them is in `lifecycle`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::instance::Launch;
use super::{Time, World};

/// The most that a hook lasts in all, whatever heartbeats come (Auto Scaling user guide, "How lifecycle hooks work").
const LONGEST: Duration = Duration::from_secs(48 * 3600);

/// Of how many heartbeat time-outs a hook lasts at most (the same page).
const HEARTBEATS: u32 = 100;

/// Which way an instance goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Into the group.
    Launching,
    /// Out of it.
    Terminating,
}

impl Transition {
    /// As a hook's `LifecycleTransition` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// What becomes of an instance at the end of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookResult {
    /// It goes on.
    Continue,
    /// A launch is given up; a termination goes on without the other hooks.
    Abandon,
}

impl HookResult {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }
}

/// A lifecycle hook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// When instances wait for it.
    pub transition: Transition,
    /// How long they wait for a heartbeat: 30 to 7200 seconds in the real service, anything here.
    pub heartbeat: Duration,
    /// What happens if none comes.
    pub default_result: HookResult,
}

impl Hook {
    /// How long they wait at most.
    #[must_use]
    pub fn longest(&self) -> Duration {
        LONGEST.min(self.heartbeat.saturating_mul(HEARTBEATS))
    }
}

/// An instance's wait for one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Until when, without a heartbeat.
    pub deadline: Time,
    /// Until when at most.
    pub last: Time,
    /// What names the wait.
    pub token: String,
}

/// How far a member of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Its instance is being launched.
    Pending,
    /// Waits for hooks.
    PendingWait,
    /// The hooks are over; in service at this time.
    PendingProceed(Time),
    /// In service.
    InService,
    /// On its way out; waits for hooks from this time on.
    Terminating(Time),
    /// Waits for hooks.
    TerminatingWait,
    /// The hooks are over; its instance ends at this time.
    TerminatingProceed(Time),
    /// Its terminate hook was abandoned, and the group keeps it running, with its interfaces.
    TerminatingRetained,
}

impl Lifecycle {
    /// As `LifecycleState` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::PendingProceed(_) => "Pending:Proceed",
            Self::InService => "InService",
            Self::Terminating(_) => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
            Self::TerminatingProceed(_) => "Terminating:Proceed",
            Self::TerminatingRetained => "Terminating:Retained",
        }
    }

    /// Where it leads, as the instance metadata says it (`autoscaling/target-lifecycle-state`).
    #[must_use]
    pub const fn target(self) -> &'static str {
        if self.is_leaving() { "Terminated" } else { "InService" }
    }

    /// Whether it is on its way out.
    #[must_use]
    pub const fn is_leaving(self) -> bool {
        match self {
            Self::Pending | Self::PendingWait | Self::PendingProceed(_) | Self::InService => false,
            Self::Terminating(_) | Self::TerminatingWait | Self::TerminatingProceed(_) | Self::TerminatingRetained => {
                true
            }
        }
    }
}

/// An instance in a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// How far it is.
    pub lifecycle: Lifecycle,
    /// Whether it is healthy, as far as the group knows.
    pub healthy: bool,
    /// When the group replaces it, if it is not.
    pub replaced: Option<Time>,
    /// The hooks that it waits for, by name.
    pub waits: BTreeMap<String, Wait>,
}

/// An Auto Scaling group.
#[derive(Clone, Debug)]
pub struct ScalingGroup {
    /// Its name.
    pub name: String,
    /// Its account.
    pub owner: String,
    /// What its instances are launched from.
    pub launch: Launch,
    /// How many it has at least, how many it wants, how many it has at most.
    pub size: (usize, usize, usize),
    /// Its hooks.
    pub hooks: Vec<Hook>,
    /// Its instances, by id.
    pub members: BTreeMap<String, Member>,
    /// The least and the greatest percentage of healthy instances while instances are replaced.
    pub maintenance: Option<(i32, i32)>,
    /// Whether an instance whose terminate hook is abandoned is kept (`TerminateHookAbandon: retain`).
    pub retains: bool,
    /// How long a new instance may be unhealthy.
    pub grace: Duration,
    /// Processes that do nothing, such as `Launch` or `ReplaceUnhealthy`.
    pub suspended: BTreeSet<String>,
    /// When it was made.
    pub created: Time,
    /// When it launches the next instance.
    pub(super) launches: Option<Time>,
}

impl ScalingGroup {
    /// A group without hooks and instances, which wants this many.
    #[must_use]
    pub fn new(name: &str, launch: Launch, desired: usize) -> Self {
        Self {
            name: name.to_owned(),
            owner: launch.owner.clone(),
            launch,
            size: (0, desired, desired.max(1) * 2),
            hooks: Vec::new(),
            members: BTreeMap::new(),
            maintenance: Some((0, 100)),
            retains: false,
            grace: Duration::ZERO,
            suspended: BTreeSet::new(),
            created: Time::ZERO,
            launches: None,
        }
    }

    /// The same with one more hook.
    #[must_use]
    pub fn with_hook(
        mut self,
        name: &str,
        transition: Transition,
        heartbeat: Duration,
        default_result: HookResult,
    ) -> Self {
        self.hooks.push(Hook { name: name.to_owned(), transition, heartbeat, default_result });
        self
    }

    /// What it is called in full.
    #[must_use]
    pub fn arn(&self, region: &str) -> String {
        let (owner, name) = (&self.owner, &self.name);
        let id = "00000000-0000-4000-8000-000000000000";
        format!("arn:aws:autoscaling:{region}:{owner}:autoScalingGroup:{id}:autoScalingGroupName/{name}")
    }

    /// When something happens in it by itself.
    pub(super) fn due(&self) -> Option<Time> {
        let of_member = |member: &Member| {
            let own = match member.lifecycle {
                Lifecycle::PendingProceed(at) | Lifecycle::Terminating(at) | Lifecycle::TerminatingProceed(at) => {
                    Some(at)
                }
                Lifecycle::InService => member.replaced,
                Lifecycle::Pending
                | Lifecycle::PendingWait
                | Lifecycle::TerminatingWait
                | Lifecycle::TerminatingRetained => None,
            };
            own.into_iter().chain(member.waits.values().map(|wait| wait.deadline.min(wait.last))).min()
        };
        self.members.values().filter_map(of_member).chain(self.launches).min()
    }

    /// How many of its instances stay.
    pub(super) fn staying(&self) -> usize {
        self.members.values().filter(|member| !member.lifecycle.is_leaving()).count()
    }
}

impl World {
    /// A group, which launches its instances at once.
    pub fn add_scaling_group(&mut self, now: Time, group: ScalingGroup) {
        self.scaling_groups.insert(group.name.clone(), ScalingGroup { created: now, ..group });
        self.settle(now);
    }

    /// The group of an instance, and what it is there.
    #[must_use]
    pub fn member(&self, instance: &str) -> Option<(&ScalingGroup, &Member)> {
        self.scaling_groups.values().find_map(|group| Some((group, group.members.get(instance)?)))
    }
}
