//! From TOML to an [`AgentConfig`], table by table.

use std::net::SocketAddr;
use std::path::PathBuf;

use fw_common::conntrack::{State, Timeouts};

use crate::change::signature::Key;
use crate::dataplane::PickUp;
use fw_policy::{Code, Level};
use toml::de::DeTable;

use super::cloud::{bucket, cloud};
use super::interfaces::{interfaces, management};
use super::probes::probes;
use super::report::Report;
use super::routes::{Routes, routes};
use super::section::{At, Section};
use super::{
    AgentConfig, AnomaliesConfig, ConfigError, Confirmation, ConntrackConfig, FeedsConfig, FlowLogConfig,
    MetricsConfig, PolicyConfig, duration,
};

/// Where the bundle of a bucket is put.
const BUNDLE: &str = "/var/lib/outpost-fw/bundle";

/// How long a change may wait for its confirmation, in seconds.
const CONFIRM_WITHIN: u32 = 600;

pub(super) fn config(file: &str, text: &str) -> Result<AgentConfig, ConfigError> {
    let mut report = Report::new(text);
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        report.add_syntax_error(error.span().unwrap_or(0..0), error.message());
    }
    if report.has_syntax_errors() {
        return Err(report.into_error(file));
    }
    let mut root = Section::new("agent.toml", document.get_ref(), 0..0);
    let config = read(&mut root, &mut report);
    root.finish(&mut report);
    if report.has_errors() { Err(report.into_error(file)) } else { Ok(config) }
}

fn read(root: &mut Section<'_>, report: &mut Report<'_>) -> AgentConfig {
    let sections = root.tables("interface", report);
    if sections.is_empty() && !report.has_errors() {
        root.missing("interface", "at least one `[[interface]]`", report);
    }
    let interfaces = interfaces(sections, report);
    let Routes { wanted: routes, segment_limits } = routes(root.tables("route", report), &interfaces, report);
    let management_section = root.table("management", "[management]", report);
    let management = management_section.and_then(|section| management(section, &interfaces, report));
    let sections = root.tables("probe", report);
    // One that is wrong is told as that, and not as one that there is not.
    let has_probes = !sections.is_empty();
    let probes = probes(sections, report);
    let policy = policy(root.table("policy", "[policy]", report), has_probes, report);
    let conntrack = conntrack(root.table("conntrack", "[conntrack]", report), report);
    let anomalies = anomalies(root.table("anomalies", "[anomalies]", report), report);
    let metrics = metrics(root.table("metrics", "[metrics]", report), report);
    let flow_log = flow_log(root.table("flow_log", "[flow_log]", report), report);
    let feeds = feeds(root.table("feeds", "[feeds]", report), report);
    let cloud = cloud(root.table("cloud", "[cloud]", report), report);
    AgentConfig {
        interfaces: interfaces.list,
        routes,
        segment_limits,
        management,
        probes,
        policy,
        conntrack,
        anomalies,
        metrics,
        flow_log,
        feeds,
        cloud,
    }
}

fn policy(section: Option<Section<'_>>, has_probes: bool, report: &mut Report<'_>) -> PolicyConfig {
    let mut config = PolicyConfig {
        directory: PathBuf::from("/etc/outpost-fw/policies"),
        bucket: None,
        watch: true,
        confirm: None,
        keep: 50,
        public_keys: Vec::new(),
        disabled_system_rules: Default::default(),
    };
    let Some(mut section) = section else { return config };
    let source = one_of("source", &["directory", "s3"], &mut section, report);
    config.bucket = bucket(source == Some("s3"), &mut section, report);
    if config.bucket.is_some() {
        config.directory = PathBuf::from(BUNDLE);
    }
    config.confirm = confirmation(&mut section, has_probes, report);
    if let Some(keep) = section.integer("keep", 2..=10_000, report) {
        config.keep = u32::try_from(keep.value).unwrap_or(u32::MAX);
    }
    if let Some(directory) = section.string("directory", report) {
        config.directory = PathBuf::from(directory.value);
        if config.bucket.is_some() && (config.directory.is_relative() || config.directory.file_name().is_none()) {
            report
                .add(Code::InvalidValue, directory.span, "bundles of a bucket need a directory of their own")
                .expected("expected the whole path of one, such as \"/var/lib/outpost-fw/bundle\"");
        }
    }
    if let Some(watch) = section.boolean("watch", report) {
        config.watch = watch.value;
    }
    config.public_keys = public_keys(&mut section, report);
    let disabled = section.strings("disabled_system_rules", report).unwrap_or_default();
    config.disabled_system_rules = disabled.into_iter().map(|id| id.value.to_owned()).collect();
    section.finish(report);
    config
}

fn confirmation(section: &mut Section<'_>, has_probes: bool, report: &mut Report<'_>) -> Option<Confirmation> {
    let confirm = section.string("confirm", report);
    let within = section.string("confirm_within", report).and_then(|within| duration::reported(&within, report));
    let within = within.unwrap_or(CONFIRM_WITHIN);
    let At { value, span } = confirm?;
    match value {
        "none" => None,
        "manual" => Some(Confirmation { within, by_probes: false }),
        "probes" => {
            if !has_probes {
                report
                    .add(Code::Contradiction, span, "there is no `[[probe]]` that could confirm")
                    .expected("expected at least one `[[probe]]`, or \"manual\"");
            }
            Some(Confirmation { within, by_probes: true })
        }
        _ => {
            report
                .add(Code::InvalidValue, span, "`confirm` does not take this value")
                .expected("expected \"none\", \"manual\" or \"probes\"");
            None
        }
    }
}

