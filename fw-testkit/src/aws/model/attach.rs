//! Attaching, detaching and changing network interfaces, and what refuses it.

use super::error::ApiError;
use super::ids;
use super::instance::InstanceState;
use super::interface::{Attachment, Interface, Phase};
use super::{Event, Time, World};

/// What AttachNetworkInterface asks for.
#[derive(Clone, Copy, Debug)]
pub struct Attach<'a> {
    /// The interface.
    pub interface: &'a str,
    /// The instance.
    pub instance: &'a str,
    /// The position on it.
    pub device_index: u32,
    /// The network card.
    pub card: u32,
    /// The account that asks.
    pub caller: &'a str,
}

/// The one attribute that a call of ModifyNetworkInterfaceAttribute changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// What people call it.
    Description(String),
    /// Whether only its own addresses pass.
    SourceDestCheck(bool),
    /// Its security groups.
    Groups(Vec<String>),
    /// Whether it goes with the instance of this attachment.
    DeleteOnTermination {
        /// The attachment, which must be the present one.
        attachment: String,
        /// Whether it goes.
        delete: bool,
    },
}

impl World {
    /// Attaches an interface; the id of the attachment, which is `attaching` first.
    ///
    /// # Errors
    /// What the real service refuses, in this order: unknown ids, interfaces of other accounts or services, interfaces in
    /// use, instances in other states, other Availability Zones or Outposts, positions that are taken, too many interfaces.
    pub fn attach(&mut self, now: Time, attach: Attach<'_>) -> Result<String, ApiError> {
        self.settle(now);
        self.may_attach(now, &attach)?;
        let id = self.ids.next("eni-attach");
        let attachment = Attachment {
            id: id.clone(),
            instance: attach.instance.to_owned(),
            device_index: attach.device_index,
            card: attach.card,
            phase: Phase::Attaching(now + self.settings.attach),
            delete_on_termination: false,
            since: now,
            attached: None,
        };
        if let Some(interface) = self.interfaces.get_mut(attach.interface) {
            interface.attachment = Some(attachment);
        }
        self.owners.begin(attach.interface, attach.instance, now);
        self.settle(now);
        Ok(id)
    }

