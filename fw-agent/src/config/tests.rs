use super::*;
use crate::change::mirror::Place;
use crate::netlink::plan::Via;

/// The reference topology, as in the documentation.
const REFERENCE: &str = r#"
[[interface]]
name = "exposed"
device_index = 1
zones = ["onprem", "exposed"]
mtu = 1500
[[interface]]
mac = "02:00:00:00:01:0A"
zones = ["ot"]
hairpin = true
[[route]]
destination = "192.168.0.0/16"
interface = "exposed"
via = "gateway"
mss = 1360
[[route]]
destination = "fd00:0:0:102::/64"
interface = "02:00:00:00:01:0a"
via = "fe80::1"
[management]
interface = "ens5"
allow = ["tcp/9477 from 10.3.0.0/16"]
[policy]
source = "directory"
directory = "/etc/outpost-fw/policies"
watch = false
confirm = "manual"
confirm_within = "5m"
keep = 20
[conntrack]
max_flows = 1_000_000
max_half_open = 100_000
half_open_full = "drop-new"
unknown_tcp = "reset"
pick_up = "always"
timeouts = { established = "5d", udp-new = "10s" }
[anomalies]
verify_checksums = true
[metrics]
listen = "[::1]:9477"
[flow_log]
file = "/var/log/flows.jsonl"
max_bytes = 1_048_576
keep = 2
level = "notice"
[feeds]
directory = "/var/lib/lists"
ca_file = "/etc/ssl/lists.pem"
"#;

fn mistakes(text: &str) -> String {
    AgentConfig::parse("agent.toml", text).unwrap_err().render(false)
}

#[test]
fn the_reference_configuration_is_read() {
    let config = AgentConfig::parse("agent.toml", REFERENCE).unwrap();
    assert_eq!(config.interfaces[0].key, DeviceKey::Name("exposed".to_owned()));
    assert_eq!(config.interfaces[0].mtu, Some(1500));
    assert_eq!(config.interfaces[1].key, DeviceKey::Mac(Mac([2, 0, 0, 0, 1, 10])));
    assert!(config.interfaces[1].hairpin);
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.segment_limits, [("192.168.0.0/16".parse().unwrap(), 1360)].into());
    assert_eq!((config.routes[0].slot, config.routes[0].via), (0, Via::Gateway));
    assert_eq!((config.routes[1].slot, config.routes[1].via), (1, Via::Address("fe80::1".parse().unwrap())));
    assert_eq!(config.management.as_ref().unwrap().allow, ["tcp/9477 from 10.3.0.0/16"]);
    assert!(config.management.as_ref().unwrap().keep_access);
    assert_eq!(config.management_slot(), 2);
    assert!(!config.policy.watch);
    assert_eq!(config.policy.confirm, Some(Confirmation { within: 300, by_probes: false }));
    assert_eq!(config.policy.keep, 20);
    assert_eq!(config.conntrack.max_flows, Some(1_000_000));
    assert_eq!(config.conntrack.max_half_open, Some(100_000));
    assert!(config.conntrack.refuse_half_open);
    assert!(config.conntrack.reset_unknown_tcp);
    assert_eq!(config.conntrack.pick_up, crate::dataplane::PickUp::Always);
    let established = fw_common::conntrack::State::Established as usize;
    assert_eq!(config.conntrack.timeouts.seconds[established], 5 * 86_400);
    assert!(config.anomalies.verify_checksums);
    assert_eq!(config.metrics.listen, "[::1]:9477".parse().unwrap());
    assert_eq!(
        config.flow_log,
        FlowLogConfig {
            file: Some("/var/log/flows.jsonl".into()),
            max_bytes: 1 << 20,
            keep: 2,
            level: fw_policy::Level::Notice
        }
    );
    let feeds = FeedsConfig { directory: "/var/lib/lists".into(), ca_file: Some("/etc/ssl/lists.pem".into()) };
    assert_eq!(config.feeds, feeds);
}

