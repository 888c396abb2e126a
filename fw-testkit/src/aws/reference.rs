//! The reference topology as AWS sees it: an Outpost, four VPCs, the interfaces that the firewall takes over, and the
//! instances that it runs on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::model::{
    ApiError, Destination, HookResult, Launch, LocalGatewayMode, LocalTarget, ScalingGroup, Settings, Tags, Target,
    Time, Transition, World,
};
use super::state::Caller;
use crate::lab::{ENI_EXPOSED, ENI_IT, ENI_MANAGEMENT, ENI_OT, Eni};

/// The account that owns everything.
pub const ACCOUNT: &str = "111122223333";
/// The Availability Zone that the Outpost is homed to.
pub const ZONE: &str = "eu-central-1a";
/// The access key of somebody who may do everything.
pub const KEY: &str = "AKIAFIREWALL";

/// The name of the group.
pub const GROUP: &str = "firewall";
/// The name of the hook that new instances wait for.
pub const LAUNCH_HOOK: &str = "takeover";
/// The name of the hook that old instances wait for.
pub const TERMINATE_HOOK: &str = "handover";

/// Ids of the reference topology.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The Outpost.
    pub outpost: String,
    /// The VPCs by the second byte of their addresses: Exposed, OT, IT, Firewall.
    pub vpcs: [String; 4],
    /// Their first subnets, on the Outpost.
    pub subnets: [String; 4],
    /// The subnet of the path to the Region, on the Outpost.
    pub region_subnet: String,
    /// The interface in the Exposed VPC.
    pub exposed: String,
    /// The interface in the OT VPC.
    pub ot: String,
    /// The interface in the IT VPC.
    pub it: String,
    /// The interface of the path to the Region, in the Firewall VPC.
    pub region: String,
    /// The security group of each VPC, through which everything passes.
    pub groups: [String; 4],
    /// The route table of each VPC: in OT and IT everything that is not of the VPC leads to the firewall.
    pub route_tables: [String; 4],
    /// The local gateway's route table, which serves the Exposed VPC and leads OT and IT to the firewall.
    pub local_gateway_table: String,
}

impl Reference {
    /// Puts it into a new world. Nothing is attached, and no instance runs.
    #[must_use]
    pub fn new(settings: Settings) -> (World, Self) {
        let mut world = World::new(settings);
        let outpost = world.add_outpost(ACCOUNT, ZONE, &[("c5.xlarge", 4), ("c5.4xlarge", 2)]);
        let arn = world.outposts.get(&outpost).map(|outpost| outpost.arn.clone());
        let on_outpost = |world: &mut World, subnet: &str| {
            if let Some(subnet) = world.subnets.get_mut(subnet) {
                subnet.outpost.clone_from(&arn);
            }
        };
        let vpcs = [0, 1, 2, 3].map(|number| world.add_vpc(ACCOUNT, v4(number, 0, 16), v6(number, 0, 56)));
        let subnets = [0, 1, 2, 3].map(|number| {
            let network6 = if number == 3 { None } else { v6(number, 1, 64) };
            let subnet = world.add_subnet(&vpcs[usize::from(number)], v4(number, 1, 24), network6, ZONE);
            on_outpost(&mut world, &subnet);
            subnet
        });
        let region_subnet = world.add_subnet(&vpcs[3], v4(3, 2, 24), v6(3, 2, 64), ZONE);
        on_outpost(&mut world, &region_subnet);
        let groups = [0, 1, 2, 3].map(|number: usize| world.add_security_group(&vpcs[number], "firewall"));
        world.add_placement_group("firewall", "spread", Some("host"));
        let eni = |world: &mut World, name: &str, subnet: &str, of_lab: Option<Eni>, group: &str| {
            let address = of_lab.map_or(Ipv4Addr::new(10, 3, 2, 10), |eni| eni.ipv4);
            let id = world.add_interface_at(subnet, Some(address));
            if let Some(interface) = world.interfaces.get_mut(&id) {
                interface.tags = Tags::from([("Name".to_owned(), format!("fw-{name}"))]);
                interface.groups = vec![group.to_owned()];
                if let Some(address) = of_lab.and_then(|eni| eni.ipv6) {
                    interface.addresses6 = vec![address];
                }
            }
            id
        };
        let exposed = eni(&mut world, "exposed", &subnets[0], Some(ENI_EXPOSED), &groups[0]);
        let ot = eni(&mut world, "ot", &subnets[1], Some(ENI_OT), &groups[1]);
        let it = eni(&mut world, "it", &subnets[2], Some(ENI_IT), &groups[2]);
        let region = eni(&mut world, "region", &region_subnet, None, &groups[3]);
        let route_tables = [0, 1, 2, 3].map(|number: usize| world.add_route_table(&vpcs[number], &[&subnets[number]]));
        let local_gateway_table =
            world.add_local_gateway_table(&outpost, LocalGatewayMode::DirectVpcRouting, &[&vpcs[0]]);
        let made = Self {
            outpost,
            vpcs,
            subnets,
            region_subnet,
            exposed,
            ot,
            it,
            region,
            groups,
            route_tables,
            local_gateway_table,
        };
        made.lead(&mut world);
        (world, made)
    }

