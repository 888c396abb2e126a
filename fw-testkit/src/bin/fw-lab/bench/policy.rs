//! The rules of a benchmark, in the firewall's language and in that of nftables.

use std::fmt::Write;

use fw_bench_ebpf::SERVER_MASK;
use fw_testkit::lab::{CLIENT_NETWORKS, LEFT, RIGHT, SERVER_NETWORKS};

use super::chain::traffic::ALLOWED_PORT;

/// The port of iperf3.
const IPERF3_PORT: u16 = 5201;

/// What all candidates of a benchmark enforce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Number of rules. The last one allows what is sent; the others are about other servers.
    pub(super) rules: u32,
    /// Size of the firewall's flow tables.
    pub(super) max_flows: u32,
    /// The most half-open flows of the firewall, if it is not to be the firewall's own part of `max_flows`.
    pub(super) max_half_open: Option<u32>,
    /// Seconds that UDP flows live idle.
    pub(super) udp_timeout: u32,
    /// The firewall logs flows and what it denies.
    pub(super) log: bool,
}

impl Policy {
    /// A policy of this many rules.
    pub(super) const fn new(rules: u32) -> Self {
        Self { rules, max_flows: 65_536, max_half_open: None, udp_timeout: 600, log: true }
    }

    pub(super) const fn with_max_flows(self, max_flows: u32) -> Self {
        Self { max_flows, ..self }
    }

    pub(super) const fn with_max_half_open(self, max_half_open: u32) -> Self {
        Self { max_half_open: Some(max_half_open), ..self }
    }

    pub(super) const fn with_udp_timeout(self, udp_timeout: u32) -> Self {
        Self { udp_timeout, ..self }
    }

    pub(super) const fn without_log(self) -> Self {
        Self { log: false, ..self }
    }

    /// The lines of the firewall's section `[conntrack]`.
    pub(super) fn conntrack(&self) -> String {
        let half_open = self.max_half_open.map(|number| format!("max_half_open = {number}\n")).unwrap_or_default();
        let Self { max_flows, udp_timeout, .. } = self;
        format!(
            "max_flows = {max_flows}\n{half_open}\
             timeouts = {{ udp-new = \"{udp_timeout}s\", udp-replied = \"{udp_timeout}s\" }}\n"
        )
    }

    /// The firewall's policy.
    pub(super) fn document(&self) -> String {
        let [client, client6] = CLIENT_NETWORKS;
        let [server, server6] = SERVER_NETWORKS;
        let mut text = format!(
            "version = 1\n\n[defaults]\naction = \"drop\"\nlog = {}\n\n\
             [zones.{LEFT}]\nnetworks = [\"10.201.0.0/24\", \"fd00:201::/64\", \"{client}\", \"{client6}\"]\n\n\
             [zones.{RIGHT}]\nnetworks = [\"10.202.0.0/24\", \"fd00:202::/64\", \"{server}\", \"{server6}\"]\n\n",
            self.log
        );
        let mut rule = |id: &str, terms: &str| {
            text += &format!(
                "[[rule]]\nid = \"{id}\"\nfrom = [\"{LEFT}\"]\nto = [\"{RIGHT}\"]\n{terms}action = \"allow\"\n\n"
            );
        };
        for (number, other) in self.others().enumerate() {
            let terms = format!("destination = [\"{}\"]\nservices = [\"udp/{}\"]\n", other.addr, other.port);
            rule(&format!("other-{number}"), &terms);
        }
        let services = format!("[\"udp/{ALLOWED_PORT}\", \"tcp/{ALLOWED_PORT}\", \"tcp/{IPERF3_PORT}\"]");
        rule("bench", &format!("services = {services}\n"));
        text
    }

    /// The ruleset of nftables with one rule after the other.
    pub(super) fn linear_ruleset(&self) -> String {
        let rules: String =
            self.others().map(|other| format!("  ip daddr {} udp dport {} accept\n", other.addr, other.port)).collect();
        ruleset("", &(rules + &last_rule()))
    }

    /// The ruleset of nftables with one set for all, which also has what is sent.
    pub(super) fn set_ruleset(&self) -> String {
        let servers = (1..=SERVER_MASK + 1).map(|host| Server { addr: address(128, host), port: ALLOWED_PORT });
        let elements: Vec<String> =
            self.others().chain(servers).map(|server| format!("{} . {}", server.addr, server.port)).collect();
        let set = format!(
            " set allowed {{\n  type ipv4_addr . inet_service\n  elements = {{ {} }}\n }}\n",
            elements.join(",\n   ")
        );
        ruleset(&set, &format!("  ip daddr . udp dport @allowed accept\n{}", last_rule()))
    }

    /// What all rules but the last allow.
    fn others(&self) -> impl Iterator<Item = Server> {
        (1..self.rules).map(|number| Server { addr: address(136, number), port: 1000 + (number % 3000) as u16 })
    }
}

/// A destination.
struct Server {
    addr: String,
    port: u16,
}

/// An address at the servers. Those from 10.136.0.0 on are sent no packet.
fn address(second: u32, number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("10.{}.{c}.{d}", second + u32::from(b))
}

/// Established flows pass at once; between the interfaces, rules decide; the rest is dropped.
fn ruleset(sets: &str, rules: &str) -> String {
    let mut text = format!("table inet bench {{\n{sets} chain rules {{\n{rules} }}\n");
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        " chain forward {{\n  type filter hook forward priority 0; policy drop;\n  \
         ct state established,related accept\n  iifname \"{LEFT}\" oifname \"{RIGHT}\" jump rules\n }}\n}}\n"
    );
    text
}

/// Allows what is sent.
fn last_rule() -> String {
    format!("  meta l4proto {{ tcp, udp }} th dport {{ {ALLOWED_PORT}, {IPERF3_PORT} }} accept\n")
}
