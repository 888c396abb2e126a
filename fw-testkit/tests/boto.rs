//! The fake of AWS as boto3 sees it, and as moto does the same things where moto is right. boto3 refuses answers that its
//! models of the services do not know, and so does the script about elements that boto3 would pass over.

#[path = "boto/python.rs"]
mod python;

use std::time::Duration;

use fw_testkit::aws::model::{Settings, World};
use fw_testkit::aws::{ACCOUNT, Aws, Caller, KEY, NoDevices, Reference};
use serde_json::{Value, json};

use python::Python;

const SECOND: Duration = Duration::from_secs(1);

/// The reference topology with two instances that run, an interface in another zone, and one that a service manages.
fn world() -> (World, Value) {
    let (mut world, reference) = Reference::new(Settings::default());
    let instances =
        ["c5.4xlarge", "c5.xlarge"].map(|kind| reference.launch_one(&mut world, Duration::ZERO, kind).unwrap());
    let far = world.add_subnet(&reference.vpcs[1], "10.1.9.0/24".parse().unwrap(), None, "eu-central-1b");
    let elsewhere = world.add_interface(&far);
    let managed = world.add_interface(&reference.subnets[1]);
    world.interfaces.get_mut(&managed).unwrap().requester = Some("amazon-elb".to_owned());
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
    });
    (world, ids)
}

fn server() -> (Aws, Value) {
    let (world, mut ids) = world();
    let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
    let mut reader = Caller::of(ACCOUNT);
    reader.denied.insert("AttachNetworkInterface".to_owned());
    aws.set_caller("AKIAREADER", reader);
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
