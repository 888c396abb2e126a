//! The fake of AWS over real sockets: what is wrong with requests, faults, a Region that is down, metadata.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions that tests share")]

#[path = "aws/client.rs"]
mod client;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use fw_testkit::aws::model::{ApiError, Settings};
use fw_testkit::aws::{Aws, Fault, Harm, KEY, NoDevices, Outcome, Reference, Region};

use client::{Answer, ask, connect, ec2, signed};

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    aws: Aws,
    reference: Reference,
    instance: String,
}

fn scene() -> Scene {
    let (mut world, reference) = Reference::new(Settings::default());
    let instance = reference.launch_one(&mut world, Duration::ZERO, "c5.4xlarge").unwrap();
    let aws = Aws::on_loopback(world, Reference::callers(), Box::new(NoDevices)).unwrap();
    aws.wait("the instance runs", 10 * SECOND, |world| world.next_due().is_none()).unwrap();
    Scene { aws, reference, instance }
}

impl Scene {
    fn attach(&self) -> String {
        format!("&NetworkInterfaceId={}&InstanceId={}&DeviceIndex=1", self.reference.ot, self.instance)
    }

    fn call(&self, action: &str, parameters: &str) -> std::io::Result<Answer> {
        ec2(&mut connect(&self.aws.endpoint())?, KEY, action, parameters)
    }

    fn is_attached(&self) -> bool {
        self.aws.world(|_, world| world.interfaces[&self.reference.ot].attachment.is_some())
    }
}

#[test]
fn what_no_client_would_send_is_refused() {
    let scene = scene();
    let mut stream = connect(&scene.aws.endpoint()).unwrap();
    let unsigned = ask(&mut stream, "POST / HTTP/1.1\r\n", "Action=DescribeVpcs&Version=2016-11-15").unwrap();
    assert_eq!((unsigned.status, unsigned.code()), (403, "MissingAuthenticationToken"));
    let codes = [
        ("Action=DescribeVpcs&Version=2010-01-01", "NoSuchVersion"),
        ("Version=2016-11-15", "MissingAction"),
        ("Action=DescribeVpcs&Version=2016-11-15&VpcId.1=a&VpcId.1=b", "MalformedQueryString"),
        ("Action=DescribeVpcs&Version=2016-11-15&Colour=red", "UnknownParameter"),
        ("Action=AttachNetworkInterface&Version=2016-11-15", "MissingParameter"),
    ];
    for (body, expected) in codes {
        // One connection carries them all.
        let answer = ask(&mut stream, &signed(KEY, "ec2"), body).unwrap();
        assert_eq!((answer.status, answer.code()), (400, expected), "{body}");
    }
    let elsewhere = ask(&mut stream, &signed(KEY, "s3"), "Action=DescribeVpcs&Version=2016-11-15").unwrap();
    assert_eq!(elsewhere.code(), "SignatureDoesNotMatch");
}

#[test]
fn many_are_answered_at_once_while_one_waits() {
    let scene = scene();
    scene.aws.add_fault(Fault::once("DescribeVpcs", Harm::Hangs));
    let mut waiting = connect(&scene.aws.endpoint()).unwrap();
    waiting.set_read_timeout(Some(SECOND / 5)).unwrap();
    let silent = ec2(&mut waiting, KEY, "DescribeVpcs", "").unwrap_err().kind();
    assert!(matches!(silent, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent:?}");
    let mut streams: Vec<_> = (0..20).map(|_| connect(&scene.aws.endpoint()).unwrap()).collect();
    std::thread::scope(|scope| {
        for stream in &mut streams {
            scope.spawn(|| assert_eq!(ec2(stream, KEY, "DescribeVpcs", "").unwrap().status, 200));
        }
    });
    drop(waiting);
    let vpcs = scene.aws.log().into_iter().filter(|call| call.action == "DescribeVpcs");
    let outcomes: Vec<Outcome> = vpcs.map(|call| call.outcome).collect();
    assert_eq!(outcomes.len(), 21);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Lost).count(), 1);
}

