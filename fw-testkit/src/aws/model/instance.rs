//! Instances: from their launch to the moment at which nothing is left of them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ApiError;
use super::ids;
use super::interface::{Attachment, Phase};
use super::network::Tags;
use super::{Event, Time, World};

/// How far an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Being launched, until then.
    Pending(Time),
    /// Running.
    Running,
    /// Ending, until then.
    ShuttingDown(Time),
    /// Over.
    Terminated,
}

impl InstanceState {
    /// The name, and the number that stands beside it (EC2 API, InstanceState).
    #[must_use]
    pub const fn name_and_code(self) -> (&'static str, u16) {
        match self {
            Self::Pending(_) => ("pending", 0),
            Self::Running => ("running", 16),
            Self::ShuttingDown(_) => ("shutting-down", 32),
            Self::Terminated => ("terminated", 48),
        }
    }
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The subnet of its primary interface.
    pub subnet: String,
    /// Its Availability Zone.
    pub zone: String,
    /// The ARN of its Outpost.
    pub outpost: Option<String>,
    /// Its account.
    pub owner: String,
    /// How far it is.
    pub state: InstanceState,
    /// When it was launched.
    pub launched: Time,
    /// Its placement group.
    pub placement_group: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// Device indexes that a forced detachment has left unusable.
    pub blocked: BTreeSet<u32>,
    /// Interfaces that are gone and that its metadata goes on showing after a forced detachment, and their indexes.
    pub stale: BTreeMap<String, u32>,
}

