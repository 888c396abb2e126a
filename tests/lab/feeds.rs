//! Lists that come from elsewhere: they take effect, change while the policy stays, and outlive their servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fw_testkit::lab::{AgentConfig, IT, Node, OT};
use fw_testkit::service::{Account, Objects};
use fw_testkit::{client, wait};
use serde_json::Value;

use crate::firewall::{Firewall, NEVER, SOON, both};
use crate::plan::{other_files, plan};
use crate::policy_change::epoch;
use crate::reading::Hung;

/// Time for a fetch and what it brings, on a busy machine, after a failure too.
const FETCHED: Duration = Duration::from_secs(30);

/// The same for the largest list, in a build that is not optimised.
const LARGE: Duration = Duration::from_secs(180);

const PORT: u16 = 8_443;

const REGION: &str = "eu-central-1";
const ACCESS_KEY: &str = "AKIDLAB";

fn server_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

/// A policy whose first rule drops what comes from the addresses of a feed.
fn rules(url: &str, keys: &str) -> String {
    let block = format!(
        "[[feed]]\nname = \"blocked\"\nurl = \"{url}\"\nrefresh = \"1s\"\n{keys}\n[[rule]]\nid = \"block\"\nfrom = [\"any\"]\n\
         to = [\"any\"]\nsource = [\"@blocked\"]\naction = \"drop\"\n\n[[rule]]\nid = \"lab-web\""
    );
    Firewall::first_rules().replacen("[[rule]]\nid = \"lab-web\"", &block, 1)
}

/// A firewall that has not been started, with a feed, and what `[feeds]` says.
fn with_feed(url: &str, keys: &str, section: impl FnOnce(&Firewall) -> String) -> Option<Firewall> {
    let mut firewall = Firewall::before_the_agent("max_flows = 65_536")?;
    // A proxy of the machine's does not lead into a lab.
    firewall.agent.set_environment(&[("NO_PROXY", "127.0.0.1")]);
    fs::write(firewall.rules_file(), rules(url, keys)).unwrap();
    let extra = format!("[feeds]\n{}", section(&firewall));
    let config = AgentConfig { extra, ..AgentConfig::new(firewall.lab.directory().join("policies")) };
    firewall.agent.configure(&config).unwrap();
    Some(firewall)
}

/// A web server on the firewall itself, whose authority is trusted, and a firewall with a feed of it.
fn with_server(first: &str) -> Option<(Firewall, Objects)> {
    let url = format!("https://{}/blocked.txt", server_address());
    let mut server = None;
    let firewall = with_feed(&url, "", |firewall| {
        let started = Objects::https(firewall.lab.ns(Node::Fw), server_address()).unwrap();
        started.put("/blocked.txt", first);
        let ca_file = firewall.lab.directory().join("ca.pem");
        fs::write(&ca_file, started.authority().unwrap()).unwrap();
        server = Some(started);
        format!("ca_file = \"{}\"\n", ca_file.display())
    })?;
    Some((firewall, server?))
}

/// What `fwctl status` says of the feed.
fn feed(firewall: &Firewall) -> Value {
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    status["feeds"][0].clone()
}

fn wait_for_entries(firewall: &Firewall, entries: u64) {
    wait_for_list(firewall, entries, FETCHED);
}

fn wait_for_list(firewall: &Firewall, entries: u64, within: Duration) {
    wait::until_true("the list is in force", within, || feed(firewall)["entries"] == entries)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", feed(firewall), firewall.agent.log()));
}

fn wait_for_problem(firewall: &Firewall, told: &str) {
    let tells = || feed(firewall)["problem"].as_str().is_some_and(|problem| problem.contains(told));
    wait::until_true("the problem is told", FETCHED, tells)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", feed(firewall), firewall.agent.log()));
}

/// What the check `feeds` tells.
fn condition(firewall: &Firewall) -> Option<String> {
    let status = firewall.agent.fwctl_json(&["status"]).unwrap();
    assert_eq!(status["ready"], true, "a feed is no condition for being ready: {status}");
    let check = status["checks"].as_array().unwrap().iter().find(|check| check["name"] == "feeds").cloned().unwrap();
    check["reason"].as_str().map(str::to_owned)
}

fn modbus(firewall: &Firewall, family: usize, within: Duration) -> std::io::Result<TcpStream> {
    client::connect(firewall.lab.ns(Node::It), both(OT, 502)[family], within).unwrap()
}

fn is_blocked(firewall: &Firewall) -> bool {
    modbus(firewall, 0, NEVER).is_err()
}

