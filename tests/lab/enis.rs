//! Interfaces that `agent.toml` names by their ENI: the instance metadata says which device each is, also late, and a restart needs no answer.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fw_testkit::aws::model::{Attach, Settings};
use fw_testkit::aws::{ACCOUNT, Aws, Metadata, NoDevices, Reference};
use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, SOON, both};

const PATIENCE: Duration = Duration::from_secs(40);

/// Where the metadata is asked for.
fn endpoint() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1_338).into()
}

/// The hardware address of a device of the firewall.
fn mac(firewall: &Firewall, device: &str) -> [u8; 6] {
    let shown = firewall.lab.run(Node::Fw, &["ip", "-json", "link", "show", "dev", device]).unwrap().success().unwrap();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let octets = shown[0]["address"].as_str().unwrap().split(':');
    let octets: Vec<u8> = octets.map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// The instance that the firewall is, and its interfaces.
struct Scene {
    firewall: Firewall,
    aws: Aws,
    instance: String,
    /// Those of exposed, OT and IT.
    enis: [String; 3],
}

impl Scene {
    /// A firewall that has not been started; its interfaces are attached to nothing yet.
    fn prepared() -> Option<Self> {
        let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
        let (mut world, reference) = Reference::new(Settings::default());
        let instance = reference.launch_one(&mut world, Duration::ZERO, "c5.4xlarge").unwrap();
        let enis = [&reference.exposed, &reference.ot, &reference.it].map(Clone::clone);
        let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
        let named = ["ens6", "ens7", "ens8"].iter().zip(&enis).fold(text, |text, (device, eni)| {
            world.interfaces.get_mut(eni).unwrap().mac = mac(&firewall, device);
            let named = text.replace(&format!("name = \"{device}\""), &format!("eni = \"{eni}\""));
            named.replace(&format!("interface = \"{device}\""), &format!("interface = \"{eni}\""))
        });
        firewall.agent.write_configuration(&named).unwrap();
        firewall.agent.set_environment(&[
            ("NO_PROXY", "127.0.0.1"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &format!("http://{}", endpoint())),
        ]);
        let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
        aws.wait("the instance runs", PATIENCE, |world| world.next_due().is_none()).unwrap();
        Some(Self { firewall, aws, instance, enis })
    }

    fn attach(&self, interfaces: std::ops::Range<usize>) {
        for (index, interface) in (1u32..).zip(&self.enis).skip(interfaces.start).take(interfaces.len()) {
            let attach = Attach { interface, instance: &self.instance, device_index: index, card: 0, caller: ACCOUNT };
            self.aws.world(|now, world| world.attach(now, attach)).unwrap();
        }
        self.aws.wait("they are attached", PATIENCE, |world| world.next_due().is_none()).unwrap();
    }

    fn metadata(&self) -> Metadata {
        self.aws.serve_metadata(Some(self.firewall.lab.ns(Node::Fw)), endpoint(), &self.instance).unwrap()
    }

    fn status(&self) -> Value {
        self.firewall.agent.fwctl_json(&["status"]).unwrap()
    }

    /// Why the interfaces are not as they should be.
    fn problem(&self) -> Option<String> {
        let status = self.status();
        let checks = status["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["name"] == "interfaces").unwrap();
        check["reason"].as_str().map(str::to_owned)
    }

    fn forwards(&self) -> bool {
        let opens = |family: usize| client::connect(self.firewall.lab.ns(Node::It), both(OT, 502)[family], SOON);
        opens(0).unwrap().is_ok() && opens(1).unwrap().is_ok()
    }
}

#[test]
fn the_metadata_says_which_device_an_interface_is_and_a_restart_does_not_ask() {
    let Some(mut scene) = Scene::prepared() else { return };
    scene.attach(0..3);
    let metadata = scene.metadata();
    scene.firewall.agent.start().unwrap();
    assert!(scene.forwards());
    assert!(client::http_get(scene.firewall.lab.ns(Node::Ws), both(IT, 80)[0], "/", SOON).unwrap().is_ok());
    let interfaces = scene.status()["interfaces"].clone();
    assert_eq!(interfaces[1]["interface"], scene.enis[1].as_str(), "{interfaces}");
    let kept = scene.firewall.lab.directory().join("state/enis.json");
    wait::until_true("it is kept", SOON, || fs::read_to_string(&kept).is_ok_and(|kept| kept.contains(&scene.enis[2])))
        .unwrap();
    drop(metadata);
    scene.firewall.agent.kill().unwrap();
    scene.firewall.agent.start().unwrap();
    assert!(scene.forwards());
    assert_eq!(scene.problem(), None);
}

#[test]
fn an_interface_that_is_attached_late_forwards_when_the_metadata_knows_it() {
    let Some(mut scene) = Scene::prepared() else { return };
    scene.attach(0..2);
    // Nobody answers at first.
    scene.firewall.agent.start_unready().unwrap();
    let answers = || scene.firewall.agent.fwctl_json(&["status"]).is_ok();
    wait::until_true("the agent is there", PATIENCE, answers)
        .unwrap_or_else(|error| panic!("{error}\n{}", scene.firewall.agent.log()));
    wait::until_true("why is told", PATIENCE, || scene.problem().is_some_and(|why| why.contains("does not answer")))
        .unwrap_or_else(|error| panic!("{error}: {:?}", scene.problem()));
    let _metadata = scene.metadata();
    let waits = || scene.problem().is_some_and(|why| why.contains(&scene.enis[2]) && !why.contains(&scene.enis[1]));
    wait::until_true("one is missing", PATIENCE, waits)
        .unwrap_or_else(|error| panic!("{error}: {:?}", scene.problem()));
    scene.attach(2..3);
    scene.firewall.agent.wait_until_ready().unwrap();
    assert!(scene.forwards());
}
