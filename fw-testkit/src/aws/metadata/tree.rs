//! What the metadata service of an instance knows: paths and values (EC2 user guide, "Instance metadata categories").
//! Directories follow from the paths.

use std::collections::BTreeMap;

use serde_json::json;

use crate::aws::model::{Instance, Interface, Phase, Time, World};
use crate::aws::{REGION, model};
use crate::lab::mac_text;

/// Paths below `/latest/` and what is there.
pub(super) type Tree = BTreeMap<String, String>;

/// All of an instance but its credentials.
pub(super) fn tree(world: &World, now: Time, id: &str) -> Tree {
    let Some(instance) = world.instances.get(id) else { return Tree::new() };
    let mut tree = Tree::new();
    let mut put = |path: &str, value: String| drop(tree.insert(format!("meta-data/{path}"), value));
    put("instance-id", instance.id.clone());
    put("instance-type", instance.kind.clone());
    put("placement/region", REGION.to_owned());
    put("placement/availability-zone", instance.zone.clone());
    if let Some(group) = &instance.placement_group {
        put("placement/group-name", group.clone());
    }
    if let Some(arn) = &instance.outpost {
        put("outpost-arn", arn.clone());
    }
    if let Some((_, member)) = world.member(id) {
        put("autoscaling/target-lifecycle-state", member.lifecycle.target().to_owned());
    }
    for interface in world.interfaces.values() {
        let Some(index) = shown(world, now, instance, interface) else { continue };
        let mac = mac_text(interface.mac);
        if index == "0" && is_primary(interface) {
            put("mac", mac.clone());
            put("local-ipv4", interface.addresses.first().map(ToString::to_string).unwrap_or_default());
        }
        for (name, value) in of_interface(world, interface) {
            put(&format!("network/interfaces/macs/{mac}/{name}"), value);
        }
        put(&format!("network/interfaces/macs/{mac}/device-number"), index);
    }
    tree.insert("dynamic/instance-identity/document".to_owned(), document(instance));
    tree
}

fn is_primary(interface: &Interface) -> bool {
    interface.attachment.as_ref().is_some_and(|attachment| attachment.device_index == 0)
}

/// What `device-number` says of an interface that the instance has, or seems to have: 0 for a while after a hot-plug.
fn shown(world: &World, now: Time, instance: &Instance, interface: &Interface) -> Option<String> {
    let of_instance = |attachment: &&model::Attachment| attachment.instance == instance.id;
    match interface.attachment.as_ref().filter(of_instance).map(|attachment| (attachment.phase, attachment)) {
        Some((Phase::Attached, attachment)) => {
            let settings = &world.settings;
            let known_from = attachment.attached.unwrap_or(now) + settings.device + settings.metadata_lag;
            Some(if now < known_from { "0".to_owned() } else { attachment.device_index.to_string() })
        }
        Some((Phase::Attaching(_) | Phase::Detaching(_), _)) | None => {
            instance.stale.get(&interface.id).map(ToString::to_string)
        }
    }
}

fn of_interface(world: &World, interface: &Interface) -> Vec<(&'static str, String)> {
    let lines = |values: Vec<String>| values.join("\n");
    let texts = |values: &[ipnet::Ipv6Net]| lines(values.iter().map(ToString::to_string).collect());
    let mut all = vec![
        ("interface-id", interface.id.clone()),
        ("mac", mac_text(interface.mac)),
        ("owner-id", interface.owner.clone()),
        ("subnet-id", interface.subnet.clone()),
        ("vpc-id", interface.vpc.clone()),
        ("local-ipv4s", lines(interface.addresses.iter().map(ToString::to_string).collect())),
        ("security-group-ids", lines(interface.groups.clone())),
    ];
    if !interface.addresses6.is_empty() {
        all.push(("ipv6s", lines(interface.addresses6.iter().map(ToString::to_string).collect())));
    }
    if let Some(subnet) = world.subnets.get(&interface.subnet) {
        all.push(("subnet-ipv4-cidr-block", subnet.network.to_string()));
        all.extend(subnet.network6.map(|network| ("subnet-ipv6-cidr-blocks", network.to_string())));
    }
    if let Some(vpc) = world.vpcs.get(&interface.vpc) {
        all.extend(vpc.networks.first().map(|network| ("vpc-ipv4-cidr-block", network.to_string())));
        all.push(("vpc-ipv4-cidr-blocks", lines(vpc.networks.iter().map(ToString::to_string).collect())));
        if !vpc.networks6.is_empty() {
            all.push(("vpc-ipv6-cidr-blocks", texts(&vpc.networks6)));
        }
    }
    all
}

