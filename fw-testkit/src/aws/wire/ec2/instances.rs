//! Instances: DescribeInstances, TerminateInstances, RebootInstances.

use std::net::IpAddr;

use super::super::Xml;
use super::super::call::Call;
use super::super::select::{Field, page, select};
use super::{interfaces, named, tags, yes};
use crate::aws::model::{ApiError, Instance, Interface, World, ids};
use crate::lab::mac_text;

const FIELDS: [Field<Instance>; 9] = [
    ("availability-zone", |_, it| vec![it.zone.clone()]),
    ("instance-id", |_, it| vec![it.id.clone()]),
    ("instance-state-code", |_, it| vec![it.state.name_and_code().1.to_string()]),
    ("instance-state-name", |_, it| vec![it.state.name_and_code().0.to_owned()]),
    ("instance-type", |_, it| vec![it.kind.clone()]),
    ("network-interface.network-interface-id", |world, it| {
        interfaces_of(world, it).map(|one| one.id.clone()).collect()
    }),
    ("outpost-arn", |_, it| it.outpost.iter().cloned().collect()),
    ("subnet-id", |_, it| vec![it.subnet.clone()]),
    ("vpc-id", |world, it| world.subnets.get(&it.subnet).map(|subnet| subnet.vpc.clone()).into_iter().collect()),
];

fn interfaces_of<'w>(world: &'w World, instance: &'w Instance) -> impl Iterator<Item = &'w Interface> {
    let is_on = |it: &&Interface| it.attachment.as_ref().is_some_and(|one| one.instance == instance.id);
    world.interfaces.values().filter(is_on)
}

pub(super) fn describe(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("InstanceId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let mut world = call.described()?;
    well_formed(&ids)?;
    let (now, propagation) = (call.now, world.settings.propagation);
    let account = &call.caller.account;
    world.instances.retain(|_, it| it.owner == *account && now >= it.launched + propagation);
    let listed = named(&world.instances, &ids, unknown)?;
    let chosen = select(&world, listed, &FIELDS, Some(|it| &it.tags), &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("reservationSet", chosen, |xml, instance| {
        xml.leaf("reservationId", instance.id.replacen("i-", "r-", 1));
        xml.leaf("ownerId", &instance.owner);
        xml.list("instancesSet", [instance], |xml, instance| write(xml, call, &world, instance));
    });
    xml.optional("nextToken", token);
    Ok(xml)
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found("InvalidInstanceID", "instance ID", id)
}

fn well_formed(ids: &[String]) -> Result<(), ApiError> {
    match ids.iter().find(|id| !ids::is_well_formed("i", id)) {
        None => Ok(()),
        Some(id) => Err(ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\""))),
    }
}

fn write(xml: &mut Xml, call: &Call<'_>, world: &World, instance: &Instance) {
    let subnet = world.subnets.get(&instance.subnet);
    let attached: Vec<&Interface> = interfaces_of(world, instance).collect();
    let is_primary = |it: &&&Interface| it.attachment.as_ref().is_some_and(|one| one.device_index == 0);
    let address = attached.iter().find(is_primary).and_then(|it| it.addresses.first());
    xml.leaf("instanceId", &instance.id);
    state(xml, "instanceState", instance);
    xml.leaf("instanceType", &instance.kind);
    xml.leaf("launchTime", call.stamp(instance.launched));
    xml.within("placement", |xml| {
        xml.leaf("availabilityZone", &instance.zone);
        xml.leaf("groupName", instance.placement_group.as_deref().unwrap_or_default());
        xml.leaf("tenancy", "default");
    });
    xml.optional("outpostArn", instance.outpost.as_ref());
    xml.leaf("subnetId", &instance.subnet);
    xml.optional("vpcId", subnet.map(|subnet| &subnet.vpc));
    xml.optional("privateIpAddress", address);
    xml.list("networkInterfaceSet", attached, |xml, interface| write_interface(xml, call, world, interface));
    tags(xml, &instance.tags);
}

fn write_interface(xml: &mut Xml, call: &Call<'_>, world: &World, interface: &Interface) {
    xml.leaf("networkInterfaceId", &interface.id);
    xml.leaf("subnetId", &interface.subnet);
    xml.leaf("vpcId", &interface.vpc);
    xml.leaf("description", &interface.description);
    xml.leaf("ownerId", &interface.owner);
    xml.leaf("status", interface.status(world.settings.in_use_while_attaching));
    xml.leaf("macAddress", mac_text(interface.mac));
    xml.optional("privateIpAddress", interface.addresses.first());
    xml.leaf("sourceDestCheck", interface.source_dest_check);
    xml.leaf("interfaceType", "interface");
    interfaces::groups(xml, world, interface);
    if let Some(attachment) = &interface.attachment {
        xml.within("attachment", |xml| {
            xml.leaf("attachmentId", &attachment.id);
            xml.leaf("deviceIndex", attachment.device_index);
            xml.leaf("networkCardIndex", attachment.card);
            xml.leaf("status", attachment.phase.name());
            xml.leaf("attachTime", call.stamp(attachment.since));
            xml.leaf("deleteOnTermination", attachment.delete_on_termination);
        });
    }
    let addresses = interface.addresses.iter().enumerate();
    xml.list("privateIpAddressesSet", addresses, |xml, (position, address)| {
        xml.leaf("privateIpAddress", address);
        xml.leaf("primary", position == 0);
    });
    xml.list("ipv6AddressesSet", &interface.addresses6, |xml, address| xml.leaf("ipv6Address", IpAddr::V6(*address)));
}

fn state(xml: &mut Xml, element: &str, instance: &Instance) {
    let (name, code) = instance.state.name_and_code();
    xml.within(element, |xml| {
        xml.leaf("code", code);
        xml.leaf("name", name);
    });
}

pub(super) fn terminate(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("InstanceId");
    let now = call.now;
    let world = call.live()?;
    well_formed(&ids)?;
    let before: Vec<Instance> = named(&world.instances, &ids, unknown)?.into_iter().cloned().collect();
    let mut xml = Xml::ec2();
    for instance in &before {
        world.terminate(now, &instance.id)?;
    }
    xml.list("instancesSet", &before, |xml, was| {
        xml.leaf("instanceId", &was.id);
        if let Some(instance) = world.instances.get(&was.id) {
            state(xml, "currentState", instance);
        }
        state(xml, "previousState", was);
    });
    Ok(xml)
}

/// An instance that reboots gets the use of all its device indexes back.
pub(super) fn reboot(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("InstanceId");
    let world = call.live()?;
    well_formed(&ids)?;
    named(&world.instances, &ids, unknown)?;
    for id in &ids {
        world.reboot(id);
    }
    Ok(yes())
}
