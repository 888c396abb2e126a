//! Files that are not there to be read, or not yet: the agent says so, and meanwhile follows the kernel, puts back what others
//! break, answers, and ends when it is told to.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fw_testkit::lab::Node;
use fw_testkit::process::Running;
use fw_testkit::wait;
use rustix::process::Signal;

use crate::firewall::{Firewall, SOON};

/// How long a repair of the forward chain may take: the agent looks every three seconds.
const REPAIR: Duration = Duration::from_secs(8);

/// From when on a reading is told to take long, and some more.
const TOLD: Duration = Duration::from_secs(8);

/// How long an agent may take that is not ready, and so is not waited for.
const START: Duration = Duration::from_secs(30);

/// When clients are no longer kept waiting, and some more.
const GIVEN_UP: Duration = Duration::from_secs(30);

fn run(firewall: &Firewall, line: &[&str]) -> String {
    firewall.lab.run(Node::Fw, line).unwrap().success().unwrap()
}

/// An address and a route that come now are followed, and a forward chain that goes is put back.
fn follows(firewall: &Firewall) {
    run(firewall, &["ip", "addr", "add", "10.1.0.77/16", "dev", "ens7"]);
    wait::until_true("the new address is known", Duration::from_secs(2), || {
        firewall.agent.fwctl_json(&["status"]).unwrap().to_string().contains("10.1.0.77")
    })
    .unwrap();
    run(firewall, &["ip", "route", "flush", "table", "9477"]);
    wait::until_true("our routes are there again", Duration::from_secs(2), || {
        run(firewall, &["ip", "route", "show", "table", "9477"]).contains("192.168.0.0/16")
    })
    .unwrap();
    run(firewall, &["nft", "flush", "ruleset"]);
    wait::until_true("the forward chain stands", REPAIR, || {
        run(firewall, &["nft", "list", "ruleset"]).contains("policy drop")
    })
    .unwrap();
}

fn ends_promptly(firewall: &mut Firewall) {
    let began = Instant::now();
    assert!(firewall.agent.terminate().unwrap().unwrap().success(), "{}", firewall.agent.log());
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
}

/// What `fwctl status` says of files that take long to read.
fn told(firewall: &Firewall) -> Option<String> {
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    let check = status["checks"].as_array().unwrap().iter().find(|check| check["name"] == "files").cloned()?;
    assert_eq!(check["ok"], true, "what was read before is in force");
    Some(check["reason"].as_str()?.to_owned())
}

fn fifo(firewall: &Firewall, path: &Path) {
    run(firewall, &["mkfifo", &path.to_string_lossy()]);
}

fn reload_in_background(firewall: &Firewall, name: &str) -> Running {
    firewall.agent.fwctl_in_background(name, &["reload"]).unwrap()
}

#[test]
fn a_fifo_in_the_place_of_agent_toml_is_refused_and_holds_nobody_up() {
    let Some(mut firewall) = Firewall::up() else { return };
    let path = firewall.agent.configuration();
    let good = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fifo(&firewall, &path);
    firewall.agent.signal(Signal::HUP).unwrap();
    follows(&firewall);
    let refused = firewall.agent.fwctl(&["reload"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "it is not the file that is invalid");
    assert!(refused.stderr.contains("agent.toml: this is a FIFO and not a file"), "{refused:?}");

    fs::remove_file(&path).unwrap();
    firewall.agent.write_configuration(&good).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    fs::remove_file(&path).unwrap();
    fifo(&firewall, &path);
    firewall.agent.signal(Signal::HUP).unwrap();
    ends_promptly(&mut firewall);

    // At a start it is a mistake like another one: the data plane that is there goes on, and the agent can be told to end.
    firewall.agent.start_unready().unwrap();
    wait::until_true("the agent says why it waits", START, || {
        firewall.agent.fwctl(&["status"]).is_ok_and(|status| status.stdout.contains("this is a FIFO"))
    })
    .unwrap();
    ends_promptly(&mut firewall);
}

#[test]
fn what_is_no_file_among_the_policy_files_is_refused_and_not_passed_over() {
    let Some(firewall) = Firewall::up() else { return };
    let policies = firewall.lab.directory().join("policies");
    let place = policies.join("30-more.toml");
    let refused = |what: &str| {
        let refused = firewall.agent.fwctl(&["reload"]).unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stderr.contains(&format!("30-more.toml: this is {what} and not a file")), "{refused:?}");
    };
    fifo(&firewall, &place);
    refused("a FIFO");
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    refused("a directory");
    fs::remove_dir(&place).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
    refused("a device");
    fs::remove_file(&place).unwrap();
    let elsewhere = firewall.lab.directory().join("more");
    fs::write(&elsewhere, "version = 1\n").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
}