/// Keys of minisign. A list without any would look as if something had to be signed.
fn public_keys(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<Key> {
    let Some(listed) = section.strings("public_keys", report) else { return Vec::new() };
    if listed.is_empty() {
        report
            .add(Code::InvalidValue, section.span(), "`public_keys` has no key")
            .expected("expected at least one key, or no `public_keys`");
    }
    let mut keys = Vec::new();
    for text in listed {
        match Key::parse(text.value) {
            Ok(key) => keys.push(key),
            Err(_) => {
                report
                    .add(Code::InvalidValue, text.span, "this is not a public key of minisign")
                    .expected("expected the second line of a `minisign.pub`, such as \"RWQf6LRC…\"");
            }
        }
    }
    keys
}

/// A key that takes one of a few words.
fn one_of<'t>(
    key: &'static str,
    known: &[&str],
    section: &mut Section<'t>,
    report: &mut Report<'_>,
) -> Option<&'t str> {
    let word = section.string(key, report)?;
    let expected = format!("expected \"{}\"", known.join("\" or \""));
    if !known.contains(&word.value) {
        report.add(Code::InvalidValue, word.span, format!("`{key}` does not take this value")).expected(expected);
    }
    Some(word.value)
}

fn conntrack(section: Option<Section<'_>>, report: &mut Report<'_>) -> ConntrackConfig {
    let mut config = ConntrackConfig::default();
    let Some(mut section) = section else { return config };
    let max_flows = section.integer("max_flows", 1_024..=16_777_216, report);
    config.max_flows = max_flows.as_ref().and_then(|number| u32::try_from(number.value).ok());
    let max_half_open = section.integer("max_half_open", 64..=16_777_216, report);
    config.max_half_open = max_half_open.as_ref().and_then(|number| u32::try_from(number.value).ok());
    let full = one_of("half_open_full", &["evict-oldest", "drop-new"], &mut section, report);
    config.refuse_half_open = full == Some("drop-new");
    if let Some(timeouts_section) = section.table("timeouts", "[conntrack.timeouts]", report) {
        config.timeouts = timeouts(timeouts_section, report);
    }
    config.pick_up = match one_of("pick_up", &["never", "after-start", "always"], &mut section, report) {
        Some("never") => PickUp::Never,
        Some("always") => PickUp::Always,
        _ => PickUp::AfterStart,
    };
    config.reset_unknown_tcp = one_of("unknown_tcp", &["drop", "reset"], &mut section, report) == Some("reset");
    section.finish(report);
    config
}

fn timeouts(mut section: Section<'_>, report: &mut Report<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for state in State::ALL {
        let Some(text) = section.string(state.name(), report) else { continue };
        if let Some(seconds) = duration::reported(&text, report) {
            timeouts.seconds[state as usize] = seconds;
        }
    }
    section.finish(report);
    timeouts
}

fn anomalies(section: Option<Section<'_>>, report: &mut Report<'_>) -> AnomaliesConfig {
    let mut config = AnomaliesConfig::default();
    let Some(mut section) = section else { return config };
    if let Some(verify) = section.boolean("verify_checksums", report) {
        config.verify_checksums = verify.value;
    }
    section.finish(report);
    config
}

fn metrics(section: Option<Section<'_>>, report: &mut Report<'_>) -> MetricsConfig {
    let mut config = MetricsConfig { listen: SocketAddr::from(([127, 0, 0, 1], 9477)) };
    let Some(mut section) = section else { return config };
    if let Some(listen) = section.string("listen", report) {
        match listen.value.parse() {
            Ok(address) => config.listen = address,
            Err(_) => {
                report
                    .add(Code::InvalidAddress, listen.span, "this is not an address with a port")
                    .expected("expected such as \"127.0.0.1:9477\" or \"[::1]:9477\"");
            }
        }
    }
    section.finish(report);
    config
}

fn flow_log(section: Option<Section<'_>>, report: &mut Report<'_>) -> FlowLogConfig {
    let mut config = FlowLogConfig { file: None, max_bytes: 64 << 20, keep: 4, level: Level::Debug };
    let Some(mut section) = section else { return config };
    if let Some(file) = section.string("file", report) {
        config.file = Some(PathBuf::from(file.value));
    }
    if let Some(max_bytes) = section.integer("max_bytes", 65_536..=1 << 40, report) {
        config.max_bytes = max_bytes.value;
    }
    if let Some(keep) = section.integer("keep", 0..=1_000, report) {
        config.keep = u32::try_from(keep.value).unwrap_or(u32::MAX);
    }
    if let Some(level) = one_of("level", &Level::NAMES, &mut section, report).and_then(Level::from_name) {
        config.level = level;
    }
    section.finish(report);
    config
}

fn feeds(section: Option<Section<'_>>, report: &mut Report<'_>) -> FeedsConfig {
    let mut config = FeedsConfig { directory: PathBuf::from(FeedsConfig::DIRECTORY), ca_file: None };
    let Some(mut section) = section else { return config };
    if let Some(directory) = section.string("directory", report) {
        config.directory = PathBuf::from(directory.value);
    }
    config.ca_file = section.string("ca_file", report).map(|file| PathBuf::from(file.value));
    section.finish(report);
    config
}
