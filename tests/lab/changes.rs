//! Changes of the policy: applied, confirmed or not, rolled back, across kills, restarts and full disks.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use fw_testkit::lab::{AgentConfig, IT, Node, OT};
use fw_testkit::process::Finished;
use fw_testkit::traffic::NumberedStream;
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};

/// A time that a test sees the end of, with room for a busy machine between an apply and what the test does meanwhile.
const SHORT: &str = "6s";
const AFTER_SHORT: Duration = Duration::from_secs(20);

/// The policy without Modbus, which the first one allows.
fn without_modbus() -> String {
    Firewall::first_rules().replace("\"@modbus\", ", "")
}

/// The policy without HTTP, another one.
fn without_web() -> String {
    Firewall::first_rules().replace("\"@web\", ", "")
}

/// A firewall whose files wait for `fwctl apply`.
fn staged() -> Option<Firewall> {
    with_policy("watch = false")
}

/// A firewall with more lines in the section `[policy]`.
fn with_policy(lines: &str) -> Option<Firewall> {
    let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
    let config = AgentConfig::new(firewall.lab.directory().join("policies"));
    firewall.agent.configure(&config).unwrap();
    let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let text = text.replace("source = \"directory\"", &format!("source = \"directory\"\n{lines}"));
    firewall.agent.write_configuration(&text).unwrap();
    firewall.agent.start().unwrap();
    Some(firewall)
}

fn write(firewall: &Firewall, rules: &str) {
    fs::write(firewall.rules_file(), rules).unwrap();
}

fn apply(firewall: &Firewall, options: &[&str]) -> Finished {
    firewall.agent.fwctl(&[&["apply"], options].concat()).unwrap()
}

fn history(firewall: &Firewall) -> Value {
    firewall.agent.fwctl_json(&["history"]).unwrap()
}

fn in_force(firewall: &Firewall) -> u64 {
    history(firewall)["in_force"].as_u64().unwrap()
}

fn wait_for(firewall: &Firewall, revision: u64, within: Duration) {
    wait::until_true("the revision is in force", within, || in_force(firewall) == revision).unwrap();
}