#[test]
fn what_is_no_key_is_no_key_that_is_not_needed() {
    let with = |keys: &str| {
        let text = format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[policy]\npublic_keys = {keys}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    assert_eq!(with(&format!("[\"{key}\"]")).unwrap().policy.public_keys[0].to_string(), key);
    for wrong in ["[]", "[\"\"]", "[\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO\"]"] {
        let error = with(wrong).unwrap_err().render(false);
        assert!(error.contains("agent.toml:4") || error.contains("agent.toml:5"), "{wrong}: {error}");
    }
}

#[test]
fn a_policy_comes_from_a_directory_or_from_a_bucket() {
    let with = |keys: &str| {
        let text = format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[policy]\n{keys}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    let policy = with("source = \"s3\"\nbucket = \"plant-7\"\nprefix = \"/a/b/\"\npoll = \"1m\"").unwrap().policy;
    let place = Place { bucket: "plant-7".to_owned(), prefix: "a/b".to_owned() };
    assert_eq!(policy.bucket, Some(BucketConfig { place, poll: 60 }));
    assert_eq!(policy.directory.to_str(), Some("/var/lib/outpost-fw/bundle"));
    let elsewhere = with("source = \"s3\"\nbucket = \"plant-7\"\ndirectory = \"/x\"").unwrap().policy;
    assert_eq!((elsewhere.directory.to_str(), elsewhere.bucket.unwrap().poll), (Some("/x"), 30));
    assert_eq!(with("source = \"directory\"").unwrap().policy.bucket, None);
    for (wrong, told) in [
        ("source = \"s3\"", "lacks `bucket`"),
        ("source = \"s3\"\nbucket = \"s3://plant-7\"", "not the name of a bucket"),
        ("source = \"s3\"\nbucket = \"plant-7\"\ndirectory = \"x\"", "a directory of their own"),
        ("bucket = \"plant-7\"", "FW0034"),
        ("source = \"directory\"\npoll = \"1m\"", "FW0034"),
        ("source = \"s3\"\nbucket = \"plant-7\"\npoll = \"often\"", "FW0016"),
        ("source = \"git\"", "FW0011"),
    ] {
        let error = with(wrong).unwrap_err().render(false);
        assert!(error.contains(told), "{wrong}: {error}");
    }
}

#[test]
fn an_endpoint_is_a_url_and_a_region_a_name() {
    let with = |keys: &str| {
        let text = format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[cloud]\n{keys}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    assert!(with("endpoints = { s3 = \"http://127.0.0.1:9000\" }\nregion = \"eu-central-1\"").is_ok());
    for wrong in ["", "127.0.0.1:9000", "https://", "https:///a", "ftp://a"] {
        let error = with(&format!("endpoints = {{ s3 = \"{wrong}\" }}")).unwrap_err().render(false);
        assert!(error.contains("agent.toml:5") && error.contains("FW0019"), "{wrong}: {error}");
    }
    for wrong in ["", "EU", "eu central"] {
        let error = with(&format!("region = \"{wrong}\"")).unwrap_err().render(false);
        assert!(error.contains("not the name of a region"), "{wrong}: {error}");
    }
}

#[test]
fn the_binding_gives_management_the_slot_behind_the_interfaces() {
    let binding = AgentConfig::parse("agent.toml", REFERENCE).unwrap().binding();
    assert_eq!(binding.interfaces.len(), 2);
    assert_eq!(binding.interfaces[0].zones, ["onprem", "exposed"]);
    assert_eq!(binding.management.unwrap().slot, 2);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    insta::assert_snapshot!(mistakes(
        r#"
[[interface]]
name = "exposed"
zone = ["onprem"]
mtu = 100
[[interface]]
eni = "eni-0a2e4f68f323022c3"
zones = ["ot"]
[[interface]]
mac = "02:00:00"
zones = "it"
[[route]]
destination = "192.168.1.0/16"
interface = "exposd"
via = "gatway"
[policy]
source = "s3"
bucket = "Plant 7"
confirm = "probes"
[[probe]]
name = "plant floor"
check = "tcp"
[[probe]]
name = "gateway"
target = "plc-1"
timeout = "1"
dead_after = 0
[conntrack]
timeouts = { established = "1 day", closing = "3s" }
"#
    ));
}

#[test]
fn a_probe_asks_one_other_host_and_is_over_before_the_next() {
    let config = |lines: &str| {
        let text = format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[[probe]]\nname = \"p\"\n{lines}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    for (target, why) in [
        ("127.0.0.1", "the firewall itself"),
        ("::1", "the firewall itself"),
        ("::ffff:127.0.0.1", "the firewall itself"),
        ("0.0.0.0", "no address of a host"),
        ("224.0.0.1", "a group of hosts"),
        ("ff02::1", "a group of hosts"),
        ("255.255.255.255", "all hosts"),
        ("fe80::1", "names no interface"),
    ] {
        let error = config(&format!("target = \"{target}\"")).unwrap_err().render(false);
        assert!(error.contains(why), "{target}: {error}");
    }
    for target in ["169.254.10.1", "192.168.10.1", "fd00::1"] {
        assert!(config(&format!("target = \"{target}\"")).is_ok(), "{target}");
    }
    let times = |lines: &str| config(&format!("target = \"192.168.10.1\"\n{lines}"));
    for late in ["timeout = \"2s\"", "interval = \"5s\"\ntimeout = \"6s\""] {
        let error = times(late).unwrap_err().render(false);
        assert!(error.contains("longer than the interval"), "{error}");
    }
    assert!(times("interval = \"5s\"\ntimeout = \"5s\"").is_ok());
}

#[test]
fn probes_confirm_only_where_there_are_some() {
    let config = |probe: &str| {
        let text = format!("[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[policy]\nconfirm = \"probes\"\n{probe}");
        AgentConfig::parse("agent.toml", &text)
    };
    let told = |probe: &str| config(probe).unwrap_err().findings.into_iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(told(""), [fw_policy::Code::Contradiction]);
    assert_eq!(
        told("[[probe]]\nname = \"p\"\ntarget = \"10.0.0.1\"\ncheck = \"tcp\"\n"),
        [fw_policy::Code::InvalidValue]
    );
    let config = config("[[probe]]\nname = \"p\"\ntarget = \"10.0.0.1\"\n").unwrap();
    assert_eq!(config.policy.confirm, Some(Confirmation { within: 600, by_probes: true }));
}

#[test]
fn an_interface_that_is_not_listed_is_named_with_its_nearest() {
    insta::assert_snapshot!(mistakes(
        r#"
[[interface]]
name = "exposed"
zones = ["onprem"]
[[route]]
destination = "192.168.0.0/16"
interface = "exposd"
via = "10.0.1.1"
[[route]]
destination = "fd00::/8"
interface = "exposed"
via = "10.0.1.1"
[[route]]
destination = "fd00::/8"
interface = "exposed"
[management]
interface = "exposed"
alow = []
"#
    ));
}

#[test]
fn what_may_reach_the_firewall_is_read_at_its_place() {
    insta::assert_snapshot!(mistakes(
        r#"
[[interface]]
name = "ens6"
zones = ["ot"]
[management]
interface = "ens5"
allow = ["tcp/22 from 10.3.0.0/16", "ssh", "tcp/70000 from 10.3.0.0/16", "tcp/22 from 10.3.0.1/16", "tcp/22 from anywhere", ""]
"#
    ));
}

#[test]
fn a_device_that_is_listed_twice_is_named_with_its_other_line() {
    insta::assert_snapshot!(mistakes(
        r#"
[[interface]]
name = "ens6"
zones = ["ot"]
[[interface]]
mac = "02:00:00:00:01:0a"
zones = ["it"]
[[interface]]
zones = ["onprem"]
name = "ens6"
[[interface]]
mac = "02:00:00:00:01:0A"
zones = ["exposed"]
[management]
interface = "02:00:00:00:01:0a"
"#
    ));
}

#[test]
fn there_are_not_more_half_open_flows_than_flows() {
    let conntrack = |lines: &str| {
        let text = format!("[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n[conntrack]\n{lines}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    let warnings = |lines: &str| conntrack(lines).unwrap().warnings();
    assert_eq!(
        warnings("max_flows = 65_536\nmax_half_open = 65_537"),
        [
            "`max_half_open` (65537) is larger than `max_flows`, so that it is taken as 65536; leave it out for a quarter of `max_flows`"
        ]
    );
    assert!(warnings("max_flows = 65_536\nmax_half_open = 65_536").is_empty());
    assert!(warnings("max_half_open = 65_537").is_empty(), "the size of the table is not known");
}

#[test]
fn a_file_that_is_not_toml_is_reported_with_every_broken_line() {
    insta::assert_snapshot!(mistakes("[[interface]]\nname = exposed\nzones = [\"onprem\"\n[metrics]\nlisten = \"x\n"));
}

#[test]
fn an_empty_file_lacks_an_interface() {
    insta::assert_snapshot!(mistakes(""));
}

#[test]
fn the_flow_log_takes_a_level_of_syslog() {
    let config = |level: &str| {
        let text = format!("[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n[flow_log]\n{level}\n");
        AgentConfig::parse("agent.toml", &text)
    };
    assert_eq!(config("").unwrap().flow_log.level, fw_policy::Level::Debug, "everything");
    assert_eq!(config("level = \"error\"").unwrap().flow_log.level, fw_policy::Level::Error);
    let refused = config("level = \"loud\"").unwrap_err();
    assert_eq!(refused.findings[0].code, fw_policy::Code::InvalidValue);
}

#[test]
fn a_missing_file_is_reported_by_name() {
    let error = AgentConfig::load(Path::new("/nowhere/agent.toml")).unwrap_err();
    assert!(error.render(false).starts_with("error: /nowhere/agent.toml: No such file"), "{error}");
    assert_eq!((error.exit_code(), error.verdict()), (1, "could not be read"));
    let invalid = AgentConfig::parse("agent.toml", "").unwrap_err();
    assert_eq!((invalid.exit_code(), invalid.verdict()), (3, "is invalid"));
}

proptest::proptest! {
    #[test]
    fn garbage_is_an_error_and_never_a_panic(text in "\\PC{0,200}") {
        let _ = AgentConfig::parse("agent.toml", &text).map_err(|error| error.render(false));
    }

    #[test]
    fn a_broken_reference_file_is_read_or_refused(at in 0..REFERENCE.len(), with in "[\\x00-\\x7f]{0,3}") {
        let text = format!("{}{with}{}", &REFERENCE[..at], &REFERENCE[at + 1..]);
        if let Err(error) = AgentConfig::parse("agent.toml", &text) {
            proptest::prop_assert!(!error.findings.is_empty());
        }
    }
}