#[test]
fn faults_happen_as_often_as_they_are_asked_for() {
    let scene = scene();
    let mine = ApiError::new("InternalError", "An internal error has occurred").with_status(500);
    scene.aws.set_faults(vec![
        Fault::throttled("AttachNetworkInterface", 1),
        Fault::once("AttachNetworkInterface", Harm::Refused(mine)),
        Fault::once("AttachNetworkInterface", Harm::Reset),
    ]);
    let attach = scene.attach();
    let throttled = scene.call("AttachNetworkInterface", &attach).unwrap();
    assert_eq!((throttled.status, throttled.code()), (503, "RequestLimitExceeded"));
    let failed = scene.call("AttachNetworkInterface", &attach).unwrap();
    assert_eq!((failed.status, failed.code()), (500, "InternalError"));
    let reset = scene.call("AttachNetworkInterface", &attach).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    assert!(!scene.is_attached());
    assert_eq!(scene.call("AttachNetworkInterface", &attach).unwrap().status, 200);
    let parameters = scene.aws.log().last().unwrap().parameters.clone();
    assert_eq!(parameters.get("NetworkInterfaceId"), Some(&scene.reference.ot));
}

#[test]
fn what_was_done_may_be_answered_late_or_never() {
    let scene = scene();
    scene.aws.add_fault(Fault::once("AttachNetworkInterface", Harm::DoneThenReset));
    let lost = scene.call("AttachNetworkInterface", &scene.attach()).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
    assert!(scene.is_attached());
    let again = scene.call("AttachNetworkInterface", &scene.attach()).unwrap();
    assert_eq!(again.code(), "InvalidNetworkInterface.InUse");
    let outcomes: Vec<Outcome> = scene.aws.log().into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::AnswerLost, Outcome::Refused("InvalidNetworkInterface.InUse".to_owned())]);

    let delay = SECOND / 5;
    scene.aws.add_fault(Fault::once("DescribeVpcs", Harm::Delayed(delay)));
    let begun = Instant::now();
    assert_eq!(scene.call("DescribeVpcs", "").unwrap().status, 200);
    assert!(begun.elapsed() >= delay);
}