/// What `fwctl history` says of a revision.
fn state(firewall: &Firewall, revision: u64) -> String {
    let history = history(firewall);
    let rows = history["revisions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["revision"] == revision).unwrap_or_else(|| panic!("{history}"));
    row["state"].as_str().unwrap().to_owned()
}

fn audit(firewall: &Firewall) -> Vec<Value> {
    let text = fs::read_to_string(firewall.lab.directory().join("state/audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn modbus_opens(firewall: &Firewall, within: Duration) -> bool {
    connect_modbus(firewall, within).is_ok()
}

fn connect_modbus(firewall: &Firewall, within: Duration) -> std::io::Result<TcpStream> {
    client::connect(firewall.lab.ns(Node::It), both(OT, 502)[0], within).unwrap()
}

fn ledger_file(firewall: &Firewall) -> PathBuf {
    firewall.lab.directory().join("state/policies/ledger.json")
}

#[test]
fn what_is_not_confirmed_is_rolled_back_in_place_and_stays_away() {
    let Some(mut firewall) = staged() else { return };
    let stream = NumberedStream::start(firewall.lab.ns(Node::It), both(OT, 5000)[0], Duration::from_millis(2)).unwrap();
    assert!(modbus_opens(&firewall, SOON));
    write(&firewall, &without_modbus());
    assert_eq!(in_force(&firewall), 1, "files alone change nothing");
    let applied = apply(&firewall, &["--confirm", SHORT]).success().unwrap();
    assert!(applied.contains("applied, to be confirmed: revision 2") && applied.contains("fwctl confirm"), "{applied}");
    assert!(!modbus_opens(&firewall, NEVER));
    assert_eq!((in_force(&firewall), state(&firewall, 2)), (2, "on trial".to_owned()));
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    assert!(status["ready"] == true && status["policy"]["confirm_by"].is_string(), "{status}");
    wait_for(&firewall, 1, AFTER_SHORT);
    assert!(modbus_opens(&firewall, SOON), "what only the old policy allows is allowed again");
    assert_eq!(state(&firewall, 2), "rolled back");
    let report = stream.finish();
    assert_eq!((report.missing, report.repeated), (Vec::new(), 0), "of {} datagrams", report.sent);
    // Neither asking for files, nor a restart, nor an apply that does not mean it, brings it back.
    let reload = firewall.agent.fwctl(&["reload"]).unwrap();
    assert!(reload.status.code() == Some(1) && reload.stderr.contains("rolled back, as revision 2"), "{reload:?}");
    firewall.agent.terminate().unwrap();
    firewall.agent.start().unwrap();
    let refused = apply(&firewall, &[]);
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("--again"), "{refused:?}");
    assert_eq!(in_force(&firewall), 1);
    assert!(modbus_opens(&firewall, SOON));
    let confirm = firewall.agent.fwctl(&["confirm"]).unwrap();
    assert!(confirm.status.code() == Some(5), "{confirm:?}");
    apply(&firewall, &["--again"]).success().unwrap();
    assert_eq!((in_force(&firewall), state(&firewall, 3)), (3, "in force".to_owned()));
    assert!(!modbus_opens(&firewall, NEVER));
    let events: Vec<_> = audit(&firewall).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["applied", "tried", "rolled_back", "refused", "refused", "refused", "applied"]);
}

#[test]
fn what_is_confirmed_stays_also_after_a_restart() {
    let Some(mut firewall) = staged() else { return };
    write(&firewall, &without_modbus());
    apply(&firewall, &["--confirm", SHORT]).success().unwrap();
    let wrong = firewall.agent.fwctl(&["confirm", "1"]).unwrap();
    assert!(wrong.status.code() == Some(5), "{wrong:?}");
    firewall.agent.fwctl(&["confirm", "2"]).unwrap().success().unwrap();
    let confirmed = history(&firewall);
    assert!(confirmed["confirm_by"].is_null() && confirmed["confirmed"] == 2, "{confirmed}");
    firewall.agent.kill().unwrap();
    write(&firewall, "[[this is no policy");
    firewall.agent.start_unready().unwrap();
    wait::until_true("the agent answers", AFTER_SHORT, || firewall.agent.fwctl(&["history"]).unwrap().status.success())
        .unwrap();
    assert_eq!(history(&firewall)["revisions"], confirmed["revisions"], "nothing is forgotten");
    let shown = firewall.agent.fwctl(&["show", "--rev", "1"]).unwrap().success().unwrap();
    assert!(shown.contains("# 20-rules.toml") && shown.contains("\"@modbus\", \"@echo\""), "{shown}");
    let unknown = firewall.agent.fwctl(&["show", "--rev", "7"]).unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let back = firewall.agent.fwctl(&["rollback"]).unwrap().success().unwrap();
    assert!(back.contains("rolled back: revision 1"), "{back}");
    assert!(modbus_opens(&firewall, SOON));
}

#[test]
fn an_agent_that_is_killed_and_back_in_time_keeps_the_trial_and_its_deadline() {
    let Some(mut firewall) = staged() else { return };
    write(&firewall, &without_modbus());
    let began = Instant::now();
    apply(&firewall, &["--confirm", "15s"]).success().unwrap();
    let by = history(&firewall)["confirm_by"].clone();
    firewall.agent.kill().unwrap();
    firewall.agent.start().unwrap();
    if began.elapsed() < Duration::from_secs(12) {
        assert_eq!((in_force(&firewall), &history(&firewall)["confirm_by"]), (2, &by));
        assert!(!modbus_opens(&firewall, NEVER));
    }
    wait_for(&firewall, 1, AFTER_SHORT);
    assert!(began.elapsed() >= Duration::from_secs(15), "not before its time: {:?}", began.elapsed());
    assert!(modbus_opens(&firewall, SOON));
}

#[test]
fn an_agent_that_is_back_too_late_rolls_back_before_anything_else() {
    let Some(mut firewall) = staged() else { return };
    write(&firewall, &without_modbus());
    let began = Instant::now();
    apply(&firewall, &["--confirm", SHORT]).success().unwrap();
    firewall.agent.kill().unwrap();
    // Time itself is what the test waits for: nothing announces it while no agent runs.
    thread::sleep(Duration::from_secs(7).saturating_sub(began.elapsed()));
    assert!(!modbus_opens(&firewall, NEVER), "the data plane goes on with what it has");
    firewall.agent.start().unwrap();
    assert_eq!((in_force(&firewall), state(&firewall, 2)), (1, "rolled back".to_owned()));
    assert!(modbus_opens(&firewall, SOON));
    let last = audit(&firewall).pop().unwrap();
    assert!(last["event"] == "rolled_back" && last["who"]["by"] == "start", "{last}");
}

#[test]
fn a_machine_that_is_started_again_has_no_policy_on_trial() {
    let Some(mut firewall) = staged() else { return };
    write(&firewall, &without_modbus());
    apply(&firewall, &["--confirm", "1h"]).success().unwrap();
    firewall.agent.kill().unwrap();
    // As after a boot: another name of it, and nothing pinned.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let ledger = fs::read_to_string(ledger_file(&firewall)).unwrap();
    assert!(ledger.contains(boot.trim()), "{ledger}");
    fs::write(ledger_file(&firewall), ledger.replace(boot.trim(), "an-earlier-boot")).unwrap();
    firewall.agent.detach().unwrap();
    firewall.agent.start().unwrap();
    assert_eq!((in_force(&firewall), state(&firewall, 2)), (1, "rolled back".to_owned()));
    assert!(modbus_opens(&firewall, SOON));
}

#[test]
fn the_watch_tries_what_arrives_and_does_not_bring_back_what_was_rolled_back() {
    let Some(mut firewall) = with_policy(&format!("confirm = \"manual\"\nconfirm_within = \"{SHORT}\"")) else {
        return;
    };
    assert_eq!(state(&firewall, 1), "in force", "there is nothing to go back to from the first one");
    write(&firewall, &without_modbus());
    wait_for(&firewall, 2, SOON);
    assert!(!modbus_opens(&firewall, NEVER));
    wait_for(&firewall, 1, AFTER_SHORT);
    // Touched, and written again: the files are the same.
    write(&firewall, &without_modbus());
    let held = || history(&firewall)["held"].as_str().is_some_and(|held| held.contains("as revision 2"));
    wait::until_true("it is said why", SOON, held).unwrap();
    assert_eq!(in_force(&firewall), 1);
    firewall.agent.terminate().unwrap();
    firewall.agent.start().unwrap();
    assert_eq!(in_force(&firewall), 1);
    assert!(firewall.agent.fwctl_json(&["status"]).unwrap()["ready"] == true);
    // A lower revision does not lift it, a higher one does.
    let manifest = firewall.lab.directory().join("policies/bundle.json");
    fs::write(&manifest, "{\"revision\": 2}").unwrap();
    let reload = firewall.agent.fwctl(&["reload"]).unwrap();
    assert!(reload.stderr.contains("as revision 2"), "{reload:?}");
    assert_eq!(in_force(&firewall), 1);
    fs::write(&manifest, "{\"revision\": 9}").unwrap();
    wait_for(&firewall, 9, SOON);
    firewall.agent.fwctl(&["confirm"]).unwrap().success().unwrap();
    assert_eq!(state(&firewall, 9), "in force");
    // What is older than that is not taken.
    fs::write(&manifest, "{\"revision\": 8}").unwrap();
    write(&firewall, &without_web());
    let stale = || history(&firewall)["held"].as_str().is_some_and(|held| held.contains("revision 9 has been there"));
    wait::until_true("it is said why", SOON, stale).unwrap();
    assert_eq!(in_force(&firewall), 9);
}

#[test]
fn two_changes_at_once_are_one_change() {
    let Some(firewall) = staged() else { return };
    write(&firewall, &without_modbus());
    let both = thread::scope(|scope| {
        [0, 1].map(|_| scope.spawn(|| apply(&firewall, &["--confirm", "1h"]))).map(|thread| thread.join().unwrap())
    });
    // The second one comes while the first is under way, or finds that these files are in force; never two trials.
    let codes = both.each_ref().map(|finished| finished.status.code());
    assert!(codes.contains(&Some(0)), "{both:?}");
    assert_eq!(history(&firewall)["revisions"].as_array().unwrap().len(), 2, "{both:?}");
    write(&firewall, &without_web());
    let refused = apply(&firewall, &[]);
    assert!(
        refused.status.code() == Some(1) && refused.stderr.contains("revision 2 waits for confirmation"),
        "{refused:?}"
    );
    assert_eq!(in_force(&firewall), 2);
    firewall.agent.fwctl(&["rollback"]).unwrap().success().unwrap();
    apply(&firewall, &[]).success().unwrap();
    assert_eq!(in_force(&firewall), 3);
}

#[test]
fn on_a_full_disk_nothing_changes_and_the_way_back_is_open() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    let state = firewall.lab.directory().join("state");
    fs::create_dir_all(&state).unwrap();
    let _disk = Tmpfs::mount(state.clone(), "1m");
    let text = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let text = text.replace("source = \"directory\"", "source = \"directory\"\nwatch = false");
    firewall.agent.write_configuration(&text).unwrap();
    firewall.agent.start().unwrap();
    write(&firewall, &without_modbus());
    apply(&firewall, &["--confirm", "1h"]).success().unwrap();
    fill(&state.join("filler"));
    let back = firewall.agent.fwctl(&["rollback"]).unwrap();
    assert!(back.status.success(), "{back:?}");
    firewall.agent.kill().unwrap();
    firewall.agent.start().unwrap();
    assert_eq!((in_force(&firewall), self::state(&firewall, 2)), (1, "rolled back".to_owned()), "that is on disk");
    assert!(modbus_opens(&firewall, SOON));
    write(&firewall, &without_web());
    let refused = apply(&firewall, &[]);
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("bytes are free"), "{refused:?}");
    assert_eq!(in_force(&firewall), 1);
    fs::remove_file(state.join("filler")).unwrap();
    apply(&firewall, &[]).success().unwrap();
    assert_eq!(in_force(&firewall), 3);
    firewall.agent.kill().unwrap();
    firewall.agent.start().unwrap();
    assert_eq!(in_force(&firewall), 3);
}