    fn may_attach(&self, now: Time, attach: &Attach<'_>) -> Result<(), ApiError> {
        let interface = self.interface(attach.interface)?;
        let instance = self.visible_instance(now, attach.instance)?;
        may_manage(interface, attach.caller)?;
        if interface.owner != instance.owner {
            let message =
                format!("Network interface '{}' and instance '{}' have different owners.", interface.id, instance.id);
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        if interface.attachment.is_some() {
            return Err(self.in_use(&interface.id));
        }
        if instance.state != InstanceState::Running {
            let message = format!("Instance '{}' is not 'running' or 'stopped'.", instance.id);
            return Err(ApiError::new("IncorrectInstanceState", message));
        }
        if interface.zone != instance.zone {
            let message =
                "You may not attach a network interface to an instance if they are not in the same availability zone";
            return Err(ApiError::new("InvalidParameterCombination", message));
        }
        if interface.outpost != instance.outpost {
            let message = "You may not attach a network interface to an instance if they are not on the same Outpost";
            return Err(ApiError::new("InvalidParameterCombination", message));
        }
        if attach.card != 0 {
            return Err(ApiError::invalid_value(format!(
                "Network card index {} exceeds the limit for {}",
                attach.card, instance.kind
            )));
        }
        self.has_position(attach)
    }

    fn has_position(&self, attach: &Attach<'_>) -> Result<(), ApiError> {
        let Some(instance) = self.instances.get(attach.instance) else { return Ok(()) };
        let mut taken: Vec<u32> =
            self.attachments_of(attach.instance).map(|attachment| attachment.device_index).collect();
        taken.extend(&instance.blocked);
        if taken.contains(&attach.device_index) {
            let (id, index) = (attach.instance, attach.device_index);
            let message = format!("Instance '{id}' already has an interface attached at device index '{index}'.");
            return Err(ApiError::invalid_value(message));
        }
        let limit = self.types.get(&instance.kind).map_or(usize::MAX, |kind| kind.interfaces);
        if taken.len() >= limit {
            let message = format!("Interface count {} exceeds the limit for {}", taken.len() + 1, instance.kind);
            return Err(ApiError::new("AttachmentLimitExceeded", message));
        }
        if usize::try_from(attach.device_index).is_ok_and(|index| index >= limit) {
            let message = format!("Device index {} exceeds the limit for {}", attach.device_index, instance.kind);
            return Err(ApiError::invalid_value(message));
        }
        Ok(())
    }

    fn in_use(&self, id: &str) -> ApiError {
        if self.settings.in_use_is_invalid_value {
            ApiError::invalid_value(format!("Network interface '{id}' is currently in use."))
        } else {
            ApiError::new("InvalidNetworkInterface.InUse", format!("Interface: [{id}] in use."))
        }
    }

    /// Detaches what an attachment id names. The device is unplugged at once, the interface is `available` later.
    ///
    /// # Errors
    /// `InvalidAttachmentID.NotFound`; `OperationNotPermitted` for the primary interface and those of others;
    /// `IncorrectState` for an attachment that is on its way, unless it is on its way out and this call forces it.
    pub fn detach(&mut self, now: Time, attachment: &str, force: bool, caller: &str) -> Result<(), ApiError> {
        self.settle(now);
        if !ids::is_well_formed("eni-attach", attachment) {
            let message = format!("Invalid id: \"{attachment}\" (expecting \"eni-attach-...\")");
            return Err(ApiError::new("InvalidNetworkInterfaceAttachmentId.Malformed", message));
        }
        let unknown = || ApiError::not_found("InvalidAttachmentID", "network interface attachment ID", attachment);
        let is_it =
            |interface: &&mut Interface| interface.attachment.as_ref().is_some_and(|known| known.id == attachment);
        let interface = self.interfaces.values_mut().find(is_it).ok_or_else(unknown)?;
        may_manage(interface, caller)?;
        let slow = interface.slow_detach;
        let Some(known) = interface.attachment.as_mut() else { return Err(unknown()) };
        if known.device_index == 0 {
            let message = "The network interface at device index 0 and networkCard index 0 cannot be detached.";
            return Err(ApiError::new("OperationNotPermitted", message));
        }
        match known.phase {
            Phase::Attached => self.events.push(Event::detached(interface.mac, &interface.id, known)),
            Phase::Detaching(_) if force => {}
            Phase::Attaching(_) | Phase::Detaching(_) => {
                let message = format!("The attachment '{attachment}' is in the state '{}'.", known.phase.name());
                return Err(ApiError::new("IncorrectState", message));
            }
        }
        let delay = if force { self.settings.detach_forced } else { slow.unwrap_or(self.settings.detach) };
        known.phase = Phase::Detaching(now + delay);
        let (index, instance, id) = (known.device_index, known.instance.clone(), interface.id.clone());
        if force
            && self.settings.forced_detach_blocks_index
            && let Some(instance) = self.instances.get_mut(&instance)
        {
            instance.blocked.insert(index);
            instance.stale.insert(id, index);
        }
        self.settle(now);
        Ok(())
    }

    /// Changes one attribute of an interface.
    ///
    /// # Errors
    /// `InvalidNetworkInterfaceID.NotFound`, `InvalidGroup.NotFound`, `InvalidAttachmentID.NotFound`, `OperationNotPermitted`.
    pub fn modify_interface(&mut self, now: Time, id: &str, change: Attribute, caller: &str) -> Result<(), ApiError> {
        self.settle(now);
        may_manage(self.interface(id)?, caller)?;
        if let Attribute::Groups(groups) = &change {
            self.are_groups_of(id, groups)?;
        }
        let Some(interface) = self.interfaces.get_mut(id) else { return Ok(()) };
        match change {
            Attribute::Description(text) => interface.description = text,
            Attribute::SourceDestCheck(check) => interface.source_dest_check = check,
            Attribute::Groups(groups) => interface.groups = groups,
            Attribute::DeleteOnTermination { attachment, delete } => {
                let known = interface.attachment.as_mut().filter(|known| known.id == attachment);
                let unknown =
                    || ApiError::not_found("InvalidAttachmentID", "network interface attachment ID", &attachment);
                known.ok_or_else(unknown)?.delete_on_termination = delete;
            }
        }
        Ok(())
    }

    fn are_groups_of(&self, id: &str, groups: &[String]) -> Result<(), ApiError> {
        let vpc = &self.interface(id)?.vpc;
        for group in groups {
            let known = self.security_groups.get(group);
            let known = known.ok_or_else(|| ApiError::not_found("InvalidGroup", "security group", group))?;
            if known.vpc != *vpc {
                let message =
                    format!("You have specified two resources that belong to different networks: {id} and {group}.");
                return Err(ApiError::new("InvalidParameterCombination", message));
            }
        }
        Ok(())
    }

    /// Lets an attachment whose time has come be there, or gone.
    pub(super) fn step_interface(&mut self, now: Time, id: &str) {
        let Some(interface) = self.interfaces.get_mut(id) else { return };
        let Some(attachment) = interface.attachment.as_mut() else { return };
        match attachment.phase {
            Phase::Attaching(until) if until <= now => {
                attachment.phase = Phase::Attached;
                attachment.attached = Some(now);
                self.events.push(Event::attached(interface.mac, &interface.id, attachment, now + self.settings.device));
            }
            Phase::Detaching(until) if until <= now => {
                interface.attachment = None;
                self.owners.end(id, now);
            }
            Phase::Attaching(_) | Phase::Attached | Phase::Detaching(_) => {}
        }
    }
}

fn may_manage(interface: &Interface, caller: &str) -> Result<(), ApiError> {
    if interface.requester.is_some() {
        let message = format!(
            "You do not have permission to access the specified resource: {} is managed by a service.",
            interface.id
        );
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    if interface.owner != caller {
        let message = format!("You do not have permission to access the specified resource: {}.", interface.id);
        return Err(ApiError::new("OperationNotPermitted", message));
    }
    Ok(())
}
