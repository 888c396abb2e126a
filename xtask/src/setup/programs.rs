//! Programs of the distribution that the lab, the demo and the agent run.

use std::fmt;

use super::Purpose;
use crate::process;

/// A program, the Debian package that holds it, and what it is for.
pub(super) struct Program {
    name: &'static str,
    pub(super) package: &'static str,
    why: &'static str,
}

const fn program(name: &'static str, package: &'static str, why: &'static str) -> Program {
    Program { name, package, why }
}

static PROGRAMS: [Program; 11] = [
    program("ip", "iproute2", "raises the lab"),
    program("nft", "nftables", "loads the forward chain that drops what the firewall has not judged"),
    program("ethtool", "ethtool", "turns off the lab's offloads"),
    program("dnsmasq", "dnsmasq-base", "answers DHCP and router solicitations in the lab"),
    program("udhcpc", "udhcpc", "renews a DHCP lease through the firewall"),
    program("curl", "curl", "is the lab's HTTP client"),
    program("ping", "iputils-ping", "is the lab's ICMP client"),
    program("traceroute", "traceroute", "shows the firewall as a hop"),
    program("iperf3", "iperf3", "measures throughput"),
    program("tcpdump", "tcpdump", "shows the lab's packets"),
    program("conntrack", "conntrack", "shows that the kernel tracks nothing of what the firewall forwards"),
];

/// The programs that are nowhere to be found.
pub(super) fn missing(purpose: Purpose) -> Vec<&'static Program> {
    if purpose < Purpose::Run {
        return Vec::new();
    }
    PROGRAMS.iter().filter(|program| process::find(program.name).is_none()).collect()
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which {}: `apt-get install {}`", self.name, self.why, self.package)
    }
}