#[test]
fn a_policy_whose_tests_fail_is_not_applied_and_the_exit_code_says_why() {
    let Some(firewall) = staged() else { return };
    let test = "[[test]]\nname = \"never\"\npacket = { from = \"it\", to = \"ot\", src = \"10.2.1.5\", dst = \"10.1.1.20\", service = \"tcp/22\" }\nexpect = \"allow\"\n";
    write(&firewall, &format!("{}{test}", Firewall::first_rules()));
    let failed = apply(&firewall, &[]);
    assert!(failed.status.code() == Some(4) && failed.stderr.contains("never"), "{failed:?}");
    write(&firewall, "version = 1\n[[rule]]\nid = 7\n");
    assert_eq!(apply(&firewall, &["-o", "json"]).status.code(), Some(3));
    assert_eq!((in_force(&firewall), history(&firewall)["revisions"].as_array().unwrap().len()), (1, 1));
    let web = client::http_get(firewall.lab.ns(Node::Ws), both(IT, 80)[0], "/", SOON).unwrap();
    assert!(web.is_ok());
}

#[test]
fn where_keys_are_configured_only_what_they_have_signed_is_applied() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let other = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let Some(mut firewall) = staged() else { return };
    let usual = fs::read_to_string(firewall.agent.configuration()).unwrap();
    let keys = format!("watch = false\npublic_keys = [\"{}\"]", pair.pk.to_base64());
    firewall.agent.write_configuration(&usual.replace("watch = false", &keys)).unwrap();
    let unsigned = firewall.agent.fwctl(&["reload"]).unwrap();
    assert!(unsigned.status.code() == Some(3) && unsigned.stderr.contains("bundle.json is not there"), "{unsigned:?}");
    write(&firewall, &without_modbus());
    sign(&firewall, 7, &other.sk);
    let wrong = apply(&firewall, &[]);
    assert!(wrong.status.code() == Some(3) && wrong.stderr.contains("not of a key"), "{wrong:?}");
    assert_eq!(in_force(&firewall), 1);
    sign(&firewall, 7, &pair.sk);
    apply(&firewall, &[]).success().unwrap();
    assert_eq!(in_force(&firewall), 7);
    write(&firewall, &without_web());
    let changed = apply(&firewall, &[]);
    assert!(
        changed.status.code() == Some(3) && changed.stderr.contains("20-rules.toml is not the file"),
        "{changed:?}"
    );
    // What was kept needs no signature any more, and a start without a valid one goes on with it.
    firewall.agent.kill().unwrap();
    firewall.agent.detach().unwrap();
    firewall.agent.start_unready().unwrap();
    wait::until_true("the agent answers", AFTER_SHORT, || firewall.agent.fwctl(&["history"]).unwrap().status.success())
        .unwrap();
    assert_eq!(in_force(&firewall), 7);
    assert!(!modbus_opens(&firewall, NEVER));
}

