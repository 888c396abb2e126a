//! Putting things into the world, and finding them in it.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::error::ApiError;
use super::ids;
use super::interface::{Attachment, Interface};
use super::network::{InstanceType, Outpost, Permission, PlacementGroup, SecurityGroup, Subnet, TYPES, Tags, Vpc};
use super::{Settings, World};

impl World {
    /// An empty world that knows some types of instances.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let known = TYPES.map(|(name, vcpus, memory, interfaces, addresses)| {
            (name.to_owned(), InstanceType { name: name.to_owned(), vcpus, memory, interfaces, addresses })
        });
        Self { settings, types: known.into(), ..Self::default() }
    }

    /// A VPC; its id.
    pub fn add_vpc(&mut self, owner: &str, network: Ipv4Net, network6: Option<Ipv6Net>) -> String {
        let id = self.ids.next("vpc");
        let vpc = Vpc {
            id: id.clone(),
            owner: owner.to_owned(),
            networks: vec![network],
            networks6: network6.into_iter().collect(),
            tags: Tags::new(),
        };
        self.vpcs.insert(id.clone(), vpc);
        id
    }

    /// A subnet of a VPC, with its owner; its id.
    pub fn add_subnet(&mut self, vpc: &str, network: Ipv4Net, network6: Option<Ipv6Net>, zone: &str) -> String {
        let id = self.ids.next("subnet");
        let owner = self.vpcs.get(vpc).map(|vpc| vpc.owner.clone()).unwrap_or_default();
        let subnet = Subnet {
            id: id.clone(),
            vpc: vpc.to_owned(),
            owner,
            network,
            network6,
            zone: zone.to_owned(),
            outpost: None,
            tags: Tags::new(),
        };
        self.subnets.insert(id.clone(), subnet);
        id
    }

    /// A security group of a VPC through which everything passes; its id.
    pub fn add_security_group(&mut self, vpc: &str, name: &str) -> String {
        let id = self.ids.next("sg");
        let owner = self.vpcs.get(vpc).map(|vpc| vpc.owner.clone()).unwrap_or_default();
        let all = || vec![Permission::everything()];
        let group = SecurityGroup {
            id: id.clone(),
            name: name.to_owned(),
            vpc: vpc.to_owned(),
            owner,
            ingress: all(),
            egress: all(),
        };
        self.security_groups.insert(id.clone(), group);
        id
    }

    /// A placement group.
    pub fn add_placement_group(&mut self, name: &str, strategy: &str, spread_level: Option<&str>) {
        let id = self.ids.next("pg");
        let (strategy, spread_level) = (strategy.to_owned(), spread_level.map(str::to_owned));
        let group = PlacementGroup { id, name: name.to_owned(), strategy, spread_level };
        self.placement_groups.insert(name.to_owned(), group);
    }

    /// An Outpost with room for instances of some types; its id.
    pub fn add_outpost(&mut self, owner: &str, zone: &str, capacity: &[(&str, u32)]) -> String {
        let id = self.ids.next("op");
        let region = zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        let outpost = Outpost {
            id: id.clone(),
            arn: format!("arn:aws:outposts:{region}:{owner}:outpost/{id}"),
            owner: owner.to_owned(),
            name: "rack".to_owned(),
            zone: zone.to_owned(),
            capacity: capacity.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        };
        self.outposts.insert(id.clone(), outpost);
        id
    }

    /// A free interface in a subnet, with the subnet's owner and the lowest addresses that are free; its id. A subnet that
    /// does not exist gives one without addresses.
    pub fn add_interface(&mut self, subnet: &str) -> String {
        let address = self.subnets.get(subnet).and_then(|subnet| self.free_address(subnet));
        self.add_interface_at(subnet, address)
    }

    /// The same with an address.
    pub fn add_interface_at(&mut self, subnet: &str, address: Option<Ipv4Addr>) -> String {
        let id = self.ids.next("eni");
        let known = self.subnets.get(subnet).cloned();
        let octets = address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
        let network6 = known.as_ref().and_then(|subnet| subnet.network6);
        let interface = Interface {
            id: id.clone(),
            subnet: subnet.to_owned(),
            vpc: known.as_ref().map(|subnet| subnet.vpc.clone()).unwrap_or_default(),
            zone: known.as_ref().map(|subnet| subnet.zone.clone()).unwrap_or_default(),
            outpost: known.as_ref().and_then(|subnet| subnet.outpost.clone()),
            owner: known.map(|subnet| subnet.owner).unwrap_or_default(),
            requester: None,
            mac: [0x06, 0x00, octets[0], octets[1], octets[2], octets[3]],
            addresses: address.into_iter().collect(),
            addresses6: network6.map(|network| host6(network, octets[3])).into_iter().collect(),
            groups: Vec::new(),
            description: String::new(),
            source_dest_check: true,
            tags: Tags::new(),
            attachment: None,
            slow_detach: None,
        };
        self.interfaces.insert(id.clone(), interface);
        id
    }

    /// The lowest free address; the first four and the last are reserved (VPC user guide, "Subnet CIDR blocks").
    fn free_address(&self, subnet: &Subnet) -> Option<Ipv4Addr> {
        let taken: Vec<Ipv4Addr> = self.interfaces.values().flat_map(|interface| interface.addresses.clone()).collect();
        subnet.network.hosts().skip(3).find(|address| !taken.contains(address))
    }

    /// An interface.
    ///
    /// # Errors
    /// `InvalidNetworkInterfaceID.NotFound`, `InvalidNetworkInterfaceId.Malformed`.
    pub fn interface(&self, id: &str) -> Result<&Interface, ApiError> {
        if !ids::is_well_formed("eni", id) {
            let message = format!("Invalid id: \"{id}\" (expecting \"eni-...\")");
            return Err(ApiError::new("InvalidNetworkInterfaceId.Malformed", message));
        }
        let known = self.interfaces.get(id);
        known.ok_or_else(|| ApiError::not_found("InvalidNetworkInterfaceID", "networkInterface ID", id))
    }

    /// A subnet.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`.
    pub fn subnet(&self, id: &str) -> Result<&Subnet, ApiError> {
        self.subnets.get(id).ok_or_else(|| ApiError::not_found("InvalidSubnetID", "subnet ID", id))
    }

    /// The attachments of an instance, in the order of the interfaces' ids.
    pub fn attachments_of<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Attachment> {
        let all = self.interfaces.values().filter_map(|interface| interface.attachment.as_ref());
        all.filter(move |attachment| attachment.instance == instance)
    }
}

/// The address of a subnet that ends in a byte.
fn host6(network: Ipv6Net, last: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(network.network().to_bits() | u128::from(last))
}
