//! Network interfaces: AttachNetworkInterface, DetachNetworkInterface, DescribeNetworkInterfaces,
//! DescribeNetworkInterfaceAttribute, ModifyNetworkInterfaceAttribute.

use std::net::IpAddr;

use super::super::Xml;
use super::super::call::Call;
use super::super::select::{Field, page, select};
use super::{named, tags, yes};
use crate::aws::model::{ApiError, Attach, Attachment, Attribute, Interface, World, ids};
use crate::lab::mac_text;

pub(super) fn attach(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let interface = call.params.required("NetworkInterfaceId")?;
    let instance = call.params.required("InstanceId")?;
    let index = call.params.required("DeviceIndex")?;
    let device_index = index
        .parse()
        .map_err(|_| ApiError::invalid_value(format!("Value ({index}) for parameter deviceIndex is invalid.")))?;
    let card = call.params.parsed("NetworkCardIndex")?.unwrap_or(0);
    let (now, caller) = (call.now, call.caller.account.clone());
    let asked = Attach { interface: &interface, instance: &instance, device_index, card, caller: &caller };
    let id = call.live()?.attach(now, asked)?;
    let mut xml = Xml::ec2();
    xml.leaf("attachmentId", id);
    xml.leaf("networkCardIndex", card);
    Ok(xml)
}

pub(super) fn detach(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let attachment = call.params.required("AttachmentId")?;
    let force = call.params.parsed("Force")?.unwrap_or(false);
    let (now, caller) = (call.now, call.caller.account.clone());
    call.live()?.detach(now, &attachment, force, &caller)?;
    Ok(yes())
}

/// One attribute a call: two of them are `InvalidParameterCombination`, none is `MissingParameter`.
pub(super) fn modify(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let id = call.params.required("NetworkInterfaceId")?;
    let mut changes = Vec::new();
    if let Some(text) = call.params.optional("Description.Value") {
        changes.push(Attribute::Description(text));
    }
    if let Some(check) = call.params.parsed("SourceDestCheck.Value")? {
        changes.push(Attribute::SourceDestCheck(check));
    }
    let groups = call.params.list("SecurityGroupId");
    if !groups.is_empty() {
        changes.push(Attribute::Groups(groups));
    }
    if let Some(delete) = call.params.parsed("Attachment.DeleteOnTermination")? {
        let attachment = call.params.required("Attachment.AttachmentId")?;
        changes.push(Attribute::DeleteOnTermination { attachment, delete });
    }
    if changes.len() > 1 {
        let message = "Fields for multiple attribute types specified";
        return Err(ApiError::new("InvalidParameterCombination", message));
    }
    let (now, caller) = (call.now, call.caller.account.clone());
    let world = call.live()?;
    let Some(change) = changes.pop() else {
        return Err(ApiError::new("MissingParameter", "No attributes specified."));
    };
    world.modify_interface(now, &id, change, &caller)?;
    Ok(yes())
}

const FIELDS: [Field<Interface>; 19] = [
    ("addresses.private-ip-address", |_, it| it.addresses.iter().map(ToString::to_string).collect()),
    ("attachment.attachment-id", |_, it| of_attachment(it, |one| one.id.clone())),
    ("attachment.device-index", |_, it| of_attachment(it, |one| one.device_index.to_string())),
    ("attachment.instance-id", |_, it| of_attachment(it, |one| one.instance.clone())),
    ("attachment.status", |_, it| of_attachment(it, |one| one.phase.name().to_owned())),
    ("availability-zone", |_, it| vec![it.zone.clone()]),
    ("description", |_, it| vec![it.description.clone()]),
    ("group-id", |_, it| it.groups.clone()),
    ("interface-type", |_, _| vec!["interface".to_owned()]),
    ("ipv6-addresses.ipv6-address", |_, it| it.addresses6.iter().map(ToString::to_string).collect()),
    ("mac-address", |_, it| vec![mac_text(it.mac)]),
    ("network-interface-id", |_, it| vec![it.id.clone()]),
    ("owner-id", |_, it| vec![it.owner.clone()]),
    ("private-ip-address", |_, it| it.addresses.iter().take(1).map(ToString::to_string).collect()),
    ("requester-managed", |_, it| vec![it.requester.is_some().to_string()]),
    ("source-dest-check", |_, it| vec![it.source_dest_check.to_string()]),
    ("status", |world, it| vec![it.status(world.settings.in_use_while_attaching).to_owned()]),
    ("subnet-id", |_, it| vec![it.subnet.clone()]),
    ("vpc-id", |_, it| vec![it.vpc.clone()]),
];

fn of_attachment(interface: &Interface, value: impl Fn(&Attachment) -> String) -> Vec<String> {
    interface.attachment.iter().map(value).collect()
}

