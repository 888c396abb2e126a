//! What becomes of the instances of a group.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::aws::{GROUP, LAUNCH_HOOK, Reference, TERMINATE_HOOK};

const HEARTBEAT: Duration = Duration::from_secs(60);

fn at(milliseconds: u64) -> Time {
    Duration::from_millis(milliseconds)
}

/// A group of so many, whose instances wait for the launch hook.
fn scene(desired: usize) -> (World, Reference) {
    let (mut world, reference) = Reference::new(Settings::default());
    world.add_scaling_group(Time::ZERO, reference.group("c5.xlarge", desired, HEARTBEAT));
    world.settle(at(1000));
    (world, reference)
}

fn states(world: &World) -> Vec<&'static str> {
    world.scaling_groups[GROUP].members.values().map(|member| member.lifecycle.name()).collect()
}

fn ids(world: &World) -> Vec<String> {
    keys(&world.scaling_groups[GROUP].members)
}

fn complete(world: &mut World, now: Time, hook: &str, id: &str, result: HookResult) -> Result<(), ApiError> {
    world.complete_lifecycle_action(now, GROUP, hook, Waiter::Instance(id), result)
}

fn serve(world: &mut World, now: Time) -> String {
    let id = ids(world).pop().unwrap();
    complete(world, now, LAUNCH_HOOK, &id, HookResult::Continue).unwrap();
    id
}

#[test]
fn an_instance_serves_when_its_launch_hook_is_completed() {
    let (mut world, _) = scene(1);
    assert_eq!(states(&world), ["Pending:Wait"]);
    let id = ids(&world)[0].clone();
    assert_eq!(world.member(&id).unwrap().1.lifecycle.target(), "InService");
    let early = complete(&mut world, at(1000), TERMINATE_HOOK, &id, HookResult::Continue).unwrap_err();
    assert_eq!(early.to_string(), format!("ValidationError: No active Lifecycle Action found with instance ID {id}"));
    complete(&mut world, at(1000), LAUNCH_HOOK, &id, HookResult::Continue).unwrap();
    assert_eq!(states(&world), ["Pending:Proceed"]);
    world.settle(at(1050));
    assert_eq!(states(&world), ["InService"]);
    let late = complete(&mut world, at(1050), LAUNCH_HOOK, &id, HookResult::Continue).unwrap_err();
    assert_eq!(late.code, "ValidationError");
}

#[test]
fn nobody_waits_longer_than_the_heartbeat_and_never_beyond_the_end() {
    let (mut world, _) = scene(1);
    let id = ids(&world)[0].clone();
    let first = world.member(&id).unwrap().1.waits[LAUNCH_HOOK].clone();
    assert_eq!(first.last - first.deadline, HEARTBEAT * 99);
    let before = first.deadline - at(1);
    world.record_heartbeat(before, GROUP, LAUNCH_HOOK, Waiter::Token(&first.token)).unwrap();
    world.settle(first.deadline + at(1));
    assert_eq!(states(&world), ["Pending:Wait"]);
    // The default result of this hook is to give the launch up, and the group launches another.
    world.settle(before + HEARTBEAT);
    assert!(states(&world).contains(&"Terminating:Proceed"), "{:?}", states(&world));
    world.settle(before + HEARTBEAT + at(1000));
    assert_eq!(states(&world), ["Pending:Wait"]);
    assert_ne!(ids(&world)[0], id);
    assert_eq!(world.instances[&id].state, InstanceState::Terminated);

    let second = ids(&world)[0].clone();
    let last = world.member(&second).unwrap().1.waits[LAUNCH_HOOK].last;
    let mut now = before + HEARTBEAT + at(1000);
    while now + HEARTBEAT / 2 < last {
        world.record_heartbeat(now, GROUP, LAUNCH_HOOK, Waiter::Instance(&second)).unwrap();
        now += HEARTBEAT / 2;
    }
    world.record_heartbeat(now, GROUP, LAUNCH_HOOK, Waiter::Instance(&second)).unwrap();
    world.settle(last);
    assert!(world.record_heartbeat(last, GROUP, LAUNCH_HOOK, Waiter::Instance(&second)).is_err());
}

#[test]
fn the_replacement_is_launched_while_the_old_one_waits_with_its_interfaces() {
    let (mut world, reference) = scene(1);
    let old = serve(&mut world, at(1000));
    world.settle(at(2000));
    let attach =
        |instance| Attach { interface: &reference.ot, instance, device_index: 1, card: 0, caller: crate::aws::ACCOUNT };
    world.attach(at(2000), attach(&old)).unwrap();
    world.set_health(at(3000), &old, false, false).unwrap();
    world.settle(at(4000));
    let mut seen = states(&world);
    seen.sort_unstable();
    assert_eq!(seen, ["Pending:Wait", "Terminating:Wait"]);
    assert_eq!(world.instances[&old].state, InstanceState::Running);
    assert_eq!(world.interfaces[&reference.ot].status(false), "in-use");
    assert_eq!(world.member(&old).unwrap().1.lifecycle.target(), "Terminated");
    // The hook of an instance that hangs may be completed by anybody.
    complete(&mut world, at(4000), TERMINATE_HOOK, &old, HookResult::Continue).unwrap();
    world.settle(at(5000));
    assert_eq!(states(&world), ["Pending:Wait"]);
    assert_eq!(world.interfaces[&reference.ot].status(false), "available");
}

