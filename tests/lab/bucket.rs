//! A policy that comes from a bucket: each bundle goes the way of one that is in a directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fw_testkit::lab::{IT, Node, OT};
use fw_testkit::service::{Account, Objects};
use fw_testkit::{client, wait};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::firewall::{Firewall, NEVER, SOON, both};

/// Time for a look at the bucket and what it brings, on a busy machine, after a failure too.
const PULLED: Duration = Duration::from_secs(30);

const REGION: &str = "eu-central-1";
const ACCESS_KEY: &str = "AKIDLAB";

fn endpoint() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9_000).into()
}

/// A firewall that has not been started, whose policy is in a bucket.
fn prepared(lines: &str) -> Option<(Firewall, Objects)> {
    let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
    let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let directory = firewall.lab.directory().join("bundle");
    let source = format!(
        "source = \"s3\"\nbucket = \"policies\"\nprefix = \"plant-7\"\npoll = \"1s\"\ndirectory = \"{}\"\n{lines}",
        directory.display()
    );
    let own =
        format!("source = \"directory\"\ndirectory = \"{}\"", firewall.lab.directory().join("policies").display());
    assert!(text.contains(&own), "{text}");
    let cloud = format!("\n[cloud]\nregion = \"{REGION}\"\nendpoints = {{ s3 = \"http://{}\" }}\n", endpoint());
    firewall.agent.write_configuration(&(text.replace(&own, &source) + &cloud)).unwrap();
    firewall.agent.set_environment(&[
        ("NO_PROXY", "127.0.0.1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    let account = Account { access_key: ACCESS_KEY.to_owned(), region: REGION.to_owned() };
    let server = Objects::s3(firewall.lab.ns(Node::Fw), endpoint(), account).unwrap();
    Some((firewall, server))
}

/// Files of a policy, as they are uploaded: their names and texts.
fn files(firewall: &Firewall, rules: &str) -> [(&'static str, String); 2] {
    let zones = fs::read_to_string(firewall.lab.directory().join("policies/10-zones.toml")).unwrap();
    [("10-zones.toml", zones), ("20-rules.toml", rules.to_owned())]
}

fn manifest(revision: u64, files: &[(&str, String)]) -> String {
    let digest = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let files: serde_json::Map<String, Value> =
        files.iter().map(|(name, text)| ((*name).to_owned(), Value::from(digest(text)))).collect();
    serde_json::json!({"revision": revision, "files": files}).to_string()
}

fn upload_files(server: &Objects, files: &[(&str, String)]) {
    files.iter().for_each(|(name, text)| server.put(&format!("/policies/plant-7/{name}"), text.as_bytes()));
}

fn upload(server: &Objects, revision: u64, files: &[(&str, String)]) {
    upload_files(server, files);
    server.put("/policies/plant-7/bundle.json", manifest(revision, files));
}

fn in_force(firewall: &Firewall) -> u64 {
    firewall.agent.fwctl_json(&["history"]).unwrap()["in_force"].as_u64().unwrap()
}

fn wait_for(firewall: &Firewall, revision: u64) {
    wait::until_true("the revision is in force", PULLED, || in_force(firewall) == revision)
        .unwrap_or_else(|error| panic!("{error}\n{}", firewall.agent.log()));
}

/// What the check `files` tells.
fn condition(firewall: &Firewall) -> Option<String> {
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    let check = status["checks"].as_array().unwrap().iter().find(|check| check["name"] == "files").cloned().unwrap();
    check["reason"].as_str().map(str::to_owned)
}

fn modbus_opens(firewall: &Firewall, within: Duration) -> bool {
    client::connect(firewall.lab.ns(Node::It), both(OT, 502)[0], within).unwrap().is_ok()
}

fn without_modbus() -> String {
    Firewall::first_rules().replace("\"@modbus\", ", "")
}

#[test]
fn bundles_of_a_bucket_are_taken_whole_and_outlive_it() {
    let Some((mut firewall, server)) = prepared("") else { return };
    let (first, second) = (files(&firewall, Firewall::first_rules()), files(&firewall, &without_modbus()));
    upload(&server, 5, &first);
    firewall.agent.start().unwrap();
    assert_eq!((in_force(&firewall), condition(&firewall)), (5, None));
    assert!(modbus_opens(&firewall, SOON));

    // Half of it: the manifest before its files.
    server.put("/policies/plant-7/bundle.json", manifest(6, &second));
    let told = || condition(&firewall).is_some_and(|told| told.contains("is not the file that bundle.json lists"));
    wait::until_true("what does not fit together is told", PULLED, told).unwrap();
    assert!(in_force(&firewall) == 5 && modbus_opens(&firewall, SOON));
    upload_files(&server, &second);
    wait_for(&firewall, 6);
    assert!(!modbus_opens(&firewall, NEVER));
    wait::until_true("the bucket is well", PULLED, || condition(&firewall).is_none()).unwrap();

    // An invalid one is refused as it is from a directory, and an older one is held.
    upload(&server, 7, &files(&firewall, "version = 1\nnonsense = 1\n"));
    let refused = || firewall.agent.fwctl_json(&["status"]).unwrap()["policy"]["last_result"] == "refused";
    wait::until_true("it is refused", PULLED, refused).unwrap();
    assert_eq!(in_force(&firewall), 6);
    upload(&server, 4, &first);
    let held = || firewall.agent.fwctl_json(&["status"]).unwrap()["policy"]["held"].is_string();
    wait::until_true("it is held", PULLED, held).unwrap();
    upload(&server, 8, &first);
    wait_for(&firewall, 8);
    assert!(modbus_opens(&firewall, SOON));

    drop(server);
    let told = || condition(&firewall).is_some_and(|told| told.contains("is not to be reached"));
    wait::until_true("that the bucket is gone is told", PULLED, told).unwrap();
    firewall.agent.kill().unwrap();
    firewall.agent.start().unwrap();
    assert!(in_force(&firewall) == 8 && modbus_opens(&firewall, SOON));
    wait::until_true("that the bucket is gone is told again", PULLED, || condition(&firewall).is_some()).unwrap();
    assert!(client::http_get(firewall.lab.ns(Node::Ws), both(IT, 80)[0], "/", SOON).unwrap().is_ok());
}

#[test]
fn a_bundle_of_a_bucket_waits_for_confirmation_and_stays_away_when_it_is_rolled_back() {
    let Some((mut firewall, server)) = prepared("confirm = \"manual\"\nconfirm_within = \"10m\"\n") else { return };
    upload(&server, 1, &files(&firewall, Firewall::first_rules()));
    firewall.agent.start().unwrap();
    upload(&server, 2, &files(&firewall, &without_modbus()));
    wait_for(&firewall, 2);
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    assert!(status["policy"]["confirm_by"].is_string(), "{status}");
    assert!(!modbus_opens(&firewall, NEVER));
    firewall.agent.fwctl(&["rollback"]).unwrap().success().unwrap();
    assert!(in_force(&firewall) == 1 && modbus_opens(&firewall, SOON));
    let asked = server.seen().len();
    wait::until_true("the bucket is looked at again", PULLED, || server.seen().len() > asked + 1).unwrap();
    assert_eq!(in_force(&firewall), 1, "what was rolled back stays away");
    upload(&server, 3, &files(&firewall, &without_modbus()));
    wait_for(&firewall, 3);
    firewall.agent.fwctl(&["confirm"]).unwrap().success().unwrap();
    assert!(!modbus_opens(&firewall, NEVER));
}

#[test]
fn a_first_start_asks_the_bucket_again_after_a_bundle_that_was_refused() {
    let Some((mut firewall, server)) = prepared("") else { return };
    upload(&server, 1, &files(&firewall, "version = 1\nnonsense = 1\n"));
    firewall.agent.start_unready().unwrap();
    let status = wait::until("the agent ends", PULLED, || firewall.agent.ended()).unwrap();
    assert_eq!(status.code(), Some(3), "{}", firewall.agent.log());
    upload(&server, 2, &files(&firewall, Firewall::first_rules()));
    firewall.agent.start().unwrap();
    assert!(in_force(&firewall) == 2 && modbus_opens(&firewall, SOON));
}

#[test]
fn a_signature_may_come_behind_its_manifest() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let keys = format!("public_keys = [\"{}\"]\n", pair.pk.to_base64());
    let Some((mut firewall, server)) = prepared(&keys) else { return };
    let sign = |revision: u64, files: &[(&str, String)]| {
        let signature = minisign::sign(None, &pair.sk, manifest(revision, files).as_bytes(), None, None).unwrap();
        server.put("/policies/plant-7/bundle.json.minisig", signature.to_string());
    };
    let (first, second) = (files(&firewall, Firewall::first_rules()), files(&firewall, &without_modbus()));
    upload(&server, 1, &first);
    sign(1, &first);
    firewall.agent.start().unwrap();
    assert_eq!((in_force(&firewall), condition(&firewall)), (1, None));
    upload(&server, 2, &second);
    let told = || condition(&firewall).is_some_and(|told| told.contains("the signature is not of a key"));
    wait::until_true("that it is not signed is told", PULLED, told).unwrap();
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    assert_eq!((in_force(&firewall), &status["ready"]), (1, &Value::from(true)), "{status}");
    sign(2, &second);
    wait_for(&firewall, 2);
    assert!(!modbus_opens(&firewall, NEVER));
}