/// What an instance is launched from.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The subnet of the primary interface.
    pub subnet: String,
    /// The type.
    pub kind: String,
    /// The account.
    pub owner: String,
    /// The security groups of the primary interface.
    pub groups: Vec<String>,
    /// The placement group.
    pub placement_group: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl World {
    /// Launches an instance with its primary interface. It is `pending` first.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`, `InvalidInstanceType.NotFound`; `InsufficientInstanceCapacity` when the Outpost has no
    /// room for one more of the type.
    pub fn launch(&mut self, now: Time, launch: &Launch) -> Result<String, ApiError> {
        self.settle(now);
        self.launch_now(now, launch)
    }

    pub(super) fn launch_now(&mut self, now: Time, launch: &Launch) -> Result<String, ApiError> {
        let subnet = self.subnet(&launch.subnet)?.clone();
        if !self.types.contains_key(&launch.kind) {
            let message = format!("The following supplied instance types do not exist: [{}]", launch.kind);
            return Err(ApiError::new("InvalidInstanceType", message));
        }
        self.take_capacity(subnet.outpost.as_deref(), &launch.kind)?;
        let id = self.ids.next("i");
        let primary = self.add_interface(&subnet.id);
        let settings = &self.settings;
        let (attached, running) = (now + settings.attach.min(settings.launch), now + settings.launch);
        let attachment = Attachment {
            id: self.ids.next("eni-attach"),
            instance: id.clone(),
            device_index: 0,
            card: 0,
            phase: Phase::Attaching(attached),
            delete_on_termination: true,
            since: now,
            attached: None,
        };
        if let Some(interface) = self.interfaces.get_mut(&primary) {
            interface.attachment = Some(attachment);
            interface.groups.clone_from(&launch.groups);
            interface.owner.clone_from(&launch.owner);
        }
        self.owners.begin(&primary, &id, now);
        let instance = Instance {
            id: id.clone(),
            kind: launch.kind.clone(),
            subnet: subnet.id,
            zone: subnet.zone,
            outpost: subnet.outpost,
            owner: launch.owner.clone(),
            state: InstanceState::Pending(running),
            launched: now,
            placement_group: launch.placement_group.clone(),
            tags: launch.tags.clone(),
            blocked: BTreeSet::new(),
            stale: BTreeMap::new(),
        };
        self.instances.insert(id.clone(), instance);
        Ok(id)
    }

    /// Begins to end an instance. Ending one that is ending already changes nothing.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn terminate(&mut self, now: Time, id: &str) -> Result<(), ApiError> {
        self.settle(now);
        self.visible_instance(now, id)?;
        self.shut_down(now, id);
        Ok(())
    }

    /// Reboots an instance: its device indexes can all be used again, and its metadata is fresh.
    pub fn reboot(&mut self, id: &str) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.blocked.clear();
            instance.stale.clear();
        }
    }

    pub(super) fn shut_down(&mut self, now: Time, id: &str) {
        let until = now + self.settings.shut_down;
        if let Some(instance) = self.instances.get_mut(id)
            && matches!(instance.state, InstanceState::Pending(_) | InstanceState::Running)
        {
            instance.state = InstanceState::ShuttingDown(until);
        }
    }

    /// The instance, as calls that change something find it.
    pub(super) fn visible_instance(&self, now: Time, id: &str) -> Result<&Instance, ApiError> {
        if !ids::is_well_formed("i", id) {
            return Err(ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        let known = self.instances.get(id).filter(|instance| now >= instance.launched + self.settings.propagation);
        known.ok_or_else(|| ApiError::not_found("InvalidInstanceID", "instance ID", id))
    }

    /// Lets an instance whose time has come be running, or over.
    pub(super) fn step_instance(&mut self, now: Time, id: &str) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        match instance.state {
            InstanceState::Pending(until) if until <= now => instance.state = InstanceState::Running,
            InstanceState::ShuttingDown(until) if until <= now => {
                instance.state = InstanceState::Terminated;
                let (outpost, kind) = (instance.outpost.clone(), instance.kind.clone());
                self.give_capacity_back(outpost.as_deref(), &kind);
                self.let_go(now, id);
            }
            InstanceState::Pending(_)
            | InstanceState::ShuttingDown(_)
            | InstanceState::Running
            | InstanceState::Terminated => {}
        }
    }

    /// A terminated instance loses its devices at once; its interfaces are deleted, or free after a while.
    fn let_go(&mut self, now: Time, id: &str) {
        let until = now + self.settings.release;
        let of_instance = |interface: &&mut super::Interface| {
            interface.attachment.as_ref().is_some_and(|attachment| attachment.instance == id)
        };
        let mut deleted = Vec::new();
        for interface in self.interfaces.values_mut().filter(of_instance) {
            let Some(attachment) = interface.attachment.as_mut() else { continue };
            if !matches!(attachment.phase, Phase::Detaching(_)) {
                self.events.push(Event::detached(interface.mac, &interface.id, attachment));
            }
            match attachment.phase {
                Phase::Detaching(earlier) if earlier <= until => {}
                Phase::Attaching(_) | Phase::Attached | Phase::Detaching(_) => {
                    attachment.phase = Phase::Detaching(until);
                }
            }
            if attachment.delete_on_termination {
                deleted.push(interface.id.clone());
            }
        }
        for interface in deleted {
            self.interfaces.remove(&interface);
            self.owners.end(&interface, now);
        }
    }

    fn take_capacity(&mut self, outpost: Option<&str>, kind: &str) -> Result<(), ApiError> {
        let Some(arn) = outpost else { return Ok(()) };
        let place = self.outposts.values_mut().find(|known| known.arn == arn);
        match place.and_then(|known| known.capacity.get_mut(kind)).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => {
                let message = format!("There is no Outpost capacity available for {kind} on {arn}.");
                Err(ApiError::new("InsufficientInstanceCapacity", message).with_status(500))
            }
        }
    }

    fn give_capacity_back(&mut self, outpost: Option<&str>, kind: &str) {
        let place = self.outposts.values_mut().find(|known| Some(known.arn.as_str()) == outpost);
        if let Some(left) = place.and_then(|known| known.capacity.get_mut(kind)) {
            *left += 1;
        }
    }
}
