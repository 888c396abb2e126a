//! The rules of a benchmark, in the firewall's language and in that of nftables.

use std::fmt::Write;

use fw_testkit::lab::{CLIENT_NETWORKS, LEFT, RIGHT, SERVER_NETWORKS};

use super::chain::traffic::SERVER_PORT;

/// The port of iperf3.
const IPERF3_PORT: u16 = 5201;

/// What all candidates of a benchmark enforce.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// Number of rules. The last one allows what is sent; the others are about other servers.
    pub(super) rules: u32,
    /// Size of the firewall's flow tables.
    pub(super) max_flows: u32,
}

impl Policy {
    /// A policy of this many rules.
    pub(super) const fn new(rules: u32) -> Self {
        Self { rules, max_flows: 65_536 }
    }

    pub(super) const fn with_max_flows(self, max_flows: u32) -> Self {
        Self { max_flows, ..self }
    }

    /// The firewall's policy.
    pub(super) fn document(&self) -> String {
        let [client, client6] = CLIENT_NETWORKS;
        let [server, server6] = SERVER_NETWORKS;
        let mut text = format!(
            "version = 1\n\n[defaults]\naction = \"drop\"\n\n\
             [zones.{LEFT}]\nnetworks = [\"10.201.0.0/24\", \"fd00:201::/64\", \"{client}\", \"{client6}\"]\n\n\
             [zones.{RIGHT}]\nnetworks = [\"10.202.0.0/24\", \"fd00:202::/64\", \"{server}\", \"{server6}\"]\n\n"
        );
        let mut rule = |id: &str, terms: &str| {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "[[rule]]\nid = \"{id}\"\nfrom = [\"{LEFT}\"]\nto = [\"{RIGHT}\"]\n{terms}action = \"allow\"\n\n"
            );
        };
        for number in 1..self.rules {
            let terms =
                format!("destination = [\"{}\"]\nservices = [\"tcp/{}\"]\n", other_server(number), port(number));
            rule(&format!("other-{number}"), &terms);
        }
        rule("bench", &format!("services = [\"udp/{SERVER_PORT}\", \"tcp/{SERVER_PORT}\", \"tcp/{IPERF3_PORT}\"]\n"));
        text
    }

    /// The ruleset of nftables, one rule after the other.
    pub(super) fn ruleset(&self) -> String {
        let mut text = String::from(
            "table inet bench {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n  \
             ct state established,related accept\n",
        );
        for number in 1..self.rules {
            let _ = writeln!(
                text,
                "  iifname \"{LEFT}\" oifname \"{RIGHT}\" ip daddr {} tcp dport {} accept",
                other_server(number),
                port(number)
            );
        }
        let _ = writeln!(
            text,
            "  iifname \"{LEFT}\" oifname \"{RIGHT}\" meta l4proto {{ tcp, udp }} th dport {{ {SERVER_PORT}, \
             {IPERF3_PORT} }} accept\n }}\n}}"
        );
        text
    }
}

/// A server that no packet of a benchmark is for.
fn other_server(number: u32) -> String {
    let [_, b, c, d] = number.to_be_bytes();
    format!("10.{}.{c}.{d}", 136 + b)
}

fn port(number: u32) -> u32 {
    1000 + number % 3000
}
