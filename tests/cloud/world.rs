//! A world with the reference topology and instances of the firewall, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use fw_agent::takeover::Wanted;
use fw_agent::takeover::driver::{Driver, Report, Task};
use fw_cloud::{AccessKey, AwsOptions, EniId, InstanceId};
use fw_testkit::aws::model::{Attach, Settings, World};
use fw_testkit::aws::{ACCOUNT, Aws, KEY, NoDevices, REGION, Reference};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For what has to happen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The world, and what it is made of.
pub(crate) struct Scene {
    pub(crate) aws: Aws,
    pub(crate) reference: Reference,
    /// The group's instances, of which the first has the interfaces.
    pub(crate) instances: Vec<String>,
}

impl Scene {
    /// So many instances, none of a group, of which the first has the interfaces.
    pub(crate) fn new(instances: usize, settings: Settings) -> Self {
        let (mut world, reference) = Reference::new(settings);
        for outpost in world.outposts.values_mut() {
            outpost.capacity.insert("c5.4xlarge".to_owned(), 8);
        }
        let launched = (0..instances).map(|_| reference.launch_one(&mut world, Duration::ZERO, "c5.4xlarge").unwrap());
        let instances: Vec<String> = launched.collect();
        let running = Duration::from_secs(600);
        world.settle(running);
        for (index, interface) in (1u32..).zip(reference.interfaces()) {
            let attach = Attach { interface, instance: &instances[0], device_index: index, card: 0, caller: ACCOUNT };
            world.attach(running, attach).unwrap();
        }
        world.settle(running * 2);
        let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
        Self { aws, reference, instances }
    }

    pub(crate) fn wanted(&self) -> Vec<Wanted> {
        let wanted = |(index, eni): (u32, &str)| Wanted { eni: eni.parse().unwrap(), device_index: Some(index) };
        (1u32..).zip(self.reference.interfaces()).map(wanted).collect()
    }

    /// What an instance asks with.
    pub(crate) async fn client(&self) -> fw_cloud::Aws {
        let options = AwsOptions {
            region: Some(REGION.to_owned()),
            access_key: Some(AccessKey { id: KEY.to_owned(), secret: "secret".to_owned() }),
            ec2_endpoint: Some(self.aws.endpoint()),
            autoscaling_endpoint: Some(self.aws.endpoint()),
            ..AwsOptions::default()
        };
        fw_cloud::Aws::connect(&options).await.unwrap()
    }

    pub(crate) fn id(&self, instance: usize) -> InstanceId {
        self.instances[instance].parse().unwrap()
    }

    /// An agent that takes the set over for an instance.
    pub(crate) async fn agent(&self, instance: usize) -> Agent {
        let task = Task { own: self.id(instance), wanted: self.wanted(), force_after: Duration::from_millis(800) };
        let (reports, seen) = watch::channel(Report::default());
        let driver = Driver::new(Arc::new(self.client().await), task);
        Agent { seen, running: tokio::spawn(driver.follow(reports, || u32::MAX)) }
    }

    /// Who has each interface, as the world is.
    pub(crate) fn owners(&self) -> Vec<Option<String>> {
        let owner = |world: &World, eni: &str| Some(world.interfaces[eni].attachment.as_ref()?.instance.clone());
        self.aws.world(|_, world| self.reference.interfaces().iter().map(|eni| owner(world, eni)).collect())
    }

    pub(crate) fn is_owner(&self, instance: usize) -> bool {
        self.owners().iter().all(|owner| owner.as_deref() == Some(self.instances[instance].as_str()))
    }

    pub(crate) fn terminate(&self, instance: usize) {
        self.aws.world(|now, world| world.terminate(now, &self.instances[instance])).unwrap();
    }

    /// Nobody has ever taken an interface from an instance that needed it.
    pub(crate) fn assert_never_two(&self) {
        self.aws.world(|_, world| assert_eq!(world.owners.overlap(), None));
    }
}

/// A running agent, as far as it takes interfaces over. Dropping it kills it wherever it is.
pub(crate) struct Agent {
    pub(crate) seen: watch::Receiver<Report>,
    running: JoinHandle<()>,
}

impl Agent {
    /// Waits for a report.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Report) -> bool) {
        let waited = timeout(SOON, self.seen.wait_for(|report| holds(report))).await;
        if !waited.is_ok_and(|waited| waited.is_ok()) {
            panic!("{what}: not within {SOON:?}: {:?}", self.seen.borrow());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(crate) fn eni(id: &str) -> EniId {
    id.parse().unwrap()
}
