//! What is attached in the fake of AWS is a device in the name space of its instance.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use fw_testkit::aws::model::{Attach, Settings, World};
use fw_testkit::aws::{ACCOUNT, Aws, Port, Reference, Veths};
use fw_testkit::lab::{Lab, LabOptions, METADATA, Node, mac_text};
use fw_testkit::netns::NetNs;
use fw_testkit::{process, wait};
use serde_json::Value;

use crate::firewall::raise;

const PATIENCE: Duration = Duration::from_secs(20);

/// A lab whose controller and workstation are instances, and an interface in the OT VPC that is attached to neither.
struct Scene {
    aws: Aws,
    veths: Veths,
    lab: Lab,
    eni: String,
    instances: [String; 2],
}

impl Scene {
    fn up() -> Option<Self> {
        let lab = raise(LabOptions { metadata: false, ..LabOptions::default() })?;
        let (mut world, reference) = Reference::new(Settings::default());
        let instances = ["c5.xlarge"; 2].map(|kind| reference.launch_one(&mut world, Duration::ZERO, kind).unwrap());
        let eni = world.add_interface(&reference.subnets[1]);
        let port = Port {
            namespace: lab.ns(Node::OtRouter).name().to_owned(),
            name: "eni".to_owned(),
            bridge: Some("subnet1".to_owned()),
            mtu: 1500,
        };
        let veths = Veths::new(BTreeMap::from([(eni.clone(), port)]));
        veths.be(&instances[0], lab.ns(Node::Plc)).unwrap();
        let aws = Aws::on_loopback(world, Reference::callers(), Box::new(veths.clone())).unwrap();
        aws.wait("the instances run", PATIENCE, |world| world.next_due().is_none()).unwrap();
        Some(Self { aws, veths, lab, eni, instances })
    }

    fn attach(&self, instance: usize) -> String {
        let (interface, instance) = (&self.eni, &self.instances[instance]);
        let asked = Attach { interface, instance, device_index: 1, card: 0, caller: ACCOUNT };
        let attachment = self.aws.world(|now, world| world.attach(now, asked)).unwrap();
        self.until("in-use");
        attachment
    }

    fn detach(&self, attachment: &str) {
        self.aws.world(|now, world| world.detach(now, attachment, false, ACCOUNT)).unwrap();
        self.until("available");
    }

    fn until(&self, status: &str) {
        let is = |world: &World| world.interfaces[&self.eni].status(false) == status;
        self.aws.wait(status, PATIENCE, is).unwrap();
    }

    fn address(&self) -> (IpAddr, String) {
        self.aws.world(|_, world| {
            let interface = &world.interfaces[&self.eni];
            (interface.addresses[0].into(), mac_text(interface.mac))
        })
    }
}

/// What `ip` says about the device that the interface is at index 1.
fn device(namespace: &NetNs) -> Option<Value> {
    let mut command = namespace.command("ip").unwrap();
    let shown = process::run(command.args(["-json", "address", "show", "dev", "ens6"])).unwrap();
    let shown = shown.success().ok()?;
    Some(serde_json::from_str::<Value>(&shown).unwrap()[0].clone())
}

fn appears(namespace: &NetNs) -> Value {
    wait::until("the device appears", PATIENCE, || device(namespace)).unwrap()
}

fn goes(namespace: &NetNs) {
    wait::until_true("the device goes", PATIENCE, || device(namespace).is_none()).unwrap();
}

#[test]
fn an_interface_moves_as_a_device_from_one_instance_to_the_other() {
    let Some(scene) = Scene::up() else { return };
    let (old, new) = (scene.lab.ns(Node::Plc), scene.lab.ns(Node::Ws));
    let (address, mac) = scene.address();
    let attachment = scene.attach(0);
    let plugged = appears(old);
    assert_eq!(plugged["address"].as_str(), Some(mac.as_str()));
    // Addresses are the instance's own business.
    assert_eq!(plugged["addr_info"].as_array().map(Vec::len), Some(0), "{plugged}");
    assert_eq!(plugged["operstate"], "DOWN", "{plugged}");

    let gateway = Ipv4Addr::new(10, 1, 1, 1);
    let mut up = old.command("ip").unwrap();
    let lines = format!("link set ens6 up\naddress add {address}/24 dev ens6\n");
    process::feed(up.args(["-batch", "-"]), &lines).unwrap().success().unwrap();
    let mut ping = old.command("ping").unwrap();
    process::run(ping.args(["-c", "1", "-W", "10", &gateway.to_string()])).unwrap().success().unwrap();

    scene.detach(&attachment);
    goes(old);
    scene.attach(1);
    assert_eq!(device(new), None);
    // The other instance is a machine only now.
    scene.veths.be(&scene.instances[1], new).unwrap();
    assert_eq!(appears(new)["address"].as_str(), Some(mac.as_str()));
    assert_eq!(device(old), None);
    scene.aws.world(|now, world| world.terminate(now, &scene.instances[1])).unwrap();
    goes(new);
    assert_eq!(scene.veths.failures(), Vec::<String>::new());
    scene.aws.world(|_, world| assert_eq!(world.owners.overlap(), None));
}

#[test]
fn a_device_that_is_late_does_not_come_after_its_interface_has_gone() {
    let Some(scene) = Scene::up() else { return };
    let namespace = scene.lab.ns(Node::Plc);
    let late = Duration::from_secs(1);
    scene.aws.world(|_, world| world.settings.device = late);
    let attachment = scene.attach(0);
    let would_come = scene.aws.world(|now, _| now) + late;
    scene.detach(&attachment);
    let is_past = || scene.aws.world(|now, _| now) > would_come + late / 10;
    wait::until_true("its time is over", PATIENCE, is_past).unwrap();
    assert_eq!(device(namespace), None);
    scene.attach(0);
    appears(namespace);
    assert_eq!(scene.veths.failures(), Vec::<String>::new());
}

#[test]
fn metadata_is_served_in_a_name_space() {
    let Some(scene) = Scene::up() else { return };
    let address = SocketAddr::from((METADATA, 80));
    let router = scene.lab.ns(Node::OtRouter);
    let _metadata = scene.aws.serve_metadata(Some(router), address, &scene.instances[0]).unwrap();
    let from = |namespace: &NetNs| namespace.within(|| TcpStream::connect(address).map(drop)).unwrap();
    from(router).unwrap();
    assert!(from(scene.lab.ns(Node::ItRouter)).is_err());
}