#[test]
fn while_git_holds_its_lock_the_kernel_is_followed_and_reloads_are_answered_when_it_is_released() {
    let Some(mut firewall) = Firewall::up() else { return };
    let git = firewall.lab.directory().join("policies/.git");
    fs::create_dir(&git).unwrap();
    let lock = git.join("index.lock");
    let rules = Firewall::first_rules();
    fs::write(&lock, "").unwrap();
    let mut first = reload_in_background(&firewall, "first");
    follows(&firewall);
    wait::until_true("status names the lock", TOLD, || {
        told(&firewall).is_some_and(|told| told.contains("index.lock: not read since"))
    })
    .unwrap();
    assert!(firewall.agent.log().contains("reading takes long"), "{}", firewall.agent.log());
    let mut later = ["second", "third"].map(|name| reload_in_background(&firewall, name));
    assert!(first.try_wait().is_none(), "the lock is waited for");
    fs::write(firewall.rules_file(), format!("{rules}\n[[rule]]\nid = \"new\"\nfrom = [\"it\"]\nto = [\"ot\"]\nservices = [\"tcp/9\"]\naction = \"allow\"\n")).unwrap();
    fs::remove_file(&lock).unwrap();
    assert!(first.wait(SOON).unwrap().success(), "{}", first.output());
    for reload in &mut later {
        assert!(reload.wait(SOON).unwrap().success(), "{}", reload.output());
        assert!(reload.output().contains("policy epoch 2"), "{}", reload.output());
    }
    assert_eq!(told(&firewall), None);

    fs::write(&lock, "").unwrap();
    let _waiting = reload_in_background(&firewall, "fourth");
    wait::until_true("it waits for the lock", TOLD, || told(&firewall).is_some()).unwrap();
    ends_promptly(&mut firewall);
}

#[test]
fn a_lock_that_was_held_for_too_long_is_no_refusal_and_the_same_files_are_tried_again() {
    let Some(mut firewall) = Firewall::before_the_agent("max_flows = 65_536") else { return };
    // Before the agent watches its parent.
    let git = firewall.lab.directory().join("policies/.git");
    fs::create_dir(&git).unwrap();
    firewall.agent.start().unwrap();
    let lock = git.join("index.lock");
    fs::write(&lock, "").unwrap();
    let reload = firewall.agent.fwctl(&["reload"]).unwrap();
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    assert!(reload.stderr.contains("index.lock: the files are still being changed"), "{reload:?}");
    let status = || firewall.agent.fwctl(&["status"]).unwrap().stdout;
    assert!(status().starts_with("NOT READY"), "{}", status());
    fs::remove_file(&lock).unwrap();
    wait::until_true("the files are read again", TOLD, || status().starts_with("ready")).unwrap();
}