fn metrics(firewall: &Firewall) -> String {
    let address = (Ipv4Addr::LOCALHOST, 9_477).into();
    let mut stream = client::connect(firewall.lab.ns(Node::Fw), address, SOON).unwrap().unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    metrics
}

fn history(firewall: &Firewall) -> Value {
    firewall.agent.fwctl_json(&["history"]).unwrap()
}

#[test]
fn a_list_changes_while_the_policy_stays_and_outlives_its_server_and_a_restart() {
    let Some((mut firewall, server)) = with_server("192.0.2.1 # nobody here\n") else { return };
    firewall.agent.start().unwrap();
    assert_eq!(feed(&firewall)["entries"], 1, "the policy has begun with its list");
    assert_eq!(condition(&firewall), None);
    let (revisions, before) = (history(&firewall), epoch(&firewall.agent));
    let mut connection = modbus(&firewall, 0, SOON).unwrap();
    assert_eq!(client::modbus_read(&mut connection, 1, 1).unwrap(), [1]);

    server.put("/blocked.txt", format!("192.0.2.1\n{}\n", IT.ipv4));
    wait_for_entries(&firewall, 2);
    assert!(client::modbus_read(&mut connection, 2, 1).is_err(), "an open flow is cut");
    assert!(is_blocked(&firewall));
    assert!(modbus(&firewall, 1, SOON).is_ok(), "the other family is not in the list");
    assert_eq!(history(&firewall), revisions, "the policy is the same revision");
    assert!(epoch(&firewall.agent) > before, "its tables are others");
    assert!(firewall.dropped("policy") > 0);

    server.put("/blocked.txt", "192.0.2.1\n192.0.2.2\n192.0.2.3\n");
    wait_for_entries(&firewall, 3);
    assert!(modbus(&firewall, 0, SOON).is_ok());
    server.put("/blocked.txt", format!("{}\n{}\n", IT.ipv4, IT.ipv6));
    wait_for_entries(&firewall, 2);
    assert!(is_blocked(&firewall) && modbus(&firewall, 1, NEVER).is_err());

    server.put("/blocked.txt", "192.0.2.1\n<html>not found</html>\n");
    wait_for_problem(&firewall, "line 2: ");
    assert!(condition(&firewall).unwrap().contains("with 2 entries stays in force"));
    server.refuse(Some((503, Vec::new())));
    wait_for_problem(&firewall, "answers 503");
    server.refuse(Some((302, vec![("Location", "http://127.0.0.1:1/".to_owned())])));
    wait_for_problem(&firewall, "which is not https");
    server.refuse(None);
    server.put("/blocked.txt", format!("{}\n{}\n", IT.ipv4, IT.ipv6));
    wait::until_true("the feed is well again", FETCHED, || condition(&firewall).is_none()).unwrap();
    let known = || server.seen().iter().filter(|seen| seen.status == 304).count();
    let asked = known();
    wait::until_true("what is known is not sent again", FETCHED, || known() > asked).unwrap();

    drop(server);
    wait_for_problem(&firewall, "refused");
    assert!(is_blocked(&firewall), "the last list stays");
    let metrics = metrics(&firewall);
    for sample in ["feed_entries{feed=\"blocked\"} 2", "feed_ok{feed=\"blocked\"} 0"] {
        assert!(metrics.contains(&format!("outpost_fw_{sample}\n")), "{sample} is missing in\n{metrics}");
    }
    for result in ["bad-line", "refused", "unreachable"] {
        let failed = format!("outpost_fw_feed_fetches_total{{feed=\"blocked\",result=\"{result}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&failed)).unwrap();
        assert_ne!(count, "0", "{result}");
    }

    for round in 0..2 {
        if round == 0 {
            firewall.agent.kill().unwrap();
        } else {
            firewall.agent.terminate().unwrap();
        }
        firewall.agent.start().unwrap();
        assert!(is_blocked(&firewall), "the list that was kept holds from the start");
        wait_for_problem(&firewall, "refused");
        assert!(condition(&firewall).unwrap().contains("with 2 entries stays in force"));
    }
    assert_eq!(history(&firewall), revisions);
}

#[test]
fn a_plan_judges_by_the_lists_that_the_firewall_holds() {
    let Some((mut firewall, _server)) = with_server(&format!("{}\n", IT.ipv4)) else { return };
    let running = fs::read_to_string(firewall.rules_file()).unwrap();
    let running = running.replacen("[\"@blocked\"]\naction = \"drop\"", "[\"@blocked\"]\naction = \"allow\"", 1);
    fs::write(firewall.rules_file(), &running).unwrap();
    firewall.agent.start().unwrap();
    let _open = [0, 1].map(|family| modbus(&firewall, family, SOON).unwrap());
    // Without the rule that allows everybody, those in the list stay.
    let listed = running.replacen("id = \"lab-ot\"", "id = \"lab-ot\"\nmode = \"observe\"", 1);
    let answer = plan(&firewall, &other_files(&firewall, &listed, str::to_owned), 10);
    let known = &answer["feeds"][0];
    assert_eq!((&known["policy"], &known["entries"]), (&"both".into(), &1.into()), "{answer}");
    let groups = answer["live"]["cut"].as_array().unwrap().iter();
    let cut: Vec<&Value> = groups.flat_map(|group| group["examples"].as_array().unwrap()).collect();
    assert!(!cut.is_empty() && cut.iter().all(|flow| flow["src_addr"] == IT.ipv6.to_string()), "{answer}");

    // The same name with another source is another feed, which the firewall does not have.
    let moved = running.replacen("/blocked.txt", "/other.txt", 1);
    let answer = plan(&firewall, &other_files(&firewall, &moved, str::to_owned), 10);
    let feeds = answer["feeds"].as_array().unwrap().iter();
    let feeds: Vec<_> = feeds.map(|feed| (&feed["policy"], &feed["entries"])).collect();
    assert_eq!(feeds, [(&"old".into(), &1.into()), (&"new".into(), &Value::Null)]);
}

#[test]
fn a_feed_without_a_list_matches_nothing_and_a_server_that_nobody_vouches_for_has_none() {
    let url = format!("https://{}/blocked.txt", server_address());
    let Some(mut firewall) = with_feed(&url, "", |_| String::new()) else { return };
    let server = Objects::https(firewall.lab.ns(Node::Fw), server_address()).unwrap();
    server.put("/blocked.txt", format!("{}\n", IT.ipv4));
    firewall.agent.start().unwrap();
    assert!(modbus(&firewall, 0, SOON).is_ok());
    wait_for_problem(&firewall, "`[feeds] ca_file`");
    let condition = condition(&firewall).unwrap();
    assert!(condition.starts_with("feed blocked has no list, so that it matches nothing: https://"), "{condition}");
    assert_eq!(server.seen(), [], "nothing was asked of it");
}

#[test]
fn a_list_that_the_policy_s_own_tests_do_not_pass_is_refused() {
    let Some((mut firewall, server)) = with_server("192.0.2.1\n") else { return };
    let test = format!(
        "[[test]]\nname = \"the control room works\"\nexpect = \"allow\"\n\
         packet = {{ from = \"it\", to = \"ot\", src = \"{}\", dst = \"{}\", service = \"tcp/502\" }}\n",
        IT.ipv4, OT.ipv4
    );
    let written = fs::read_to_string(firewall.rules_file()).unwrap();
    fs::write(firewall.rules_file(), format!("{written}\n{test}")).unwrap();
    firewall.agent.start().unwrap();
    server.put("/blocked.txt", format!("{}\n", IT.ipv4));
    wait_for_problem(&firewall, "the control room works");
    assert!(modbus(&firewall, 0, SOON).is_ok());
    assert_eq!(feed(&firewall)["entries"], 1);
    server.put("/blocked.txt", "192.0.2.1\n192.0.2.2\n");
    wait_for_entries(&firewall, 2);
}

#[test]
fn a_list_of_half_a_million_addresses_is_a_file_that_is_replaced() {
    let lists = |firewall: &Firewall| firewall.lab.directory().join("lists");
    let Some(mut firewall) = with_feed("blocked.txt", "", |firewall| {
        fs::create_dir(lists(firewall)).unwrap();
        format!("directory = \"{}\"\n", lists(firewall).display())
    }) else {
        return;
    };
    let directory: PathBuf = lists(&firewall);
    let replace = |text: &str| {
        fs::write(directory.join("new"), text).unwrap();
        fs::rename(directory.join("new"), directory.join("blocked.txt")).unwrap();
    };
    let many = |first: u32, count: u32| {
        let lines = (first..first + count).map(|number| format!("{}\n", Ipv4Addr::from_bits(11 << 24 | number << 1)));
        lines.collect::<String>()
    };
    replace("192.0.2.1\n");
    firewall.agent.start().unwrap();
    replace(&many(0, 500_000));
    wait_for_list(&firewall, 500_000, LARGE);
    assert!(modbus(&firewall, 0, SOON).is_ok());
    let began = Instant::now();
    replace(&format!("{}{}\n", many(1, 499_000), IT.ipv4));
    wait_for_list(&firewall, 499_001, LARGE);
    println!(
        "a list of 499,001 in the place of one of 500,000: {:?}, with up to 1 s until it is looked at",
        began.elapsed()
    );
    assert!(is_blocked(&firewall));
    replace(&many(0, 500_001));
    wait_for_problem(&firewall, "`max_entries` is 500000");
    assert!(is_blocked(&firewall));
    fs::remove_file(directory.join("blocked.txt")).unwrap();
    wait_for_problem(&firewall, "No such file");
    assert!(is_blocked(&firewall));
}

#[test]
fn a_list_comes_from_a_bucket() {
    let endpoint: SocketAddr = (Ipv4Addr::LOCALHOST, 9_000).into();
    let section = format!("[cloud]\nregion = \"{REGION}\"\nendpoints = {{ s3 = \"http://{endpoint}\" }}\n");
    let Some(mut firewall) = with_feed("s3://lists/office/blocked.txt", "", |_| section) else { return };
    let account = Account { access_key: ACCESS_KEY.to_owned(), region: REGION.to_owned() };
    let server = Objects::s3(firewall.lab.ns(Node::Fw), endpoint, account).unwrap();
    firewall.agent.set_environment(&[
        ("AWS_ACCESS_KEY_ID", "AKIDOTHER"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]);
    server.put("/lists/office/other.txt", "");
    firewall.agent.start().unwrap();
    wait_for_problem(&firewall, "the credentials are not taken (InvalidAccessKeyId)");
    firewall.agent.set_environment(&[("AWS_ACCESS_KEY_ID", ACCESS_KEY)]);
    firewall.agent.terminate().unwrap();
    firewall.agent.start().unwrap();
    wait_for_problem(&firewall, "NoSuchKey");
    server.put("/lists/office/blocked.txt", format!("{}\n", IT.ipv4));
    wait_for_entries(&firewall, 1);
    assert!(is_blocked(&firewall));
    let known = || server.seen().iter().filter(|seen| seen.status == 304).count();
    wait::until_true("what is known is not sent again", FETCHED, || known() > 0).unwrap();
    server.put("/lists/office/blocked.txt", "192.0.2.1\n192.0.2.2\n");
    wait_for_entries(&firewall, 2);
    assert!(modbus(&firewall, 0, SOON).is_ok());
    drop(server);
    wait_for_problem(&firewall, "is not to be reached");
    assert_eq!(feed(&firewall)["entries"], 2);
}

#[test]
fn a_disk_that_does_not_answer_keeps_no_list_and_holds_nobody_up() {
    let Some((mut firewall, server)) = with_server("192.0.2.1\n") else { return };
    firewall.agent.start().unwrap();
    let kept = firewall.lab.directory().join("state/feeds");
    wait::until_true("the list is kept", SOON, || fs::read_dir(&kept).is_ok_and(|kept| kept.count() == 1)).unwrap();
    let Some(_hung) = Hung::over(&firewall, &kept) else { return };
    server.put("/blocked.txt", format!("{}\n192.0.2.1\n", IT.ipv4));
    wait_for_entries(&firewall, 2);
    assert!(is_blocked(&firewall));
    wait::until_true("it is told", FETCHED, || condition(&firewall).is_some_and(|told| told.contains("kept on disk")))
        .unwrap();
    server.put("/blocked.txt", "192.0.2.1\n192.0.2.2\n192.0.2.3\n");
    wait_for_entries(&firewall, 3);
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    assert!(modbus(&firewall, 0, SOON).is_ok());
}

#[test]
fn a_file_system_that_does_not_answer_fails_its_feed_and_holds_nobody_up() {
    let lists = |firewall: &Firewall| firewall.lab.directory().join("lists");
    let Some(mut firewall) = with_feed("blocked.txt", "", |firewall| {
        fs::create_dir(lists(firewall)).unwrap();
        fs::write(lists(firewall).join("blocked.txt"), format!("{}\n", IT.ipv4)).unwrap();
        format!("directory = \"{}\"\n", lists(firewall).display())
    }) else {
        return;
    };
    firewall.agent.start().unwrap();
    let Some(hung) = Hung::over(&firewall, &lists(&firewall)) else { return };
    wait_for_problem(&firewall, "was not read within 20 seconds");
    assert!(condition(&firewall).unwrap().contains("with 1 entries stays in force"));
    assert!(is_blocked(&firewall), "the last list stays");
    firewall.agent.fwctl(&["reload"]).unwrap().success().unwrap();
    drop(hung);
    wait::until_true("it is read when it is there again", FETCHED, || condition(&firewall).is_none()).unwrap();
}
