//! What holds of interfaces and instances whatever is asked.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const OWNER: &str = "111122223333";

fn at(milliseconds: u64) -> Time {
    Duration::from_millis(milliseconds)
}

/// Three instances in one zone and one in another, five free interfaces, of which the last is in the other zone.
struct Scene {
    world: World,
    instances: Vec<String>,
    interfaces: Vec<String>,
}

fn scene() -> Scene {
    let mut world = World::new(Settings::default());
    let vpc = world.add_vpc(OWNER, "10.0.0.0/16".parse().unwrap(), None);
    let near = world.add_subnet(&vpc, "10.0.1.0/24".parse().unwrap(), None, "eu-central-1a");
    let far = world.add_subnet(&vpc, "10.0.2.0/24".parse().unwrap(), None, "eu-central-1b");
    let launch = |subnet: &str, kind: &str| Launch {
        subnet: subnet.to_owned(),
        kind: kind.to_owned(),
        owner: OWNER.to_owned(),
        groups: Vec::new(),
        placement_group: None,
        tags: Tags::new(),
    };
    let instances = [(&near, "c5.large"), (&near, "c5.xlarge"), (&near, "c5.xlarge"), (&far, "c5.xlarge")];
    let instances = instances.map(|(subnet, kind)| world.launch(at(0), &launch(subnet, kind)).unwrap()).to_vec();
    let interfaces = [&near, &near, &near, &near, &far].map(|subnet| world.add_interface(subnet)).to_vec();
    world.settle(at(1000));
    Scene { world, instances, interfaces }
}

impl Scene {
    fn attach(&mut self, now: Time, interface: usize, instance: usize, device_index: u32) -> Result<String, ApiError> {
        let (interface, instance) = (&self.interfaces[interface], &self.instances[instance]);
        self.world.attach(now, Attach { interface, instance, device_index, card: 0, caller: OWNER })
    }

    fn status(&self, interface: usize) -> &'static str {
        self.world.interfaces[&self.interfaces[interface]].status(false)
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.unwrap_err().code.into_owned()
}

#[test]
fn an_interface_moves_by_detaching_waiting_and_attaching() {
    let mut scene = scene();
    let first = scene.attach(at(1000), 0, 1, 1).unwrap();
    assert_eq!(scene.status(0), "attaching");
    assert_eq!(code(scene.world.detach(at(1000), &first, false, OWNER)), "IncorrectState");
    scene.world.settle(at(1150));
    assert_eq!(scene.status(0), "in-use");
    assert_eq!(code(scene.attach(at(1150), 0, 2, 1)), "InvalidNetworkInterface.InUse");
    scene.world.settings.in_use_is_invalid_value = true;
    assert_eq!(code(scene.attach(at(1150), 0, 2, 1)), "InvalidParameterValue");

    scene.world.detach(at(1200), &first, false, OWNER).unwrap();
    assert_eq!(scene.status(0), "detaching");
    assert_eq!(code(scene.world.detach(at(1200), &first, false, OWNER)), "IncorrectState");
    scene.world.settle(at(1349));
    assert_eq!(scene.status(0), "detaching");
    scene.world.settle(at(1350));
    assert_eq!(scene.status(0), "available");
    assert_eq!(code(scene.world.detach(at(1350), &first, false, OWNER)), "InvalidAttachmentID.NotFound");

    scene.attach(at(1400), 0, 2, 1).unwrap();
    let owners: Vec<_> = scene.world.owners.of(&scene.interfaces[0]).map(|one| one.instance.clone()).collect();
    assert_eq!(owners, scene.instances[1..=2]);
    assert_eq!(scene.world.owners.overlap(), None);
}

#[test]
fn positions_limits_zones_and_owners_are_checked() {
    let mut scene = scene();
    scene.attach(at(1000), 0, 0, 1).unwrap();
    assert_eq!(code(scene.attach(at(1000), 1, 0, 1)), "InvalidParameterValue");
    assert_eq!(code(scene.attach(at(1000), 1, 0, 0)), "InvalidParameterValue");
    scene.attach(at(1000), 1, 0, 2).unwrap();
    let refused = scene.attach(at(1000), 2, 0, 3).unwrap_err();
    assert_eq!(refused.to_string(), "AttachmentLimitExceeded: Interface count 4 exceeds the limit for c5.large");
    assert_eq!(code(scene.attach(at(1000), 4, 1, 1)), "InvalidParameterCombination");
    let other = scene.interfaces[2].clone();
    scene.world.interfaces.get_mut(&other).unwrap().owner = "999900001111".to_owned();
    assert_eq!(code(scene.attach(at(1000), 2, 1, 1)), "OperationNotPermitted");
    let foreign = scene.interfaces[3].clone();
    scene.world.interfaces.get_mut(&foreign).unwrap().requester = Some("amazon-elb".to_owned());
    assert_eq!(code(scene.attach(at(1000), 3, 1, 1)), "OperationNotPermitted");
}

