//! A set of interfaces is taken over from an instance that is gone, whatever fails on the way, and from no other one.

use std::time::{Duration, Instant};

use fw_agent::takeover::Standing;
use fw_agent::takeover::driver::Report;
use fw_cloud::{Cloud as _, Kind};
use fw_testkit::aws::model::{ApiError, Attach, Settings};
use fw_testkit::aws::{ACCOUNT, Fault, Harm, Region};

use crate::world::{Scene, eni};

fn is_ours(report: &Report) -> bool {
    report.standing == Some(Standing::Ours)
}

fn refuses(report: &Report, told: &str) -> bool {
    matches!(&report.standing, Some(Standing::Refused(why)) if why.iter().any(|why| why.contains(told)))
}

#[tokio::test]
async fn what_a_terminated_instance_had_is_taken_over_and_made_to_forward() {
    let scene = Scene::new(2, Settings::default());
    scene.aws.world(|_, world| {
        for interface in world.interfaces.values_mut() {
            interface.source_dest_check = true;
        }
    });
    let mut agent = scene.agent(1).await;
    agent.until("it is refused", |report| refuses(report, "running and in no Auto Scaling group")).await;
    assert!(scene.is_owner(0), "nothing was taken from the living");
    let began = Instant::now();
    scene.terminate(0);
    agent.until("the set is taken over", is_ours).await;
    println!("taken over after {:?}, with the fake's own delays", began.elapsed());
    assert!(scene.is_owner(1));
    scene.aws.world(|_, world| {
        for (index, id) in (1u32..).zip(scene.reference.interfaces()) {
            let interface = &world.interfaces[id];
            let attachment = interface.attachment.as_ref().unwrap();
            assert!(!interface.source_dest_check && !attachment.delete_on_termination);
            assert_eq!(attachment.device_index, index);
        }
    });
    scene.assert_never_two();
}

#[tokio::test]
async fn of_two_new_instances_one_gets_all_and_the_other_one_waits_for_its_end() {
    let scene = Scene::new(3, Settings::default());
    scene.terminate(0);
    let (mut first, mut second) = (scene.agent(1).await, scene.agent(2).await);
    let either = tokio::select! {
        () = first.until("the first gets it", is_ours) => 1,
        () = second.until("the second gets it", is_ours) => 2,
    };
    let (winner, mut loser) = if either == 1 { (first, second) } else { (second, first) };
    loser.until("the other one is refused", |report| refuses(report, "is not taken")).await;
    assert!(scene.is_owner(either));
    drop(winner);
    scene.terminate(either);
    loser.until("the other one gets it", is_ours).await;
    assert!(scene.is_owner(3 - either));
    scene.assert_never_two();
}

/// What may go wrong with a call.
fn harms() -> Vec<(&'static str, Harm)> {
    let refused = |code: &'static str| Harm::Refused(ApiError::new(code, "by order of the test"));
    vec![
        ("throttled", Harm::Refused(ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503))),
        ("ill", Harm::Refused(ApiError::new("InternalError", "An internal error has occurred").with_status(500))),
        ("in another state", refused("IncorrectState")),
        ("reset", Harm::Reset),
        ("done, and the answer lost", Harm::DoneThenReset),
        ("late", Harm::Delayed(Duration::from_millis(700))),
    ]
}

#[tokio::test]
async fn each_call_may_fail_in_each_way() {
    const ACTIONS: [&str; 6] = [
        "DescribeNetworkInterfaces",
        "DescribeInstances",
        "DescribeAutoScalingInstances",
        "DetachNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
    ];
    for action in ACTIONS {
        let scenes = harms().into_iter().map(|(what, harm)| async move {
            let scene = Scene::new(2, Settings::default());
            scene.aws.world(|_, world| {
                let first = scene.reference.interfaces()[0];
                world.interfaces.get_mut(first).unwrap().source_dest_check = true;
            });
            scene.aws.add_fault(Fault { action: action.to_owned(), times: Some(2), harm });
            scene.terminate(0);
            let mut agent = scene.agent(1).await;
            agent.until(&format!("{action} is {what}"), is_ours).await;
            assert!(scene.is_owner(1), "{action} is {what}");
            let asked = scene.aws.log().into_iter().filter(|call| call.action == action).count();
            assert!(asked > 2, "{action} is {what}: {asked} calls");
            scene.assert_never_two();
        });
        futures_util::future::join_all(scenes).await;
    }
}