fn document(instance: &Instance) -> String {
    json!({
        "accountId": instance.owner,
        "availabilityZone": instance.zone,
        "instanceId": instance.id,
        "instanceType": instance.kind,
        "region": REGION,
        "version": "2017-09-30",
    })
    .to_string()
}

/// What is at a path: a value, or the list of what is below it, directories with a slash.
pub(super) fn at(tree: &Tree, path: &str) -> Option<String> {
    let path = path.trim_matches('/');
    if let Some(value) = tree.get(path) {
        return Some(value.clone());
    }
    let below = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut names: Vec<String> = tree
        .keys()
        .filter_map(|key| key.strip_prefix(&below))
        .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/")))
        .collect();
    names.dedup();
    (!names.is_empty()).then(|| names.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aws::model::{Attach, Settings};
    use crate::aws::{ACCOUNT, Reference};

    #[test]
    fn directories_list_what_is_below_them() {
        let tree: Tree = [("a/b", "1"), ("a/c/d", "2"), ("a/c/e", "3"), ("f", "4")]
            .map(|(path, value)| (path.to_owned(), value.to_owned()))
            .into();
        assert_eq!(at(&tree, "").as_deref(), Some("a/\nf"));
        assert_eq!(at(&tree, "/a/").as_deref(), Some("b\nc/"));
        assert_eq!(at(&tree, "a/c/d").as_deref(), Some("2"));
        assert_eq!(at(&tree, "g"), None);
    }

    #[test]
    fn a_hot_plugged_interface_has_number_0_until_it_is_known() {
        let (mut world, reference) = Reference::new(Settings::default());
        let id = reference.launch_one(&mut world, Duration::ZERO, "c5.4xlarge").unwrap();
        let second = Duration::from_secs(1);
        world.settle(second);
        let attach = Attach { interface: &reference.ot, instance: &id, device_index: 2, card: 0, caller: ACCOUNT };
        world.attach(second, attach).unwrap();
        let mac = mac_text(world.interfaces[&reference.ot].mac);
        let read = |world: &World, now, name: &str| {
            at(&tree(world, now, &id), &format!("meta-data/network/interfaces/macs/{mac}/{name}"))
        };
        assert_eq!(read(&world, second, "interface-id"), None);
        let there = second + world.settings.attach;
        world.settle(there);
        assert_eq!(read(&world, there, "interface-id").as_ref(), Some(&reference.ot));
        assert_eq!(read(&world, there, "device-number").as_deref(), Some("0"));
        let known = there + world.settings.metadata_lag;
        assert_eq!(read(&world, known, "device-number").as_deref(), Some("2"));
        assert_eq!(read(&world, known, "subnet-ipv4-cidr-block").as_deref(), Some("10.1.1.0/24"));
        assert_eq!(read(&world, known, "vpc-ipv4-cidr-blocks").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(read(&world, known, "ipv6s").as_deref(), Some("fd00:0:0:101::10"));
        let attachment = world.interfaces[&reference.ot].attachment.clone().unwrap();
        world.detach(known, &attachment.id, true, ACCOUNT).unwrap();
        world.settle(known + second);
        // After a forced detachment the metadata is stale.
        assert_eq!(read(&world, known + second, "device-number").as_deref(), Some("2"));
        world.reboot(&id);
        assert_eq!(read(&world, known + second, "device-number"), None);
    }
}