#[test]
fn an_outpost_keeps_its_interfaces() {
    let mut scene = scene();
    let (interface, instance) = (scene.interfaces[0].clone(), scene.instances[1].clone());
    scene.world.interfaces.get_mut(&interface).unwrap().outpost = Some("arn:a".to_owned());
    assert_eq!(code(scene.attach(at(1000), 0, 1, 1)), "InvalidParameterCombination");
    scene.world.instances.get_mut(&instance).unwrap().outpost = Some("arn:a".to_owned());
    scene.attach(at(1000), 0, 1, 1).unwrap();
}

#[test]
fn unknown_and_malformed_ids_are_told_apart() {
    let mut scene = scene();
    let interface = scene.interfaces[0].clone();
    let attach = |interface: &'static str, instance: &'static str| Attach {
        interface,
        instance,
        device_index: 1,
        card: 0,
        caller: OWNER,
    };
    let missing = "eni-01234567890123456";
    assert_eq!(code(scene.world.attach(at(1000), attach(missing, "i-1"))), "InvalidNetworkInterfaceID.NotFound");
    assert_eq!(code(scene.world.attach(at(1000), attach("eni-x", "i-1"))), "InvalidNetworkInterfaceId.Malformed");
    let asked = Attach { interface: &interface, ..attach("", "i-01234567890123456") };
    assert_eq!(code(scene.world.attach(at(1000), asked)), "InvalidInstanceID.NotFound");
    let asked = Attach { interface: &interface, ..attach("", "i-nothing") };
    assert_eq!(code(scene.world.attach(at(1000), asked)), "InvalidInstanceID.Malformed");
    assert_eq!(
        code(scene.world.detach(at(1000), &interface, false, OWNER)),
        "InvalidNetworkInterfaceAttachmentId.Malformed"
    );
}

#[test]
fn the_primary_interface_stays() {
    let mut scene = scene();
    let primary = scene.world.attachments_of(&scene.instances[0]).next().unwrap().id.clone();
    assert_eq!(code(scene.world.detach(at(1000), &primary, true, OWNER)), "OperationNotPermitted");
}

#[test]
fn a_forced_detachment_is_quick_and_leaves_its_index_unusable() {
    let mut scene = scene();
    let id = scene.interfaces[0].clone();
    scene.world.interfaces.get_mut(&id).unwrap().slow_detach = Some(Duration::from_secs(200));
    let attachment = scene.attach(at(1000), 0, 1, 1).unwrap();
    scene.world.detach(at(2000), &attachment, false, OWNER).unwrap();
    scene.world.settle(at(100_000));
    assert_eq!(scene.status(0), "detaching");
    scene.world.detach(at(100_000), &attachment, true, OWNER).unwrap();
    scene.world.settle(at(100_080));
    assert_eq!(scene.status(0), "available");
    assert_eq!(code(scene.attach(at(100_100), 0, 1, 1)), "InvalidParameterValue");
    scene.attach(at(100_100), 0, 1, 2).unwrap();
}

