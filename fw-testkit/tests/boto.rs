//! The fake of AWS as boto3 sees it, and as moto does the same things where moto is right. boto3 refuses answers that its
//! models of the services do not know, and so does the script about elements that boto3 would pass over.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions that tests share")]

#[path = "boto/moto.rs"]
mod moto;
#[path = "boto/python.rs"]
mod python;

use std::time::Duration;

use fw_testkit::aws::model::{Launch, ScalingGroup, Settings, Tags, World};
use fw_testkit::aws::{ACCOUNT, Aws, Caller, GROUP, KEY, LAUNCH_HOOK, NoDevices, Reference, TERMINATE_HOOK};
use serde_json::{Value, json};

use moto::Moto;
use python::Python;

const SECOND: Duration = Duration::from_secs(1);

/// Another account.
const GUEST: &str = "999900001111";

/// The reference topology with two instances that run, an interface in another zone, and one that a service manages.
fn world() -> (World, Value) {
    let (mut world, reference) = Reference::new(Settings::default());
    let instances =
        ["c5.4xlarge", "c5.xlarge"].map(|kind| reference.launch_one(&mut world, Duration::ZERO, kind).unwrap());
    let far = world.add_subnet(&reference.vpcs[1], "10.1.9.0/24".parse().unwrap(), None, "eu-central-1b");
    let elsewhere = world.add_interface(&far);
    let managed = world.add_interface(&reference.subnets[1]);
    world.interfaces.get_mut(&managed).unwrap().requester = Some("amazon-elb".to_owned());
    world.add_prefix_list(ACCOUNT, "plants", 5, &["10.60.0.0/16".parse().unwrap()]);
    world.local_gateway_tables.get_mut(&reference.local_gateway_table).unwrap().shared_with.insert(GUEST.to_owned());
    let ids = json!({
        "account": ACCOUNT,
        "enis": reference.interfaces(),
        "instances": instances,
        "elsewhere": elsewhere,
        "managed": managed,
        "vpcs": reference.vpcs,
        "subnets": reference.subnets,
        "outpost": reference.outpost,
        "groups": reference.groups,
        "route_tables": reference.route_tables,
        "local_gateway_table": reference.local_gateway_table,
    });
    (world, ids)
}

fn server() -> (Aws, Value) {
    let (world, mut ids) = world();
    let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
    let mut reader = Caller::of(ACCOUNT);
    reader.denied.insert("AttachNetworkInterface".to_owned());
    aws.set_caller("AKIAREADER", reader);
    aws.set_caller("AKIAGUEST", Caller::of(GUEST));
    ids["endpoint"] = json!(aws.endpoint());
    let all_run = |world: &World| world.next_due().is_none();
    aws.wait("the instances run", 10 * SECOND, all_run).unwrap();
    (aws, ids)
}

#[test]
fn interfaces_are_attached_moved_and_refused_as_ec2_does() {
    let Some(python) = Python::find() else { return };
    let (aws, ids) = server();
    python.run("interfaces", &ids);
    aws.world(|_, world| assert_eq!(world.owners.overlap(), None));
    let log = aws.log();
    assert!(log.iter().any(|call| call.action == "AttachNetworkInterface" && call.key == KEY), "{log:?}");
}

#[test]
fn routes_are_black_holes_and_have_limits_as_in_vpcs_and_local_gateways() {
    let Some(python) = Python::find() else { return };
    let (_aws, ids) = server();
    python.run("routes", &ids);
}

#[test]
fn types_outposts_and_capacity_are_told_as_the_real_services_do() {
    let Some(python) = Python::find() else { return };
    let (_aws, ids) = server();
    python.run("preflight", &ids);
}

#[test]
fn hooks_are_waited_for_and_instances_replaced_as_auto_scaling_does() {
    let Some(python) = Python::find() else { return };
    let (mut world, reference) = Reference::new(Settings::default());
    world.outposts.get_mut(&reference.outpost).unwrap().capacity.insert("c5.4xlarge".to_owned(), 4);
    world.add_scaling_group(Duration::ZERO, reference.group("c5.4xlarge", 2, 60 * SECOND));
    let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
    let ids = json!({
        "endpoint": aws.endpoint(),
        "enis": reference.interfaces(),
        "group": GROUP,
        "launch_hook": LAUNCH_HOOK,
        "terminate_hook": TERMINATE_HOOK,
    });
    python.run("scaling", &ids);
}

/// A VPC with an interface, an instance, a route table and a group without hooks, as the script makes them in moto.
fn shared_world() -> (World, Value) {
    let mut world = World::new(Settings::default());
    let vpc = world.add_vpc(ACCOUNT, "10.1.0.0/16".parse().unwrap(), None);
    let subnet = world.add_subnet(&vpc, "10.1.1.0/24".parse().unwrap(), None, "eu-central-1a");
    let group = world.add_security_group(&vpc, "firewall");
    let eni = world.add_interface_at(&subnet, Some("10.1.1.10".parse().unwrap()));
    world.interfaces.get_mut(&eni).unwrap().groups = vec![group.clone()];
    let table = world.add_route_table(&vpc, &[&subnet]);
    let launch = Launch {
        subnet: subnet.clone(),
        kind: "c5.xlarge".to_owned(),
        owner: ACCOUNT.to_owned(),
        groups: vec![group.clone()],
        placement_group: None,
        tags: Tags::new(),
    };
    let instance = world.launch(Duration::ZERO, &launch).unwrap();
    world.add_scaling_group(Duration::ZERO, ScalingGroup::new("plain", launch, 1));
    let ids = json!({
        "vpc": vpc,
        "subnet": subnet,
        "security_group": group,
        "eni": eni,
        "instance": instance,
        "route_table": table,
    });
    (world, ids)
}

#[test]
fn moto_says_the_same_where_it_is_right() {
    let Some(python) = Python::find() else { return };
    let (world, mut ids) = shared_world();
    let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
    aws.wait("the instances run", 10 * SECOND, |world| world.next_due().is_none()).unwrap();
    ids["endpoint"] = json!(aws.endpoint());
    let ours = python.run("shared", &ids);
    let moto = Moto::start(&python);
    let theirs = python.run("shared", &json!({ "endpoint": moto.endpoint(), "moto": true }));
    assert!(ours.lines().count() > 30, "{ours}");
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}