#[test]
fn a_group_that_retains_keeps_what_was_abandoned() {
    let (mut world, reference) = scene(1);
    world.scaling_groups.get_mut(GROUP).unwrap().retains = true;
    let old = serve(&mut world, at(1000));
    world.settle(at(2000));
    world.terminate_in_group(at(2000), &old, false).unwrap();
    world.settle(at(3000));
    complete(&mut world, at(3000), TERMINATE_HOOK, &old, HookResult::Abandon).unwrap();
    world.settle(at(1_000_000));
    assert_eq!(world.member(&old).unwrap().1.lifecycle, Lifecycle::TerminatingRetained);
    assert_eq!(world.instances[&old].state, InstanceState::Running);
    assert_eq!(reference.interfaces().len(), 4);
}

#[test]
fn an_instance_that_somebody_ended_is_replaced() {
    let (mut world, _) = scene(1);
    let old = serve(&mut world, at(1000));
    world.settle(at(2000));
    world.terminate(at(2000), &old).unwrap();
    world.settle(at(3000));
    assert!(states(&world).contains(&"Pending:Wait"), "{:?}", states(&world));
    // It is gone, but its hook is waited for.
    assert!(states(&world).contains(&"Terminating:Wait"), "{:?}", states(&world));
}

#[test]
fn without_capacity_the_group_waits_for_some() {
    let (mut world, reference) = scene(5);
    assert_eq!(ids(&world).len(), 4);
    world.outposts.get_mut(&reference.outpost).unwrap().capacity.insert("c5.xlarge".to_owned(), 1);
    world.settle(at(3000));
    assert_eq!(ids(&world).len(), 5);
}

#[test]
fn the_grace_period_counts_if_it_is_respected() {
    let (mut world, _) = scene(1);
    world.scaling_groups.get_mut(GROUP).unwrap().grace = Duration::from_secs(300);
    let id = serve(&mut world, at(1000));
    world.settle(at(2000));
    world.set_health(at(2000), &id, false, true).unwrap();
    assert!(world.member(&id).unwrap().1.healthy);
    world.set_health(at(2000), &id, false, false).unwrap();
    assert!(!world.member(&id).unwrap().1.healthy);
    assert_eq!(world.set_health(at(2000), "i-0", false, false).unwrap_err().code, "ValidationError");
}

#[derive(Clone, Debug)]
enum Step {
    Complete { member: usize, terminate: bool, abandon: bool },
    Heartbeat { member: usize, terminate: bool },
    Unhealthy(usize),
    Terminate(usize),
    TerminateInGroup(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4usize, any::<bool>(), any::<bool>())
            .prop_map(|(member, terminate, abandon)| Step::Complete { member, terminate, abandon }),
        2 => (0..4usize, any::<bool>()).prop_map(|(member, terminate)| Step::Heartbeat { member, terminate }),
        1 => (0..4usize).prop_map(Step::Unhealthy),
        1 => (0..4usize).prop_map(Step::Terminate),
        1 => (0..4usize).prop_map(Step::TerminateInGroup),
        5 => (0..90_000u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_group_always_comes_back_to_its_size(
        steps in proptest::collection::vec(step(), 1..60),
        retains in any::<bool>(),
        step_of_lifecycle in prop_oneof![Just(0_u64), Just(50)],
    ) {
        let (mut world, _) = scene(2);
        world.settings.lifecycle_step = at(step_of_lifecycle);
        world.settings.replacement = at(step_of_lifecycle);
        world.scaling_groups.get_mut(GROUP).unwrap().retains = retains;
        let mut now = at(1000);
        for step in steps {
            let hook = |terminate| if terminate { TERMINATE_HOOK } else { LAUNCH_HOOK };
            let member = |world: &World, member: usize| ids(world).get(member).cloned().unwrap_or_default();
            match step {
                Step::Complete { member: one, terminate, abandon } => {
                    let id = member(&world, one);
                    let result = if abandon { HookResult::Abandon } else { HookResult::Continue };
                    let waited = world.member(&id).is_some_and(|(_, member)| member.waits.contains_key(hook(terminate)));
                    prop_assert_eq!(complete(&mut world, now, hook(terminate), &id, result).is_ok(), waited);
                }
                Step::Heartbeat { member: one, terminate } => {
                    let id = member(&world, one);
                    let _not_waiting = world.record_heartbeat(now, GROUP, hook(terminate), Waiter::Instance(&id));
                }
                Step::Unhealthy(one) => drop(world.set_health(now, &member(&world, one), false, false)),
                Step::Terminate(one) => drop(world.terminate(now, &member(&world, one))),
                Step::TerminateInGroup(one) => drop(world.terminate_in_group(now, &member(&world, one), false)),
                Step::Wait(milliseconds) => {
                    now += at(milliseconds);
                    world.settle(now);
                }
            }
            let group = &world.scaling_groups[GROUP];
            prop_assert!(group.staying() <= group.size.1, "{:?}", states(&world));
            for (id, member) in &group.members {
                let waits = matches!(member.lifecycle, Lifecycle::PendingWait | Lifecycle::TerminatingWait);
                prop_assert_eq!(!member.waits.is_empty(), waits, "{} is {}", id, member.lifecycle.name());
            }
            prop_assert!(world.next_due().is_none_or(|due| due > now));
        }
        // Retained instances take the Outpost's room, of which there is as much again.
        for outpost in world.outposts.values_mut() {
            outpost.capacity.insert("c5.xlarge".to_owned(), 10);
        }
        // Launches that nobody completes end by themselves, so that the group may be one short at any one moment, but not for long.
        let comes_back = (0..20u64).any(|look| {
            world.settle(now + at(1000 + 20 * look));
            world.scaling_groups[GROUP].staying() == 2
        });
        prop_assert!(comes_back, "{:?}", states(&world));
    }
}