#[test]
fn a_directory_that_is_included_is_followed_and_kept_with_the_revision() {
    let Some(firewall) = Firewall::up() else { return };
    let policies = firewall.lab.directory().join("policies");
    let including = Firewall::first_rules().replacen("version = 1", "version = 1\ninclude = [\"sites/bonn\"]", 1);
    let rule = |service: &str| {
        format!(
            "version = 1\n[[rule]]\nid = \"bonn\"\nfrom = [\"it\"]\nto = [\"ot\"]\nservices = [\"{service}\"]\naction = \"allow\"\n"
        )
    };
    let services = || {
        let shown = firewall.agent.fwctl_json(&["show"]).unwrap();
        let texts = shown["texts"].as_array().unwrap().clone();
        texts
            .into_iter()
            .find(|file| file["name"] == "sites/bonn/10.toml")
            .map(|file| file["text"].as_str().unwrap().to_owned())
    };
    // The files come in the wrong order: what includes the directory before the directory. The policy in force goes on.
    fs::write(firewall.rules_file(), &including).unwrap();
    wait::until_true("what is missing is told", SOON, || {
        firewall.agent.fwctl(&["status"]).unwrap().stdout.contains("there is no directory `sites/bonn`")
    })
    .unwrap();
    assert_eq!(services(), None);

    fs::create_dir_all(policies.join("sites/bonn")).unwrap();
    fs::write(policies.join("sites/bonn/10.toml"), rule("tcp/9")).unwrap();
    wait::until_true("the directory is read", SOON, || services() == Some(rule("tcp/9"))).unwrap();

    // Only a file in the directory changes.
    fs::write(policies.join("sites/bonn/10.toml"), rule("tcp/10")).unwrap();
    wait::until_true("the change is followed", SOON, || services() == Some(rule("tcp/10"))).unwrap();
    let history = firewall.agent.fwctl_json(&["history"]).unwrap();
    let rows = history["revisions"].as_array().unwrap();
    assert!(rows[0]["files"].as_array().unwrap().contains(&"sites/bonn/10.toml".into()), "{history}");
    let rolled_back = firewall.agent.fwctl(&["rollback"]).unwrap().success().unwrap();
    assert_eq!(services(), Some(rule("tcp/9")), "{rolled_back}");
}

/// A file system that never answers. Dropping it makes all that wait for it fail, and takes it away.
pub(crate) struct Hung {
    directory: String,
    server: Running,
}

impl Hung {
    /// Mounts one over a directory: whoever has opened /dev/fuse is to answer, and does not.
    pub(crate) fn over(firewall: &Firewall, directory: &Path) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: there is no /dev/fuse");
            return None;
        }
        let directory = directory.to_string_lossy().into_owned();
        let mount = format!(
            "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung '{directory}' && exec sleep 300"
        );
        let server = firewall.lab.spawn(Node::Fw, &["sh", "-c", &mount]).unwrap();
        let hung = Self { server, directory };
        wait::until_true("it is mounted", SOON, || {
            fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!("hung {} fuse", hung.directory))
        })
        .unwrap();
        Some(hung)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ended_already = self.server.kill();
        let _not_mounted = std::process::Command::new("umount").arg("--lazy").arg(&self.directory).status();
    }
}

#[test]
fn a_file_system_that_does_not_answer_holds_nobody_up() {
    let Some(mut firewall) = Firewall::up() else { return };
    let policies = firewall.lab.directory().join("policies");
    let Some(hung) = Hung::over(&firewall, &policies) else { return };
    let mut reload = reload_in_background(&firewall, "hung");
    follows(&firewall);
    wait::until_true("status names the place", TOLD, || {
        told(&firewall).is_some_and(|told| told.contains("policies") && told.contains("not read since"))
    })
    .unwrap();
    let status = reload.wait(GIVEN_UP).unwrap();
    assert_eq!(status.code(), Some(1), "{}", reload.output());
    assert!(reload.output().contains("not read since"), "{}", reload.output());
    follows_again(&firewall);
    drop(hung);
    wait::until_true("it is read when it is there again", SOON, || told(&firewall).is_none()).unwrap();
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();

    let _hung = Hung::over(&firewall, &policies).unwrap();
    firewall.agent.signal(Signal::HUP).unwrap();
    wait::until_true("it is being read", TOLD, || told(&firewall).is_some()).unwrap();
    ends_promptly(&mut firewall);
}

/// Also while nobody is told any more.
fn follows_again(firewall: &Firewall) {
    run(firewall, &["ip", "addr", "del", "10.1.0.77/16", "dev", "ens7"]);
    wait::until_true("the address is forgotten", Duration::from_secs(2), || {
        !firewall.agent.fwctl_json(&["status"]).unwrap().to_string().contains("10.1.0.77")
    })
    .unwrap();
}