    /// The routes.
    fn lead(&self, world: &mut World) {
        let everything = || Destination::Network(ipnet::Ipv4Net::default().into());
        let to = |vpc: u8| Destination::Network(v4(vpc, 0, 16).into());
        for (table, interface) in [(&self.route_tables[1], &self.ot), (&self.route_tables[2], &self.it)] {
            if let Some(table) = world.route_tables.get_mut(table) {
                let target = Target::Interface(interface.clone());
                table.routes.insert(everything(), super::model::Route { target, of_table: false });
            }
        }
        if let Some(table) = world.local_gateway_tables.get_mut(&self.local_gateway_table) {
            let network = LocalTarget::VirtualInterfaceGroup("lgw-vif-grp-00000000000000001".to_owned());
            table.propagated.insert(everything(), network);
            for vpc in [1, 2] {
                table.routes.insert(to(vpc), LocalTarget::Interface(self.exposed.clone()));
            }
        }
    }

    /// The group of the firewall: one hook in front of each transition, and `desired` instances.
    #[must_use]
    pub fn group(&self, kind: &str, desired: usize, heartbeat: Time) -> ScalingGroup {
        ScalingGroup::new(GROUP, self.launch(kind), desired)
            .with_hook(LAUNCH_HOOK, Transition::Launching, heartbeat, HookResult::Abandon)
            .with_hook(TERMINATE_HOOK, Transition::Terminating, heartbeat, HookResult::Continue)
    }

    /// The interfaces that move from one instance to the other.
    #[must_use]
    pub fn interfaces(&self) -> [&str; 4] {
        [&self.exposed, &self.ot, &self.it, &self.region]
    }

    /// What an instance of the firewall is launched from.
    #[must_use]
    pub fn launch(&self, kind: &str) -> Launch {
        Launch {
            subnet: self.subnets[usize::from(ENI_MANAGEMENT.vpc)].clone(),
            kind: kind.to_owned(),
            owner: ACCOUNT.to_owned(),
            groups: vec![self.groups[3].clone()],
            placement_group: Some("firewall".to_owned()),
            tags: Tags::from([("Name".to_owned(), "firewall".to_owned())]),
        }
    }

    /// Launches an instance of the firewall.
    ///
    /// # Errors
    /// If the Outpost has no room for it.
    pub fn launch_one(&self, world: &mut World, now: Time, kind: &str) -> Result<String, ApiError> {
        world.launch(now, &self.launch(kind))
    }

    /// Somebody who may do everything, by [`KEY`].
    #[must_use]
    pub fn callers() -> BTreeMap<String, Caller> {
        BTreeMap::from([(KEY.to_owned(), Caller::of(ACCOUNT))])
    }
}

fn v4(vpc: u8, subnet: u8, length: u8) -> ipnet::Ipv4Net {
    ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, vpc, subnet, 0), length)
}

fn v6(vpc: u8, subnet: u8, length: u8) -> Option<ipnet::Ipv6Net> {
    let segment = (u16::from(vpc) << 8) | u16::from(subnet);
    Some(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfd00, 0, 0, segment, 0, 0, 0, 0), length))
}
