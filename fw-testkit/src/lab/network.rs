//! Carries the topology out: name spaces, kernel settings, links, addresses, routes, offloads, and the daemons of the VPC
//! routers.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::node::{ENI_EXPOSED, ENI_IT, ENI_OT, ENIS, Eni, METADATA, Node, mac_of, mac_text};
use super::{Forwarding, Lab, namespace_name, topology};
use crate::error::While;
use crate::netns::NetNs;
use crate::process::{self, Running};
use crate::service::{Endpoint, Protocol, Service};
use crate::{LabError, wait};

/// How long the VPC routers' advertisements may take. They come every four seconds; on a busy machine some are late.
const ANNOUNCEMENT: Duration = Duration::from_secs(40);

pub(super) fn create_namespaces(lab: &str) -> Result<(), LabError> {
    let lines: Vec<String> = Node::ALL.iter().map(|node| format!("netns add {}", namespace_name(lab, *node))).collect();
    ip_batch(None, &lines)
}

/// Sets the kernel up, joins the nodes and gives them their addresses and routes.
pub(super) fn configure(lab: &Lab, forwarding: Forwarding) -> Result<(), LabError> {
    for node in Node::ALL {
        set_sysctls(lab.ns(*node), node_sysctls(*node))?;
    }
    let links = topology::links();
    let lines: Vec<String> = links.iter().map(|link| topology::create_link(&lab.name, *link, lab.mtu)).collect();
    ip_batch(None, &lines)?;
    for node in Node::ALL {
        ip_batch(Some(lab.ns(*node)), &topology::node_lines(*node))?;
    }
    for (a, b) in links {
        for end in [a, b] {
            set_offloads(lab.ns(end.node), end.interface)?;
        }
    }
    if forwarding == Forwarding::Kernel {
        set_sysctls(lab.ns(Node::Fw), KERNEL_FORWARDING)?;
        ip_batch(Some(lab.ns(Node::Fw)), &topology::kernel_routing_lines())?;
    }
    Ok(())
}

/// Runs lines of `ip` in one process.
pub(crate) fn ip_batch(namespace: Option<&NetNs>, lines: &[String]) -> Result<(), LabError> {
    // `ip -netns` would hide `/sys/fs/bpf`.
    let mut command = match namespace {
        Some(namespace) => namespace.command("ip")?,
        None => Command::new("ip"),
    };
    // Without `-force` the batch ends at the first line that fails, and the message names it.
    process::feed(command.args(["-batch", "-"]), &(lines.join("\n") + "\n"))?.success()?;
    Ok(())
}

/// A veth hands frames over without checksums and joined into large ones, which a wire does not: the sender must finish its
/// frames. And a receiver needs NAPI (here: by GRO), or XDP cannot redirect to its peer.
pub(crate) fn set_offloads(namespace: &NetNs, interface: &str) -> Result<(), LabError> {
    let mut command = namespace.command("ethtool")?;
    process::run(command.args(["-K", interface, "tx", "off", "txvlan", "off", "gro", "on"]))?.success()?;
    Ok(())
}

pub(super) type Sysctls = &'static [(&'static str, &'static str)];

/// Duplicate address detection would delay every address by a second; the lab's addresses are unique by design.
const COMMON: Sysctls = &[
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

const HOST: Sysctls = &[
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
];

const ROUTER: Sysctls = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
];

/// The firewall learns the VPC routers from their advertisements, also once it forwards, and keeps to its static addresses.
const FIREWALL: Sysctls = &[
    ("ipv6/conf/default/accept_ra", "2"),
    ("ipv6/conf/default/autoconf", "0"),
    ("ipv6/conf/default/router_solicitation_delay", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
];

pub(super) const KERNEL_FORWARDING: Sysctls =
    &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"), ("ipv4/conf/all/send_redirects", "0")];

fn node_sysctls(node: Node) -> Sysctls {
    match node {
        Node::Fw => FIREWALL,
        Node::Switch
        | Node::Transit
        | Node::Lgw
        | Node::ExposedRouter
        | Node::OtRouter
        | Node::ItRouter
        | Node::ManagementRouter => ROUTER,
        Node::Plc | Node::Ws | Node::Exposed | Node::Ot | Node::Ot2 | Node::It | Node::It2 | Node::Management => HOST,
    }
}

pub(super) fn set_sysctls(namespace: &NetNs, own: Sysctls) -> Result<(), LabError> {
    namespace.within(|| {
        for (key, value) in COMMON.iter().chain(own) {
            let path = format!("/proc/sys/net/{key}");
            fs::write(&path, value).during(|| format!("set {path} to {value}"))?;
        }
        Ok(())
    })?
}

/// Starts DHCP and router advertisement in each VPC's router.
pub(super) fn start_router_daemons(lab: &Lab) -> Result<Vec<Running>, LabError> {
    ENIS.iter()
        .map(|eni| {
            let leases = lab.directory().join(format!("{}.leases", eni.router));
            let mut line: Vec<String> =
                ["dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--log-facility=-", "--port=0"]
                    .map(str::to_owned)
                    .to_vec();
            line.extend(
                ["--user=root", "--pid-file=", "--dhcp-authoritative", "--no-ping", "--enable-ra"].map(str::to_owned),
            );
            line.push(format!("--dhcp-leasefile={}", leases.display()));
            line.extend(subnet_arguments(*eni));
            line.push(format!("--dhcp-host={},{},infinite", mac_text(mac_of(eni.ipv4)), eni.ipv4));
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            lab.spawn(eni.router, &line)
        })
        .collect()
}

fn subnet_arguments(eni: Eni) -> Vec<String> {
    let mut arguments = Vec::new();
    for subnet in eni.subnets() {
        arguments.push(format!("--interface=subnet{subnet}"));
        arguments.push(format!("--dhcp-range=10.{}.{subnet}.0,static,255.255.255.0", eni.vpc));
        if eni.ipv6.is_some() {
            arguments.push(format!("--dhcp-range=fd00:0:0:{}0{subnet}::,ra-only,64", eni.vpc));
            arguments.push(format!("--ra-param=subnet{subnet},4,1800"));
        }
    }
    arguments
}

/// Waits until the firewall has heard the router of every VPC that has IPv6.
pub(super) fn wait_until_announced(lab: &Lab) -> Result<(), LabError> {
    wait::until_true("the VPC routers announce themselves to the firewall", ANNOUNCEMENT, || {
        let routes = lab.run(Node::Fw, &["ip", "-6", "route", "show", "default"]).map(|finished| finished.stdout);
        let routes = routes.unwrap_or_default();
        [ENI_EXPOSED, ENI_OT, ENI_IT].iter().all(|eni| routes.contains(&format!("dev {} ", eni.name)))
    })
}

/// Starts instance metadata in each VPC's router.
pub(super) fn start_metadata(lab: &Lab) -> Result<Vec<Service>, LabError> {
    let endpoint = Endpoint { protocol: Protocol::Metadata, address: (METADATA, 80).into() };
    ENIS.iter().map(|eni| Service::start(lab.ns(eni.router), &[endpoint])).collect()
}