#[test]
fn a_terminated_instance_gives_its_interfaces_back_after_a_while_or_deletes_them() {
    let mut scene = scene();
    let attachment = scene.attach(at(1000), 0, 1, 1).unwrap();
    scene.attach(at(1000), 1, 1, 2).unwrap();
    let instance = scene.instances[1].clone();
    let going = Attribute::DeleteOnTermination { attachment, delete: true };
    scene.world.modify_interface(at(1000), &scene.interfaces[0].clone(), going, OWNER).unwrap();
    scene.world.settle(at(2000));
    scene.world.take_events();
    scene.world.terminate(at(2000), &instance).unwrap();
    scene.world.settle(at(2199));
    assert_eq!(scene.world.instances[&instance].state.name_and_code(), ("shutting-down", 32));
    assert_eq!(scene.status(1), "in-use");
    scene.world.settle(at(2200));
    assert_eq!(scene.world.instances[&instance].state, InstanceState::Terminated);
    assert_eq!(scene.status(1), "detaching");
    assert!(!scene.world.interfaces.contains_key(&scene.interfaces[0]));
    let gone = scene.world.take_events();
    assert_eq!(gone.iter().filter(|event| event.change == DeviceChange::Unplugged).count(), 3, "{gone:?}");
    scene.world.settle(at(2300));
    assert_eq!(scene.status(1), "available");
    assert_eq!(code(scene.attach(at(2300), 1, 1, 1)), "IncorrectInstanceState");
}

#[test]
fn what_is_described_lags_and_what_is_refused_does_not() {
    let mut scene = scene();
    scene.world.settings.described_lag = at(500);
    let (interface, instance) = (scene.interfaces[0].clone(), scene.instances[1].clone());
    let attach = Attach { interface: &interface, instance: &instance, device_index: 1, card: 0, caller: OWNER };
    let mut history = History::new(scene.world);
    history.live(at(2000)).attach(at(2000), attach).unwrap();
    history.note(at(2000));
    let status = |history: &mut History, now| history.described(now).interfaces[&interface].status(false);
    assert_eq!(status(&mut history, at(2499)), "available");
    assert_eq!(status(&mut history, at(2500)), "attaching");
    assert_eq!(status(&mut history, at(2649)), "attaching");
    assert_eq!(status(&mut history, at(2650)), "in-use");
    assert_eq!(code(history.live(at(2400)).attach(at(2400), attach)), "InvalidNetworkInterface.InUse");
}

/// Anything that somebody may ask.
#[derive(Clone, Debug)]
enum Step {
    Attach { interface: usize, instance: usize, device_index: u32 },
    Detach { interface: usize, force: bool },
    Terminate(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..5usize, 0..4usize, 0..5u32).prop_map(|(interface, instance, device_index)| Step::Attach { interface, instance, device_index }),
        4 => (0..5usize, any::<bool>()).prop_map(|(interface, force)| Step::Detach { interface, force }),
        1 => (0..4usize).prop_map(Step::Terminate),
        5 => (0..400u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_interface_has_two_owners_and_no_position_two_interfaces(steps in proptest::collection::vec(step(), 1..80)) {
        let mut scene = scene();
        let mut now = at(1000);
        for step in steps {
            match step {
                Step::Attach { interface, instance, device_index } => {
                    let free = scene.status(interface) == "available";
                    let attached = scene.attach(now, interface, instance, device_index);
                    prop_assert!(free || attached.is_err());
                }
                Step::Detach { interface, force } => {
                    let id = scene.interfaces[interface].clone();
                    let attachment = scene.world.interfaces.get(&id).and_then(|interface| interface.attachment.clone());
                    if let Some(attachment) = attachment {
                        let _refused = scene.world.detach(now, &attachment.id, force, OWNER);
                        let left = scene.world.interfaces[&id].attachment.clone();
                        prop_assert!(left.is_none_or(|left| left.id == attachment.id));
                    }
                }
                Step::Terminate(instance) => scene.world.terminate(now, &scene.instances[instance].clone()).unwrap(),
                Step::Wait(milliseconds) => {
                    now += at(milliseconds);
                    scene.world.settle(now);
                }
            }
            prop_assert!(scene.world.owners.overlap().is_none(), "{:?}", scene.world.owners.overlap());
            prop_assert!(scene.world.next_due().is_none_or(|due| due > now));
            for (id, instance) in &scene.world.instances {
                let mut indexes: Vec<u32> = scene.world.attachments_of(id).map(|attachment| attachment.device_index).collect();
                let count = indexes.len();
                prop_assert!(count <= scene.world.types[&instance.kind].interfaces);
                indexes.sort_unstable();
                indexes.dedup();
                prop_assert_eq!(indexes.len(), count);
            }
        }
        // Whatever was asked, nothing stays on its way.
        scene.world.settle(now + Duration::from_secs(1));
        for id in &scene.interfaces {
            let status = scene.world.interfaces[id].status(false);
            prop_assert!(matches!(status, "available" | "in-use"), "{id} is {status}");
        }
    }
}