#[test]
fn a_region_is_down_in_four_ways_and_comes_back() {
    let scene = scene();
    let endpoint = scene.aws.endpoint();
    let mut before = connect(&endpoint).unwrap();
    assert_eq!(ec2(&mut before, KEY, "DescribeVpcs", "").unwrap().status, 200);

    scene.aws.set_region(Region::Refuses).unwrap();
    assert_eq!(connect(&endpoint).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ec2(&mut before, KEY, "DescribeVpcs", "").unwrap_err().kind(), ErrorKind::ConnectionReset);

    scene.aws.set_region(Region::BlackHole).unwrap();
    let mut stream = connect(&endpoint).unwrap();
    stream.set_read_timeout(Some(SECOND / 5)).unwrap();
    let silent = ec2(&mut stream, KEY, "DescribeVpcs", "").unwrap_err().kind();
    assert!(matches!(silent, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent:?}");

    scene.aws.set_region(Region::Throttles).unwrap();
    assert_eq!(scene.call("DescribeVpcs", "").unwrap().code(), "RequestLimitExceeded");
    scene.aws.set_region(Region::CredentialsExpired).unwrap();
    assert_eq!(scene.call("DescribeVpcs", "").unwrap().code(), "RequestExpired");
    let scaling = ask(
        &mut connect(&endpoint).unwrap(),
        &signed(KEY, "autoscaling"),
        "Action=DescribeAutoScalingGroups&Version=2011-01-01",
    );
    assert_eq!(scaling.unwrap().code(), "ExpiredToken");

    scene.aws.set_region(Region::Up).unwrap();
    assert_eq!(scene.call("DescribeVpcs", "").unwrap().status, 200);
    // Who was silent is answered no more, on a connection that is open.
    let mut left = [0; 1];
    assert!(stream.read(&mut left).is_err());
}

#[test]
fn what_is_described_may_be_old_while_calls_see_the_truth() {
    let scene = scene();
    scene.aws.world(|_, world| world.settings.described_lag = 3600 * SECOND);
    let described = || {
        let asked = format!("&NetworkInterfaceId.1={}", scene.reference.ot);
        let answer = scene.call("DescribeNetworkInterfaces", &asked).unwrap();
        answer.element("status").map(str::to_owned)
    };
    assert_eq!(scene.call("AttachNetworkInterface", &scene.attach()).unwrap().status, 200);
    assert_eq!(described().as_deref(), Some("available"));
    let again = scene.call("AttachNetworkInterface", &scene.attach()).unwrap();
    assert_eq!(again.code(), "InvalidNetworkInterface.InUse");
    scene.aws.world(|_, world| world.settings.described_lag = Duration::ZERO);
    assert_ne!(described().as_deref(), Some("available"));
}

#[test]
fn time_passes_while_nobody_asks() {
    let scene = scene();
    assert_eq!(scene.call("AttachNetworkInterface", &scene.attach()).unwrap().status, 200);
    let eni = scene.reference.ot.clone();
    scene.aws.wait("it is attached", 10 * SECOND, |world| world.interfaces[&eni].status(false) == "in-use").unwrap();
    let described = scene.call("DescribeNetworkInterfaces", &format!("&NetworkInterfaceId.1={eni}")).unwrap();
    assert_eq!(described.element("status"), Some("in-use"));
}

#[test]
fn metadata_needs_a_token_and_gives_credentials_that_are_good() {
    let scene = scene();
    scene.aws.set_credential_lifetime(3600 * SECOND);
    let metadata = scene.aws.serve_metadata(None, "127.0.0.1:0".parse().unwrap(), &scene.instance).unwrap();
    let mut stream = connect(&metadata.endpoint()).unwrap();
    let mut get = |path: &str, token: &str| {
        ask(&mut stream, &format!("GET /latest/{path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n"), "").unwrap()
    };
    assert_eq!(get("meta-data/instance-id", "").status, 401);
    let mut other = connect(&metadata.endpoint()).unwrap();
    let mut put = |ttl: &str| {
        let head = format!("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n");
        ask(&mut other, &head, "").unwrap()
    };
    assert_eq!(put("0").status, 400);
    assert_eq!(put("21601").status, 400);
    let token = put("21600").body;
    assert_eq!(get("meta-data/instance-id", &token), Answer { status: 200, body: scene.instance.clone() });
    assert_eq!(get("meta-data/placement/region", &token).body, "eu-central-1");
    assert_eq!(get("meta-data/nothing", &token).status, 404);
    assert_eq!(get("meta-data/autoscaling/target-lifecycle-state", &token).status, 404);
    assert_eq!(get("meta-data/iam/security-credentials/", &token).body, "firewall");
    let credentials = get("meta-data/iam/security-credentials/firewall", &token).body;
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    let (key, session) = (credentials["AccessKeyId"].as_str().unwrap(), credentials["Token"].as_str().unwrap());

    // They are good with their session and not without it.
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    let mut api = connect(&scene.aws.endpoint()).unwrap();
    let without = ask(&mut api, &signed(key, "ec2"), body).unwrap();
    assert_eq!((without.status, without.code()), (401, "AuthFailure"));
    let with = format!("{}X-Amz-Security-Token: {session}\r\n", signed(key, "ec2"));
    assert_eq!(ask(&mut api, &with, body).unwrap().status, 200);

    scene.aws.add_fault(Fault::once("Metadata", Harm::Reset));
    assert_eq!(
        connect(&metadata.endpoint())
            .and_then(|mut stream| ask(&mut stream, "PUT /latest/api/token HTTP/1.1\r\n", ""))
            .unwrap_err()
            .kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn credentials_and_tokens_expire() {
    let scene = scene();
    scene.aws.set_credential_lifetime(2 * SECOND);
    let metadata = scene.aws.serve_metadata(None, "127.0.0.1:0".parse().unwrap(), &scene.instance).unwrap();
    let mut stream = connect(&metadata.endpoint()).unwrap();
    let head = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 2\r\n";
    let token = ask(&mut stream, head, "").unwrap().body;
    let mut get = |path: &str| {
        ask(&mut stream, &format!("GET /latest/{path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n"), "").unwrap()
    };
    let read: serde_json::Value =
        serde_json::from_str(&get("meta-data/iam/security-credentials/firewall").body).unwrap();
    let (key, session) = (read["AccessKeyId"].as_str().unwrap(), read["Token"].as_str().unwrap());
    let with = format!("{}X-Amz-Security-Token: {session}\r\n", signed(key, "ec2"));
    let mut api = connect(&scene.aws.endpoint()).unwrap();
    let mut code = || {
        let answer = ask(&mut api, &with, "Action=DescribeVpcs&Version=2016-11-15").unwrap();
        answer.code().to_owned()
    };
    assert_eq!(code(), "");
    fw_testkit::wait::until_true("they expire", 10 * SECOND, || code() == "RequestExpired").unwrap();
    fw_testkit::wait::until_true("the token expires", 10 * SECOND, || get("meta-data/instance-id").status == 401)
        .unwrap();
}