pub(super) fn describe(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let ids = call.params.list("NetworkInterfaceId");
    let filters = call.params.filters()?;
    let asked = call.params.page(5, 1000, !ids.is_empty())?;
    let mut world = call.described()?;
    ids.iter().try_for_each(|id| well_formed(id))?;
    // Interfaces of other accounts are not there, unless they are in a subnet of the caller's own.
    let account = &call.caller.account;
    let of_own = |subnet: &str| world.subnets.get(subnet).is_some_and(|subnet| subnet.owner == *account);
    world.interfaces.retain(|_, it| it.owner == *account || of_own(&it.subnet));
    let unknown = |id: &str| ApiError::not_found("InvalidNetworkInterfaceID", "networkInterface ID", id);
    let listed = named(&world.interfaces, &ids, unknown)?;
    let chosen = select(&world, listed, &FIELDS, Some(|it| &it.tags), &filters)?;
    let (chosen, token) = page(call.action, chosen, &asked, world.settings.page)?;
    let mut xml = Xml::ec2();
    xml.list("networkInterfaceSet", chosen, |xml, interface| write(xml, call, &world, interface));
    xml.optional("nextToken", token);
    Ok(xml)
}

fn well_formed(id: &str) -> Result<(), ApiError> {
    if ids::is_well_formed("eni", id) {
        return Ok(());
    }
    let message = format!("Invalid id: \"{id}\" (expecting \"eni-...\")");
    Err(ApiError::new("InvalidNetworkInterfaceId.Malformed", message))
}

fn write(xml: &mut Xml, call: &Call<'_>, world: &World, interface: &Interface) {
    xml.leaf("networkInterfaceId", &interface.id);
    xml.leaf("subnetId", &interface.subnet);
    xml.leaf("vpcId", &interface.vpc);
    xml.leaf("availabilityZone", &interface.zone);
    xml.optional("outpostArn", interface.outpost.as_ref());
    xml.leaf("description", &interface.description);
    xml.leaf("ownerId", &interface.owner);
    xml.optional("requesterId", interface.requester.as_ref());
    xml.leaf("requesterManaged", interface.requester.is_some());
    xml.leaf("status", interface.status(world.settings.in_use_while_attaching));
    xml.leaf("macAddress", mac_text(interface.mac));
    xml.leaf("sourceDestCheck", interface.source_dest_check);
    xml.leaf("interfaceType", "interface");
    groups(xml, world, interface);
    if let Some(attachment) = &interface.attachment {
        xml.within("attachment", |xml| write_attachment(xml, call, interface, attachment));
    }
    xml.optional("privateIpAddress", interface.addresses.first());
    let addresses = interface.addresses.iter().enumerate();
    xml.list("privateIpAddressesSet", addresses, |xml, (position, address)| {
        xml.leaf("privateIpAddress", address);
        xml.leaf("primary", position == 0);
    });
    xml.list("ipv6AddressesSet", &interface.addresses6, |xml, address| xml.leaf("ipv6Address", IpAddr::V6(*address)));
    tags(xml, &interface.tags);
}

pub(super) fn groups(xml: &mut Xml, world: &World, interface: &Interface) {
    xml.list("groupSet", &interface.groups, |xml, group| {
        xml.leaf("groupId", group);
        xml.optional("groupName", world.security_groups.get(group).map(|group| &group.name));
    });
}

/// What both interfaces and their attribute show of an attachment.
fn write_attachment(xml: &mut Xml, call: &Call<'_>, interface: &Interface, attachment: &Attachment) {
    xml.leaf("attachmentId", &attachment.id);
    xml.leaf("instanceId", &attachment.instance);
    xml.leaf("instanceOwnerId", &interface.owner);
    xml.leaf("deviceIndex", attachment.device_index);
    xml.leaf("networkCardIndex", attachment.card);
    xml.leaf("status", attachment.phase.name());
    xml.leaf("attachTime", call.stamp(attachment.since));
    xml.leaf("deleteOnTermination", attachment.delete_on_termination);
}

pub(super) fn attribute(call: &mut Call<'_>) -> Result<Xml, ApiError> {
    let id = call.params.required("NetworkInterfaceId")?;
    let attribute = call.params.required("Attribute")?;
    let world = call.described()?;
    let interface = world.interface(&id)?;
    let mut xml = Xml::ec2();
    xml.leaf("networkInterfaceId", &interface.id);
    match attribute.as_str() {
        "description" => xml.within("description", |xml| xml.leaf("value", &interface.description)),
        "sourceDestCheck" => xml.within("sourceDestCheck", |xml| xml.leaf("value", interface.source_dest_check)),
        "groupSet" => groups(&mut xml, &world, interface),
        "attachment" => {
            if let Some(attachment) = &interface.attachment {
                xml.within("attachment", |xml| write_attachment(xml, call, interface, attachment));
            }
        }
        other => {
            let message = format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(ApiError::invalid_value(message));
        }
    }
    Ok(xml)
}
