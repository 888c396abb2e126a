//! The world that the fake of AWS answers from, without I/O: the time is a parameter of each call, and what follows from
//! it is brought about by [`World::settle`].

mod attach;
mod error;
mod history;
pub(crate) mod ids;
mod instance;
mod interface;
mod lifecycle;
mod local_gateway;
mod network;
mod owners;
mod routes;
mod scaling;
mod settings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_routes;
#[cfg(test)]
mod tests_scaling;
mod things;

use std::collections::BTreeMap;
use std::time::Duration;

pub use attach::{Attach, Attribute};
pub use error::ApiError;
pub use history::History;
pub use instance::{Instance, InstanceState, Launch};
pub use interface::{Attachment, Interface, Phase};
pub use lifecycle::Waiter;
pub use local_gateway::{LocalGatewayMode, LocalGatewayTable, LocalRoute, LocalTarget};
pub use network::{InstanceType, Outpost, Permission, PlacementGroup, SecurityGroup, Subnet, Tags, Vpc};
pub use owners::{Owners, Ownership};
pub use routes::{Destination, PrefixList, Route, RouteTable, Target};
pub use scaling::{Hook, HookResult, Lifecycle, Member, ScalingGroup, Transition, Wait};
pub use settings::Settings;

use ids::Ids;

/// How long the world has existed.
pub type Time = Duration;

/// How often things may follow from each other at one time.
const ROUNDS: u32 = 1000;

/// What happens to the devices of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The instance.
    pub instance: String,
    /// The interface.
    pub interface: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its position.
    pub device_index: u32,
    /// What happens.
    pub change: DeviceChange,
}

/// A device that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// It is plugged in, at this time.
    Plugged(Time),
    /// It is unplugged, now.
    Unplugged,
}

impl Event {
    fn attached(mac: [u8; 6], interface: &str, attachment: &Attachment, at: Time) -> Self {
        Self::new(mac, interface, attachment, DeviceChange::Plugged(at))
    }

    fn detached(mac: [u8; 6], interface: &str, attachment: &Attachment) -> Self {
        Self::new(mac, interface, attachment, DeviceChange::Unplugged)
    }

    fn new(mac: [u8; 6], interface: &str, attachment: &Attachment, change: DeviceChange) -> Self {
        let (instance, device_index) = (attachment.instance.clone(), attachment.device_index);
        Self { instance, interface: interface.to_owned(), mac, device_index, change }
    }
}

/// Everything that there is in one Region.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Delays, lags and choices.
    pub settings: Settings,
    /// VPCs by id.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Subnets by id.
    pub subnets: BTreeMap<String, Subnet>,
    /// Security groups by id.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Placement groups by name.
    pub placement_groups: BTreeMap<String, PlacementGroup>,
    /// Types of instances by name.
    pub types: BTreeMap<String, InstanceType>,
    /// Outposts by id.
    pub outposts: BTreeMap<String, Outpost>,
    /// Network interfaces by id.
    pub interfaces: BTreeMap<String, Interface>,
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// Auto Scaling groups by name.
    pub scaling_groups: BTreeMap<String, ScalingGroup>,
    /// Route tables of VPCs by id.
    pub route_tables: BTreeMap<String, RouteTable>,
    /// Route tables of local gateways by id.
    pub local_gateway_tables: BTreeMap<String, LocalGatewayTable>,
    /// Managed prefix lists by id.
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// Who had which interface when.
    pub owners: Owners,
    events: Vec<Event>,
    ids: Ids,
}

impl World {
    /// Brings about everything whose time has come, in the order of time.
    ///
    /// # Panics
    /// If it does not come to rest, which is a mistake of the model: whoever waits for it would wait for ever.
    pub fn settle(&mut self, now: Time) {
        let (mut rounds, mut last) = (0, None);
        loop {
            while let Some(due) = self.next_due().filter(|due| *due <= now) {
                rounds = if last == Some(due) { rounds + 1 } else { 0 };
                last = Some(due);
                assert!(rounds < ROUNDS, "the world does not come to rest at {due:?}: {self:?}");
                for id in keys(&self.instances) {
                    self.step_instance(due, &id);
                }
                for id in keys(&self.interfaces) {
                    self.step_interface(due, &id);
                }
                while self.step_groups(due) {}
            }
            // What follows at once from what was asked for.
            if !self.step_groups(now) {
                return;
            }
        }
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let instances = self.instances.values().filter_map(|instance| match instance.state {
            InstanceState::Pending(until) | InstanceState::ShuttingDown(until) => Some(until),
            InstanceState::Running | InstanceState::Terminated => None,
        });
        let interfaces = self.interfaces.values().filter_map(Interface::due);
        instances.chain(interfaces).chain(self.scaling_groups.values().filter_map(ScalingGroup::due)).min()
    }

    /// What has happened to devices since it was asked for last.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

fn keys<T>(map: &BTreeMap<String, T>) -> Vec<String> {
    map.keys().cloned().collect()
}
