//! What does not move: DescribeVpcs, DescribeSubnets, DescribeSecurityGroups, DescribePlacementGroups, DescribeInstanceTypes.

use super::super::Xml;
use super::super::call::Call;
use super::super::select::{Field, page, select};
use super::{named, tags};
use crate::aws::model::{ApiError, InstanceType, Permission, PlacementGroup, SecurityGroup, Subnet, Vpc, World};

const VPCS: [Field<Vpc>; 3] = [
    ("cidr", |_, it| it.networks.iter().take(1).map(ToString::to_string).collect()),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("vpc-id", |_, it| vec![it.id.clone()]),
];

pub(super) fn vpcs(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("VpcId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let world = call.described()?;
    let listed = named(&world.vpcs, &ids, |id| ApiError::not_found("InvalidVpcID", "vpc ID", id))?;
    let chosen = select(&world, listed, &VPCS, Some(|it| &it.tags), &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("vpcSet", chosen, |xml, vpc| {
        xml.leaf("vpcId", &vpc.id);
        xml.leaf("ownerId", &vpc.owner);
        xml.leaf("state", "available");
        xml.optional("cidrBlock", vpc.networks.first());
        xml.leaf("isDefault", false);
        xml.list("cidrBlockAssociationSet", &vpc.networks, |xml, network| {
            xml.leaf("cidrBlock", network);
            xml.within("cidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        xml.list("ipv6CidrBlockAssociationSet", &vpc.networks6, |xml, network| {
            xml.leaf("ipv6CidrBlock", network);
            xml.within("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        tags(xml, &vpc.tags);
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

const SUBNETS: [Field<Subnet>; 7] = [
    ("availability-zone", |_, it| vec![it.zone.clone()]),
    ("cidr-block", |_, it| vec![it.network.to_string()]),
    ("outpost-arn", |_, it| it.outpost.iter().cloned().collect()),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("state", |_, _| vec!["available".to_owned()]),
    ("subnet-id", |_, it| vec![it.id.clone()]),
    ("vpc-id", |_, it| vec![it.vpc.clone()]),
];

pub(super) fn subnets(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("SubnetId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let world = call.described()?;
    let listed = named(&world.subnets, &ids, |id| ApiError::not_found("InvalidSubnetID", "subnet ID", id))?;
    let chosen = select(&world, listed, &SUBNETS, Some(|it| &it.tags), &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("subnetSet", chosen, |xml, subnet| {
        xml.leaf("subnetId", &subnet.id);
        xml.leaf("vpcId", &subnet.vpc);
        xml.leaf("ownerId", &subnet.owner);
        xml.leaf("state", "available");
        xml.leaf("cidrBlock", subnet.network);
        xml.leaf("availabilityZone", &subnet.zone);
        xml.leaf("availableIpAddressCount", free_addresses(&world, subnet));
        xml.optional("outpostArn", subnet.outpost.as_ref());
        xml.list("ipv6CidrBlockAssociationSet", subnet.network6, |xml, network| {
            xml.leaf("ipv6CidrBlock", network);
            xml.within("ipv6CidrBlockState", |xml| xml.leaf("state", "associated"));
        });
        tags(xml, &subnet.tags);
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

/// All addresses but the five that are reserved and those that interfaces have.
fn free_addresses(world: &World, subnet: &Subnet) -> usize {
    let all = 1_usize << (32 - subnet.network.prefix_len());
    let of_subnet = world.interfaces.values().filter(|interface| interface.subnet == subnet.id);
    all.saturating_sub(5 + of_subnet.map(|interface| interface.addresses.len()).sum::<usize>())
}

const SECURITY_GROUPS: [Field<SecurityGroup>; 4] = [
    ("group-id", |_, it| vec![it.id.clone()]),
    ("group-name", |_, it| vec![it.name.clone()]),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("vpc-id", |_, it| vec![it.vpc.clone()]),
];

pub(super) fn security_groups(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("GroupId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let world = call.described()?;
    let listed = named(&world.security_groups, &ids, |id| ApiError::not_found("InvalidGroup", "security group", id))?;
    let chosen = select(&world, listed, &SECURITY_GROUPS, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("securityGroupInfo", chosen, |xml, group| {
        xml.leaf("groupId", &group.id);
        xml.leaf("groupName", &group.name);
        xml.leaf("groupDescription", &group.name);
        xml.leaf("ownerId", &group.owner);
        xml.leaf("vpcId", &group.vpc);
        xml.list("ipPermissions", &group.ingress, permission);
        xml.list("ipPermissionsEgress", &group.egress, permission);
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

fn permission(xml: &mut Xml, permission: &Permission) {
    xml.leaf("ipProtocol", &permission.protocol);
    xml.optional("fromPort", permission.ports.map(|(from, _)| from));
    xml.optional("toPort", permission.ports.map(|(_, to)| to));
    xml.list("ipRanges", &permission.networks, |xml, network| xml.leaf("cidrIp", network));
    xml.list("ipv6Ranges", &permission.networks6, |xml, network| xml.leaf("cidrIpv6", network));
}

const PLACEMENT_GROUPS: [Field<PlacementGroup>; 4] = [
    ("group-name", |_, it| vec![it.name.clone()]),
    ("spread-level", |_, it| it.spread_level.iter().cloned().collect()),
    ("state", |_, _| vec!["available".to_owned()]),
    ("strategy", |_, it| vec![it.strategy.clone()]),
];

pub(super) fn placement_groups(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let names = call.params.list("GroupName");
    let filters = call.params.filters()?;
    let world = call.described()?;
    let unknown = |name: &str| {
        ApiError::new("InvalidPlacementGroup.Unknown", format!("The Placement Group '{name}' is unknown."))
    };
    let listed = named(&world.placement_groups, &names, unknown)?;
    let chosen = select(&world, listed, &PLACEMENT_GROUPS, None, &filters)?;
    let mut xml = Xml::ec2();
    xml.list("placementGroupSet", chosen, |xml, group| {
        xml.leaf("groupName", &group.name);
        xml.leaf("groupId", &group.id);
        xml.leaf("state", "available");
        xml.leaf("strategy", &group.strategy);
        xml.optional("spreadLevel", group.spread_level.as_ref());
    });
    Ok(xml)
}

const TYPES: [Field<InstanceType>; 2] =
    [("hypervisor", |_, _| vec!["nitro".to_owned()]), ("instance-type", |_, it| vec![it.name.clone()])];

pub(super) fn types(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let names = call.params.list("InstanceType");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 100, !names.is_empty())?;
    let world = call.described()?;
    let unknown = |name: &str| {
        ApiError::new("InvalidInstanceType", format!("The following supplied instance types do not exist: [{name}]"))
    };
    let listed = named(&world.types, &names, unknown)?;
    let chosen = select(&world, listed, &TYPES, None, &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("instanceTypeSet", chosen, |xml, kind| {
        xml.leaf("instanceType", &kind.name);
        xml.leaf("currentGeneration", true);
        xml.leaf("bareMetal", false);
        xml.leaf("hypervisor", "nitro");
        xml.within("vCpuInfo", |xml| xml.leaf("defaultVCpus", kind.vcpus));
        xml.within("memoryInfo", |xml| xml.leaf("sizeInMiB", kind.memory));
        xml.within("networkInfo", |xml| {
            xml.leaf("maximumNetworkInterfaces", kind.interfaces);
            xml.leaf("maximumNetworkCards", 1);
            xml.leaf("defaultNetworkCardIndex", 0);
            xml.list("networkCards", [kind], |xml, kind| {
                xml.leaf("networkCardIndex", 0);
                xml.leaf("maximumNetworkInterfaces", kind.interfaces);
            });
            xml.leaf("ipv4AddressesPerInterface", kind.addresses);
            xml.leaf("ipv6AddressesPerInterface", kind.addresses);
            xml.leaf("ipv6Supported", true);
            xml.leaf("enaSupport", "required");
        });
    });
    xml.optional("nextToken", token);
    Ok(xml)
}