#[tokio::test]
async fn a_call_that_is_not_allowed_is_told_with_what_to_allow() {
    let scene = Scene::new(2, Settings::default());
    let denied =
        ApiError::new("UnauthorizedOperation", "You are not authorized to perform this operation.").with_status(403);
    scene.aws.add_fault(Fault::always("AttachNetworkInterface", Harm::Refused(denied)));
    scene.terminate(0);
    let mut agent = scene.agent(1).await;
    let told = |report: &Report| {
        report.problems.iter().any(|problem| problem.contains("allow `ec2:AttachNetworkInterface` to the role"))
    };
    agent.until("what to allow is told", told).await;
    scene.aws.set_faults(Vec::new());
    agent.until("the set is taken over afterwards", is_ours).await;
}

#[tokio::test]
async fn a_detachment_that_hangs_is_forced_and_an_index_that_is_in_use_is_left() {
    let scene = Scene::new(2, Settings::default());
    let other = scene.aws.world(|now, world| {
        let hangs = scene.reference.interfaces()[1];
        world.interfaces.get_mut(hangs).unwrap().slow_detach = Some(Duration::from_secs(3_600));
        let other = world.add_interface(&scene.reference.region_subnet);
        let attach =
            Attach { interface: &other, instance: &scene.instances[1], device_index: 2, card: 0, caller: ACCOUNT };
        world.attach(now, attach).unwrap();
        other
    });
    scene.terminate(0);
    let mut agent = scene.agent(1).await;
    agent.until("the set is taken over", is_ours).await;
    let index = |id: &str| {
        scene.aws.world(|_, world| world.interfaces[id].attachment.as_ref().map(|attachment| attachment.device_index))
    };
    assert_eq!(index(&other), Some(2), "what is not of the set is left");
    assert_ne!(index(scene.reference.interfaces()[1]), Some(2));
    scene.assert_never_two();
}

#[tokio::test]
async fn an_agent_that_is_killed_anywhere_is_followed_by_one_that_finishes() {
    let scene = Scene::new(2, Settings { described_lag: Duration::from_millis(100), ..Settings::default() });
    scene.terminate(0);
    for round in 0..12u64 {
        let agent = scene.agent(1).await;
        // Nothing is awaited: each is killed at another moment of the way.
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        drop(agent);
    }
    scene.agent(1).await.until("the set is taken over", is_ours).await;
    assert!(scene.is_owner(1));
    scene.assert_never_two();
}

#[tokio::test]
async fn while_the_region_is_away_nothing_is_decided_and_afterwards_everything_is_done() {
    let scene = Scene::new(2, Settings::default());
    let mut agent = scene.agent(1).await;
    agent.until("it is refused", |report| refuses(report, "is not taken")).await;
    for region in [Region::Refuses, Region::Throttles, Region::CredentialsExpired] {
        scene.aws.set_region(region).unwrap();
        agent.until("that it is away is told", |report| !report.problems.is_empty()).await;
        let told = agent.seen.borrow().problems.clone();
        assert!(refuses(&agent.seen.borrow(), "is not taken"), "{region:?}: what is known stays: {told:?}");
        scene.aws.set_region(Region::Up).unwrap();
        agent.until("that it is back is told", |report| report.problems.is_empty()).await;
    }
    scene.aws.set_region(Region::BlackHole).unwrap();
    scene.terminate(0);
    agent.until("that nobody answers is told", |report| !report.problems.is_empty()).await;
    scene.aws.set_region(Region::Up).unwrap();
    agent.until("the set is taken over", is_ours).await;
    scene.assert_never_two();
}

#[tokio::test]
async fn errors_of_the_service_are_of_the_kind_that_they_are() {
    let scene = Scene::new(2, Settings::default());
    let client = scene.client().await;
    let missing = eni("eni-0123456789abcdef0");
    assert_eq!(client.interfaces(&[missing]).await.unwrap_err().kind, Kind::NotFound);
    let nobody = "i-0123456789abcdef0".parse().unwrap();
    assert!(client.instances(&[nobody]).await.unwrap().is_empty());
    let first = eni(scene.reference.interfaces()[0]);
    let in_use = client.attach(&first, &scene.id(1), 1).await.unwrap_err();
    assert_eq!(in_use.kind, Kind::Busy, "{in_use}");
    let gone = "eni-attach-0123456789abcdef0".parse().unwrap();
    assert_eq!(client.detach(&gone, false).await.unwrap_err().kind, Kind::NotFound);
}