/// Writes `bundle.json` for what is in the directory, and its signature.
fn sign(firewall: &Firewall, revision: u64, key: &minisign::SecretKey) {
    use sha2::Digest as _;
    let directory = firewall.lab.directory().join("policies");
    let digest = |name: &str| -> String {
        let digest = sha2::Sha256::digest(fs::read(directory.join(name)).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let files: serde_json::Map<_, _> =
        ["10-zones.toml", "20-rules.toml"].map(|name| (name.to_owned(), digest(name).into())).into_iter().collect();
    let manifest = serde_json::json!({"revision": revision, "files": files}).to_string();
    let signature = minisign::sign(None, key, manifest.as_bytes(), None, None).unwrap();
    fs::write(directory.join("bundle.json"), &manifest).unwrap();
    fs::write(directory.join("bundle.json.minisig"), signature.to_string()).unwrap();
}

/// A small disk of its own; it goes with the guard.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf, size: &str) -> Self {
        let options = format!("size={size}");
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at);
        fw_testkit::process::run(&mut command).unwrap().success().unwrap();
        Self(at)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = fw_testkit::process::run(std::process::Command::new("umount").arg("--lazy").arg(&self.0));
        if let Err(error) = unmounted.and_then(Finished::success) {
            eprintln!("{error}");
        }
    }
}

/// Writes until nothing is free.
fn fill(path: &std::path::Path) {
    let mut size = 0;
    while let Ok(()) = fs::write(path, vec![b'x'; size + 4_096]) {
        size += 4_096;
    }
}
